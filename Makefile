# NPP Orchestrator. `make help` lists the targets. Needs Python >= 3.11 and make, nothing else.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help env fetch native wheel promtool chromium screenshots demo check test test-release replay-test bench lock sbom lock-jars clean

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

env: .venv/.ok ## the virtual environment, from hash-locked packages

# $(1): lock file, $(2): its packages on disk
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1); Python >= 3.11 is needed: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: this Python cannot make virtual environments: install its venv package (Debian, Ubuntu: apt-get install python3-venv; others: the package with ensurepip)" >&2; exit 1; }
	@echo "make: Python packages go to .venv: about $(2) on disk, minutes on a slow line. \`make clean\` removes them." >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.lock.txt
	@$(BIN)/uv pip sync -q --python $(BIN)/python --require-hashes requirements/$(1)
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c 'import app.cli.npp, app.wiring, app.demo.run, gateways.rail.simulator, gateways.deposits.simulator, gateways.notifications.simulator, gateways.resolve.simulator' # what is started again and again is compiled once
	@touch $@
endef

.venv/.ok: requirements/all.lock requirements/uv.lock.txt pyproject.toml
	$(call install,all.lock,830 MB)

.venv/.demo: requirements/demo.lock requirements/uv.lock.txt pyproject.toml
	$(call install,demo.lock,430 MB)

# The demo takes the whole environment where it is there, else the smaller one.
DEMO_ENV := $(if $(wildcard .venv/.ok),.venv/.ok,.venv/.demo)

fetch: .venv/.ok ## Kafka and the schema registry, verified against requirements/jars.lock
	@$(BIN)/python -m app.platform.fetch

promtool: ## promtool and amtool, by apt where this user may install; else the alert rules' tests are skipped and say so
	@command -v promtool >/dev/null && command -v amtool >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  { apt-get install -y -qq --no-install-recommends prometheus prometheus-alertmanager >/dev/null 2>&1 || \
	    { apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends prometheus prometheus-alertmanager >/dev/null; }; }; } || \
	  echo "make: promtool or amtool is not here: install them (Debian, Ubuntu: apt-get install prometheus prometheus-alertmanager) and the alert rules' own tests run too" >&2

chromium: ## the browser of the pages' tests, as promtool
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  { apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1 || \
	    { apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends chromium >/dev/null; }; }; } || \
	  echo "make: chromium is not here: install it (Debian: apt-get install chromium) and the pages' browser tests run too" >&2

screenshots: fetch chromium ## the pictures of docs/pictures, of a demo that it runs
	@$(BIN)/python -m tests.web.pictures

native: .venv/.ok ## build/native: the product with its hot path compiled; needs a C compiler. Run it with PYTHONPATH=build/native
	@command -v cc >/dev/null || { echo "make: a C compiler is needed: install one (Debian, Ubuntu: apt-get install gcc libc6-dev)" >&2; exit 1; }
	@$(BIN)/python -m native.build

wheel: .venv/.ok ## dist/: the compiled build as a wheel for this machine and PYTHON (3.11 to 3.13: PYTHON=python3.13); needs a C compiler
	@command -v cc >/dev/null || { echo "make: a C compiler is needed: install one (Debian, Ubuntu: apt-get install gcc libc6-dev)" >&2; exit 1; }
	@$(BIN)/uv venv -q --clear --python $(PYTHON) build/wheel
	@$(BIN)/uv pip sync -q --python build/wheel/bin/python --require-hashes requirements/native.lock
	@NPP_BUILD_NATIVE=1 $(BIN)/uv build -q --wheel --no-build-isolation --python build/wheel/bin/python

demo: $(DEMO_ENV) ## the whole product on this machine; options in ARGS="--once --payments 5000 --chaos"
	@$(BIN)/python -m app.platform.fetch
	@$(BIN)/npp demo $(ARGS)

check: .venv/.ok ## format, lint, types, import rules, tests without a broker; under a minute
	@$(BIN)/python -m tests.floors check

test: fetch promtool chromium ## everything CI runs, floor by floor, with the seconds of each
	@$(BIN)/python -m tests.floors test

test-release: fetch promtool chromium ## as test, with the full counts; hours
	@NPP_TEST_RELEASE=1 $(BIN)/python -m tests.floors test

replay-test: fetch ## the runbook's seven replay tests, each by name
	@$(BIN)/pytest -v -p no:cacheprovider tests/processors/replay/test_npp_replay.py

bench: fetch ## speed figures; ARGS="--quick --json"; beside Kafka Streams --peer, of the compiled build --native
	@$(BIN)/python -m bench $(ARGS)

lock: ## rewrite requirements/all.lock, demo.lock, native.lock, run.lock, fetch.lock and uv.lock.txt from pyproject.toml (adds; never upgrades what is locked)
	@test -x $(BIN)/uv || $(MAKE) .venv/.ok
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --group demo --group test --group lint --group native --group build --group sbom --extra trace pyproject.toml -o requirements/all.lock
	@sed -n 's/^\([A-Za-z0-9._-]*==[^ ]*\).*/\1/p' requirements/all.lock | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -c - --extra trace pyproject.toml -o requirements/run.lock
	@sed -n 's/^\([A-Za-z0-9._-]*==[^ ]*\).*/\1/p' requirements/all.lock | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -c - --group demo --group build pyproject.toml -o requirements/demo.lock
	@sed -n 's/^\([A-Za-z0-9._-]*==[^ ]*\).*/\1/p' requirements/all.lock | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -c - --group native --group build pyproject.toml -o requirements/native.lock
	@grep -m1 '^uv==' requirements/all.lock | cut -d' ' -f1 | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate - -o requirements/uv.lock.txt
	@grep -m1 '^jgo==' requirements/all.lock | cut -d' ' -f1 | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -c requirements/run.lock - -o requirements/fetch.lock
	@! grep -n '://' requirements/*.lock requirements/uv.lock.txt

sbom: .venv/.ok ## build/sbom.json: what the image has, as CycloneDX, from requirements/run.lock
	@mkdir -p build
	@$(BIN)/cyclonedx-py requirements requirements/run.lock --pyproject pyproject.toml --mc-type application --output-reproducible --output-format JSON --output-file build/sbom.json
	@echo "build/sbom.json"

lock-jars: .venv/.ok ## rewrite requirements/jars.lock (needs mvn); see the script's own words
	@$(BIN)/python requirements/lock_jars.py

clean: ## remove what make made: environment, downloads, caches; keeps demo data (.npp)
	@rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
