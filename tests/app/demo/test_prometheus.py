"""Prometheus and Alertmanager of a demo: the shipped files with the demo's own addresses."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.demo.prometheus import ALERTMANAGER, PROMETHEUS, SHIPPED, Monitoring
from tests.deploy.test_prometheus_rules import NEEDS_TOOLS

TARGETS = {"payments-1": 9401, "api-1": 9402}


def put(folder: Path, name: str, says: str) -> None:
    """A program that prints its version."""
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{says}'\n")
    file.chmod(0o755)


def config(data: Path, name: str) -> Any:
    return yaml.safe_load((data / "prometheus" / name).read_text())


PAGES = "http://127.0.0.1:9004"


@pytest.fixture
def binaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH without our programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/nowhere")
    return folder


@pytest.mark.parametrize("there", [(), ("prometheus",), ("alertmanager",)])
def test_without_both_programs_none_is_started(
    tmp_path: Path, binaries: Path, there: tuple[str, ...]
) -> None:
    for name in there:
        put(binaries, name, "version 3.7.3")
    assert Monitoring(tmp_path, (1, 2), pages=PAGES).programs(TARGETS) == ()


def test_a_prometheus_too_old_for_the_rules_is_not_started(tmp_path: Path, binaries: Path) -> None:
    put(binaries, "prometheus-alertmanager", "")
    for version, starts in (("2.31.2+ds1", False), ("2.42.0+ds", True), ("3.7.3", True)):
        put(binaries, "prometheus", f"prometheus, version {version} (branch: debian/sid)")
        assert bool(Monitoring(tmp_path, (1, 2), pages=PAGES).programs(TARGETS)) is starts, version


def test_the_shipped_files_get_the_demos_addresses(tmp_path: Path, binaries: Path) -> None:
    """DEP-05: every process is scraped, the rules are the shipped ones, alerts go to the pager."""
    put(binaries, "prometheus", "prometheus, version 3.7.3")
    put(binaries, "alertmanager", "")
    monitoring = Monitoring(tmp_path, (9001, 9002), pages=PAGES, pager="http://127.0.0.1:9003")
    started = monitoring.programs(TARGETS)
    assert [program.name for program in started] == [ALERTMANAGER, PROMETHEUS]
    scraped = config(tmp_path, "prometheus.yml")
    (npp,) = scraped["scrape_configs"]
    assert npp["static_configs"] == [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": instance}}
        for instance, port in TARGETS.items()
    ]
    assert [Path(each).relative_to(SHIPPED) for each in scraped["rule_files"]] == [
        Path(each)
        for each in yaml.safe_load((SHIPPED / "prometheus.yml").read_text())["rule_files"]
    ]
    assert scraped["global"]["external_labels"] == {"runbooks": "${NPP_WEB_URL}/runbooks"}
    assert started[1].env["NPP_WEB_URL"] == PAGES
    routes = config(tmp_path, "alertmanager.yml")
    urls = {each["name"]: each["webhook_configs"][0]["url"] for each in routes["receivers"]}
    assert urls == {f"level-{n}": f"http://127.0.0.1:9003/level-{n}" for n in (1, 2, 3)}


@NEEDS_TOOLS
@pytest.mark.slow
@pytest.mark.parametrize("pager", ["", "http://127.0.0.1:9003"])
def test_the_tools_accept_the_written_files(tmp_path: Path, pager: str) -> None:
    assert Monitoring(tmp_path, (9001, 9002), pages=PAGES, pager=pager).programs(TARGETS)
    for requested in (
        ("promtool", "check", "config", "prometheus.yml"),
        ("amtool", "check-config", "alertmanager.yml"),
    ):
        done = subprocess.run(
            requested, cwd=tmp_path / "prometheus", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
