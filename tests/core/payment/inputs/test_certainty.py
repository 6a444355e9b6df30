"""Whether non-payment is certain: rulings 2 and 3, and ruling 8's withdrawals as core sees them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core import refusals as r
from core.payment import events as e
from core.payment.evolve import evolve
from core.payment.instructions import RailInstruction
from core.payment.state import at_rest, open_conflicts
from tests.core.payment import dsl as d
from tests.core.payment.case import Case, given

SETTLE = d.rail("SETTLED", amount=d.AMOUNT, currency="AUD", rail_message_id="s1")
PAST_SUBMIT_BEFORE_MS = 61_000
CONFIRMED = ("NonPaymentConfirmed", "FundsRequested:RELEASE", "CustomerNotificationRequested")
CONTRADICTED = "ReconciliationRequired:SUBMISSION_CONTRADICTED"

STRAY = [d.create(), d.rail("ACCEPTED"), *d.judged("REPORT_WRONG")]
STRAY_AND_SENT = [*STRAY, d.policy(), d.held()]


def submissions(case: Case, before: int = 0) -> list[str]:
    """The references that the rail adapter was instructed to submit, from the events after
    `before`.
    """
    sent = [x for x in case.history[before:] if isinstance(x, e.PaymentSentToRail)]
    return [x.external_ref for x in sent]


# -- certainty is about submissions already made ---------------------------------------------------

ENDS: dict[str, list[Any]] = {
    "mark-failed": [d.mark_failed(), "MARK_FAILED", {"failure_reason": "RAIL"}],
    "cancel": [d.cancel(), "CANCEL", {}],
    "expire": [d.expire(d.SENIOR), "EXPIRE", {}],
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("before", [d.SENT, STRAY_AND_SENT], ids=["plain", "after a stray report"])
def test_an_end_by_an_operator_after_the_send_is_uncertain(before: list[Any], end: str) -> None:
    """Ruling 3: whatever was reported or resolved before the send."""
    command, action, extra = ENDS[end]
    case = given(*before).is_in("SENT", "OPEN")
    case.given(*d.approved(action, case.payment.approvals_made + 1, **extra)).when(command)
    made = case.events[0]
    assert made.non_payment_certain is False
    assert case.payment.attempt.funds == "RELEASE_DEFERRED"
    case.is_in(case.payment.state, "UNCERTAIN")


def test_a_stray_report_before_the_send_allows_no_plain_retry_after_it() -> None:
    """Stray report, verdict, send, mark-failed: the plain retry would pay again."""
    case = given(*STRAY_AND_SENT, *d.approved("MARK_FAILED", 2, failure_reason="RAIL"))
    case.given(d.mark_failed(), *d.approved("RETRY", 3)).when(d.retry()).refuses(r.RETRY_UNCERTAIN)
    case.given(*d.approved("RETRY_UNCERTAIN", 4)).when(d.retry())
    case.then("PaymentAttemptCreated:att_002", "FundsHoldTransferred")


def test_after_a_stray_report_and_a_verdict_correct_reports_apply() -> None:
    """The rail's acknowledgement and settlement of what was sent are no conflicts."""
    case = given(*STRAY_AND_SENT).when(d.rail("ACCEPTED", rail_message_id="honest"))
    case.then("PaymentAcknowledged").when(SETTLE).then("PaymentSettled", "FundsRequested:CAPTURE")
    assert not open_conflicts(case.payment)
    implied = given(*STRAY_AND_SENT).when(SETTLE)
    implied.then("PaymentAcknowledged", "PaymentSettled", "FundsRequested:CAPTURE")


def test_the_send_itself_starts_uncertain() -> None:
    """Ruling 3, whatever the history says about the attempt before its PaymentSentToRail."""
    case = given(*d.SENT)
    before = None
    for event in case.history:
        if isinstance(event, e.PaymentSentToRail):
            assert before is not None
            said = before.attempt.__copy__()
            said.certain = said.never_submitted = True
            before.attempts = [said]
        before = evolve(before, event)
    assert before is not None
    assert (before.attempt.certain, before.attempt.never_submitted) == (False, False)


def test_a_send_after_a_recovery_starts_uncertain() -> None:
    """Ruling 3: SUBMISSION_FOUND, its verdict, then the send under the same reference."""
    case = given(d.create(), d.policy())
    case.found = frozenset({d.REF})
    case.timer_until("CREATED_WINDOW").then(
        "ReconciliationRequired:SUBMISSION_FOUND", "RailEnquiryRequested"
    )
    ask, *_, verdict = d.judged("NOT_PAID")
    case.when(ask).refuses(r.VERDICT_NOT_APPLICABLE).when(verdict).refuses(r.VERDICT_NOT_APPLICABLE)
    case.given(*d.judged("REPORT_WRONG")).when(d.held()).is_in("SENT", "OPEN")
    case.given(*d.approved("MARK_FAILED", 2, failure_reason="RAIL")).when(d.mark_failed())
    case.then("PaymentFailed", "FundsReleaseDeferred", "RailEnquiryRequested")
    case.given(*d.approved("RETRY", 3)).when(d.retry()).refuses(r.RETRY_UNCERTAIN)


CERTAIN: dict[str, tuple[list[Any], int, Any]] = {
    "the rail's own word": (d.SENT, 0, d.rail("REJECTED", "AB08")),
    "withdrawn": (d.CANCELLED, 0, d.rail("WITHDRAWN")),
    "not submitted": (d.MARKED, 0, d.rail("NOT_SUBMITTED")),
    "recall accepted": (
        [*d.CANCELLED, d.rail("ALREADY_SUBMITTED", "SUBMITTED")], 0, d.rail("RECALL_ACCEPTED"),
    ),
    "enquiry says rejected": (d.MARKED, 0, d.enquiry("REJECTED", "ZZ99")),
    "the same answer to an enquiry": (
        [*d.SENT, d.rail("REJECTED", "ZZ99")], 0, d.enquiry("REJECTED", "ZZ99"),
    ),
    "unknown after submitBefore": (d.MARKED, PAST_SUBMIT_BEFORE_MS, d.never_submitted()),
}  # fmt: skip


@pytest.mark.parametrize("how", CERTAIN)
def test_what_makes_non_payment_certain(how: str) -> None:
    """Ruling 3: certain, so the hold is released and the customer notified."""
    before, wait_ms, report = CERTAIN[how]
    case = given(*before).later(wait_ms).when(report).is_in("FAILED", "NOT_PAID")
    assert case.payment.attempt.certain
    case.is_in("FAILED", "NOT_PAID", "RELEASE_REQUESTED")


UNCERTAIN: dict[str, tuple[list[Any], int, Any]] = {
    "unknown before submitBefore": (d.MARKED, 0, d.never_submitted()),
    "answered before submitBefore": (
        d.MARKED, PAST_SUBMIT_BEFORE_MS,
        d.enquiry("STATUS", "UNKNOWN", adapter_stopped=True, answered_at=d.START),
    ),
    "the adapter has not stopped": (
        d.MARKED, PAST_SUBMIT_BEFORE_MS, d.enquiry("STATUS", "UNKNOWN"),
    ),
    "no enquiry was made": (
        d.MARKED, PAST_SUBMIT_BEFORE_MS, d.rail("STATUS", "UNKNOWN", adapter_stopped=True),
    ),
    "another status": (
        d.MARKED, PAST_SUBMIT_BEFORE_MS, d.enquiry("STATUS", "XXXX", adapter_stopped=True),
    ),
    "a code without a row": (d.MARKED, 0, d.rail("REJECTED", "ZZ99")),
    "recall refused": (
        [*d.CANCELLED, d.rail("ALREADY_SUBMITTED", "SUBMITTED")], 0, d.rail("RECALL_REFUSED"),
    ),
    "already submitted": (d.CANCELLED, 0, d.rail("ALREADY_SUBMITTED", "SUBMITTED")),
}  # fmt: skip


@pytest.mark.parametrize("how", UNCERTAIN)
def test_what_leaves_non_payment_uncertain(how: str) -> None:
    """Ruling 3: what our own adapter concludes from silence is not certain; the hold stays."""
    before, wait_ms, report = UNCERTAIN[how]
    case = given(*before).later(wait_ms).when(report).is_in("FAILED", "UNCERTAIN")
    case.is_in("FAILED", "UNCERTAIN", "RELEASE_DEFERRED")


def test_unknown_for_an_attempt_in_progress_changes_nothing() -> None:
    """Rulings 3 and 7: a timeout is not a failure; an enquiry may still change the result."""
    case = given(*d.SENT).timer().when(d.never_submitted())
    case.then("RailStatusReported").is_in("SENT", "OPEN")
    ended = [*d.approved("MARK_FAILED", failure_reason="RAIL"), d.mark_failed()]
    case.given(*ended).is_in("FAILED", "UNCERTAIN", "RELEASE_DEFERRED")
    case.when(d.never_submitted()).is_in("FAILED", "NOT_PAID", "RELEASE_REQUESTED")
    honest = given(*d.SENT).timer().given(d.never_submitted(), SETTLE)
    honest.is_in("SETTLED", "PAID")


# -- evidence that the rail had the attempt outweighs "unknown" ------------------------------------

EVIDENCE: dict[str, list[Any]] = {
    "RECEIVED": [*d.SENT, d.rail("RECEIVED")],
    "an acknowledgement": d.ACKNOWLEDGED,
    "a status that knows it": [*d.SENT, d.enquiry("STATUS", "PDNG")],
    "our record SUBMITTED": [*d.CANCELLED, d.rail("ALREADY_SUBMITTED", "SUBMITTED")],
    "a refused recall": [
        *d.CANCELLED, d.rail("ALREADY_SUBMITTED", "SUBMITTING"), d.rail("RECALL_REFUSED"),
    ],
    "a recall refused unasked": [*d.SENT, d.rail("RECALL_REFUSED")],
    "a resend called a duplicate": [*d.SENT, d.rail("REJECTED", "AM05")],
}  # fmt: skip
DENIALS: dict[str, Any] = {
    "unknown": d.never_submitted(),
    "WITHDRAWN": d.rail("WITHDRAWN"),
    "NOT_SUBMITTED": d.rail("NOT_SUBMITTED"),
}


def ended(before: list[Any]) -> Case:
    """Marked failed after the evidence, unless it had ended before."""
    case = given(*before)
    if case.payment.state in ("SENT", "ACKNOWLEDGED"):
        case.given(*d.approved("MARK_FAILED", failure_reason="RAIL"), d.mark_failed())
    return case.is_in("FAILED", "UNCERTAIN")


@pytest.mark.parametrize("denial", DENIALS)
@pytest.mark.parametrize("evidence", EVIDENCE)
def test_evidence_that_the_rail_had_the_attempt_outweighs_unknown(
    evidence: str, denial: str
) -> None:
    """Ruling 3: a conflict instead of certainty; the hold stays, and no retry pays again."""
    case = ended(EVIDENCE[evidence]).later(2 * d.MINUTE).when(DENIALS[denial])
    assert case.event(e.ReconciliationRequired).kind == "SUBMISSION_CONTRADICTED"
    case.is_in("FAILED", "CONTRADICTED", "RELEASE_DEFERRED")
    number = case.payment.approvals_made + 1
    case.given(*d.approved("RETRY", number)).when(d.retry()).refuses(r.CONFLICT_OPEN)


@pytest.mark.parametrize("denial", ["WITHDRAWN", "NOT_SUBMITTED"])
def test_a_denial_after_received_does_not_end_a_live_attempt(denial: str) -> None:
    """Ruling 3: the same while the attempt is in progress."""
    case = given(*d.SENT, d.rail("RECEIVED")).when(DENIALS[denial]).then(CONTRADICTED)
    case.is_in("SENT", "CONTRADICTED", "HELD")


def test_evidence_after_a_certain_denial_is_a_conflict() -> None:
    """The other order: certainly unknown first, then the rail says RECEIVED."""
    case = given(*d.MARKED).later(2 * d.MINUTE).given(d.never_submitted())
    case.when(d.rail("RECEIVED")).then(CONTRADICTED).is_in("FAILED", "CONTRADICTED")


def test_evidence_in_an_open_conflict_counts_until_a_verdict() -> None:
    """Ruling 3: ACCEPTED after the end is in a conflict; the "unknown" opens another."""
    case = given(*d.MARKED, d.rail("ACCEPTED")).is_in("FAILED", "CONTRADICTED")
    case.later(2 * d.MINUTE).when(d.never_submitted())
    assert case.event(e.ReconciliationRequired).kind == "SUBMISSION_CONTRADICTED"
    wrong = given(*d.MARKED, d.rail("ACCEPTED"), *d.judged("REPORT_WRONG", 2)).later(2 * d.MINUTE)
    wrong.when(d.never_submitted()).then(*CONFIRMED)


def test_the_same_reports_before_the_send_are_no_evidence() -> None:
    """Ruling 3: evidence is about submissions made."""
    case = given(d.create(), d.rail("RECEIVED"), d.policy(), d.held())
    case.given(*d.approved("MARK_FAILED", failure_reason="RAIL"), d.mark_failed())
    case.later(2 * d.MINUTE).when(d.never_submitted()).then(*CONFIRMED)
    again = given(d.create(), d.rail("RECEIVED"), d.policy(), d.held()).when(d.rail("RECEIVED"))
    again.then("RailStatusReported").given(
        *d.approved("MARK_FAILED", failure_reason="RAIL"), d.mark_failed()
    )
    again.later(2 * d.MINUTE).when(d.never_submitted())
    assert again.event(e.ReconciliationRequired).kind == "SUBMISSION_CONTRADICTED"


@pytest.mark.parametrize("code", ["SUBMITTING", "RECORD_INCOMPLETE", None])
@pytest.mark.parametrize("denial", DENIALS)
def test_already_submitted_with_code_submitting_is_no_evidence(
    denial: str, code: str | None
) -> None:
    """Ruling 3: NOT_SUBMITTED or "unknown" after it is no contradiction: certain."""
    case = given(*d.CANCELLED).when(d.rail("ALREADY_SUBMITTED", code)).then("RecallRequested")
    case.later(2 * d.MINUTE).when(DENIALS[denial]).then(
        "NonPaymentConfirmed", "FundsRequested:RELEASE", "CustomerNotificationRequested:cancelled"
    )


@pytest.mark.parametrize("code", ["SUBMITTING", "RECORD_INCOMPLETE", None])
def test_submitting_is_no_evidence_before_the_end_or_after_certainty(code: str | None) -> None:
    """Ruling 3: SUBMITTING alone contradicts no denial, in either order."""
    already = d.rail("ALREADY_SUBMITTED", code)
    live = given(*d.SENT).when(already).has_no_effect(r.NOT_ASKED)
    live.given(*d.approved("MARK_FAILED", failure_reason="RAIL"), d.mark_failed())
    live.later(2 * d.MINUTE).when(d.never_submitted()).then(*CONFIRMED)
    certain = given(*d.MARKED, d.rail("NOT_SUBMITTED")).when(already).has_no_effect(r.NOT_ASKED)
    certain.is_in("FAILED", "NOT_PAID")
    submitted = given(*d.MARKED, d.rail("NOT_SUBMITTED"))
    submitted.when(d.rail("ALREADY_SUBMITTED", "SUBMITTED")).then(CONTRADICTED)


# -- the worse reason counts -----------------------------------------------------------------------

WORSE: dict[str, tuple[list[Any], list[Any]]] = {
    "the operator's": (
        [*d.approved("MARK_FAILED", failure_reason="FRAUD"), d.mark_failed("FRAUD")],
        [d.enquiry("REJECTED", "AB08")],
    ),
    "the rail's": (
        [*d.approved("MARK_FAILED", failure_reason="RAIL"), d.mark_failed()],
        [d.enquiry("REJECTED", "AC01")],
    ),
    "the rail's, by a code that says nothing for certain": (
        [*d.approved("MARK_FAILED", failure_reason="RAIL"), d.mark_failed()],
        [d.rail("REJECTED", "ZZ99"), d.rail("NOT_SUBMITTED")],
    ),
    "the rail's, after certainty": (
        [*d.approved("MARK_FAILED", failure_reason="RAIL"), d.mark_failed()],
        [d.rail("NOT_SUBMITTED"), d.enquiry("REJECTED", "AC01")],
    ),
}


@pytest.mark.parametrize("whose", WORSE)
def test_the_worse_of_an_operators_and_the_rails_reason_bars_the_retry(whose: str) -> None:
    """Ruling 2: non-payment is certain, and the retry is still not safe."""
    end, reports = WORSE[whose]
    case = given(*d.SENT, *end, *reports).is_in("FAILED", "NOT_PAID")
    case.given(d.deposits("RELEASE", "RELEASED"), *d.approved("RETRY", 2))
    case.when(d.retry()).refuses(r.RETRY_UNSAFE)


def test_a_plain_retry_needs_certainty_for_every_earlier_attempt() -> None:
    """Ruling 2: att_002 is certainly unpaid, att_001 is not."""
    case = given(*d.MARKED, *d.approved("RETRY_UNCERTAIN", 2), d.retry(), d.policy(attempt=2))
    case.given(d.rail("REJECTED", "AB08", attempt=2)).is_in("FAILED", "UNCERTAIN")
    case.given(*d.approved("RETRY", 3)).when(d.retry(3)).refuses(r.RETRY_UNCERTAIN)
    assert "attempt 1" in case.sentence


def test_retry_uncertain_is_approved_by_a_person_only() -> None:
    """Ruling 3: Resolve's approval is referred to a person; the person's approval counts."""
    case = given(*d.MARKED, d.request_approval("RETRY_UNCERTAIN")).when(
        d.resolve_decides(approval="apr_002")
    )
    case.then("OperatorActionReferred").when(d.retry()).refuses(r.APPROVAL_PENDING)
    case.given(d.person_decides(approval="apr_002")).when(d.retry())
    case.then("PaymentAttemptCreated", "FundsHoldTransferred")


# -- sequences, as far as core alone shows them ----------------------------------------------------


def test_already_submitted_then_silence_then_a_settlement_is_a_conflict() -> None:
    """Cancel, ALREADY_SUBMITTED, silence, then settled: the hold stays."""
    case = given(*d.CANCELLED).when(d.rail("ALREADY_SUBMITTED", "RECORD_INCOMPLETE"))
    case.then("RecallRequested").instructs("RECALL").is_in(
        "FAILED", "UNCERTAIN", "RELEASE_DEFERRED"
    )
    case.timer().then("RailEnquiryRequested").instructs("ENQUIRE")
    case.when(SETTLE).then("ReconciliationRequired:SETTLED_AFTER_FAILED")
    case.is_in("FAILED", "CONTRADICTED", "RELEASE_DEFERRED")
    case.given(*d.judged("SETTLED_AFTER_ALL", 2)).is_in("FAILED", "PAID", "CAPTURE_REQUESTED")


def test_a_submission_paused_in_submitting_is_never_sent_again() -> None:
    """WITHDRAW overtakes, SUBMIT resumes, the rail says "unknown": certain, never resent."""
    case = given(*d.CANCELLED)
    before = len(case.history)
    case.given(d.rail("ALREADY_SUBMITTED", "SUBMITTING")).when(d.rail("NOT_SUBMITTED"))
    case.then("NonPaymentConfirmed", "FundsRequested", "CustomerNotificationRequested:cancelled")
    case.given(d.deposits("RELEASE", "RELEASED"))
    assert submissions(case, before) == []
    assert at_rest(case.payment)
    case.given(*d.approved("RETRY", 2)).when(d.retry()).refuses(r.RETRY_UNSAFE)


def test_a_connection_refused_before_anything_was_sent_ends_certain() -> None:
    """Cancel, then the rail says "unknown" after submitBefore: no conflict, hold released."""
    case = given(*d.CANCELLED, d.rail("ALREADY_SUBMITTED", "SUBMITTING"))
    case.later(PAST_SUBMIT_BEFORE_MS).when(d.never_submitted())
    case.then("NonPaymentConfirmed", "FundsRequested", "CustomerNotificationRequested:cancelled")
    case.instructs("RELEASE", "cancelled").given(d.deposits("RELEASE", "RELEASED"))
    assert (case.payment.conflicts_made, at_rest(case.payment)) == (0, True)


def test_every_send_has_one_instruction() -> None:
    """First law: one SUBMIT per PaymentSentToRail, under its own reference."""
    case = given(*d.SENT[:-1]).when(d.SENT[-1])
    made = [x for x in case.instructions if isinstance(x, RailInstruction)]
    assert [(x.kind, x.external_ref) for x in made] == [("SUBMIT", d.REF)]
    assert submissions(case) == [d.REF]
    changed = msgspec.structs.replace(d.SENT[-1], ledger_ref="again")
    case.when(changed).is_duplicate()
