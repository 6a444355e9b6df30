"""The incident summary lists every violated invariant once, whoever violated it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import control_records as records
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
    """The violations of the last hour, and their stated number."""
    harness.work()
    answer = harness.get("vera", SUMMARY)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["leftOff"] == {"fired": 0, "payments": 0, "unread": []}
    return [each for each in body["fired"] if each["violation"]], body["violations"]


def kinds(harness: ApiHarness) -> Counter[str]:
    found, count = fired(harness)
    assert len(found) == count
    return Counter(each["kind"] for each in found)


def test_violations_by_upstream_and_by_an_operator_are_each_listed_once(
    harness: ApiHarness,
) -> None:
    """ESC-02, ESC-04, ERR-02: an idempotency key with another amount, and an unsafe retry."""
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
    """ESC-02, ESC-04, OP-07: also violations that no command caused; a manual stop is none."""
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


def test_a_stop_not_yet_in_the_read_model_is_listed_and_later_not_twice(
    harness: ApiHarness,
) -> None:
    """ESC-02, SEC-03: a finding that stops the projector too is in the summary at once."""
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
    body = harness.get("vera", SUMMARY).json()
    (before,) = [each for each in body["fired"] if each["kind"] == "STOP"]
    assert (before["kind"], before["violation"], body["violations"]) == ("STOP", True, 1)
    assert "stp_1: unauthorised state mutation" in before["detail"]
    after, count = fired(harness)
    assert (after, count) == ([before], 1)


def test_a_policy_or_validation_refusal_is_no_violation(harness: ApiHarness) -> None:
    """ERR-01: the other three codes are ordinary answers."""
    payment = harness.failed("k1")
    assert problem(harness.act("olga", payment, "retry", RETRY))[1] == "POLICY_REJECTED"
    assert problem(harness.act("vera", payment, "retry", RETRY))[1] == "POLICY_REJECTED"
    assert problem(harness.act("olga", payment, "retry", {}))[1] == "VALIDATION_FAILED"
    assert len(harness.written(topology.OPERATOR_COMMANDS)) == 1
    assert kinds(harness) == {}


def test_only_the_requested_number_of_payments_is_looked_up(harness: ApiHarness) -> None:
    """The page shows a few and requests no more; the report says how many it left out."""
    for key in ("one", "two", "three"):
        harness.park(harness.failed(key))
    harness.work()
    whole = harness.get("vera", SUMMARY).json()
    assert len(whole["payments"]) == 3
    some = harness.get("vera", f"{SUMMARY}?payments=2").json()
    assert some["payments"] == whole["payments"][-2:]
    assert some["leftOff"]["payments"] == 1
    assert some["fired"] == whole["fired"]
    for wrong in ("0", "201", "x"):
        assert harness.get("vera", f"{SUMMARY}?payments={wrong}").status_code == 400
