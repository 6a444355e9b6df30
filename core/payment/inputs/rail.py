"""Reports of the rail and its adapter: what they mean for the attempt they name. `rail_effects`
appends the events.
"""

from __future__ import annotations

from typing import Final, Literal, assert_never

from core.decider import Context, Decision, Refusal, Unmatched
from core.header import Actor
from core.payment.commands import RailReport
from core.payment.draft import decided_at, draft_of, duplicate_of
from core.payment.flow import finish
from core.payment.funds import returned_cents
from core.payment.inputs import rail_effects, recovered_submissions
from core.payment.inputs.rail_known import (
    CLEARED,
    PAID_OUTCOMES,
    known_return,
    may_have_been_submitted,
    other_money,
    rail_had_it,
    rail_has_it,
    remembered_from,
    same_conflict,
    same_id_elsewhere,
    same_report,
)
from core.payment.keys import content_of, digest
from core.payment.report_table import (
    ACKNOWLEDGED_AFTER,
    CURRENCY_DIFFERS,
    KINDS,
    REPORT_TABLE,
    RETURN_AMOUNT_MISSING,
    RETURN_EXCEEDS_SETTLED,
    RETURNS_TOO_MANY,
    SETTLED_AFTER,
    Effect,
)
from core.payment.state import (
    CONFLICTS_OPEN_MAX,
    ENDED,
    RETURNS_MAX,
    UNSENT,
    Attempt,
    Payment,
    open_conflicts,
)
from core.refusals import (
    CHANGES_NOTHING,
    CONFLICTS_FULL,
    FIELD_INVALID,
    FIELD_MISSING,
    ID_MISMATCH,
    NOT_ASKED,
    NOT_SENT,
    NOTES_FULL,
    RESEND_REJECTED,
    NoEffectRule,
    no_effect,
    refuse,
)
from core.rules import Rules
from core.values import State, attempt_of_external_ref, external_ref
from core.words import ConflictKind, ReportKind

_KINDS: Final = frozenset(KINDS)
_DENIALS: Final = frozenset({"WITHDRAWN", "NOT_SUBMITTED"})
SUBMISSION_CONTRADICTED: Final = "SUBMISSION_CONTRADICTED"


# A report's effect and why: the kind of its conflict, or the rule under which it has no effect.
_Answer = tuple[Effect, ConflictKind | NoEffectRule | Literal[""]]


def rail_report(state: Payment | None, command: RailReport, context: Context) -> Decision:
    """Apply, DUPLICATE, NO_EFFECT or a conflict; never a refusal because of the state (ruling
    5).
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
    if (
        number > len(state.attempts)
        and command.external_ref.upper() in context.recovered_submissions
    ):
        return recovered_submissions.report_for_missing_attempt(state, number, command, context)
    if not 0 < number <= len(state.attempts):
        return Unmatched("a rail report for an attempt that was never made")
    attempt = state.attempts[number - 1]
    now = decided_at(state, context.now_ms)
    rules = context.rules
    known = same_conflict(state, attempt, command)
    if known is not None:
        return duplicate_of(state, known)
    if command.kind == "RETURNED":
        word, why = _return_effect(state, attempt, command)
    else:
        conclusive = answers_enquiry(attempt, command, rules) or says_never_submitted(
            attempt, command, rules, now
        )
        if not conclusive:
            known = same_report(state, attempt, command, rules)
            if known is not None:
                return duplicate_of(state, known)
        word, why = _effect(state, attempt, command, rules, conclusive)
    if word == "NO_EFFECT":
        return no_effect(why)  # type: ignore[arg-type]  # NO_EFFECT comes with its NoEffectRule
    if word == "DUPLICATE":
        return duplicate_of(state, remembered_from(attempt, command.kind))
    if word == "CONFLICT" and open_conflicts(state) >= CONFLICTS_OPEN_MAX:
        return no_effect(CONFLICTS_FULL)

    draft = draft_of(state, context, Actor(kind="rail", id=command.adapter), command.header, now)
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
            rail_effects.recall(draft, attempt, command)
        case "RECALL_ANSWER":
            rail_effects.recall_answer(draft, attempt, command)
        case "RETURN":
            rail_effects.record_return(draft, attempt, command)
        case "NOTE":
            has_it = rail_has_it(attempt, command, rules)
            safe = not _worse_reason(attempt, command, rules)
            rail_effects.note(draft, attempt, command, rail_has_it=has_it, retry_safe=safe)
        case "CONFLICT":
            rail_effects.conflict(draft, attempt, command, why)  # type: ignore[arg-type]  # its kind
        case _:
            assert_never(word)
    return finish(draft)


def says_never_submitted(attempt: Attempt, command: RailReport, rules: Rules, now: int) -> bool:
    """An enquiry's "unknown" after submitBefore, from an adapter whose own record says it has
    stopped (ruling 3). For an attempt in progress it is only noted, because the status may still
    change.
    """
    return (
        command.kind == "STATUS"
        and command.via_enquiry
        and command.adapter_stopped
        and command.code in rules.status_unknown_codes
        and attempt.state in ENDED
        and may_have_been_submitted(attempt)
        and not attempt.certain
        and attempt.outcome is None
        and now > attempt.submit_before
        and (command.answered_at is None or command.answered_at > attempt.submit_before)
    )


def answers_enquiry(attempt: Attempt, command: RailReport, rules: Rules) -> bool:
    """The rail's own denial, as the answer to an enquiry: it makes an uncertain end certain, even
    if it was reported before.
    """
    return (
        command.via_enquiry
        and command.kind in ("REJECTED", "EXPIRED")
        and command.code not in rules.resend_rejected_codes
        and attempt.state in ENDED
        and may_have_been_submitted(attempt)
        and not attempt.certain
        and attempt.outcome is None
        and not _ends_otherwise(attempt, command)
    )


def _effect(
    state: Payment, attempt: Attempt, command: RailReport, rules: Rules, conclusive: bool
) -> _Answer:
    """The table's entry, and why: a conflict's kind, or the rule under which it has no effect."""
    kind = command.kind
    differs = other_money(state, attempt, command)
    if differs is not None:
        return "CONFLICT", differs
    content = content_of(state, command.code, command.amount, command.currency)
    if same_id_elsewhere(state, attempt, command, content):
        return "CONFLICT", "SAME_MESSAGE_OTHER_CONTENT"
    if conclusive:
        contradicts = kind == "STATUS" and rail_had_it(state, attempt)
        return ("CONFLICT", SUBMISSION_CONTRADICTED) if contradicts else ("CONFIRM", "")
    if attempt.never_submitted and attempt.certain and rail_has_it(attempt, command, rules):
        return "CONFLICT", SUBMISSION_CONTRADICTED
    if kind == "REJECTED" and command.code in rules.resend_rejected_codes:
        return _resend_rejected(state, attempt, command, rules)
    word = REPORT_TABLE[kind, attempt.state]
    if word == "CONFLICT":
        return _conflict_of(state, attempt, kind)
    if word == "NOTE":
        return _note(state, attempt, command, rules)
    if word == "DUPLICATE" and attempt.outcome == "NOT_PAID" and kind in CLEARED:
        return "CONFLICT", "REPORTED_AFTER_NOT_PAID"
    if word == "FAIL" and kind in _DENIALS and rail_had_it(state, attempt):
        return "CONFLICT", SUBMISSION_CONTRADICTED
    if attempt.state in ENDED:
        return _after_end(state, attempt, command, rules, word)
    if word == "SETTLE" and _paid_elsewhere(state, attempt):
        return "CONFLICT", "DOUBLE_SETTLEMENT"
    if word == "NO_EFFECT":
        if rail_has_it(attempt, command, rules) and not attempt.rail_had_it:
            return _note(state, attempt, command, rules)
        return "NO_EFFECT", NOT_SENT if attempt.state in UNSENT else NOT_ASKED
    return word, ""


def _note(state: Payment, attempt: Attempt, command: RailReport, rules: Rules) -> _Answer:
    """A note. Beyond the limit only one that a retry's safety rests on, and an attempt has at most
    two of these: the first evidence that the rail has it, the first reason that forbids a retry.
    """
    if state.notes < rules.limits.notes_max or _worse_reason(attempt, command, rules):
        return "NOTE", ""
    is_first_evidence = not attempt.rail_had_it and rail_has_it(attempt, command, rules)
    return ("NOTE", "") if is_first_evidence else ("NO_EFFECT", NOTES_FULL)


def _resend_rejected(
    state: Payment, attempt: Attempt, command: RailReport, rules: Rules
) -> _Answer:
    """Our own resend was rejected (AM05, DUPL), which changes no state (ruling 11)."""
    if attempt.state in UNSENT:
        return "NO_EFFECT", NOT_SENT
    known = attempt.certain or attempt.outcome is not None
    return ("NO_EFFECT", RESEND_REJECTED) if known else _note(state, attempt, command, rules)


def _return_effect(state: Payment, attempt: Attempt, command: RailReport) -> _Answer:
    """Returned money (ruling 13): with an id one return, else the total so far."""
    if command.currency is not None and command.currency != state.currency:
        return "CONFLICT", CURRENCY_DIFFERS
    if attempt.state in UNSENT:
        return "CONFLICT", "REPORT_BEFORE_SEND"
    name = digest(command.rail_message_id)
    known = known_return(attempt, name)
    if known is not None and not command.via_enquiry:
        # Its code adds nothing; another amount under the same id is another return.
        same = command.amount in (known, None)
        return ("DUPLICATE", "") if same else ("CONFLICT", "SAME_MESSAGE_OTHER_CONTENT")
    if not attempt.settled:
        return "CONFLICT", "RETURNED_BEFORE_SETTLED"
    content = content_of(state, command.code, command.amount, command.currency)
    if not command.via_enquiry and same_id_elsewhere(state, attempt, command, content):
        return "CONFLICT", "SAME_MESSAGE_OTHER_CONTENT"
    amount = command.amount
    if amount is None:
        return "CONFLICT", RETURN_AMOUNT_MISSING
    if command.via_enquiry or name is None:
        if amount <= returned_cents(attempt):
            return "DUPLICATE", ""
        return ("CONFLICT", RETURN_EXCEEDS_SETTLED) if amount > attempt.settled else ("RETURN", "")
    told_apart = sum(len(each.returns) for each in state.attempts)
    if attempt.returns_sum + amount > attempt.settled:
        return "CONFLICT", RETURN_EXCEEDS_SETTLED
    if told_apart >= RETURNS_MAX:
        return "CONFLICT", RETURNS_TOO_MANY
    raises = attempt.returns_sum + amount > attempt.returns_total
    # A total was reported before: remember this id, so that the next return adds up.
    return ("RETURN", "") if raises else ("NOTE", "")


def _after_end(
    state: Payment, attempt: Attempt, command: RailReport, rules: Rules, word: Effect
) -> _Answer:
    """What a report means for an attempt that has failed or expired."""
    kind = command.kind
    if word == "CONFIRM":
        if attempt.outcome in PAID_OUTCOMES:
            return "CONFLICT", "REJECTED_AFTER_SETTLED"
        if _ends_otherwise(attempt, command):
            return "CONFLICT", "CONTRADICTORY_END"
        if not _confirms(attempt, command, rules):
            if _worse_reason(attempt, command, rules):
                return _note(state, attempt, command, rules)
            return "NO_EFFECT", CHANGES_NOTHING
        if kind in _DENIALS and rail_had_it(state, attempt):
            return "CONFLICT", SUBMISSION_CONTRADICTED
        return "CONFIRM", ""
    if word == "RECALL":
        if attempt.recall is not None:
            return "DUPLICATE", ""
        if not attempt.withdraw or attempt.certain or attempt.outcome is not None:
            if rail_has_it(attempt, command, rules) and not attempt.rail_had_it:
                return _note(state, attempt, command, rules)
            return "NO_EFFECT", NOT_ASKED
        return "RECALL", ""
    if word == "RECALL_ANSWER":
        answers = {known.kind for known in attempt.reports}
        if kind == "RECALL_ACCEPTED" and attempt.outcome in PAID_OUTCOMES:
            return "CONFLICT", "REJECTED_AFTER_SETTLED"
        if kind == "RECALL_REFUSED" and "RECALL_ACCEPTED" in answers:
            return "CONFLICT", "RECALL_CONTRADICTED"
        if attempt.certain or attempt.outcome is not None:
            return "NO_EFFECT", CHANGES_NOTHING
        if kind == "RECALL_REFUSED" and attempt.recall != "REQUESTED":
            if attempt.rail_had_it:
                return "NO_EFFECT", NOT_ASKED
            return _note(state, attempt, command, rules)
    return word, ""


def _ends_otherwise(attempt: Attempt, command: RailReport) -> bool:
    """Whether the rail, which ended the attempt one way, now ends it the other way.

    An enquiry's rejection may confirm an expiry, but not the other way round. So of the two orders
    of such reports at most one is without a conflict, and no order decides silently.
    """
    expires = command.kind == "EXPIRED"
    if attempt.ended_by != "rail" or expires == (attempt.state == State.EXPIRED):
        return False
    return expires or attempt.ended_by_enquiry or not command.via_enquiry


def _worse_reason(attempt: Attempt, command: RailReport, rules: Rules) -> bool:
    """Whether the rail's reason forbids a retry that the record would allow: it counts even if its
    code makes nothing certain (ruling 2).
    """
    if command.kind != "REJECTED" or command.code in rules.resend_rejected_codes:
        return False
    if not attempt.retry_safe or attempt.state not in ENDED:
        return False
    return not rules.meaning(command.adapter, command.code).retry_safe


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
    by_rail = attempt.ended_by == "rail" and not attempt.never_submitted
    return not by_rail and attempt.retry_safe and not meaning.retry_safe


def _conflict_of(state: Payment, attempt: Attempt, kind: ReportKind) -> _Answer:
    """The kind of a contradiction in the table; some turn out to agree with a verdict or the
    record.
    """
    if attempt.state in UNSENT:
        return "CONFLICT", "REPORT_BEFORE_SEND"
    if attempt.state in ENDED:
        if kind == "ACCEPTED" and attempt.acknowledged_at and attempt.outcome != "NOT_PAID":
            return "DUPLICATE", ""
        if attempt.outcome in PAID_OUTCOMES and kind in CLEARED:
            return "NO_EFFECT", CHANGES_NOTHING
        if kind == "ACCEPTED":
            return "CONFLICT", ACKNOWLEDGED_AFTER[attempt.state]
        twice = _paid_elsewhere(state, attempt)
        return "CONFLICT", "DOUBLE_SETTLEMENT" if twice else SETTLED_AFTER[attempt.state]
    if attempt.state == State.SETTLED:
        if attempt.outcome == "NOT_PAID":
            return "NO_EFFECT", CHANGES_NOTHING  # a verdict already said so
        return "CONFLICT", "REJECTED_AFTER_SETTLED"
    if kind == "RECALL_ACCEPTED":
        return "CONFLICT", "RECALLED_UNASKED"
    return "CONFLICT", "NOT_SUBMITTED_AFTER_ACKNOWLEDGED"


def _paid_elsewhere(state: Payment, attempt: Attempt) -> bool:
    return any(a.outcome in PAID_OUTCOMES and a.number != attempt.number for a in state.attempts)


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
