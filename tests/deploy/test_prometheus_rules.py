"""The shipped Prometheus rules: the runbook's limits, metrics that exist, somebody to call."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any, Final

import pytest
import yaml
from prometheus_client import CollectorRegistry

from engine.clients.partition_errors import PartitionErrorMetrics
from engine.metrics import EngineMetrics, catalogue
from processors.adapter.metrics import AdapterMetrics
from processors.payments.metrics import PaymentsMetrics
from processors.projector.metrics import ProjectorMetrics
from processors.projector.progress import READY_DELAY_S_MAX
from processors.verifier.hanging_transactions import HangingMetrics
from processors.verifier.process import VerifierMetrics
from processors.verifier.retention import RetentionMetrics
from readmodel.minutes import LEAST_COUNT
from tests.rooms import ROOT

pytestmark = pytest.mark.slow

FOLDER: Final = ROOT / "deploy" / "prometheus" / "rules"
RULES: Final[dict[str, Any]] = yaml.safe_load((FOLDER / "npp.yml").read_text(encoding="utf-8"))
ALERTS: Final = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
METRIC: Final = re.compile(r"\bnpp_[a-z_]+\b")
KINDS: Final = (
    AdapterMetrics,
    EngineMetrics,
    HangingMetrics,
    PartitionErrorMetrics,
    PaymentsMetrics,
    ProjectorMetrics,
    RetentionMetrics,
    VerifierMetrics,
)
PROMTOOL_SECONDS_MAX: Final = 60


def anchors() -> set[str]:
    text = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_asks_metrics_that_exist_and_says_how_bad_and_whom_to_call(name: str) -> None:
    """MET-12: severity, level, runbook section, contact."""
    rule = ALERTS[name]
    registry = CollectorRegistry()
    for kind in KINDS:
        kind(registry)
    known = {metric.name for metric in catalogue(registry)}
    assert set(METRIC.findall(rule["expr"])) <= known
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["labels"]["level"] in {"1", "2", "3"}
    assert rule["annotations"]["summary"]
    assert re.search(r"@\w+\.com", rule["annotations"]["contact"])
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert (ROOT / page).is_file()
    assert anchor in anchors()


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("PaymentSuccessRateLow", "< 0.90 "),
        ("RetryRateHigh", "> 0.10 "),
        ("CancellationRateHigh", "> 0.05 "),
        ("LateFailureRateHigh", "> 0.03 "),
    ],
)
def test_the_limits_are_the_runbooks_and_need_the_least_count(name: str, limit: str) -> None:
    """MET-01, MET-03, MET-04, MET-05."""
    assert limit in ALERTS[name]["expr"]
    assert ALERTS[name]["expr"].endswith(f">= {LEAST_COUNT}")


def test_a_read_model_that_is_behind_alerts_at_the_limit_of_readiness() -> None:
    """DEP-06."""
    assert ALERTS["ReadModelBehind"]["expr"].endswith(f"> {READY_DELAY_S_MAX:.0f}")


def test_prometheus_loads_the_rules() -> None:
    text = (FOLDER.parent / "prometheus.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["rule_files"] == ["rules/npp.yml"]


def test_every_alert_is_in_the_rules_own_tests() -> None:
    """MET-08, MET-06: at, just below and just above each limit, and at zero traffic."""
    text = (FOLDER / "npp_test.yml").read_text(encoding="utf-8")
    assert set(re.findall(r'alertname="(\w+)"', text)) == set(ALERTS)


@pytest.mark.skipif(
    shutil.which("promtool") is None and "CI" not in os.environ,
    reason="promtool is not on this machine: install Prometheus",
)
@pytest.mark.parametrize(
    "asked",
    ["test rules rules/npp_test.yml", "check rules rules/npp.yml", "check config prometheus.yml"],
)
def test_promtool_agrees(asked: str) -> None:
    """MET-06: the rules' own tests, the rules and the configuration that loads them."""
    done = subprocess.run(
        ["promtool", *asked.split()],
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
        timeout=PROMTOOL_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
