"""The events of a rail report, once `rail` has judged it."""

from __future__ import annotations

from typing import Final

from core.payment import events as e
from core.payment.commands import RailReport
from core.payment.draft import SYSTEM, Draft
from core.payment.evolve.lifecycle import NEVER_SUBMITTED
from core.payment.flow import enquire
from core.payment.funds import returned_cents
from core.payment.state import Attempt
from core.values import NO_CENTS, Cents, State, attempt_id, conflict_id, external_ref, format_amount
from core.words import ConflictKind, FailureReasonName

_ACKNOWLEDGED: Final = State.ACKNOWLEDGED.value
_SETTLED: Final = State.SETTLED.value
_FAILED: Final = State.FAILED.value
_EXPIRED: Final = State.EXPIRED.value


def acknowledge(draft: Draft, attempt: Attempt, report: RailReport) -> None:
    _acknowledged(draft, attempt, report, implied=False)


def settle(draft: Draft, attempt: Attempt, report: RailReport) -> None:
    """Before its acknowledgement, a settlement implies one, in the same decision (ruling 4)."""
    if attempt.state == State.SENT:
        _acknowledged(draft, attempt, report, implied=True)
    state = draft.state
    draft.append(
        e.PaymentSettled(
            header=draft.header(attempt.number, _SETTLED),
            attempt_id=attempt_id(attempt.number),
            external_ref=external_ref(draft.payment_id, attempt.number),
            amount=state.amount if report.amount is None else report.amount,
            currency=report.currency or state.currency,
            rail_message_id=report.rail_message_id,
            transaction_id=report.transaction_id,
            code=report.code,
            via_enquiry=report.via_enquiry,
            assigned_from=report.assigned_from,
        )
    )


def fail(draft: Draft, attempt: Attempt, report: RailReport) -> None:
    """The rail's rejection, by its code's row, or our adapter's report that nothing was
    submitted.
    """
    if report.kind in NEVER_SUBMITTED:
        reason: FailureReasonName = "TIMEOUT"
        retry_safe, certain, table = True, True, None
    else:
        meaning = draft.rules.meaning(report.adapter, report.code)
        reason, retry_safe, table = meaning.reason, meaning.retry_safe, meaning.table
        certain = meaning.non_payment_certain or report.via_enquiry
    draft.append(
        e.PaymentFailed(
            header=draft.header(attempt.number, _FAILED, reason=reason),
            attempt_id=attempt_id(attempt.number),
            source="rail",
            retry_safe=retry_safe,
            non_payment_certain=certain,
            late_failure=attempt.state == State.ACKNOWLEDGED,
            details=report.details,
            code=report.code,
            code_table=table,
            rail_message_id=report.rail_message_id,
            via_enquiry=report.via_enquiry,
            assigned_from=report.assigned_from,
            report_kind=report.kind,
            submitted_at=None if report.via_enquiry else report.submitted_at,
            answered_at=None if report.via_enquiry else report.answered_at,
        )
    )


def expire(draft: Draft, attempt: Attempt, report: RailReport) -> None:
    meaning = draft.rules.meaning(report.adapter, report.code)
    draft.append(
        e.PaymentExpired(
            header=draft.header(attempt.number, _EXPIRED, reason=_EXPIRED),
            attempt_id=attempt_id(attempt.number),
            source="rail",
            non_payment_certain=meaning.non_payment_certain or report.via_enquiry,
            text=report.details,
            code=report.code,
            code_table=meaning.table,
            rail_message_id=report.rail_message_id,
            via_enquiry=report.via_enquiry,
            assigned_from=report.assigned_from,
        )
    )


def confirm(draft: Draft, attempt: Attempt, report: RailReport) -> None:
    """Non-payment is now certain; the rail's reason may forbid a retry (rulings 2 and 3)."""
    retry_safe, table = True, None
    if report.kind not in NEVER_SUBMITTED:
        meaning = draft.rules.meaning(report.adapter, report.code)
        retry_safe, table = meaning.retry_safe, meaning.table
    _confirmed(draft, attempt, report, retry_safe=retry_safe, table=table)


def recall(draft: Draft, attempt: Attempt, report: RailReport) -> None:
    """The withdrawal came too late, or may have: `code` says on what evidence (ruling 8)."""
    draft.append(
        e.RecallRequested(
            header=draft.header(attempt.number, actor=SYSTEM),
            external_ref=external_ref(draft.payment_id, attempt.number),
            code=report.code,
        )
    )


def recall_answer(draft: Draft, attempt: Attempt, report: RailReport) -> None:
    """An accepted recall makes non-payment certain; a refused one leaves it to enquiries and
    people.
    """
    accepted = report.kind == "RECALL_ACCEPTED"
    draft.append(
        e.RecallAnswered(
            header=draft.header(attempt.number),
            external_ref=external_ref(draft.payment_id, attempt.number),
            accepted=accepted,
            code=report.code,
            rail_message_id=report.rail_message_id,
            assigned_from=report.assigned_from,
        )
    )
    if accepted:
        _confirmed(draft, attempt, report, retry_safe=True, table=None)


def record_return(draft: Draft, attempt: Attempt, report: RailReport) -> None:
    """A return after settlement: recorded; the state does not change (ruling 13)."""
    amount = report.amount or NO_CENTS  # judged before: a return without an amount is a conflict
    if report.via_enquiry or report.rail_message_id is None:
        total = amount
    else:
        total = Cents(attempt.returns_sum + amount)
    draft.append(
        e.PaymentReturned(
            header=draft.header(attempt.number),
            external_ref=external_ref(draft.payment_id, attempt.number),
            amount=amount,
            currency=report.currency or draft.state.currency,
            code=report.code,
            rail_message_id=report.rail_message_id,
            assigned_from=report.assigned_from,
            via_enquiry=report.via_enquiry,
            total=max(total, returned_cents(attempt)),
        )
    )


def note(
    draft: Draft, attempt: Attempt, report: RailReport, *, rail_has_it: bool, retry_safe: bool
) -> None:
    """Record it only; the first rejection of our own resend starts an enquiry at once (ruling
    11).
    """
    draft.append(
        e.RailStatusReported(
            header=draft.header(attempt.number),
            external_ref=external_ref(draft.payment_id, attempt.number),
            kind=report.kind,
            adapter=report.adapter,
            code=report.code,
            amount=report.amount,
            currency=report.currency,
            rail_message_id=report.rail_message_id,
            transaction_id=report.transaction_id,
            details=report.details,
            submitted_at=report.submitted_at,
            answered_at=report.answered_at,
            technical_result=report.technical_result,
            via_enquiry=report.via_enquiry,
            adapter_stopped=report.adapter_stopped,
            assigned_from=report.assigned_from,
            rail_has_it=rail_has_it,
            retry_safe=retry_safe,
        )
    )
    if report.kind == "REJECTED" and retry_safe and not attempt.resend_rejected:
        enquire(draft, draft.state.attempts[attempt.number - 1], "resend rejected")


def conflict(draft: Draft, attempt: Attempt, report: RailReport, kind: ConflictKind) -> None:
    """Open a conflict, which blocks the payment (ruling 5)."""
    state = draft.state
    detail = f"{report.kind}"
    if report.code is not None:
        detail += f" {report.code}"
    if report.amount is not None:
        detail += f" of {format_amount(report.amount, report.currency or state.currency)}"
    draft.append(
        e.ReconciliationRequired(
            header=draft.header(attempt.number),
            conflict_id=conflict_id(state.conflicts_made + 1),
            kind=kind,
            external_ref=external_ref(draft.payment_id, attempt.number),
            detail=f"{detail} for {attempt_id(attempt.number)}, which is {attempt.state}",
            code=report.code,
            amount=report.amount,
            currency=report.currency,
            rail_message_id=report.rail_message_id,
            assigned_from=report.assigned_from,
            report_kind=report.kind,
            submitted_at=None if report.via_enquiry else report.submitted_at,
            answered_at=None if report.via_enquiry else report.answered_at,
        )
    )


def _acknowledged(draft: Draft, attempt: Attempt, report: RailReport, *, implied: bool) -> None:
    draft.append(
        e.PaymentAcknowledged(
            header=draft.header(attempt.number, _ACKNOWLEDGED),
            attempt_id=attempt_id(attempt.number),
            external_ref=external_ref(draft.payment_id, attempt.number),
            implied=implied,
            rail_message_id=report.rail_message_id,
            transaction_id=report.transaction_id,
            code=report.code,
            via_enquiry=report.via_enquiry,
            assigned_from=report.assigned_from,
        )
    )


def _confirmed(
    draft: Draft, attempt: Attempt, report: RailReport, *, retry_safe: bool, table: str | None
) -> None:
    draft.append(
        e.NonPaymentConfirmed(
            header=draft.header(attempt.number),
            attempt_id=attempt_id(attempt.number),
            external_ref=external_ref(draft.payment_id, attempt.number),
            by=report.kind,
            code=report.code,
            code_table=table,
            rail_message_id=report.rail_message_id,
            via_enquiry=report.via_enquiry,
            retry_safe=retry_safe,
            assigned_from=report.assigned_from,
            submitted_at=None if report.via_enquiry else report.submitted_at,
            answered_at=None if report.via_enquiry else report.answered_at,
        )
    )
