"""The runbook's actions over HTTP: the response matches the log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from readmodel.ports import AuditFilter
from schemas import topology
from tests.api.acting import RETRY, TEXT
from tests.api.command_harness import ApiHarness, problem

pytestmark = pytest.mark.slow


def _any() -> AuditFilter:
    return AuditFilter()


def _is(entry: Any, action: str) -> bool:
    return action in entry.action.lower() and entry.command_id is not None


def test_a_retry_is_answered_with_its_outcome_and_the_next_get_shows_it(
    harness: ApiHarness,
) -> None:
    """API-05, API-08, AP-01, RT-01."""
    payment = harness.failed("k1")
    harness.approved(payment, "RETRY")
    answer = harness.act("olga", payment, "retry", RETRY)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["result"], body["duplicate"], body["state"]) == ("ACCEPTED", False, "AUTHORISED")
    assert body["projected"]
    types = [event["type"] for event in body["events"]]
    assert types[0] == "PaymentAttemptCreated"
    sequences = [event["sequence"] for event in body["events"]]
    assert sequences == list(range(body["fromSequence"], body["toSequence"] + 1))
    shown = harness.get("vera", f"/api/payments/{payment}").json()
    assert (shown["attemptId"], shown["sequence"] >= body["toSequence"]) == ("att_002", True)


def test_the_same_action_again_returns_the_first_result(harness: ApiHarness) -> None:
    """RT-04, API-08: marked duplicate, with the first events, and nothing new on the log."""
    payment = harness.failed("k1")
    harness.approved(payment, "RETRY")
    first = harness.act("olga", payment, "retry", RETRY).json()
    events = len(harness.world.history(payment))
    again = harness.act("olga", payment, "retry", {**RETRY, "reason": "I lost the answer"})
    assert again.status_code == 200
    body = again.json()
    assert (body["result"], body["duplicate"]) == ("DUPLICATE", True)
    assert body["commandId"] != first["commandId"]
    assert body["events"] == first["events"]
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


def test_the_audit_log_names_the_approval_that_was_used(harness: ApiHarness) -> None:
    """AUD-01: the runbook's bodies name none; the engine used the one that matches."""
    payment = harness.failed("k1")
    approval = harness.approved(payment, "RETRY")
    harness.act("olga", payment, "retry", RETRY)
    items = harness.get("audra", f"/api/audit?paymentIntentId={payment}").json()["items"]
    retried = next(e for e in items if e["reason"] == RETRY["reason"])
    assert (retried["approvalId"], retried["result"]) == (approval, "ACCEPTED")


def test_mark_failed_in_the_runbooks_words_needs_a_senior_operator(harness: ApiHarness) -> None:
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
def test_an_invalid_body_is_refused_naming_the_field_and_publishes_nothing(
    harness: ApiHarness, body: object, field: str
) -> None:
    """API-13, AUD-02: it is still in the audit log."""
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
    """The API names field and limit; the limit is the engine's."""
    answer = harness.act("olga", harness.failed("k1"), action, body)
    assert problem(answer) == (400, "VALIDATION_FAILED", "FIELD_INVALID")
    assert answer.json()["sentence"] == sentence


def test_an_unknown_payment_is_not_found(harness: ApiHarness) -> None:
    """API-02: refused by the engine for a possible id, at the edge for an impossible one."""
    unknown = harness.act("olga", "pi_" + "a" * 26, "retry", RETRY)
    assert problem(unknown) == (404, "PAYMENT_NOT_FOUND", "PAYMENT_NOT_FOUND")
    assert len(harness.written(topology.OPERATOR_COMMANDS)) == 1
    assert problem(harness.act("olga", "pi_X", "retry", RETRY))[1] == "PAYMENT_NOT_FOUND"
    assert len(harness.written(topology.OPERATOR_COMMANDS)) == 1


def test_a_body_may_only_name_the_signed_in_user(harness: ApiHarness) -> None:
    """AUD-04, OP-16: refused, audited under the authenticated name, and nothing published. A
    different spelling of the same name is accepted.
    """
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


def test_a_command_carries_the_user_its_not_after_and_the_trace(harness: ApiHarness) -> None:
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


def test_fifty_posts_of_one_action_at_once_have_one_effect(harness: ApiHarness) -> None:
    """RT-04, IDM-04: one is accepted, the others are duplicates of it."""
    payment = harness.failed("k1")
    harness.approved(payment, "RETRY")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: harness.act("olga", payment, "retry", RETRY), range(50)))
    assert {a.status_code for a in answers} == {200}
    results = [a.json()["result"] for a in answers]
    assert (results.count("ACCEPTED"), results.count("DUPLICATE")) == (1, 49)
    assert len({str(a.json()["events"]) for a in answers}) == 1
    assert harness.world.event_names(payment).count("PaymentAttemptCreated") == 2


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
def test_each_action_is_one_command_with_its_text_unchanged(
    harness: ApiHarness, person: str, path: str, body: object, fields: dict[str, object]
) -> None:
    """API-05, API-06, API-07, OP-15: free text is byte-equal, whatever it contains."""
    payment = harness.sent("k1")
    answer = harness.act(person, payment, path, body)
    assert answer.status_code in (200, 403, 409), answer.text
    (command,) = harness.written(topology.OPERATOR_COMMANDS)
    assert {name: getattr(command, name) for name in fields} == fields
    assert command.operator.operator_id == person
