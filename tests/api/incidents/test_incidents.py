"""The incident summary names every broken invariant, whoever broke it, and each of them once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import records
from schemas import topology
from tests.api.command_harness import ApiHarness, problem

pytestmark = pytest.mark.slow

SUMMARY = "/api/incidents/summary"
RETRY = {"attemptId": "att_002", "reason": "again"}


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ApiHarness]:
    made = ApiHarness(tmp_path)
    yield made
    made.close()


def fired(harness: ApiHarness) -> tuple[list[dict[str, Any]], int]:
    """The violations of the last hour, and how many there are said to be."""
    harness.work()
    answer = harness.get("vera", SUMMARY)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["leftOff"] == {"fired": 0, "payments": 0, "unread": []}
    return [each for each in said["fired"] if each["violation"]], said["violations"]


def kinds(harness: ApiHarness) -> Counter[str]:
    found, count = fired(harness)
    assert len(found) == count
    return Counter(each["kind"] for each in found)


def test_an_upstreams_and_an_operators_violation_are_both_listed_once(harness: ApiHarness) -> None:
    """ESC-02, ESC-04, ERR-02: an idempotency key for another amount, and a retry that is unsafe."""
    payment = harness.failed("k1")
    assert kinds(harness) == {}
    harness.world.create("k1", amount=99_999)
    unsafe = harness.sent("k2")
    harness.report(unsafe, "REJECTED", "AC04")
    harness.answer_checks()
    harness.approved(unsafe, "RETRY")
    assert problem(harness.act("olga", unsafe, "retry", RETRY))[1] == "INVARIANT_VIOLATION"
    found, count = fired(harness)
    assert [(each["kind"], each["paymentIntentId"]) for each in found] == [
        ("INVARIANT_VIOLATION", payment), ("INVARIANT_VIOLATION", unsafe),
    ]  # fmt: skip
    assert count == 2
    assert found[0]["detail"].startswith("IDEMPOTENCY_KEY_REUSED: CreatePayment at ")
    assert found[1]["detail"].startswith("RETRY_UNSAFE: RetryPayment at ")


def test_a_conflict_a_parked_payment_and_an_automatic_stop_are_violations(
    harness: ApiHarness,
) -> None:
    """ESC-02, ESC-04, OP-07: also what no command asked for; a stop by hand is none."""
    contradicted = harness.failed("k1")
    harness.report(contradicted, "SETTLED")
    assert kinds(harness) == {"CONFLICT": 1}
    parked = harness.failed("k2")
    harness.park(parked)
    assert kinds(harness) == {"CONFLICT": 1, "PARKED": 1, "PARKED_INPUT": 1}
    now = harness.clock.now_ms()
    harness.commands.write_control(
        records.ProcessingStopped(
            stop_id="stp_1", reason="drill", automatic=False, stopped_at=now, actor="ada"
        )
    )
    assert kinds(harness)["STOP"] == 0
    harness.commands.write_control(
        records.ProcessingStopped(
            stop_id="stp_2",
            reason="chain broken in 0",
            automatic=True,
            stopped_at=now,
            actor="verifier",
        )
    )
    found, _ = fired(harness)
    (stop,) = [each for each in found if each["kind"] == "STOP"]
    assert "automatic, stp_2: chain broken in 0" in stop["detail"]
    assert {each["paymentIntentId"] for each in found} == {contradicted, parked, None}


def test_a_stop_that_the_read_model_has_not_got_is_listed_and_later_not_twice(
    harness: ApiHarness,
) -> None:
    """ESC-02, SEC-03: what stops the projector too is in the summary at once."""
    harness.work()
    now = harness.clock.now_ms()
    harness.commands.write_control(
        records.ProcessingStopped(
            stop_id="stp_1",
            reason="unauthorised state mutation",
            automatic=True,
            stopped_at=now,
            actor="verifier",
        )
    )
    said = harness.get("vera", SUMMARY).json()
    (before,) = [each for each in said["fired"] if each["kind"] == "STOP"]
    assert (before["kind"], before["violation"], said["violations"]) == ("STOP", True, 1)
    assert "stp_1: unauthorised state mutation" in before["detail"]
    after, count = fired(harness)
    assert (after, count) == ([before], 1)


def test_what_policy_or_shape_refuses_is_no_violation(harness: ApiHarness) -> None:
    """ERR-01: the other three codes are everyday answers."""
    payment = harness.failed("k1")
    assert problem(harness.act("olga", payment, "retry", RETRY))[1] == "POLICY_REJECTED"
    assert problem(harness.act("vera", payment, "retry", RETRY))[1] == "POLICY_REJECTED"
    assert problem(harness.act("olga", payment, "retry", {}))[1] == "VALIDATION_FAILED"
    assert len(harness.written(topology.OPERATOR_COMMANDS)) == 1
    assert kinds(harness) == {}
