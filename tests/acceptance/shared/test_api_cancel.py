"""Cancel and mark-failed over HTTP: requirements 3 and 6, sections 2 and 3 of the runbook."""

from __future__ import annotations

import time
from typing import Any

import pytest

from core.values import payment_intent_id
from tests.acceptance.harness import ACCEPT, SETTLE, SILENT, Harness, rejects

pytestmark = pytest.mark.broker

CANCEL = {"reason": "Customer requested cancellation"}
CREATED_TRIES = 3
MARK = {"reason": "RAIL", "details": "NPP rail returned error code 503"}


def in_future(seconds: int = 15) -> int:
    return int(time.time() * 1000) + seconds * 1000


def created(harness: Harness) -> str:
    """A payment whose hold takes 4 s (the adapter waits at most 5 for an answer); another payment
    if that had passed before we saw it.
    """
    for _ in range(CREATED_TRIES):
        key = harness.key()
        payment = payment_intent_id("api-client", key)
        harness.script(payment, [{"kind": "DELAY", "afterMillis": 4_000}], "deposits")
        harness.create(SILENT, key=key)
        first = harness.soon(lambda payment=payment: shown(harness, payment))  # type: ignore[misc]
        if first["state"] == "CREATED":
            break
    return payment


def shown(harness: Harness, payment: str) -> dict[str, Any] | None:
    answer = harness.ask("view_1", "GET", f"/api/payments/{payment}")
    return dict(answer.json()) if answer.status_code == 200 else None


def payment_in(harness: Harness, state: str) -> str:
    """A payment that stays in this state for a while."""
    if state == "AUTHORISED":
        payment = harness.create(SILENT, requestedExecutionTime=in_future())
    elif state == "CREATED":
        payment = created(harness)
    else:
        steps: dict[str, list[dict[str, Any]]] = {
            "SENT": SILENT,
            "ACKNOWLEDGED": [ACCEPT, *SILENT],
            "SETTLED": [ACCEPT, SETTLE],
            "FAILED": [rejects("AC04")],
        }
        payment = harness.create(steps[state])
    harness.until(payment, state=state)
    return payment


@pytest.mark.parametrize("state", ["CREATED", "AUTHORISED", "SENT"])
def test_cancel_ends_the_payment_and_releases_the_funds(harness: Harness, state: str) -> None:
    """CN-01, CN-02, CN-04, CN-05, API-06: one lifecycle event with the free text; funds are
    released once non-payment is certain.
    """
    payment = payment_in(harness, state)
    harness.approved("ops_1", payment, "CANCEL")
    body = CANCEL | {"operatorId": "ops_1", "customerId": "cust_12345"}
    done = harness.done("ops_1", payment, "cancel", body)

    assert (done["result"], done["state"]) == ("ACCEPTED", "FAILED")
    shown = harness.payment(payment)
    assert (shown["state"], shown["reason"]) == ("FAILED", "CANCELLED")
    failures = [e for e in harness.events(payment, "ops_1") if e["type"] == "PaymentFailed"]
    assert len(failures) == 1
    from_state = failures[0]["fromState"]
    # The hold may have been confirmed before the approval; the cancel request keeps it unsent.
    assert from_state == state or (state, from_state) == ("CREATED", "AUTHORISED")
    said = failures[0]["data"]
    assert CANCEL["reason"] in said.values()
    assert said["customerId"] == "cust_12345"
    assert failures[0]["actor"] == {"kind": "operator", "id": "ops_1"}
    assert failures[0]["approvalId"] == "apr_001"
    harness.soon(
        lambda: (
            harness.payment(payment)["moneyOutcome"] == "NOT_PAID"
            and not harness.payment(payment)["fundsHeld"]
        ),
        what="funds of a cancelled payment",
    )


@pytest.mark.parametrize("state", ["ACKNOWLEDGED", "SETTLED", "FAILED"])
def test_cancel_is_refused_from_acknowledged_on(harness: Harness, state: str) -> None:
    """CN-01, ERR-03: POLICY_REJECTED naming the states; nothing changes."""
    payment = payment_in(harness, state)
    before = harness.events(payment)
    answer = harness.act("ops_1", payment, "cancel", CANCEL)
    assert answer.status_code == 403
    said = answer.json()
    assert (said["code"], said["rule"], said["actual"]) == (
        *("POLICY_REJECTED", "STATE_PRECONDITION"),
        state,
    )
    assert [e for e in harness.events(payment) if e["type"] == "PaymentFailed"] == [
        e for e in before if e["type"] == "PaymentFailed"
    ]


def test_a_cancelled_payment_stays_cancelled_and_a_new_one_is_possible(harness: Harness) -> None:
    """CN-03, CN-07: no retry, no second cancel; a new key is a new payment."""
    payment = payment_in(harness, "AUTHORISED")
    harness.approved("ops_1", payment, "CANCEL")
    first = harness.done("ops_1", payment, "cancel", CANCEL)
    again = harness.done("ops_1", payment, "cancel", CANCEL)
    assert (again["duplicate"], again["toSequence"]) == (True, first["toSequence"])
    harness.approved("ops_1", payment, "RETRY")
    retry = {"attemptId": "att_002", "reason": "by mistake"}
    refused = harness.act("ops_1", payment, "retry", retry)
    assert (refused.status_code, refused.json()["rule"]) == (409, "RETRY_UNSAFE")
    harness.until(harness.create([ACCEPT, SETTLE]), state="SETTLED")


def test_the_customer_named_must_be_the_payer(harness: Harness) -> None:
    """CN-05, OP-18: another customer's confirmation does not count."""
    payment = harness.create(SILENT, customerId="cust_1", requestedExecutionTime=in_future())
    harness.until(payment, state="AUTHORISED")
    harness.approved("ops_1", payment, "CANCEL")
    refused = harness.act("ops_1", payment, "cancel", CANCEL | {"customerId": "cust_2"})
    assert (refused.status_code, refused.json()["rule"]) == (403, "CUSTOMER_MISMATCH")
    harness.done("ops_1", payment, "cancel", CANCEL | {"customerId": "cust_1"})


def test_a_settlement_after_the_cancel_is_a_conflict_that_a_person_resolves(
    harness: Harness,
) -> None:
    """CN-06, SM-11, AP-01, API-14: CONTRADICTED, in the queues, blocking until it is resolved."""
    refuses = [{"kind": "RECALL", "answer": "REFUSED"}, *SILENT]
    payment = harness.create(refuses)
    harness.until(payment, state="SENT")
    harness.approved("ops_1", payment, "CANCEL")
    harness.done("ops_1", payment, "cancel", CANCEL)
    harness.rail_now(payment, SETTLE)
    shown = harness.until(payment, moneyOutcome="CONTRADICTED")
    assert (shown["state"], shown["openConflicts"], shown["needsAttention"]) == ("FAILED", 1, True)
    assert "CONFLICT_OPEN" in shown["attention"]["why"]
    listed = harness.get("/api/conflicts", paymentIntentId=payment)["items"]
    assert [(each["conflictId"], each["open"]) for each in listed] == [("cnf_001", True)]
    waiting = harness.get("/api/attention", limit=200)["items"]
    assert payment in {each["paymentIntentId"] for each in waiting}
    blocked = harness.act("ops_1", payment, "retry", {"attemptId": "att_002", "reason": "x"})
    assert blocked.json()["rule"] in ("CONFLICT_OPEN", "STATE_PRECONDITION")

    verdict = {"conflictId": "cnf_001", "verdict": "SETTLED_AFTER_ALL"}
    harness.approved("snr_1", payment, "RESOLVE_RECONCILIATION", attemptId="att_001", **verdict)
    body = {"attemptId": "att_001", "verdict": "SETTLED_AFTER_ALL", "details": "rail ticket 91"}
    harness.done("snr_1", payment, "conflicts/cnf_001/resolve", body)
    shown = harness.until(payment, moneyOutcome="PAID", openConflicts=0)
    assert shown["state"] == "FAILED"
    open_now = harness.get("/api/conflicts", paymentIntentId=payment, open="true")["items"]
    assert open_now == []


@pytest.mark.parametrize("state", ["SENT", "ACKNOWLEDGED"])
def test_mark_failed_records_reason_and_details_and_defers_the_funds(
    harness: Harness, state: str
) -> None:
    """MF-01, MF-03, MF-04, LF-02, API-07: one PaymentFailed, uncertain until the rail reports."""
    payment = payment_in(harness, state)
    harness.approved("snr_1", payment, "MARK_FAILED", failureReason="RAIL")
    done = harness.done("snr_1", payment, "mark-failed", MARK | {"operatorId": "snr_1"})
    assert done["result"] == "ACCEPTED"
    shown = harness.payment(payment)
    assert (shown["state"], shown["reason"], shown["moneyOutcome"]) == (
        "FAILED",
        "RAIL",
        "UNCERTAIN",
    )
    assert shown["fundsReleaseDeferred"]
    assert shown["fundsHeld"]
    failures = [e for e in harness.events(payment) if e["type"] == "PaymentFailed"]
    assert len(failures) == 1
    assert MARK["details"] in failures[0]["data"].values()
    assert failures[0]["data"]["source"] == "operator"  # MF-06
    assert failures[0]["data"]["lateFailure"] is (state == "ACKNOWLEDGED")
    harness.rail_now(payment, rejects("AB05"))
    harness.until(payment, moneyOutcome="NOT_PAID", funds="RELEASED")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": "CANCELLED", "details": "d"}, "reason"),
        ({"reason": "EXPIRED", "details": "d"}, "reason"),
        ({"reason": "NONSENSE", "details": "d"}, "reason"),
        ({"reason": "RAIL", "details": ""}, "details"),
        ({"reason": "RAIL"}, "details"),
    ],
)
def test_mark_failed_accepts_documented_reasons_only(
    harness: Harness, body: dict[str, str], field: str
) -> None:
    """MF-02: VALIDATION_FAILED naming the field."""
    payment = payment_in(harness, "SENT")
    answer = harness.act("snr_1", payment, "mark-failed", body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "VALIDATION_FAILED"
    assert field in answer.json()["sentence"]


def test_mark_failed_needs_a_role_above_level_1(harness: Harness) -> None:
    """SEC-02, MF-01: an operator is refused with the role's name; a settled payment always."""
    payment = payment_in(harness, "SETTLED")
    refused = harness.act("ops_1", payment, "mark-failed", MARK)
    assert (refused.status_code, refused.json()["rule"]) == (403, "MISSING_ROLE")
    assert "senior_operator" in refused.json()["sentence"]
    late = harness.act("snr_1", payment, "mark-failed", MARK)
    assert (late.status_code, late.json()["rule"]) == (403, "STATE_PRECONDITION")


def test_a_captured_payment_is_reversed_with_an_approval(harness: Harness) -> None:
    """ESC-03: the ledger posting of a duplicate is reversed, and the funds show it."""
    payment = payment_in(harness, "SETTLED")
    harness.until(payment, funds="CAPTURED")
    harness.approved("snr_1", payment, "REVERSE")
    body = {"attemptId": "att_001", "reason": "second payment by mistake, ticket 12"}
    harness.done("snr_1", payment, "reverse", body)
    harness.until(payment, funds="REVERSED")
    assert harness.types(payment)[-1] == "FundsReversed"


def test_an_early_release_needs_its_own_approval(harness: Harness) -> None:
    """MF-04, OP-03: RELEASE_EARLY before non-payment is certain."""
    payment = payment_in(harness, "SENT")
    harness.approved("snr_1", payment, "MARK_FAILED", failureReason="RAIL")
    harness.done("snr_1", payment, "mark-failed", MARK)
    body = {"attemptId": "att_001", "reason": "customer in need, ticket 13"}
    refused = harness.act("snr_1", payment, "release", body)
    assert (refused.status_code, refused.json()["rule"]) == (403, "APPROVAL_MISSING")
    harness.approved("snr_1", payment, "RELEASE_EARLY")
    harness.done("snr_1", payment, "release", body)
    harness.until(payment, funds="RELEASED", moneyOutcome="UNCERTAIN")


def test_expiry_from_sent_on_needs_an_approval(harness: Harness) -> None:
    """OP-29: an operator's expiry is like a mark-failed; the hold waits for certainty."""
    payment = payment_in(harness, "SENT")
    body = {"reason": "window is over, ticket 14"}
    refused = harness.act("snr_1", payment, "expire", body)
    assert (refused.status_code, refused.json()["rule"]) == (403, "APPROVAL_MISSING")
    harness.approved("snr_1", payment, "EXPIRE")
    done = harness.done("snr_1", payment, "expire", body)
    assert done["state"] == "EXPIRED"
    assert harness.payment(payment)["moneyOutcome"] == "UNCERTAIN"
