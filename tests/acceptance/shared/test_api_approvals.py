"""Approvals over HTTP: requirement 5; dual control, bound, used once. Fault row 25."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.values import external_ref
from tests.acceptance.harness import ACCEPT, SETTLE, SILENT, Harness, rejects

pytestmark = pytest.mark.broker

CANCEL = {"reason": "Customer requested cancellation"}
MARK = {"reason": "RAIL", "details": "NPP rail returned error code 503"}
AT_ONCE = 50


def sent(harness: Harness) -> str:
    payment = harness.create(SILENT)
    harness.until(payment, state="SENT")
    return payment


def rule(answer: object) -> tuple[int, str]:
    return answer.status_code, answer.json()["rule"]  # type: ignore[attr-defined]


def test_every_gated_action_needs_an_approval(harness: Harness) -> None:
    """AP-01, ERR-03: POLICY_REJECTED, APPROVAL_MISSING; nothing happens."""
    payment = sent(harness)
    failed = harness.create([rejects("AB05")])
    harness.until(failed, state="FAILED")
    retry = {"attemptId": "att_002", "reason": "r"}
    for who, of, path, body in (
        ("ops_1", payment, "cancel", CANCEL),
        ("snr_1", payment, "mark-failed", MARK),
        ("ops_1", failed, "retry", retry),
    ):
        answer = harness.act(who, of, path, body)
        assert rule(answer) == (403, "APPROVAL_MISSING"), answer.text
    assert harness.payment(payment)["state"] == "SENT"


def test_a_request_goes_to_resolve_and_waits_for_a_person(harness: Harness) -> None:
    """AP-02, AP-03, AP-08, API-14: requested, referred with the evaluated rules, listed with its
    age, approved by a second person; each step is in the history.
    """
    payment = sent(harness)
    approval = harness.requested("ops_1", payment, "CANCEL")
    assert approval == "apr_001"
    item = harness.get("/api/approvals", paymentIntentId=payment)["items"][0]
    assert (item["requester"], item["action"], item["status"], item["waits"]) == (
        *("ops_1", "CANCEL"),
        *("REFERRED", True),
    )
    assert item["ageSeconds"] >= 0
    queue = harness.get("/api/approvals", status="REFERRED", limit=200)["items"]
    assert (payment, approval) in {(i["paymentIntentId"], i["approvalId"]) for i in queue}
    pending = harness.act("ops_1", payment, "cancel", CANCEL)
    assert rule(pending) == (403, "APPROVAL_PENDING")
    harness.done(
        "apv_1", payment, f"approvals/{approval}/approve", {"reason": "customer confirmed"}
    )
    events = {e["type"]: e for e in harness.events(payment)}
    assert events["OperatorActionReferred"]["data"]["rulesEvaluated"]
    approved = events["OperatorActionApproved"]
    assert approved["approvalId"] == approval
    assert "apv_1" in str(approved["data"]) or approved["actor"]["id"] == "apv_1"
    harness.done("ops_1", payment, "cancel", CANCEL)
    assert harness.status(payment, approval) == "USED"


def test_a_rejection_is_recorded_and_allows_nothing(harness: Harness) -> None:
    """AP-03: OperatorActionRejected; the action is refused."""
    payment = sent(harness)
    approval = harness.requested("ops_1", payment, "CANCEL")
    harness.done("apv_1", payment, f"approvals/{approval}/reject", {"reason": "not convinced"})
    assert "OperatorActionRejected" in harness.types(payment)
    named = harness.act("ops_1", payment, "cancel", CANCEL | {"approvalId": approval})
    assert rule(named) == (403, "APPROVAL_REFUSED")
    late = harness.act("apv_1", payment, f"approvals/{approval}/approve", {"reason": "after all"})
    assert rule(late) == (403, "APPROVAL_DECIDED")


@pytest.mark.parametrize("approver", ["ops_9", "OPS_9 ", "ｏｐｓ_9"])
def test_nobody_approves_their_own_request(harness: Harness, approver: str) -> None:
    """AP-05: names are compared in normal form, however they are written."""
    payment = sent(harness)
    requester = harness.token("ops_9", "operator")
    requested = {"action": "CANCEL", "reason": "r"}
    path = f"/api/payments/{payment}/approvals"
    assert harness.ask(requester, "POST", path, requested).status_code == 200
    harness.soon(lambda: harness.status(payment, "apr_001") == "REFERRED")
    same = harness.token(approver, "approver")
    answer = harness.ask(same, "POST", f"{path}/apr_001/approve", {"reason": "fine"})
    assert answer.status_code in (401, 403), answer.text
    if answer.status_code == 403:
        assert answer.json()["rule"] == "SELF_APPROVAL"
    assert harness.status(payment, "apr_001") == "REFERRED"


def test_an_approval_is_bound_to_requester_action_parameters_and_phase(harness: Harness) -> None:
    """AP-04: the refusal names the parameter that differs."""
    payment = harness.create(SILENT)
    harness.until(payment, state="SENT")
    cancel = harness.approved("ops_1", payment, "CANCEL")
    mark = harness.approved("snr_1", payment, "MARK_FAILED", failureReason="RAIL")

    other = harness.act("ops_2", payment, "cancel", CANCEL | {"approvalId": cancel})
    assert rule(other) == (403, "APPROVAL_OTHER_OPERATOR")
    action = harness.act("snr_1", payment, "cancel", CANCEL | {"approvalId": mark})
    assert rule(action) == (403, "APPROVAL_OTHER_ACTION")
    fraud = MARK | {"reason": "FRAUD", "approvalId": mark}
    parameter = harness.act("snr_1", payment, "mark-failed", fraud)
    assert rule(parameter) == (403, "APPROVAL_OTHER_PARAMETERS")
    unknown = harness.act("ops_1", payment, "cancel", CANCEL | {"approvalId": "apr_099"})
    assert rule(unknown) == (403, "APPROVAL_NOT_FOUND")

    harness.rail_now(payment, ACCEPT)
    harness.until(payment, state="ACKNOWLEDGED")
    phase = harness.act("snr_1", payment, "mark-failed", MARK | {"approvalId": mark})
    assert rule(phase) == (403, "APPROVAL_OTHER_PHASE")


def test_an_approval_works_once_and_for_its_attempt_only(harness: Harness) -> None:
    """AP-04: used, and for another attempt."""
    payment = harness.create([rejects("AB05")])
    harness.until(payment, state="FAILED")
    harness.script(external_ref(payment, 2), [rejects("AB05")])
    first = harness.approved("ops_1", payment, "RETRY")
    harness.done("ops_1", payment, "retry", {"attemptId": "att_002", "reason": "r"})
    harness.until(payment, state="FAILED", attemptId="att_002", funds="RELEASED")
    again = {"attemptId": "att_003", "reason": "r", "approvalId": first}
    assert rule(harness.act("ops_1", payment, "retry", again)) in (
        (403, "APPROVAL_USED"),
        (403, "APPROVAL_OTHER_ATTEMPT"),
    )
    unnamed = harness.act("ops_1", payment, "retry", {"attemptId": "att_003", "reason": "r"})
    assert rule(unnamed) in ((403, "APPROVAL_MISSING"), (403, "APPROVAL_USED"))


def test_fifty_posts_of_one_action_have_one_effect(harness: Harness) -> None:
    """RT-04, AP-04, fault row 25: one is accepted; the others return the same first result."""
    payment = harness.create(SILENT)
    harness.until(payment, state="SENT")
    harness.approved("ops_1", payment, "CANCEL")
    with ThreadPoolExecutor(AT_ONCE) as people:
        answers = list(
            people.map(lambda _: harness.act("ops_1", payment, "cancel", CANCEL), range(AT_ONCE))
        )
    assert Counter(answer.status_code for answer in answers) == {200: AT_ONCE}
    results = Counter(answer.json()["result"] for answer in answers)
    assert results == {"ACCEPTED": 1, "DUPLICATE": AT_ONCE - 1}
    assert len({answer.json()["toSequence"] for answer in answers}) == 1
    assert harness.types(payment).count("PaymentFailed") == 1


def test_of_two_simultaneous_approvers_one_decides(harness: Harness) -> None:
    """AP-04, IDM-07, fault row 25: one verdict is recorded, the other is refused."""
    payment = sent(harness)
    approval = harness.requested("ops_1", payment, "CANCEL")

    def decide(who_and_word: tuple[str, str]) -> tuple[int, str]:
        who, word = who_and_word
        path = f"approvals/{approval}/{word}"
        answer = harness.act(who, payment, path, {"reason": word})
        return answer.status_code, answer.json().get("rule") or answer.json()["result"]

    with ThreadPoolExecutor(2) as people:
        said = sorted(people.map(decide, [("apv_1", "approve"), ("apv_2", "reject")]))
    assert said == [(200, "ACCEPTED"), (403, "APPROVAL_DECIDED")]
    decisions = {"OperatorActionApproved", "OperatorActionRejected"}
    assert len([t for t in harness.types(payment) if t in decisions]) == 1


def test_without_resolve_no_gated_action_goes_through(harness: Harness) -> None:
    """AP-06: while Resolve does not answer the action is refused; later it continues."""
    payment = sent(harness)
    harness.stage.supervisor.pause("adapters")
    try:
        requested = {"action": "CANCEL", "reason": "r"}
        assert harness.done("ops_1", payment, "approvals", requested)["approvalId"] == "apr_001"
        answer = harness.act("ops_1", payment, "cancel", CANCEL)
        assert rule(answer) == (403, "APPROVAL_PENDING")
        early = harness.act("apv_1", payment, "approvals/apr_001/approve", {"reason": "r"})
        assert rule(early) == (403, "NOT_REFERRED")
    finally:
        harness.stage.supervisor.unpause("adapters")
    harness.soon(lambda: harness.status(payment, "apr_001") == "REFERRED")


def test_a_cancel_request_before_sent_delays_the_send(harness: Harness) -> None:
    """AP-02, CN-01 (domain §4): frozen until it is rejected; then it is sent at once."""
    at = int(time.time() * 1000) + 10_000
    payment = harness.create([ACCEPT, SETTLE], requestedExecutionTime=at)
    harness.until(payment, state="AUTHORISED")
    approval = harness.requested("ops_1", payment, "CANCEL")
    time.sleep(max(0.0, at / 1000 - time.time()) + 1.0)
    frozen = harness.payment(payment)
    assert frozen["state"] == "AUTHORISED"
    assert frozen["attempts"][0]["sendFrozenUntil"]
    harness.done("apv_1", payment, f"approvals/{approval}/reject", {"reason": "it shall go"})
    harness.until(payment, state="SETTLED")


def test_viewing_and_exporting_need_no_approval(harness: Harness) -> None:
    """AP-01, EP-01: reads and packs in any state."""
    payment = sent(harness)
    assert harness.events(payment)
    body = {"format": "JSON", "includeReplayProof": False}
    answer = harness.act("ops_1", payment, "evidence-pack", body)
    assert answer.status_code == 200, answer.text
