"""Reports of the rail and its adapter: what they mean for the attempt they name. `rail_effects`
writes it down.
"""

from __future__ import annotations

from typing import Final

from core.decider import Context, Decision, Duplicate, Refusal, Unmatched
from core.header import Actor
from core.payment import found, rail_effects
from core.payment.commands import RailReport
from core.payment.draft import Draft, decided_at
from core.payment.evolve_beside import note_kind
from core.payment.finish import finish
from core.payment.remember import conflict_key, content_of
from core.payment.report_table import (
    ACKNOWLEDGE,
    CONFIRM,
    CONFLICT,
    DUPLICATE,
    KINDS,
    NO_EFFECT,
    NOTE,
    RECALL,
    RECALL_ANSWER,
    REPORT_TABLE,
    RETURN,
    SETTLE,
)
from core.payment.state import ENDED, UNSENT, Attempt, Payment, range_of
from core.refusals import (
    CHANGES_NOTHING,
    FIELD_INVALID,
    FIELD_MISSING,
    ID_MISMATCH,
    NOT_ASKED,
    NOT_SENT,
    NOTES_FULL,
    RESEND_REJECTED,
    Quiet,
    no_effect,
    refuse,
)
from core.rules import Rules
from core.values import State, attempt_of_external_ref, external_ref

_KINDS: Final = frozenset(KINDS)
_DENIALS: Final = frozenset({"WITHDRAWN", "NOT_SUBMITTED"})
_PAID: Final = frozenset({"PAID", "RETURNED"})


def rail_report(state: Payment | None, command: RailReport, context: Context) -> Decision:
    """Apply, DUPLICATE, NO_EFFECT or a conflict; never a refusal for the state (domain:
    ruling 5).
    """
    refusal = _shape(command)
    if refusal is not None:
        return refusal
    if state is None:
        return Unmatched("a rail report for an unknown payment")
    number = attempt_of_external_ref(command.external_ref)
    if number is None or command.external_ref.upper() != external_ref(
        state.payment_intent_id, number
    ):
        return refuse(ID_MISMATCH, detail="externalRef belongs to another payment")
    if number > len(state.attempts) and command.external_ref.upper() in context.found:
        return found.report_of_unmade(state, number, command, context)
    if not 0 < number <= len(state.attempts):
        return Unmatched("a rail report for an attempt that was never made")
    attempt = state.attempts[number - 1]
    now = decided_at(state, context.now_ms)
    rules = context.rules

    conclusive = says_never_submitted(attempt, command, rules, now) or answers_enquiry(
        attempt, command, rules
    )
    if not conclusive:
        known = _done_before(state, attempt, command)
        if known is not None:
            return known
    word, why = _effect(state, attempt, command, rules, conclusive)
    if word == NO_EFFECT:
        return no_effect(why)  # type: ignore[arg-type]  # NO_EFFECT comes with its Quiet
    if word == DUPLICATE:
        return Duplicate(*range_of(state, _remembered_from(attempt, command.kind)))

    draft = Draft(
        state,
        context,
        state.payment_intent_id,
        Actor("rail", command.adapter),
        command.header.traceparent,
        now,
    )
    match word:
        case "ACKNOWLEDGE":
            rail_effects.acknowledge(draft, attempt, command)
        case "SETTLE":
            rail_effects.settle(draft, attempt, command)
        case "FAIL":
            rail_effects.fail(draft, attempt, command)
        case "EXPIRE":
            rail_effects.expire(draft, attempt, command)
        case "CONFIRM":
            rail_effects.confirm(draft, attempt, command)
        case "RECALL":
            rail_effects.recall(draft, attempt)
        case "RECALL_ANSWER":
            rail_effects.recall_answer(draft, attempt, command)
        case "RETURN":
            rail_effects.give_back(draft, attempt, command)
        case "NOTE":
            rail_effects.note(draft, attempt, command)
        case _:
            rail_effects.conflict(draft, attempt, command, str(why))
    return finish(draft)


def says_never_submitted(attempt: Attempt, command: RailReport, rules: Rules, now: int) -> bool:
    """An enquiry's "unknown" after submitBefore, from an adapter whose own record says it has
    stopped (ruling 3).
    """
    return (
        command.kind == "STATUS"
        and command.via_enquiry
        and command.adapter_stopped
        and command.code in rules.status_unknown_codes
        and attempt.sent_at > 0
        and not attempt.acknowledged_at
        and not attempt.certain
        and attempt.outcome is None
        and now > attempt.submit_before
        and (command.answered_at is None or command.answered_at > attempt.submit_before)
    )


def answers_enquiry(attempt: Attempt, command: RailReport, rules: Rules) -> bool:
    """The rail's own denial, asked for: it makes an end certain that was not, heard before
    or not.
    """
    return (
        command.via_enquiry
        and command.kind in ("REJECTED", "EXPIRED")
        and command.code not in rules.resend_rejected_codes
        and attempt.state in ENDED
        and attempt.sent_at > 0
        and not attempt.certain
        and attempt.outcome is None
        and not _ends_otherwise(attempt, command)
    )


def _done_before(state: Payment, attempt: Attempt, command: RailReport) -> Duplicate | None:
    """Whether this report, or one with the same content, was heard before (domain: identity)."""
    kind = command.kind
    content = content_of(state, command.code, command.amount, command.currency)
    message_id = command.rail_message_id
    for conflict in state.conflicts:
        if (
            conflict.attempt == attempt.number
            and conflict.report_kind == kind
            and conflict.content == content
            and (
                conflict.message_id == message_id
                or (
                    conflict.kind != "SAME_MESSAGE_OTHER_CONTENT"
                    and (conflict.verdict is None or attempt.ended_at)
                )
            )
        ):
            return Duplicate(*range_of(state, conflict.from_sequence))
    if state.conflicts_heard:
        heard = state.conflicts_heard.get(conflict_key(attempt.number, kind, content))
        if heard is not None:
            return Duplicate(*range_of(state, heard))
    if _other_amount(state, attempt, command):
        return None
    noted = note_kind(kind)
    for known in attempt.reports:
        same = known.content is None or known.content == content
        if (known.kind == kind or known.kind == noted) and same:
            if message_id is not None and _same_id_elsewhere(state, attempt, command, content):
                return None
            return Duplicate(*range_of(state, known.from_sequence))
    return None


def _same_id_elsewhere(state: Payment, attempt: Attempt, command: RailReport, content: str) -> bool:
    """Whether the rail's message id stands for another kind or content already."""
    message_id = command.rail_message_id
    kind = command.kind
    for known in attempt.reports:
        if known.message_id == message_id and known.message_id is not None:
            other = known.kind != kind and known.kind != note_kind(kind)
            if other or (known.content is not None and known.content != content):
                return True
    return any(
        c.message_id == message_id
        and c.attempt == attempt.number
        and (c.report_kind != kind or c.content != content)
        for c in state.conflicts
    )


def _effect(
    state: Payment, attempt: Attempt, command: RailReport, rules: Rules, conclusive: bool
) -> tuple[str, str | Quiet]:
    """The word of the table, and why: a conflict's kind, or the rule under which nothing
    happens.
    """
    kind = command.kind
    content = content_of(state, command.code, command.amount, command.currency)
    named = command.rail_message_id is not None and not conclusive
    if named and _same_id_elsewhere(state, attempt, command, content):
        return CONFLICT, "SAME_MESSAGE_OTHER_CONTENT"
    if _other_amount(state, attempt, command):
        return CONFLICT, "AMOUNT_DIFFERS"
    if conclusive:
        return CONFIRM, ""
    if kind == "REJECTED" and command.code in rules.resend_rejected_codes:
        if attempt.state in UNSENT:
            return NO_EFFECT, NOT_SENT
        known = attempt.certain or attempt.outcome is not None
        return (NO_EFFECT, RESEND_REJECTED) if known else (NOTE, "")
    word = REPORT_TABLE[kind, attempt.state]
    if word == CONFLICT:
        return _conflict_of(state, attempt, kind)
    if attempt.state in ENDED:
        return _after_end(attempt, command, rules, word)
    if word == NOTE and state.notes >= rules.limits.notes_max:
        return NO_EFFECT, NOTES_FULL
    if word == SETTLE and _paid_elsewhere(state, attempt):
        return CONFLICT, "DOUBLE_SETTLEMENT"
    if word in (SETTLE, ACKNOWLEDGE) and attempt.certain:
        return CONFLICT, "HEARD_AFTER_NOT_PAID"
    if word == NO_EFFECT:
        return NO_EFFECT, NOT_SENT if attempt.state in UNSENT else NOT_ASKED
    return word, ""


def _after_end(
    attempt: Attempt, command: RailReport, rules: Rules, word: str
) -> tuple[str, str | Quiet]:
    """What an attempt that has failed or expired still learns."""
    kind = command.kind
    heard = {known.kind for known in attempt.reports}
    if word == CONFIRM:
        if attempt.outcome in _PAID:
            return CONFLICT, "REJECTED_AFTER_SETTLED"
        if _ends_otherwise(attempt, command):
            return CONFLICT, "CONTRADICTORY_END"
        if kind in _DENIALS and "ALREADY_SUBMITTED" in heard:
            return CONFLICT, "SUBMISSION_CONTRADICTED"
        return (CONFIRM, "") if _confirms(attempt, command, rules) else (NO_EFFECT, CHANGES_NOTHING)
    if word == RECALL:
        if heard & _DENIALS:
            return CONFLICT, "SUBMISSION_CONTRADICTED"
        if not attempt.withdraw or attempt.certain or attempt.outcome is not None:
            return NO_EFFECT, NOT_ASKED
        return RECALL, ""
    if word == RECALL_ANSWER:
        if kind == "RECALL_ACCEPTED" and attempt.outcome in _PAID:
            return CONFLICT, "REJECTED_AFTER_SETTLED"
        if kind == "RECALL_REFUSED" and "RECALL_ACCEPTED" in heard:
            return CONFLICT, "RECALL_CONTRADICTED"
        if attempt.certain or attempt.outcome is not None:
            return NO_EFFECT, CHANGES_NOTHING
        if kind == "RECALL_REFUSED" and attempt.recall != "REQUESTED":
            return NO_EFFECT, NOT_ASKED
    return word, ""


def _ends_otherwise(attempt: Attempt, command: RailReport) -> bool:
    """Whether the rail, which ended the attempt one way, now ends it the other way.

    An enquiry's rejection may confirm an expiry, not the other way round: of two orders of such
    reports at most one is without a conflict, so that no order decides silently.
    """
    expires = command.kind == "EXPIRED"
    if attempt.ended_by != "rail" or expires == (attempt.state == State.EXPIRED):
        return False
    return expires or attempt.ended_by_enquiry or not command.via_enquiry


def _confirms(attempt: Attempt, command: RailReport, rules: Rules) -> bool:
    """Whether a denial makes non-payment certain, or forbids a retry that the record would
    allow.
    """
    if command.kind in _DENIALS:
        return not attempt.certain
    meaning = rules.meaning(command.adapter, command.code)
    if not (meaning.non_payment_certain or command.via_enquiry):
        return False
    if not attempt.certain:
        return True
    return attempt.ended_by != "rail" and attempt.retry_safe and not meaning.retry_safe


def _conflict_of(state: Payment, attempt: Attempt, kind: str) -> tuple[str, str | Quiet]:
    """The kind of a contradiction that the table names; some turn out to agree with a verdict or
    the record.
    """
    if attempt.state in UNSENT:
        return CONFLICT, "REPORT_BEFORE_SEND"
    if attempt.state in ENDED:
        if kind == "ACCEPTED" and attempt.acknowledged_at:
            return DUPLICATE, ""
        if attempt.outcome == "PAID" and kind == "RETURNED":
            return RETURN, ""
        if attempt.outcome in _PAID and kind in ("ACCEPTED", "SETTLED"):
            return NO_EFFECT, CHANGES_NOTHING
        if kind == "ACCEPTED":
            return CONFLICT, f"ACKNOWLEDGED_AFTER_{attempt.state}"
        if kind == "SETTLED":
            twice = _paid_elsewhere(state, attempt)
            return CONFLICT, "DOUBLE_SETTLEMENT" if twice else f"SETTLED_AFTER_{attempt.state}"
        return CONFLICT, "RETURNED_BEFORE_SETTLED"
    if kind == "RETURNED":
        return CONFLICT, "RETURNED_BEFORE_SETTLED"
    if attempt.state == State.SETTLED:
        return CONFLICT, "REJECTED_AFTER_SETTLED"
    if kind == "RECALL_ACCEPTED":
        return CONFLICT, "RECALLED_UNASKED"
    return CONFLICT, "NOT_SUBMITTED_AFTER_ACKNOWLEDGED"


def _paid_elsewhere(state: Payment, attempt: Attempt) -> bool:
    return any(a.outcome in _PAID and a.number != attempt.number for a in state.attempts)


def _other_amount(state: Payment, attempt: Attempt, command: RailReport) -> bool:
    if command.currency is not None and command.currency != state.currency:
        return True
    expected = attempt.settled or state.amount
    return command.amount is not None and command.amount != expected


def _remembered_from(attempt: Attempt, kind: str) -> int:
    for known in attempt.reports:
        if known.kind == kind:
            return known.from_sequence
    return 1


def _shape(command: RailReport) -> Refusal | None:
    if command.kind not in _KINDS:
        return refuse(FIELD_INVALID, field="kind", problem="is no kind of report")
    if attempt_of_external_ref(command.external_ref) is None:
        return refuse(FIELD_INVALID, field="externalRef", problem="is none of ours")
    if command.amount is not None and command.amount <= 0:
        return refuse(FIELD_INVALID, field="amount", problem="is not above zero")
    if not command.adapter:
        return refuse(FIELD_MISSING, field="adapter")
    return None
