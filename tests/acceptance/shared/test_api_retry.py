"""Retry and late failures over HTTP: requirements 2 and 4, section 1 and scenario 2 of
the runbook.
"""

from __future__ import annotations

import pytest

from core.values import external_ref
from tests.acceptance.harness import ACCEPT, SETTLE, SILENT, Harness, rejects

pytestmark = pytest.mark.broker

RETRY = {"attemptId": "att_002", "reason": "Resolve approved retry after rail timeout"}
LIFECYCLE = {
    *("PaymentIntentCreated", "PaymentAuthorised", "PaymentAttemptCreated", "PaymentSentToRail"),
    *("PaymentAcknowledged", "PaymentSettled", "PaymentFailed", "PaymentExpired"),
}


def failed(harness: Harness, code: str = "AB05") -> str:
    """A payment that the rail has rejected."""
    payment = harness.create([rejects(code)])
    harness.until(payment, state="FAILED", funds="RELEASED")
    return payment


def test_retry_makes_the_next_attempt_and_settles(harness: Harness) -> None:
    """RT-01, RT-03, RT-07, RT-08, API-05: events in the runbook's order; funds held again; a new
    reference.
    """
    payment = failed(harness)
    harness.script(external_ref(payment, 2), [ACCEPT, SETTLE])
    harness.approved("ops_1", payment, "RETRY")
    before = harness.payment(payment)["sequence"]

    done = harness.done("ops_1", payment, "retry", RETRY)

    assert (done["result"], done["duplicate"], done["state"]) == ("ACCEPTED", False, "AUTHORISED")
    assert done["events"][0]["type"] == "PaymentAttemptCreated"
    assert done["events"][0]["attemptId"] == "att_002"
    assert harness.payment(payment)["sequence"] >= done["toSequence"]  # the next GET shows it
    shown = harness.until(payment, state="SETTLED", attemptId="att_002")
    assert shown["moneyOutcome"] == "PAID"
    later = [e for e in harness.events(payment) if e["sequence"] > before]
    lifecycle = [e["type"] for e in later if e["type"] in LIFECYCLE]
    assert lifecycle == [
        *("PaymentAttemptCreated", "PaymentSentToRail", "PaymentAcknowledged", "PaymentSettled")
    ]
    types = [e["type"] for e in later]
    assert types.index("FundsHeld") < types.index("PaymentSentToRail")
    assert types.index("PolicyChecked") < types.index("PaymentSentToRail")
    references = [
        e["externalRef"] for e in harness.events(payment) if e["type"] == "PaymentSentToRail"
    ]
    assert references == [external_ref(payment, 1), external_ref(payment, 2)]


def test_the_same_retry_again_returns_the_first_result(harness: Harness) -> None:
    """RT-04, IDM-07: duplicate with the first result, no new event, no second instruction."""
    payment = failed(harness)
    harness.script(external_ref(payment, 2), [ACCEPT, SETTLE])
    harness.approved("ops_1", payment, "RETRY")
    first = harness.done("ops_1", payment, "retry", RETRY)
    harness.until(payment, state="SETTLED", funds="CAPTURED")
    events = harness.events(payment)

    again = harness.done("ops_1", payment, "retry", RETRY | {"reason": "asked again"})

    assert (again["result"], again["duplicate"]) == ("DUPLICATE", True)
    named = ("fromSequence", "toSequence")
    assert [again[n] for n in named] == [first[n] for n in named]
    assert [e["hash"] for e in again["events"]] == [e["hash"] for e in first["events"]]
    assert harness.events(payment) == events
    entry = harness.rail_entry(payment, 2)
    assert entry is not None
    assert entry["submitted"] == 1


def test_an_attempt_that_fails_again_is_kept_with_the_earlier_one(harness: Harness) -> None:
    """RT-05, RT-09: FAILED again, a PaymentFailed for each attempt, both visible separately."""
    payment = failed(harness)
    harness.script(external_ref(payment, 2), [rejects("AB08")])
    harness.approved("ops_1", payment, "RETRY")
    harness.done("ops_1", payment, "retry", RETRY)
    shown = harness.until(payment, state="FAILED", attemptId="att_002", reason="RAIL")

    failures = [e for e in harness.events(payment) if e["type"] == "PaymentFailed"]
    assert [(e["attemptId"], e["reason"]) for e in failures] == [
        ("att_001", "TIMEOUT"),
        ("att_002", "RAIL"),
    ]
    assert [(a["attemptId"], a["state"], a["reason"]) for a in shown["attempts"]] == [
        ("att_001", "FAILED", "TIMEOUT"),
        ("att_002", "FAILED", "RAIL"),
    ]


@pytest.mark.parametrize("code", ["AM04", "AC04", "FRAD"])
def test_an_unsafe_failure_is_never_retried(harness: Harness, code: str) -> None:
    """RT-02, ERR-02: INVARIANT_VIOLATION, rule RETRY_UNSAFE, even with an approval."""
    payment = failed(harness, code)
    harness.approved("ops_1", payment, "RETRY")
    answer = harness.act("ops_1", payment, "retry", RETRY)
    assert answer.status_code == 409
    body = answer.json()
    assert (body["code"], body["rule"]) == ("INVARIANT_VIOLATION", "RETRY_UNSAFE")


def test_only_a_failed_payment_is_retried(harness: Harness) -> None:
    """RT-01, ERR-03: POLICY_REJECTED with the expected and the actual state."""
    settled = harness.create([ACCEPT, SETTLE])
    harness.until(settled, state="SETTLED")
    sent = harness.create(SILENT)
    harness.until(sent, state="SENT")
    for payment, state in ((settled, "SETTLED"), (sent, "SENT")):
        answer = harness.act("ops_1", payment, "retry", RETRY)
        assert answer.status_code == 403
        body = answer.json()
        assert (body["rule"], body["expected"], body["actual"]) == (
            *("STATE_PRECONDITION", "FAILED"),
            state,
        )


def test_an_uncertain_failure_needs_a_person_who_accepts_the_risk(harness: Harness) -> None:
    """RT-02, MF-05: RETRY_UNCERTAIN without certainty, unless a person approved exactly that."""
    payment = harness.create(SILENT)
    harness.until(payment, state="SENT")
    harness.approved("snr_1", payment, "MARK_FAILED", failureReason="RAIL")
    body = {"reason": "RAIL", "details": "ticket 88: dropped at the gateway"}
    harness.done("snr_1", payment, "mark-failed", body)
    assert harness.payment(payment)["moneyOutcome"] == "UNCERTAIN"
    harness.approved("ops_1", payment, "RETRY")
    refused = harness.act("ops_1", payment, "retry", RETRY)
    assert refused.status_code == 409
    assert refused.json()["rule"] in ("RETRY_UNCERTAIN", "RETRY_UNSAFE")
    if refused.json()["rule"] == "RETRY_UNCERTAIN":
        harness.script(external_ref(payment, 2), SILENT)
        harness.approved("ops_1", payment, "RETRY_UNCERTAIN")
        assert harness.done("ops_1", payment, "retry", RETRY)["result"] == "ACCEPTED"


def test_a_late_failure_is_flagged_and_may_be_retried(harness: Harness) -> None:
    """LF-01, LF-02, LF-03, API-04: acknowledged is not settled; the failure after it is flagged,
    funds are released, and an ordinary retry is possible.
    """
    payment = harness.create([ACCEPT])
    shown = harness.until(payment, state="ACKNOWLEDGED")
    harness.rail_now(payment, rejects("AB08"))
    assert shown["moneyOutcome"] == "OPEN"
    assert shown["fundsHeld"]
    harness.until(payment, state="FAILED", reason="RAIL", funds="RELEASED")
    events = {e["type"]: e for e in harness.events(payment)}
    last = events["PaymentFailed"]
    assert (last["fromState"], last["toState"], last["reason"]) == (
        "ACKNOWLEDGED",
        "FAILED",
        "RAIL",
    )
    assert last["data"]["lateFailure"] is True
    assert events["PaymentAcknowledged"]["sequence"] < last["sequence"]
    assert "FundsCaptured" not in events
    harness.script(external_ref(payment, 2), [ACCEPT, SETTLE])
    harness.approved("ops_1", payment, "RETRY")
    harness.done("ops_1", payment, "retry", RETRY)
    harness.until(payment, state="SETTLED", attemptId="att_002")
