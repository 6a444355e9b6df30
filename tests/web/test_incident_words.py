"""DSH-03: what the alert panel says of each incident that the monitor keeps open."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from api.incidents.views import IncidentView
from processors.monitor.rules import RULES
from web.incidents import RATES, incidents

NO_CONTROL: Any = SimpleNamespace(stops=[], blocked=None)
SINCE = "2026-09-21T14:13:10.000Z"


def shown(**incident: Any) -> list[tuple[int, str]]:
    view = IncidentView(
        incident_id="inc", status="OPEN", since=SINCE, opened_at=SINCE, resolved_at=None,
        **incident,
    )  # fmt: skip
    read_model = SimpleNamespace(late=False)
    summary: Any = SimpleNamespace(incidents=[view], open_conflicts=0, read_model=read_model)
    return [(each.level, each.what) for each in incidents(summary, NO_CONTROL)]


def test_a_rate_says_its_value_and_its_limit() -> None:
    rate: dict[str, Any] = {"part": 3, "whole": 40, "limit_per_mille": 30, "limit_ms": None}
    assert shown(rule="late_failure", **rate) == [(2, "Late failure rate 7.5%, above 3%")]


def test_latency_says_how_many_requests_were_slow() -> None:
    assert shown(rule="latency", part=5, whole=5, limit_per_mille=None, limit_ms=1_000) == [
        (1, "The last 5 rail requests took longer than 1,000 ms")
    ]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_of_the_monitor_has_its_words(rule: str) -> None:
    assert rule == "latency" or rule in RATES
