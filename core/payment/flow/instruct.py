"""Instructions for outside systems, derived from a decision's events. The state does not contain
them, and a replay emits none.
"""

from __future__ import annotations

from typing import Final

from core.header import EventHeader, InstructionHeader
from core.payment import events as e
from core.payment import instructions as i
from core.payment.state import Payment, money_outcome
from core.values import Action, ApprovalId, external_ref, policy_ref
from core.words import PolicyPhase, RailAct

DUPLICATE_RISK: Final = (
    "RISK OF PAYING TWICE: it is not certain that the earlier attempt was not paid. "
)


def instructions(
    before: Payment | None, events: list[e.Event], after: Payment
) -> list[i.Instruction]:
    """The instructions that follow from `events`, in their order."""
    work: list[i.Instruction] = []
    for event in events:
        kind = type(event)
        if kind is e.FundsRequested:
            work.append(_deposits(after, event))  # type: ignore[arg-type]  # narrowed by `kind`
        elif kind in _OTHERS:
            _other(work, after, event)
    return work


_OTHERS: Final = frozenset(
    {
        e.PaymentIntentCreated,
        e.PaymentAttemptCreated,
        e.PaymentSentToRail,
        e.PaymentFailed,
        e.RailEnquiryRequested,
        e.RecallRequested,
        e.OperatorActionRequested,
        e.CustomerNotificationRequested,
    }
)


def _other(work: list[i.Instruction], after: Payment, event: e.Event) -> None:
    if isinstance(event, e.PaymentIntentCreated):
        work.append(_policy_check(after, event.header, "CREATE"))
    elif isinstance(event, e.PaymentSentToRail):
        work.append(_rail(after, event.header, "SUBMIT", 1))
    elif isinstance(event, e.PaymentAttemptCreated):
        if event.header.attempt > 1:
            work.append(_policy_check(after, event.header, "RETRY"))
    elif isinstance(event, e.PaymentFailed):
        if after.attempts[event.header.attempt - 1].withdraw:
            work.append(_rail(after, event.header, "WITHDRAW", 1))
    elif isinstance(event, e.RailEnquiryRequested):
        work.append(_rail(after, event.header, "ENQUIRE", event.number))
    elif isinstance(event, e.RecallRequested):
        work.append(_rail(after, event.header, "RECALL", 1))
    elif isinstance(event, e.OperatorActionRequested):
        work.append(_approval(after, event))
    elif isinstance(event, e.CustomerNotificationRequested):
        work.append(
            i.CustomerNotification(
                header=_header(event.header),
                notification_id=event.notification_id,
                kind=event.kind,
                state=after.state,
                money_outcome=money_outcome(after),
                amount=after.amount,
                currency=after.currency,
                customer_id=after.customer_id,
            )
        )


def _header(header: EventHeader) -> InstructionHeader:
    return InstructionHeader(
        payment_intent_id=header.payment_intent_id,
        sequence=header.sequence,
        decided_at=header.decided_at,
        traceparent=header.traceparent,
    )


def _policy_check(after: Payment, header: EventHeader, phase: PolicyPhase) -> i.PolicyCheckRequest:
    return i.PolicyCheckRequest(
        header=_header(header),
        policy_ref=policy_ref(after.payment_intent_id, header.attempt),
        phase=phase,
        attempt=header.attempt,
        source=after.source,
        amount=after.amount,
        currency=after.currency,
        service=after.service,
        parties=after.parties,
    )


def _rail(after: Payment, header: EventHeader, kind: RailAct, number: int) -> i.RailInstruction:
    submit = kind == "SUBMIT"
    return i.RailInstruction(
        header=_header(header),
        kind=kind,
        external_ref=external_ref(after.payment_intent_id, header.attempt),
        attempt=header.attempt,
        amount=after.amount,
        currency=after.currency,
        service=after.service,
        end_to_end_id=after.end_to_end_id,
        submit_before=after.attempts[header.attempt - 1].submit_before,
        number=number,
        parties=after.parties if submit else None,
        uetr=after.uetr,
    )


def _deposits(after: Payment, event: e.FundsRequested) -> i.DepositsRequest:
    header = event.header
    return i.DepositsRequest(
        header=_header(header),
        operation=event.operation,
        funds_ref=event.funds_ref,
        attempt=header.attempt,
        amount=event.amount,
        currency=event.currency,
        hold_ref=None if event.hold_funds_ref else after.attempts[header.attempt - 1].hold_ref,
        parties=after.parties if event.operation == "HOLD" else None,
        repeat=event.repeat,
        not_after=event.not_after,
        hold_funds_ref=event.hold_funds_ref,
    )


def _approval(after: Payment, event: e.OperatorActionRequested) -> i.ApprovalRequest:
    header = event.header
    risk = DUPLICATE_RISK if event.action == Action.RETRY_UNCERTAIN else ""
    return i.ApprovalRequest(
        header=_header(header),
        approval_id=header.approval_id or ApprovalId(""),
        action=event.action,
        phase=event.phase,
        attempt=header.attempt,
        requester=event.requester,
        roles=event.roles,
        reason=risk + event.text,
        state=after.state,
        amount=event.amount or after.amount,
        currency=after.currency,
        failure_reason=event.failure_reason,
        conflict_id=event.conflict_id,
        verdict=event.verdict,
        expires_at=event.expires_at,
    )
