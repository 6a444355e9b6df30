"""DSH-03: the alert panel's text for each incident that the monitor has open."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from api.incidents.views import IncidentView
from processors.monitor.rules import RULES
from web.dashboard.incidents import RATES, Incident, incidents

NO_CONTROL: Any = SimpleNamespace(stops=[], blocked=None)
RULES_FILE = Path(__file__).resolve().parents[3] / "deploy" / "prometheus" / "rules" / "npp.yml"
QUIET: dict[str, Any] = {
    "incidents": [], "open_conflicts": 0, "parked": 0, "overdue": {"SENT": 0, "ACKNOWLEDGED": 0},
    "overdue_escalated": 0, "read_model": SimpleNamespace(late=False), "proof": None,
    "bypassed": 0, "quarantined_lately": 0, "violated_lately": 0,
}  # fmt: skip
SINCE = "2026-09-21T14:13:10.000Z"


def opened(**incident: Any) -> IncidentView:
    return IncidentView(
        incident_id="inc", status="OPEN", since=SINCE, opened_at=SINCE, resolved_at=None,
        **incident,
    )  # fmt: skip


def active(**changed: Any) -> list[Incident]:
    summary: Any = SimpleNamespace(**QUIET | changed)
    return incidents(summary, NO_CONTROL)


def shown(**incident: Any) -> list[tuple[int, str]]:
    return [(each.level, each.what) for each in active(incidents=[opened(**incident)])]


def test_a_rate_says_its_value_and_its_limit() -> None:
    rate: dict[str, Any] = {"part": 3, "whole": 40, "limit_per_mille": 30, "limit_ms": None}
    assert shown(rule="late_failure", **rate) == [(2, "Late failure rate 7.5%, above 3%")]


def test_latency_says_how_many_requests_were_slow() -> None:
    assert shown(rule="latency", part=5, whole=5, limit_per_mille=None, limit_ms=1_000) == [
        (1, "The last 5 rail requests took longer than 1,000 ms")
    ]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_of_the_monitor_has_its_text(rule: str) -> None:
    assert rule == "latency" or rule in RATES


RATE: dict[str, Any] = {"part": 3, "whole": 40, "limit_per_mille": 30, "limit_ms": None}
SLOW: dict[str, Any] = {"part": 5, "whole": 5, "limit_per_mille": None, "limit_ms": 1_000}
STATES: dict[str, dict[str, Any]] = {
    **{rule: {"incidents": [opened(rule=rule, **RATE)]} for rule in RATES},
    "latency": {"incidents": [opened(rule="latency", **SLOW)]},
    "conflict": {"open_conflicts": 1},
    "parked": {"parked": 1},
    "stuck": {"overdue": {"SENT": 2, "ACKNOWLEDGED": 0}},
    "escalated": {"overdue_escalated": 1},
    "late": {"read_model": SimpleNamespace(late=True)},
    "bypassed": {"bypassed": 1},
    "quarantine": {"quarantined_lately": 11},
    "violation": {"violated_lately": 1},
    "proof": {"proof": SimpleNamespace(verdict="FAILED", ended_at=SINCE)},
}


def levels() -> dict[str, int]:
    """The level of each alert, as Prometheus routes it."""
    groups = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))["groups"]
    return {
        rule["alert"]: int(rule["labels"]["level"])
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    }


@pytest.mark.parametrize("state", STATES)
def test_the_panel_and_the_alert_on_the_same_state_have_one_level(state: str) -> None:
    """Two levels for one state would page two different people."""
    (found,) = active(**STATES[state])
    assert found.alert is not None
    assert found.level == levels()[found.alert]


def test_stuck_parked_and_long_overdue_payments_are_incidents() -> None:
    """MET-08: one waiting payment needs attention; two in one state are an incident."""
    assert active() == active(overdue={"SENT": 1, "ACKNOWLEDGED": 1}) == []
    found = active(overdue={"SENT": 1, "ACKNOWLEDGED": 2}, overdue_escalated=1, parked=3)
    assert [(each.level, each.what) for each in found] == [
        (2, "3 payments are parked after a defect"),
        (2, "2 payments are stuck in ACKNOWLEDGED"),
        (1, "1 payment is long overdue at the rail"),
    ]


def test_what_came_in_wrong_lately_is_an_incident_above_the_alert_s_limit() -> None:
    """MET-09, MET-10: counts are bounded, and say so."""
    passed = SimpleNamespace(verdict="PASSED", ended_at=SINCE)
    assert active(quarantined_lately=10, proof=passed) == []
    found = active(quarantined_lately=1_000, violated_lately=1, bypassed=2)
    assert [(each.level, each.what) for each in found] == [
        (3, "2 payments have another id than the idempotency key gives"),
        (2, "1 input was refused for an invariant in the last 5 minutes"),
        (1, "1,000 or more records went into quarantine in the last 10 minutes"),
    ]
