"""The monitor's incidents from their topic to the API: in their latest state, newest first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from api.services import NoProofs
from api.summary.figures import Summary
from core.monitoring import Incident
from core.words import IncidentRule
from engine.records import LogRecord
from schemas.topology import INCIDENTS
from tests.api.command_harness import ApiHarness
from tests.processors.payments.world import CODEC

pytestmark = pytest.mark.slow

OPENED_MS = 1_790_000_000_000


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ApiHarness]:
    made = ApiHarness(tmp_path)
    yield made
    made.close()


def incident(rule: IncidentRule, opened_at: int) -> Incident:
    return Incident(
        incident_id=f"inc_{rule}_{opened_at}", rule=rule, status="OPEN", part=3, whole=20,
        limit_per_mille=100, limit_ms=None, since=opened_at - 10_000, opened_at=opened_at,
        resolved_at=None,
    )  # fmt: skip


def give(harness: ApiHarness, *incidents: Incident) -> None:
    """Write to the monitor's topic and project it."""
    held = harness._source.log[INCIDENTS, 0]
    for each in incidents:
        value = CODEC.encode(INCIDENTS, each)
        key = each.incident_id.encode()
        held.append(LogRecord(INCIDENTS, 0, len(held), OPENED_MS, key, value, []))
    harness.project()


def listed(harness: ApiHarness, query: str = "") -> list[dict[str, Any]]:
    answer = harness.get("vera", f"/api/incidents{query}")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def test_an_incident_opens_and_resolves_under_one_id(harness: ApiHarness) -> None:
    """DSH-03: the open ones are counted and listed."""
    first, second = incident("retry", OPENED_MS), incident("success", OPENED_MS + 5)
    give(harness, first, second)
    assert [each["incidentId"] for each in listed(harness)] == [
        second.incident_id, first.incident_id,
    ]  # fmt: skip
    assert listed(harness)[1] == {
        "incidentId": first.incident_id, "rule": "retry", "status": "OPEN", "part": 3,
        "whole": 20, "limitPerMille": 100, "limitMs": None, "since": "2026-09-21T14:13:10.000Z",
        "openedAt": "2026-09-21T14:13:20.000Z", "resolvedAt": None,
    }  # fmt: skip

    give(harness, msgspec.structs.replace(first, status="RESOLVED", resolved_at=OPENED_MS + 60_000))
    assert [each["rule"] for each in listed(harness, "?open=true")] == ["success"]
    assert [each["status"] for each in listed(harness)] == ["OPEN", "RESOLVED"]


def test_the_summary_has_the_open_ones(harness: ApiHarness) -> None:
    ended = msgspec.structs.replace(incident("success", OPENED_MS), status="RESOLVED")
    give(harness, incident("retry", OPENED_MS), ended)
    services: Any = SimpleNamespace(
        reader=harness.reader,
        clock=harness.clock,
        journal=SimpleNamespace(ends=dict),
        proofs=NoProofs(),
    )
    assert [each.rule for each in Summary(services).get().incidents] == ["retry"]


def test_a_list_continues_from_its_cursor(harness: ApiHarness) -> None:
    give(harness, *(incident("retry", OPENED_MS + n) for n in range(3)))
    first = harness.get("vera", "/api/incidents?limit=2").json()
    rest = listed(harness, f"?limit=2&cursor={first['next']}")
    assert (len(first["items"]), len(rest)) == (2, 1)
