"""The shipped Prometheus rules: the runbook's limits, metrics that exist, somebody to call."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Final

import pytest
import yaml

from processors.projector.progress import READY_DELAY_S_MAX
from readmodel.minutes import LEAST_COUNT
from tests.deploy.exported import RULE_FILES, RULES_FOLDER, faults, rules

pytestmark = pytest.mark.slow

FOLDER: Final = RULES_FOLDER
ALERTS: Final = {rule["alert"]: rule for rule in rules() if "alert" in rule}
PROMTOOL_SECONDS_MAX: Final = 60


NEEDS_TOOLS: Final = pytest.mark.skipif(
    None in map(shutil.which, ("promtool", "amtool")) and "CI" not in os.environ,
    reason="promtool or amtool is not here: install prometheus and prometheus-alertmanager",
)


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_asks_metrics_that_exist_and_says_how_bad_and_whom_to_call(name: str) -> None:
    """MET-12: severity, level, runbook section; prometheus.yml adds the level's contact."""
    rule = ALERTS[name]
    assert faults(rule["expr"]) == []  # else it never fires
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["labels"]["level"] in {"1", "2", "3"}
    assert rule["annotations"]["summary"]


def test_what_a_rule_records_is_made_of_metrics_that_exist() -> None:
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
def test_the_limits_are_the_runbooks_and_need_the_least_count(name: str, limit: str) -> None:
    """MET-01, MET-03, MET-04, MET-05."""
    assert limit in ALERTS[name]["expr"]
    assert ALERTS[name]["expr"].endswith(f">= {LEAST_COUNT}")


def test_a_read_model_that_is_behind_alerts_at_the_limit_of_readiness() -> None:
    """DEP-06."""
    assert ALERTS["ReadModelBehind"]["expr"].endswith(f"> {READY_DELAY_S_MAX:.0f}")


def test_prometheus_loads_the_rules() -> None:
    text = (FOLDER.parent / "prometheus.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["rule_files"] == [f"rules/{name}" for name in RULE_FILES]


def test_every_alert_is_in_the_rules_own_tests() -> None:
    """MET-08, MET-06: at, just below and just above each limit, and at zero traffic; the budgets'
    are in test_slo.py."""
    text = (FOLDER / "npp_test.yml").read_text(encoding="utf-8")
    tested = set(re.findall(r'alertname="(\w+)"', text))
    assert tested == {name for name in ALERTS if not name.partition("Burns")[1]}


@NEEDS_TOOLS
@pytest.mark.parametrize(
    "asked",
    [
        "promtool test rules rules/npp_test.yml",
        "promtool check rules rules/npp.yml rules/slo.yml",
        "promtool check config prometheus.yml",
        "amtool check-config alertmanager.yml",
    ],
)
def test_the_tools_agree(asked: str) -> None:
    """MET-06: the rules' own tests, the rules and the configurations."""
    done = subprocess.run(
        asked.split(),
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
        timeout=PROMTOOL_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
