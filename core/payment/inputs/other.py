"""The notification service's confirmation, the parking of a payment and its resumption."""

from __future__ import annotations

from typing import get_args

from core import closed_sets
from core.decider import Accepted, Context, Decision, Unmatched
from core.header import Actor
from core.payment import events as e
from core.payment.commands import NotificationResult, ResumeProcessing
from core.payment.draft import SYSTEM, decided_at, draft_of, duplicate_of
from core.payment.flow import finish
from core.payment.operator import checks
from core.payment.operator.gate import ADMINS, role_missing, too_late
from core.payment.state import Payment
from core.refusals import (
    FIELD_INVALID,
    NOT_FOUND,
    NOTIFICATION_ANSWERED,
    NOTIFICATION_UNKNOWN,
    SELF_APPROVAL,
    STATE_PRECONDITION,
    no_effect,
    refuse,
)
from core.values import same_person

ERROR_CHARACTERS_MAX = 300
_RESULTS = frozenset(get_args(closed_sets.MessageResult))


def notification_result(
    state: Payment | None, command: NotificationResult, context: Context
) -> Decision:
    """Record the confirmation in the timeline."""
    if command.result not in _RESULTS:
        return refuse(FIELD_INVALID, field="result", problem="is not DELIVERED or UNDELIVERABLE")
    if state is None:
        return Unmatched("a message's confirmation for an unknown payment")
    refusal = checks.optional_text("channel", command.channel, checks.ID_CHARACTERS_MAX)
    if refusal is not None:
        return refusal
    for known in state.notifications:
        if known.id == command.notification_id:
            if known.result is None:
                break
            if known.result == command.result:
                return duplicate_of(state, known.from_sequence)
            return no_effect(NOTIFICATION_ANSWERED)
    else:
        return no_effect(NOTIFICATION_UNKNOWN)

    actor = Actor(kind="customer", id=command.channel or "notifications")
    draft = draft_of(state, context, actor, command.header)
    draft.append(
        e.CustomerNotified(
            header=draft.header(len(state.attempts)),
            notification_id=known.id,
            kind=known.kind,
            result=command.result,
            channel=command.channel,
            delivered_at=command.delivered_at,
        )
    )
    return finish(draft)


def suspend(state: Payment, context: Context, error: str) -> Accepted:
    """Park the payment: `decide` raised for the context's input. `error` names the defect, without
    payment data.
    """
    draft = draft_of(state, context, SYSTEM, None)
    header = draft.header(len(state.attempts))
    draft.append(e.ProcessingSuspended(header=header, error=error[:ERROR_CHARACTERS_MAX]))
    after = draft.state
    after.deadline = after.deadline_kind = None
    return Accepted(events=draft.events, state=after, instructions=[])


def resume(state: Payment | None, command: ResumeProcessing, context: Context) -> Decision:
    """Resume a parked payment (dual control); outstanding work follows at once."""
    limit = context.rules.limits.free_text_characters_max
    refusal = (
        checks.operator(command.operator)
        or role_missing(command.operator, ADMINS)
        or checks.needed_text("requestedBy", command.requested_by, checks.ID_CHARACTERS_MAX)
        or checks.needed_text("reason", command.reason, limit)
    )
    if refusal is not None:
        return refusal
    if same_person(command.operator.operator_id, command.requested_by):
        return refuse(SELF_APPROVAL)
    if state is None:
        return refuse(NOT_FOUND)
    now = decided_at(state, context.now_ms)
    refusal = too_late(command.operator, now)
    if refusal is not None:
        return refusal
    if not state.parked:
        return refuse(STATE_PRECONDITION, expected="parked", actual="not parked")

    actor = Actor(kind="operator", id=command.operator.operator_id)
    draft = draft_of(state, context, actor, command.header, now)
    draft.append(
        e.ProcessingResumed(
            header=draft.header(len(state.attempts)),
            requested_by=command.requested_by,
            text=command.reason,
        )
    )
    return finish(draft)
