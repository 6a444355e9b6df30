"""Outcomes that come late or not at all: late, stopped, or Kafka away."""

from __future__ import annotations

import re

import pytest

from schemas import topology
from tests.api.acting import RETRY, epoch_ms
from tests.api.command_harness import ApiHarness, problem

pytestmark = pytest.mark.slow


def test_a_late_outcome_is_a_202_with_where_to_look(harness: ApiHarness) -> None:
    """OP-10: it can still happen until notAfter, and then the outcome is there."""
    payment = harness.failed("k1")
    harness.approved(payment, "RETRY")
    harness.log.stalled = True
    late = harness.act("olga", payment, "retry", RETRY)
    assert late.status_code == 202
    said = late.json()
    assert late.headers["Location"] == said["outcome"] == f"/api/outcomes/{said['commandId']}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said["notAfter"])
    asked = harness.written(topology.OPERATOR_COMMANDS)[-1].operator.not_after
    assert epoch_ms(said["notAfter"]) == asked
    pending = harness.get("vera", said["outcome"])
    assert (pending.status_code, pending.json()["notAfter"]) == (202, said["notAfter"])
    harness.log.stalled = False
    harness.work()
    assert harness.get("vera", said["outcome"]).json()["result"] == "ACCEPTED"
    assert harness.act("olga", payment, "retry", RETRY).json()["duplicate"]


def test_a_command_decided_after_its_time_does_nothing(harness: ApiHarness) -> None:
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


def test_a_stop_takes_no_command(harness: ApiHarness) -> None:
    """OP-07: 503 with a time to ask again, and nothing published."""
    payment = harness.failed("k1")
    assert harness.post("ada", "/api/control/stop", {"reason": "drill"}).status_code == 200
    answer = harness.act("olga", payment, "retry", RETRY)
    assert problem(answer) == (503, "STOPPED", "PROCESSING_STOPPED")
    assert int(answer.headers["Retry-After"]) > 0
    assert harness.written(topology.OPERATOR_COMMANDS) == []
    assert harness.get("vera", f"/api/payments/{payment}").status_code == 200


def test_control_that_can_not_be_read_counts_as_stopped(harness: ApiHarness) -> None:
    """Domain, evidence: what is not known is not open."""
    payment = harness.failed("k1")
    harness.control.gone = True
    assert problem(harness.act("olga", payment, "retry", RETRY))[0] == 503
    assert harness.written(topology.OPERATOR_COMMANDS) == []


def test_a_command_that_kafka_does_not_confirm_is_no_answer(harness: ApiHarness) -> None:
    """503: it may have been taken; asking again is safe."""
    payment = harness.failed("k1")
    harness.log.away = True
    assert problem(harness.act("olga", payment, "retry", RETRY)) == (
        503, "UNAVAILABLE", "NOT_CONFIRMED",
    )  # fmt: skip
