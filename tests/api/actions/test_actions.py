"""The runbook's actions over HTTP: what the answer says is what the log has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from core.header import InputHeader, OperatorHeader
from core.payment import commands
from readmodel.ports import AuditFilter
from schemas import topology
from tests.api.command_harness import ApiHarness, problem

pytestmark = pytest.mark.slow


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ApiHarness]:
    made = ApiHarness(tmp_path)
    yield made
    made.close()


def _epoch_ms(stamp: str) -> int:
    return round(datetime.fromisoformat(stamp).timestamp() * 1000)


def _any() -> AuditFilter:
    return AuditFilter()


def _is(entry: Any, action: str) -> bool:
    return action in entry.action.lower() and entry.command_id is not None


ALMOST_MS = 30_000  # more than what the harness itself spends while it waits


def _almost_over(harness: ApiHarness, payment: str) -> None:
    """The time at which the payment's approval has less than ALMOST_MS left."""
    (listed,) = harness.get("vera", f"/api/approvals?paymentIntentId={payment}").json()["items"]
    left = _epoch_ms(listed["expiresAt"]) - harness.clock.now_ms()
    assert left > 10 * 60_000
    harness.world.driver.advance(left - ALMOST_MS // 2)


RETRY = {"attemptId": "att_002", "reason": "Resolve approved retry after rail timeout"}


def test_a_retry_is_answered_with_its_outcome_and_the_next_get_shows_it(
    harness: ApiHarness,
) -> None:
    """API-05, API-08, AP-01, RT-01."""
    payment = harness.failed("k1")
    harness.approved(payment, "RETRY")
    answer = harness.act("olga", payment, "retry", RETRY)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["result"], said["duplicate"], said["state"]) == ("ACCEPTED", False, "AUTHORISED")
    assert said["projected"]
    types = [event["type"] for event in said["events"]]
    assert types[0] == "PaymentAttemptCreated"
    sequences = [event["sequence"] for event in said["events"]]
    assert sequences == list(range(said["fromSequence"], said["toSequence"] + 1))
    shown = harness.get("vera", f"/api/payments/{payment}").json()
    assert (shown["attemptId"], shown["sequence"] >= said["toSequence"]) == ("att_002", True)


def test_the_same_action_again_gives_the_first_result(harness: ApiHarness) -> None:
    """RT-04, API-08: marked duplicate, with the first events, and nothing new on the log."""
    payment = harness.failed("k1")
    harness.approved(payment, "RETRY")
    first = harness.act("olga", payment, "retry", RETRY).json()
    events = len(harness.world.history(payment))
    again = harness.act("olga", payment, "retry", {**RETRY, "reason": "I lost the answer"})
    assert again.status_code == 200
    said = again.json()
    assert (said["result"], said["duplicate"]) == ("DUPLICATE", True)
    assert said["commandId"] != first["commandId"]
    assert said["events"] == first["events"]
    assert len(harness.world.history(payment)) == events


def test_a_cancellation_in_the_runbooks_words(harness: ApiHarness) -> None:
    """API-06, CN-02, AUD-01."""
    payment = harness.sent("k1")
    harness.approved(payment, "CANCEL")
    body = {"reason": "Customer requested cancellation", "operatorId": "olga"}
    answer = harness.act("olga", payment, "cancel", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "FAILED"
    shown = harness.get("vera", f"/api/payments/{payment}").json()
    assert (shown["state"], shown["reason"]) == ("FAILED", "CANCELLED")
    entry: Any = next(e for e in harness.reader.audit(_any(), 50, None).items if _is(e, "cancel"))
    assert (entry.operator_id, entry.reason, entry.result) == ("olga", body["reason"], "ACCEPTED")


def test_the_audit_log_names_the_approval_that_was_taken(harness: ApiHarness) -> None:
    """AUD-01: the runbook's bodies name none; the engine took the one that fits."""
    payment = harness.failed("k1")
    approval = harness.approved(payment, "RETRY")
    harness.act("olga", payment, "retry", RETRY)
    items = harness.get("audra", f"/api/audit?paymentIntentId={payment}").json()["items"]
    retried = next(e for e in items if e["reason"] == RETRY["reason"])
    assert (retried["approvalId"], retried["result"]) == (approval, "ACCEPTED")


def test_mark_failed_in_the_runbooks_words_needs_a_senior(harness: ApiHarness) -> None:
    """API-07, MF-03, SEC-02."""
    payment = harness.sent("k1")
    body = {"reason": "RAIL", "details": "NPP rail returned error code 503", "operatorId": "sue"}
    refused = harness.act("olga", payment, "mark-failed", {**body, "operatorId": "olga"})
    assert problem(refused) == (403, "POLICY_REJECTED", "MISSING_ROLE")
    harness.approved(payment, "MARK_FAILED", by="sue", failureReason="RAIL")
    answer = harness.act("sue", payment, "mark-failed", body)
    assert answer.status_code == 200, answer.text
    shown = harness.get("vera", f"/api/payments/{payment}").json()
    assert (shown["state"], shown["reason"]) == ("FAILED", "RAIL")


@pytest.mark.parametrize(
    ("person", "action", "body", "expected"),
    [
        ("olga", "retry", RETRY, (403, "POLICY_REJECTED", "STATE_PRECONDITION")),
        ("olga", "cancel", {"reason": "x"}, (403, "POLICY_REJECTED", "APPROVAL_MISSING")),
        (
            "sue", "mark-failed", {"reason": "CANCELLED", "details": "x"},
            (400, "VALIDATION_FAILED", "FIELD_INVALID"),
        ),
        ("olga", "retry", {"attemptId": "second", "reason": "x"},
         (400, "VALIDATION_FAILED", "FIELD_INVALID")),
    ],
)  # fmt: skip
def test_a_refusal_carries_code_rule_and_sentence(
    harness: ApiHarness, person: str, action: str, body: object, expected: tuple[int, str, str]
) -> None:
    """ERR-01, ERR-03, MF-02, AP-01."""
    payment = harness.sent("k1")
    events = len(harness.world.history(payment))
    answer = harness.act(person, payment, action, body)
    assert problem(answer) == expected
    if expected[2] == "STATE_PRECONDITION":
        assert (answer.json()["expected"], answer.json()["actual"]) == ("FAILED", "SENT")
    assert len(harness.world.history(payment)) == events


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"attemptId": "att_002"}, "reason"),
        ({**RETRY, "extra": 1}, "extra"),
        ({**RETRY, "attemptId": 2.5}, "attemptId"),
        ({**RETRY, "attemptId": True}, "attemptId"),
        ({**RETRY, "attemptId": 0}, "attemptId"),
        ({**RETRY, "attemptId": "two"}, "attemptId"),
        ({**RETRY, "attemptId": "²"}, "attemptId"),
        ({**RETRY, "reason": "a\x00b"}, "reason"),
        ({**RETRY, "reason": ""}, "reason"),
        ({**RETRY, "reason": "x" * 1_001}, "reason"),
    ],
)
def test_a_body_that_is_not_valid_names_the_field_and_publishes_nothing(
    harness: ApiHarness, body: object, field: str
) -> None:
    """API-13, AUD-02: it is in the audit log all the same."""
    payment = harness.failed("k1")
    answer = harness.act("olga", payment, "retry", body)
    assert problem(answer)[:2] == (400, "VALIDATION_FAILED")
    assert answer.json()["field"] == field
    assert harness.written(topology.OPERATOR_COMMANDS) == []
    (entry,) = harness.audited()
    assert (entry.operator_id, entry.action, entry.status) == ("olga", "RETRY", 400)
    assert (entry.payment_intent_id, entry.code) == (payment, "VALIDATION_FAILED")


@pytest.mark.parametrize(
    ("action", "body", "sentence"),
    [
        ("retry", {**RETRY, "reason": "x" * 1_001}, "reason is longer than 1000 characters."),
        (
            "cancel",
            {"reason": "why", "customerId": "c" * 4_097},
            "customerId is longer than 128 characters.",
        ),
    ],
)
def test_a_text_that_is_too_long_is_refused_with_its_limit(
    harness: ApiHarness, action: str, body: object, sentence: str
) -> None:
    """Finding 18: the API names field and limit, the same limit as the engine."""
    answer = harness.act("olga", harness.failed("k1"), action, body)
    assert problem(answer) == (400, "VALIDATION_FAILED", "FIELD_INVALID")
    assert answer.json()["sentence"] == sentence


def test_an_unknown_payment_is_not_found(harness: ApiHarness) -> None:
    """API-02: by the engine for an id that could be, at the edge for one that cannot."""
    unknown = harness.act("olga", "pi_" + "a" * 26, "retry", RETRY)
    assert problem(unknown) == (404, "PAYMENT_NOT_FOUND", "PAYMENT_NOT_FOUND")
    assert len(harness.written(topology.OPERATOR_COMMANDS)) == 1
    assert problem(harness.act("olga", "pi_X", "retry", RETRY))[1] == "PAYMENT_NOT_FOUND"
    assert len(harness.written(topology.OPERATOR_COMMANDS)) == 1


def test_a_body_may_name_only_who_is_signed_in(harness: ApiHarness) -> None:
    """AUD-04, OP-16: refused, audited under the authenticated name, and nothing published; a
    spelling of one's own name is one's own name."""
    payment = harness.failed("k1")
    body = {"reason": "not me", "operatorId": "oskar"}
    assert problem(harness.act("olga", payment, "cancel", body)) == (
        403, "POLICY_REJECTED", "OPERATOR_MISMATCH",
    )  # fmt: skip
    (entry,) = harness.audited()
    assert (entry.operator_id, entry.reason, entry.rule) == (
        "olga", "not me", "OPERATOR_MISMATCH",
    )  # fmt: skip
    assert harness.written(topology.OPERATOR_COMMANDS) == []
    own = harness.act("olga", payment, "cancel", {"reason": "me", "operatorId": " ＯLGA "})
    assert problem(own)[2] == "STATE_PRECONDITION"
    (command,) = harness.written(topology.OPERATOR_COMMANDS)
    assert (command.operator.operator_id, command.operator.roles) == ("olga", ("operator",))


def test_a_command_carries_who_until_when_and_the_trace(harness: ApiHarness) -> None:
    """OP-16, domain §4 (notAfter)."""
    payment = harness.failed("k1")
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    harness.post("olga", f"/api/payments/{payment}/retry", RETRY, traceparent=trace)
    harness.post("olga", f"/api/payments/{payment}/retry", RETRY, traceparent="rubbish")
    first, second = harness.written(topology.OPERATOR_COMMANDS)
    assert first.operator.not_after == first.header.sent_at + 60_000
    assert first.operator.token_id
    assert (first.header.traceparent, second.header.traceparent) == (trace, None)
    assert first.header.command_id != second.header.command_id


# --- approvals ------------------------------------------------------------------------------------


def test_the_requester_can_not_approve(harness: ApiHarness) -> None:
    """AP-05."""
    payment = harness.failed("k1")
    asked = harness.act("both", payment, "approvals", {"action": "RETRY", "reason": "please"})
    path = f"approvals/{asked.json()['approvalId']}/approve"
    own = harness.act("both", payment, path, {"reason": "by myself"})
    assert problem(own) == (403, "POLICY_REJECTED", "SELF_APPROVAL")


def test_an_approval_works_once_and_only_for_what_it_was_given(harness: ApiHarness) -> None:
    """AP-04: another requester, another action, another use; each named."""
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


def test_an_approval_of_one_phase_does_not_open_another(harness: ApiHarness) -> None:
    """AP-04, OP-23: given in SENT, used in ACKNOWLEDGED."""
    payment = harness.sent("k1")
    harness.approved(payment, "MARK_FAILED", by="sue", failureReason="RAIL")
    harness.report(payment, "ACCEPTED")
    answer = harness.act("sue", payment, "mark-failed", {"reason": "RAIL", "details": "x"})
    assert problem(answer)[2] == "APPROVAL_OTHER_PHASE"
    assert (answer.json()["expected"], answer.json()["actual"]) == ("SENT", "ACKNOWLEDGED")


def test_an_approval_of_one_reason_does_not_open_another(harness: ApiHarness) -> None:
    """AP-04: bound to its parameters."""
    payment = harness.sent("k1")
    harness.approved(payment, "MARK_FAILED", by="sue", failureReason="RAIL")
    answer = harness.act("sue", payment, "mark-failed", {"reason": "TIMEOUT", "details": "x"})
    assert problem(answer)[2] == "APPROVAL_OTHER_PARAMETERS"


def test_an_approval_of_one_attempt_does_not_open_the_next(harness: ApiHarness) -> None:
    """AP-04: sue's was given for att_001, and att_002 has failed since."""
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


def test_an_approval_not_decided_in_time_is_over(harness: ApiHarness) -> None:
    """AP-01, AP-04, fault row 25: decidable until its hour is over; then the list says EXPIRED,
    the approver and the requester are told so, and a new request opens the action."""
    payments = [harness.failed("in time"), harness.failed("too late")]
    asked = {"action": "RETRY", "reason": "please"}
    for payment in payments:
        assert harness.act("olga", payment, "approvals", asked).json()["approvalId"] == "apr_001"
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


def test_an_approval_not_used_in_time_opens_nothing(harness: ApiHarness) -> None:
    """AP-01, AP-04: usable until its quarter of an hour is over, at the engine's time; nothing has
    happened, whoever asks, named or not."""
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


def test_two_approvers_at_once_decide_once(harness: ApiHarness) -> None:
    """AP-03: one decision joins the history, the other hears of it."""
    payment = harness.failed("k1")
    asked = harness.act("olga", payment, "approvals", {"action": "RETRY", "reason": "please"})
    path = f"approvals/{asked.json()['approvalId']}"

    def decide(who: str, word: str) -> int:
        answer = harness.act(who, payment, f"{path}/{word}", {"reason": "mine"})
        return int(answer.status_code)

    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(decide, ("anna", "aron"), ("approve", "reject")))
    assert sorted(codes) == [200, 403]
    names = harness.world.event_names(payment)
    assert names.count("OperatorActionApproved") + names.count("OperatorActionRejected") == 1


def test_asking_twice_for_the_same_approval_is_one_request(harness: ApiHarness) -> None:
    """AP-02, API-08."""
    payment = harness.failed("k1")
    asked = {"action": "RETRY", "reason": "please"}
    first = harness.act("olga", payment, "approvals", asked).json()
    again = harness.act("olga", payment, "approvals", asked).json()
    assert (again["duplicate"], again["approvalId"]) == (True, first["approvalId"])


def test_fifty_posts_of_one_action_at_once_have_one_effect(harness: ApiHarness) -> None:
    """RT-04, IDM-04: one accepted, the others are its duplicates."""
    payment = harness.failed("k1")
    harness.approved(payment, "RETRY")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: harness.act("olga", payment, "retry", RETRY), range(50)))
    assert {a.status_code for a in answers} == {200}
    results = [a.json()["result"] for a in answers]
    assert (results.count("ACCEPTED"), results.count("DUPLICATE")) == (1, 49)
    assert len({str(a.json()["events"]) for a in answers}) == 1
    assert harness.world.event_names(payment).count("PaymentAttemptCreated") == 2


TEXT = "O'Brien <b>x</b> \u202e=1+1 ☕ \r\n; DROP TABLE payments --"


@pytest.mark.parametrize(
    ("person", "path", "body", "fields"),
    [
        ("olga", "retry", {"attemptId": "att_007", "reason": TEXT},
         {"attempt_id": "att_007", "reason": TEXT}),
        ("olga", "cancel", {"reason": TEXT, "customerId": "cust_12345"},
         {"reason": TEXT, "customer_id": "cust_12345"}),
        ("sue", "mark-failed", {"reason": "RAIL", "details": TEXT},
         {"reason": "RAIL", "details": TEXT}),
        ("sue", "expire", {"reason": TEXT}, {"reason": TEXT}),
        ("sue", "release", {"attemptId": "att_002", "reason": TEXT},
         {"attempt": 2, "reason": TEXT}),
        ("sue", "reverse", {"attemptId": "att_001", "reason": TEXT},
         {"attempt": 1, "reason": TEXT}),
        ("sue", "debit", {"attemptId": "2", "reason": TEXT}, {"attempt": 2, "reason": TEXT}),
        ("sue", "funds/repeat", {"attemptId": 1, "operation": "CAPTURE", "reason": TEXT},
         {"attempt": 1, "operation": "CAPTURE", "reason": TEXT}),
        ("sue", "conflicts/cnf_001/resolve",
         {"attemptId": 1, "verdict": "RETURNED", "details": TEXT, "amount": 5000},
         {"conflict_id": "cnf_001", "attempt": 1, "verdict": "RETURNED", "amount": 5000}),
        ("olga", "retry", {"attemptId": "2", "reason": TEXT}, {"attempt_id": "att_002"}),
        ("olga", "retry", {"attemptId": 2, "reason": TEXT}, {"attempt_id": "att_002"}),
        ("olga", "approvals", {"action": "CANCEL", "reason": TEXT, "attemptId": "1"},
         {"action": "CANCEL", "attempt": 1}),
        ("sue", "conflicts/cnf_001/resolve",
         {"attemptId": "att_001", "verdict": "NOT_PAID", "details": TEXT},
         {"conflict_id": "cnf_001", "attempt": 1, "verdict": "NOT_PAID", "details": TEXT}),
        ("olga", "approvals", {"action": "CANCEL", "reason": TEXT, "attemptId": "att_001"},
         {"action": "CANCEL", "reason": TEXT, "attempt": 1}),
        ("anna", "approvals/apr_004/approve", {"reason": TEXT},
         {"approval_id": "apr_004", "verdict": "APPROVED", "reason": TEXT}),
        ("anna", "approvals/apr_004/reject", {"reason": TEXT},
         {"approval_id": "apr_004", "verdict": "REJECTED", "reason": TEXT}),
    ],
)  # fmt: skip
def test_each_action_is_one_command_with_its_words_untouched(
    harness: ApiHarness, person: str, path: str, body: object, fields: dict[str, object]
) -> None:
    """API-05, API-06, API-07, OP-15: whatever is written in free text stands there byte-equal."""
    payment = harness.sent("k1")
    answer = harness.act(person, payment, path, body)
    assert answer.status_code in (200, 403, 409), answer.text
    (command,) = harness.written(topology.OPERATOR_COMMANDS)
    assert {name: getattr(command, name) for name in fields} == fields
    assert command.operator.operator_id == person


# --- late, stopped, away --------------------------------------------------------------------------


def test_a_late_outcome_is_a_202_with_where_to_look(harness: ApiHarness) -> None:
    """OP-10: it can still happen until notAfter, and then the outcome stands there."""
    payment = harness.failed("k1")
    harness.approved(payment, "RETRY")
    harness.log.stalled = True
    late = harness.act("olga", payment, "retry", RETRY)
    assert late.status_code == 202
    said = late.json()
    assert late.headers["Location"] == said["outcome"] == f"/api/outcomes/{said['commandId']}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said["notAfter"])
    asked = harness.written(topology.OPERATOR_COMMANDS)[-1].operator.not_after
    assert _epoch_ms(said["notAfter"]) == asked
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


MENDED = {"reason": TEXT}


def test_two_persons_by_their_own_sign_in_take_a_parked_payment_up(harness: ApiHarness) -> None:
    """SEC-02, OP-15: the first person is whom the control topic names, not the second one's body;
    free text stands in both records byte-equal."""
    payment = harness.failed("k1")
    harness.park(payment)
    harness.project()
    named = {"requestedBy": "adam", **MENDED}
    assert problem(harness.act("ada", payment, "resume-processing", named)) == (
        403, "POLICY_REJECTED", "UNPARK_NOT_POSSIBLE",
    )  # fmt: skip
    asked = harness.act("adam", payment, "resume-requests", MENDED).json()
    assert (asked["requestedBy"], asked["duplicate"], asked["reason"]) == ("adam", False, TEXT)
    again = harness.act("ada", payment, "resume-requests", MENDED).json()
    assert (again["requestedBy"], again["duplicate"]) == ("adam", True)
    for body in (MENDED, {"requestedBy": "ada", **MENDED}, {"operatorId": "ada", **MENDED}):
        assert harness.act("adam", payment, "resume-processing", body).status_code == 403
    wrong = harness.act("ada", payment, "resume-processing", {"requestedBy": "oskar", **MENDED})
    assert problem(wrong)[2] == "UNPARK_NOT_POSSIBLE"
    assert "ProcessingResumed" not in harness.world.event_names(payment)
    resumed = harness.act("ada", payment, "resume-processing", named)
    assert resumed.json()["result"] == "ACCEPTED", resumed.text
    (command,) = harness.written(topology.OPERATOR_COMMANDS)[-1:]
    assert (command.requested_by, command.operator.operator_id) == ("adam", "ada")
    assert command.reason == TEXT
    assert (
        problem(harness.act("ada", payment, "resume-processing", named))[2] == "STATE_PRECONDITION"
    )


def test_a_request_serves_one_parking_and_the_processor_asks_for_it_too(
    harness: ApiHarness,
) -> None:
    """SEC-02: parked anew, it takes two persons anew; a command past the API changes nothing."""
    payment = harness.failed("k1")
    for first, second in (("adam", "ada"), ("ada", "adam")):
        harness.park(payment)
        harness.project()
        early = harness.act(second, payment, "resume-processing", MENDED)
        assert problem(early)[2] == "UNPARK_NOT_POSSIBLE"
        header = InputHeader(payment_intent_id=payment)
        operator = OperatorHeader(
            operator_id="ada",
            roles=("admin",),
            token_id="t",
            not_after=harness.clock.now_ms() + 60_000,
        )
        forged = commands.ResumeProcessing(
            header=header, operator=operator, requested_by="adam", reason="mended"
        )
        harness.world.pipe(topology.OPERATOR_COMMANDS, forged)
        harness.world.driver.run()
        assert harness.world.known(payment).payment.parked
        assert harness.act(first, payment, "resume-requests", MENDED).status_code == 200
        done = harness.act(second, payment, "resume-processing", MENDED)
        assert done.json()["result"] == "ACCEPTED", done.text
        assert not harness.world.known(payment).payment.parked


def test_a_parked_payments_command_is_set_aside_and_says_so(harness: ApiHarness) -> None:
    """ERR-05: quarantined, not decided; two persons resume, then it may be asked again."""
    payment = harness.failed("k1")
    harness.park(payment)
    answer = harness.act("olga", payment, "retry", RETRY)
    assert problem(answer) == (403, "POLICY_REJECTED", "PAYMENT_PARKED")
    assert answer.json()["result"] == "QUARANTINED"
    assert harness.act("adam", payment, "resume-requests", MENDED).status_code == 200
    resumed = harness.act("ada", payment, "resume-processing", MENDED)
    assert resumed.json()["result"] == "ACCEPTED"
    harness.approved(payment, "RETRY")
    assert harness.act("olga", payment, "retry", RETRY).json()["result"] == "ACCEPTED"
