"""Deposits Core's answers. They are never refused because of the payment's state.

done (HELD, CAPTURED …)   the money moved; a repeat is a duplicate, another amount a conflict
DECLINED                  the account does not allow the hold
REFUSED                   certainly not carried out; a hold that is gone counts as released
NEVER_HELD                the hold that a RELEASE names was never carried out
FAILED                    no readable answer: it may have been carried out; it is repeated
"""

from __future__ import annotations

from typing import Final, Literal, assert_never

from core.decider import Context, Decision, Refusal, Unmatched
from core.header import Actor
from core.payment.commands import DepositsResult
from core.payment.draft import draft_of, duplicate_of
from core.payment.evolve.funds import funds_request_index
from core.payment.flow import finish
from core.payment.funds import UNANSWERED, held_cents
from core.payment.inputs import deposits_effects as effects
from core.payment.keys import conflict_key, content_of
from core.payment.report_table import FUNDS_CONTRADICTION
from core.payment.state import (
    CONFLICTS_OPEN_MAX,
    Attempt,
    FundsRequestStatus,
    Payment,
    open_conflicts,
)
from core.refusals import (
    ANSWER_SUPERSEDED,
    CONFLICTS_FULL,
    FIELD_INVALID,
    FIELD_MISSING,
    ID_MISMATCH,
    no_effect,
    refuse,
)
from core.values import (
    FUNDS_LETTER,
    FUNDS_REF_LENGTH,
    ascii_digits,
    attempt_of_external_ref,
    external_ref,
)
from core.words import FundsResult, OperationName

# Answers after which no money moved, and their operations.
_NOT_DONE: Final[dict[FundsResult, frozenset[OperationName]]] = {
    "FAILED": frozenset(effects.DONE),
    "REFUSED": frozenset(effects.DONE),
    "DECLINED": frozenset({"HOLD"}),
    "NEVER_HELD": frozenset({"RELEASE"}),
}
_ACTOR: Final = Actor(kind="deposits", id="deposits-core")
# The effect of an answer on its request.
_Effect = Literal["APPLY", "CONTRADICT", "SUPERSEDED"]
_APPLY: Final = "APPLY"
_CONTRADICT: Final = "CONTRADICT"
_SUPERSEDED: Final = "SUPERSEDED"


def deposits_result(state: Payment | None, command: DepositsResult, context: Context) -> Decision:
    """One answer for one funds reference (domain §3)."""
    refusal = _shape(command)
    if refusal is not None:
        return refusal
    if state is None:
        return Unmatched("an answer of Deposits Core for an unknown payment")
    reference = command.funds_ref
    attempt_number = attempt_of_external_ref(reference[:30])
    if attempt_number is None or reference[:30] != external_ref(
        state.payment_intent_id, attempt_number
    ):
        return refuse(ID_MISMATCH, detail="fundsRef belongs to another payment")
    if not 0 < attempt_number <= len(state.attempts):
        return Unmatched("an answer of Deposits Core for an unknown attempt")
    attempt = state.attempts[attempt_number - 1]
    index = funds_request_index(attempt, command.operation, int(reference[31:]))
    if index is None:
        return Unmatched("an answer of Deposits Core to what was not asked")
    ask = attempt.funds_requests[index]
    if _same_answer(ask, command):
        return duplicate_of(state, ask.answered_from)
    known = _known_conflict(state, attempt, ask, command)
    if known is not None:
        return duplicate_of(state, known)
    word = _effect(attempt, ask, command)
    if word == _SUPERSEDED:
        return no_effect(ANSWER_SUPERSEDED)
    if word == _CONTRADICT and open_conflicts(state) >= CONFLICTS_OPEN_MAX:
        return no_effect(CONFLICTS_FULL)

    draft = draft_of(state, context, _ACTOR, command.header)
    if word == _CONTRADICT:
        effects.contradiction(draft, attempt, ask, command)
        return finish(draft)
    match command.result:
        case "DECLINED":
            effects.declined(draft, attempt, command)
        case "NEVER_HELD":
            effects.never_held(draft, attempt, ask, command)
        case "REFUSED" if command.code == effects.HOLD_GONE and command.operation in _ENDS_HOLD:
            effects.hold_gone(draft, attempt, ask, command)
        case "REFUSED" | "FAILED":
            effects.not_done(draft, attempt, command)
        case "HELD" | "CAPTURED" | "RELEASED" | "DEBITED" | "REVERSED" | "CREDITED":
            effects.done(draft, attempt, ask, command)
        case _:
            assert_never(command.result)
    return finish(draft)


_ENDS_HOLD: Final = frozenset({"CAPTURE", "RELEASE"})


def _shape(command: DepositsResult) -> Refusal | None:
    operation, result = command.operation, command.result
    done = effects.DONE.get(operation)
    if done is None:
        return refuse(FIELD_INVALID, field="operation", problem="is not one of Deposits Core's")
    if result != done and operation not in _NOT_DONE.get(result, frozenset()):
        return refuse(FIELD_INVALID, field="result", problem=f"is no answer to {operation}")
    reference = command.funds_ref
    if (
        len(reference) != FUNDS_REF_LENGTH
        or reference[30] != FUNDS_LETTER[operation]
        or not ascii_digits(reference[31:])
    ):
        return refuse(FIELD_INVALID, field="fundsRef", problem=f"is no reference of a {operation}")
    if result == "HELD" and not command.hold_ref:
        return refuse(FIELD_MISSING, field="holdRef")
    return None


def _same_answer(ask: FundsRequestStatus, command: DepositsResult) -> bool:
    result, status = command.result, ask.status
    if result in _NOT_DONE:
        return status == result
    return status == "DONE" and command.amount == ask.amount


def _effect(attempt: Attempt, ask: FundsRequestStatus, command: DepositsResult) -> _Effect:
    """Whether the answer applies, comes too late to matter, or contradicts the record."""
    result, status = command.result, ask.status
    waits = status in UNANSWERED
    if result == "FAILED":
        return _APPLY if waits else _SUPERSEDED
    if result in _NOT_DONE:
        if status == "DONE":
            # A hold that was released, never existed or is gone: nothing is held either way.
            nothing_held = result == effects.NEVER_HELD or (
                command.operation == "RELEASE" and command.code == effects.HOLD_GONE
            )
            return _SUPERSEDED if nothing_held else _CONTRADICT
        return _APPLY if waits else _SUPERSEDED
    if command.operation == "RELEASE":
        return _release_effect(attempt, ask, command)
    if command.amount != ask.amount or status == "DONE":
        return _CONTRADICT
    if waits:
        return _APPLY
    # A hold that exists after all is recorded, and released if not needed; but not if another one
    # was requested since.
    newer = any(a.operation == "HOLD" and a.number != ask.number for a in attempt.funds_requests)
    return _APPLY if command.operation == "HOLD" and not newer else _CONTRADICT


def _release_effect(attempt: Attempt, ask: FundsRequestStatus, command: DepositsResult) -> _Effect:
    """A release by name may find a hold that was never reported, even after NEVER_HELD."""
    if ask.status == "DONE" or command.amount != ask.amount:
        return _CONTRADICT
    if ask.hold_number and not effects.hold_stands(attempt, ask):
        return _APPLY
    fits = held_cents(attempt) >= command.amount
    return _APPLY if fits and ask.status in UNANSWERED else _CONTRADICT


def _known_conflict(
    state: Payment, attempt: Attempt, ask: FundsRequestStatus, command: DepositsResult
) -> int | None:
    """The first sequence of the conflict that this answer would open again (ruling 5).

    After REPORT_WRONG an open request is repeated: its answer is new, and the same contradiction in
    it opens a new conflict. For a closed request the same answer is a redelivery.
    """
    kind = effects.report_kind(command)
    content = content_of(state, command.code, command.amount, state.currency)
    asked_again = ask.status in UNANSWERED
    for conflict in state.conflicts:
        if (
            conflict.kind == FUNDS_CONTRADICTION
            and conflict.attempt == attempt.number
            and conflict.report_kind == kind
            and conflict.content == content
            and not (asked_again and conflict.verdict == "REPORT_WRONG")
        ):
            return conflict.from_sequence
    if not state.conflicts_unlisted:
        return None
    return state.conflicts_unlisted_keys.get(conflict_key(attempt.number, kind, content))
