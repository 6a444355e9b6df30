"""The shipped Prometheus rules: the runbook's limits, existing metrics, a contact."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from processors.projector.progress import READY_DELAY_S_MAX
from readmodel.minutes import LEAST_COUNT
from tests.deploy.exported import RULE_FILES, RULES_FOLDER, faults, rules
from tests.deploy.routing import with_addresses

pytestmark = pytest.mark.slow

FOLDER: Final = RULES_FOLDER
ALERTS: Final = {rule["alert"]: rule for rule in rules() if "alert" in rule}
PROMTOOL_SECONDS_MAX: Final = 600  # 12 s of CPU when alone; a timeout, not a speed limit


NEEDS_TOOLS: Final = pytest.mark.skipif(
    None in map(shutil.which, ("promtool", "amtool")) and "CI" not in os.environ,
    reason="promtool or amtool is not here: install prometheus and prometheus-alertmanager",
)


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_uses_existing_metrics_and_names_severity_and_contact(name: str) -> None:
    """MET-12: severity, level, runbook section; prometheus.yml adds the level's contact."""
    rule = ALERTS[name]
    assert faults(rule["expr"]) == []  # otherwise it never fires
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["labels"]["level"] in {"1", "2", "3"}
    assert rule["annotations"]["summary"]


def test_a_recorded_rule_uses_existing_metrics() -> None:
    recorded = [rule["expr"] for rule in rules() if "record" in rule]
    assert recorded
    assert [fault for expr in recorded for fault in faults(expr)] == []


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("PaymentSuccessRateLow", "< 0.90 "),
        ("RetryRateHigh", "> 0.10 "),
        ("CancellationRateHigh", "> 0.05 "),
        ("LateFailureRateHigh", "> 0.03 "),
    ],
)
def test_the_limits_are_the_runbooks_and_need_the_minimum_count(name: str, limit: str) -> None:
    """MET-01, MET-03, MET-04, MET-05."""
    assert limit in ALERTS[name]["expr"]
    assert ALERTS[name]["expr"].endswith(f">= {LEAST_COUNT}")


def test_a_lagging_read_model_alerts_at_the_readiness_limit() -> None:
    """DEP-06."""
    assert ALERTS["ReadModelBehind"]["expr"].endswith(f"> {READY_DELAY_S_MAX:.0f}")


def test_prometheus_loads_the_rules() -> None:
    text = (FOLDER.parent / "prometheus.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["rule_files"] == [f"rules/{name}" for name in RULE_FILES]


def test_every_alert_is_covered_by_the_rules_own_tests() -> None:
    """MET-08, MET-06: at, just below and just above each limit, and without traffic; the budgets'
    are in test_slo.py.
    """
    text = (FOLDER / "npp_test.yml").read_text(encoding="utf-8")
    tested = set(re.findall(r'alertname="(\w+)"', text))
    assert tested == {name for name in ALERTS if not name.partition("Burns")[1]}


def test_every_alert_on_a_counter_is_tested_across_a_restart() -> None:
    """MET-06: a restarted process counts from 0."""
    text = (FOLDER / "npp_test.yml").read_text(encoding="utf-8")
    (group,) = (
        each for each in yaml.safe_load(text)["tests"] if each["name"].startswith("a counter that")
    )
    _, after = group["promql_expr_test"]
    tested = re.findall(r'alertname="(\w+)"', " ".join(s["labels"] for s in after["exp_samples"]))
    counted = {n for n, rule in ALERTS.items() if re.search(r"(increase|rate)\(", rule["expr"])}
    assert set(tested) == {name for name in counted if not name.partition("Burns")[1]}


@NEEDS_TOOLS
@pytest.mark.parametrize(
    "command",
    [
        "promtool test rules rules/npp_test.yml",
        "promtool check rules rules/npp.yml rules/slo.yml",
        "promtool check config prometheus.yml",
    ],
)
def test_the_tools_agree(command: str) -> None:
    """MET-06: the rules' own tests, the rules and Prometheus's configuration."""
    agree(command.split())


@NEEDS_TOOLS
def test_amtool_agrees(tmp_path: Path) -> None:
    """MET-06."""
    agree(["amtool", "check-config", str(with_addresses(tmp_path))])


def agree(command: list[str]) -> None:
    done = subprocess.run(
        command,
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
        timeout=PROMTOOL_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
