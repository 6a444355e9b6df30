"""Outcomes that are late or missing: slow decisions, a STOP, or Kafka unavailable."""

from __future__ import annotations

import re

import pytest

from schemas import topology
from tests.api.acting import RETRY, epoch_ms
from tests.api.command_harness import ApiHarness, problem

pytestmark = pytest.mark.slow


def test_a_late_outcome_is_a_202_that_says_where_to_look(harness: ApiHarness) -> None:
    """OP-10: it may still happen until notAfter; then the outcome is there."""
    payment = harness.failed("k1")
    harness.approved(payment, "RETRY")
    harness.log.stalled = True
    late = harness.act("olga", payment, "retry", RETRY)
    assert late.status_code == 202
    body = late.json()
    assert late.headers["Location"] == body["outcome"] == f"/api/outcomes/{body['commandId']}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["notAfter"])
    requested = harness.written(topology.OPERATOR_COMMANDS)[-1].operator.not_after
    assert epoch_ms(body["notAfter"]) == requested
    pending = harness.get("vera", body["outcome"])
    assert (pending.status_code, pending.json()["notAfter"]) == (202, body["notAfter"])
    harness.log.stalled = False
    harness.work()
    assert harness.get("vera", body["outcome"]).json()["result"] == "ACCEPTED"
    assert harness.act("olga", payment, "retry", RETRY).json()["duplicate"]


def test_a_command_decided_after_its_not_after_does_nothing(harness: ApiHarness) -> None:
    """Domain, policy: no forgotten action runs after an outage."""
    payment = harness.failed("k1")
    harness.approved(payment, "RETRY")
    harness.log.stalled = True
    late = harness.act("olga", payment, "retry", RETRY)
    harness.clock.advance(61_000)
    harness.log.stalled = False
    harness.work()
    outcome = harness.get("vera", late.json()["outcome"]).json()
    assert (outcome["result"], outcome["rule"]) == ("REJECTED", "COMMAND_EXPIRED")


def test_no_command_is_accepted_during_a_stop(harness: ApiHarness) -> None:
    """OP-07: 503 with a retry time, and nothing published."""
    payment = harness.failed("k1")
    assert harness.post("ada", "/api/control/stop", {"reason": "drill"}).status_code == 200
    answer = harness.act("olga", payment, "retry", RETRY)
    assert problem(answer) == (503, "STOPPED", "PROCESSING_STOPPED")
    assert int(answer.headers["Retry-After"]) > 0
    assert harness.written(topology.OPERATOR_COMMANDS) == []
    assert harness.get("vera", f"/api/payments/{payment}").status_code == 200


def test_unreadable_control_counts_as_stopped(harness: ApiHarness) -> None:
    """Domain, evidence: an unknown control state counts as stopped."""
    payment = harness.failed("k1")
    harness.control.gone = True
    assert problem(harness.act("olga", payment, "retry", RETRY))[0] == 503
    assert harness.written(topology.OPERATOR_COMMANDS) == []


def test_an_unconfirmed_command_is_a_503(harness: ApiHarness) -> None:
    """It may have been written; a repeat is safe."""
    payment = harness.failed("k1")
    harness.log.away = True
    assert problem(harness.act("olga", payment, "retry", RETRY)) == (
        503, "UNAVAILABLE", "NOT_CONFIRMED",
    )  # fmt: skip
