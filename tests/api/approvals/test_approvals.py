"""Approvals over HTTP: bound to their parameters, used once, in time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api.acting import RETRY, epoch_ms
from tests.api.command_harness import ApiHarness, problem

pytestmark = pytest.mark.slow

ALMOST_MS = 30_000  # more than the harness itself needs while it waits


def _almost_over(harness: ApiHarness, payment: str) -> None:
    """The time at which the payment's approval has less than ALMOST_MS left."""
    (listed,) = harness.get("vera", f"/api/approvals?paymentIntentId={payment}").json()["items"]
    left = epoch_ms(listed["expiresAt"]) - harness.clock.now_ms()
    assert left > 10 * 60_000
    harness.world.driver.advance(left - ALMOST_MS // 2)


def test_the_requester_cannot_approve(harness: ApiHarness) -> None:
    """AP-05."""
    payment = harness.failed("k1")
    requested = harness.act("both", payment, "approvals", {"action": "RETRY", "reason": "please"})
    path = f"approvals/{requested.json()['approvalId']}/approve"
    own = harness.act("both", payment, path, {"reason": "by myself"})
    assert problem(own) == (403, "POLICY_REJECTED", "SELF_APPROVAL")


def test_an_approval_works_once_and_only_for_its_requester_and_action(harness: ApiHarness) -> None:
    """AP-04: another requester, another action, a second use; each refusal says which."""
    payment = harness.failed("k1")
    approval = harness.approved(payment, "RETRY")
    named = {**RETRY, "approvalId": approval}
    other = harness.act("oskar", payment, "retry", named)
    assert problem(other)[2] == "APPROVAL_OTHER_OPERATOR"
    sent = harness.sent("k2")
    cancel = harness.approved(sent, "CANCEL")
    wrong = harness.act(
        "sue", sent, "mark-failed", {"reason": "RAIL", "details": "x", "approvalId": cancel}
    )
    assert problem(wrong)[2] == "APPROVAL_OTHER_ACTION"
    assert harness.act("olga", payment, "retry", named).status_code == 200
    harness.world.settle_all()
    used = harness.act("olga", payment, "retry", {**named, "attemptId": "att_003"})
    assert problem(used)[1] == "POLICY_REJECTED"


def test_an_approval_in_one_phase_does_not_allow_another(harness: ApiHarness) -> None:
    """AP-04, OP-23: given in SENT, used in ACKNOWLEDGED."""
    payment = harness.sent("k1")
    harness.approved(payment, "MARK_FAILED", by="sue", failureReason="RAIL")
    harness.report(payment, "ACCEPTED")
    answer = harness.act("sue", payment, "mark-failed", {"reason": "RAIL", "details": "x"})
    assert problem(answer)[2] == "APPROVAL_OTHER_PHASE"
    assert (answer.json()["expected"], answer.json()["actual"]) == ("SENT", "ACKNOWLEDGED")


def test_an_approval_for_one_reason_does_not_allow_another(harness: ApiHarness) -> None:
    """AP-04: bound to its parameters."""
    payment = harness.sent("k1")
    harness.approved(payment, "MARK_FAILED", by="sue", failureReason="RAIL")
    answer = harness.act("sue", payment, "mark-failed", {"reason": "TIMEOUT", "details": "x"})
    assert problem(answer)[2] == "APPROVAL_OTHER_PARAMETERS"


def test_an_approval_for_one_attempt_does_not_allow_the_next(harness: ApiHarness) -> None:
    """AP-04: sue's was for att_001, and att_002 has failed since."""
    payment = harness.failed("k1")
    approval = harness.approved(payment, "RETRY", by="sue")
    harness.approved(payment, "RETRY")
    assert harness.act("olga", payment, "retry", RETRY).status_code == 200
    harness.work()
    harness.answer_checks()
    harness.report(payment, "REJECTED", "AB03")
    harness.answer_checks()
    body = {"attemptId": "att_003", "reason": "mine", "approvalId": approval}
    answer = harness.act("sue", payment, "retry", body)
    assert problem(answer)[2] == "APPROVAL_OTHER_ATTEMPT"
    assert (answer.json()["expected"], answer.json()["actual"]) == ("1", "2")


def test_an_approval_not_decided_in_time_expires(harness: ApiHarness) -> None:
    """AP-01, AP-04, fault row 25: it can be decided for an hour; then the list says EXPIRED,
    approver and requester get that refusal, and a new request allows the action.
    """
    payments = [harness.failed("in time"), harness.failed("too late")]
    requested = {"action": "RETRY", "reason": "please"}
    for payment in payments:
        assert (
            harness.act("olga", payment, "approvals", requested).json()["approvalId"] == "apr_001"
        )
    _almost_over(harness, payments[0])
    path, body = "approvals/apr_001/approve", {"reason": "looks right"}
    assert harness.act("anna", payments[0], path, body).status_code == 200
    harness.world.driver.advance(ALMOST_MS)
    late = harness.act("anna", payments[1], path, body)
    assert problem(late) == (403, "POLICY_REJECTED", "APPROVAL_EXPIRED")
    listed = harness.get("vera", f"/api/approvals?paymentIntentId={payments[1]}").json()["items"]
    assert [each["status"] for each in listed] == ["EXPIRED"]
    named = {**RETRY, "approvalId": "apr_001"}
    assert problem(harness.act("olga", payments[1], "retry", named))[2] == "APPROVAL_EXPIRED"
    again = harness.approved(payments[1], "RETRY")
    assert again == "apr_002"
    assert harness.act("olga", payments[1], "retry", RETRY).status_code == 200


def test_an_approval_not_used_in_time_allows_nothing(harness: ApiHarness) -> None:
    """AP-01, AP-04: it can be used for a quarter of an hour of the engine's time; afterwards
    nothing happens, whoever asks and whether or not the approval is named.
    """
    payments = [harness.failed("in time"), harness.failed("too late")]
    for payment in payments:
        harness.approved(payment, "RETRY")
    _almost_over(harness, payments[0])
    assert harness.act("olga", payments[0], "retry", RETRY).status_code == 200
    harness.world.driver.advance(ALMOST_MS)
    named = harness.act("olga", payments[1], "retry", {**RETRY, "approvalId": "apr_001"})
    assert problem(named) == (403, "POLICY_REJECTED", "APPROVAL_EXPIRED")
    unnamed = harness.act("olga", payments[1], "retry", RETRY)
    assert problem(unnamed)[2] in ("APPROVAL_EXPIRED", "APPROVAL_MISSING")
    harness.project()
    shown = harness.get("vera", f"/api/payments/{payments[1]}").json()
    assert (shown["state"], shown["attemptId"]) == ("FAILED", "att_001")
    assert [each["status"] for each in shown["approvals"]] == ["EXPIRED"]


def test_two_simultaneous_approvers_decide_once(harness: ApiHarness) -> None:
    """AP-03: one decision joins the history, the other is refused."""
    payment = harness.failed("k1")
    requested = harness.act("olga", payment, "approvals", {"action": "RETRY", "reason": "please"})
    path = f"approvals/{requested.json()['approvalId']}"

    def decide(who: str, word: str) -> int:
        answer = harness.act(who, payment, f"{path}/{word}", {"reason": "mine"})
        return int(answer.status_code)

    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(decide, ("anna", "aron"), ("approve", "reject")))
    assert sorted(codes) == [200, 403]
    names = harness.world.event_names(payment)
    assert names.count("OperatorActionApproved") + names.count("OperatorActionRejected") == 1


def test_repeating_an_approval_request_makes_one_request(harness: ApiHarness) -> None:
    """AP-02, API-08."""
    payment = harness.failed("k1")
    requested = {"action": "RETRY", "reason": "please"}
    first = harness.act("olga", payment, "approvals", requested).json()
    again = harness.act("olga", payment, "approvals", requested).json()
    assert (again["duplicate"], again["approvalId"]) == (True, first["approvalId"])
