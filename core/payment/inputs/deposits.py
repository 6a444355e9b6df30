"""Deposits Core's answers. They are never refused for the state they find.

done (HELD, CAPTURED …)   the money moved; the same again is a duplicate, another amount a conflict
DECLINED                  the account does not allow the hold
REFUSED                   certain not to have happened; a hold that is gone counts as released
NEVER_HELD                the hold that a RELEASE names was never carried out
FAILED                    no readable answer: it may have happened, and is asked for again
"""

from __future__ import annotations

from typing import Final

from core.decider import Context, Decision, Duplicate, Refusal, Unmatched
from core.header import Actor, InputHeader
from core.payment import events as e
from core.payment.commands import DepositsResult
from core.payment.draft import Draft, decided_at
from core.payment.evolve.funds import ask_index
from core.payment.flow.finish import finish
from core.payment.flow.funds import hold_reference
from core.payment.funds import UNANSWERED, held_cents, taken_cents
from core.payment.inputs.policy import fail_unsent
from core.payment.remember import conflict_key, content_of
from core.payment.report_table import FUNDS_CONTRADICTION
from core.payment.state import (
    CONFLICTS_OPEN_MAX,
    UNSENT,
    Ask,
    Attempt,
    Conflict,
    Payment,
    open_conflicts,
    range_of,
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
    FailureReason,
    attempt_of_external_ref,
    external_ref,
    format_amount,
    funds_ref,
)

_DONE: Final[dict[str, str]] = {
    "HOLD": "HELD",
    "CAPTURE": "CAPTURED",
    "RELEASE": "RELEASED",
    "DEBIT_FORCED": "DEBITED",
    "REVERSE": "REVERSED",
    "CREDIT": "CREDITED",
}
# Answers by which nothing moved, and the operations that each belongs to.
_NOT_DONE: Final[dict[str, frozenset[str]]] = {
    "FAILED": frozenset(_DONE),
    "REFUSED": frozenset(_DONE),
    "DECLINED": frozenset({"HOLD"}),
    "NEVER_HELD": frozenset({"RELEASE"}),
}
_Moved = e.FundsCaptured | e.FundsReleased | e.FundsDebitForced | e.FundsReversed | e.FundsCredited
# The event of each request that Deposits Core has carried out; a HOLD becomes FundsHeld.
_MOVED: Final[dict[str, type[_Moved]]] = {
    "CAPTURE": e.FundsCaptured,
    "RELEASE": e.FundsReleased,
    "DEBIT_FORCED": e.FundsDebitForced,
    "REVERSE": e.FundsReversed,
    "CREDIT": e.FundsCredited,
}
_ACTOR: Final = Actor(kind="deposits", id="deposits-core")
HOLD_GONE: Final = "HOLD_GONE"  # code of a refusal: the hold expired or was released by itself
NEVER_HELD: Final = "NEVER_HELD"

# What an answer does to the request it answers.
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
    index = ask_index(attempt, command.operation, int(reference[31:]))
    if index is None:
        return Unmatched("an answer of Deposits Core to what was not asked")
    ask = attempt.asks[index]
    if _same_answer(ask, command):
        return Duplicate(*range_of(state, ask.answered_from))
    known = _known_conflict(state, attempt, ask, command)
    if known is not None:
        return Duplicate(*range_of(state, known))
    word = _effect(attempt, ask, command)
    if word == _SUPERSEDED:
        return no_effect(ANSWER_SUPERSEDED)
    if word == _CONTRADICT and open_conflicts(state) >= CONFLICTS_OPEN_MAX:
        return no_effect(CONFLICTS_FULL)

    draft = Draft(
        state,
        context,
        state.payment_intent_id,
        _ACTOR,
        command.header.traceparent,
        decided_at(state, context.now_ms),
    )
    if word == _CONTRADICT:
        _contradiction(draft, attempt, ask, command)
        return finish(draft)
    match command.result:
        case "DECLINED":
            _declined(draft, attempt, command)
        case "NEVER_HELD":
            _never_held(draft, attempt, ask, command)
        case "REFUSED" if command.code == HOLD_GONE and command.operation in _ENDS_HOLD:
            _hold_gone(draft, attempt, ask, command)
        case "REFUSED" | "FAILED":
            _not_done(draft, attempt, command)
        case _:
            _done(draft, attempt, ask, command)
    return finish(draft)


_ENDS_HOLD: Final = frozenset({"CAPTURE", "RELEASE"})


def _shape(command: DepositsResult) -> Refusal | None:
    operation, result = command.operation, command.result
    done = _DONE.get(operation)
    if done is None:
        return refuse(FIELD_INVALID, field="operation", problem="is not one of Deposits Core's")
    if result != done and operation not in _NOT_DONE.get(result, frozenset()):
        return refuse(FIELD_INVALID, field="result", problem=f"is no answer to {operation}")
    reference = command.funds_ref
    if (
        len(reference) != FUNDS_REF_LENGTH
        or reference[30] != FUNDS_LETTER[operation]
        or not (reference[31:].isascii() and reference[31:].isdigit())
    ):
        return refuse(FIELD_INVALID, field="fundsRef", problem=f"is no reference of a {operation}")
    if result == "HELD" and not command.hold_ref:
        return refuse(FIELD_MISSING, field="holdRef")
    return None


def _same_answer(ask: Ask, command: DepositsResult) -> bool:
    result, status = command.result, ask.status
    if result in _NOT_DONE:
        return status == result
    return status == "DONE" and command.amount == ask.amount


def _effect(attempt: Attempt, ask: Ask, command: DepositsResult) -> str:
    """Whether the answer applies, comes too late to matter, or contradicts the record."""
    result, status = command.result, ask.status
    waits = status in UNANSWERED
    if result == "FAILED":
        return _APPLY if waits else _SUPERSEDED
    if result in _NOT_DONE:
        if status == "DONE":
            # A hold that was released, never stood or is gone: nothing is held either way.
            nothing_held = result == NEVER_HELD or (
                command.operation == "RELEASE" and command.code == HOLD_GONE
            )
            return _SUPERSEDED if nothing_held else _CONTRADICT
        return _APPLY if waits else _SUPERSEDED
    if command.operation == "RELEASE":
        return _release_effect(attempt, ask, command)
    if command.amount != ask.amount or status == "DONE":
        return _CONTRADICT
    if waits:
        return _APPLY
    # A hold that stands after all is taken as it is, and ended when nobody waits for it; but not
    # beside another one that was asked for since.
    newer = any(a.operation == "HOLD" and a.number != ask.number for a in attempt.asks)
    return _APPLY if command.operation == "HOLD" and not newer else _CONTRADICT


def _release_effect(attempt: Attempt, ask: Ask, command: DepositsResult) -> str:
    """A release by name may find a hold that was never reported, also after NEVER_HELD."""
    if ask.status == "DONE" or command.amount != ask.amount:
        return _CONTRADICT
    if ask.hold_number and not _hold_stands(attempt, ask):
        return _APPLY
    fits = held_cents(attempt) >= command.amount
    return _APPLY if fits and ask.status in UNANSWERED else _CONTRADICT


def _hold_stands(attempt: Attempt, release: Ask) -> bool:
    """Whether the HOLD that a release names has been reported HELD."""
    index = ask_index(attempt, "HOLD", release.hold_number)
    return index is not None and attempt.asks[index].status == "DONE"


def _known_conflict(
    state: Payment, attempt: Attempt, ask: Ask, command: DepositsResult
) -> int | None:
    """The first sequence of the conflict that this answer would open again (ruling 5).

    After REPORT_WRONG a request that is still open is asked again: its answer is a new one, and the
    same contradiction in it is news. Of a request that is closed the same answer is a redelivery.
    """
    kind = _report_kind(command)
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


def _report_kind(command: DepositsResult) -> str:
    return f"{command.operation}:{command.result}:{command.funds_ref[30:]}"


def _contradiction(draft: Draft, attempt: Attempt, ask: Ask, command: DepositsResult) -> None:
    """Another amount than asked, a refusal after a success, or a success after a refusal: money is
    not where the record says.
    """
    currency = draft.state.currency
    draft.append(
        e.ReconciliationRequired(
            header=draft.header(attempt.number),
            conflict_id=f"cnf_{draft.state.conflicts_made + 1:03d}",
            kind=FUNDS_CONTRADICTION,
            external_ref=command.funds_ref[:30],
            detail=f"{command.funds_ref}: {command.result} "
            f"{format_amount(command.amount, currency)}, "
            f"asked {format_amount(ask.amount, currency)}, recorded {ask.status}",
            code=command.code,
            amount=command.amount,
            currency=currency,
            rail_message_id=None,
            assigned_from=None,
            report_kind=_report_kind(command),
        )
    )


def acceptable(attempt: Attempt, conflict: Conflict) -> Ask | None:
    """The request that a person can close with the amount that Deposits Core names, or None: it
    still waits for its answer, and so much can have moved. A hold is not closed so: its reference
    would be unknown.
    """
    operation, result, name = (conflict.report_kind or "::").split(":")
    index = ask_index(attempt, operation, int(name[1:] or 0))
    if index is None or operation == "HOLD" or result != _DONE[operation]:
        return None
    ask = attempt.asks[index]
    most = {
        "CAPTURE": held_cents(attempt),
        "REVERSE": attempt.captured - attempt.reversed,
        "CREDIT": taken_cents(attempt),
    }
    if operation == "RELEASE" and not (ask.hold_number and not _hold_stands(attempt, ask)):
        most["RELEASE"] = held_cents(attempt)
    amount = conflict.amount or 0
    fits = 0 < amount <= most.get(operation, amount)
    return ask if fits and ask.status in UNANSWERED else None


def record_accepted(draft: Draft, attempt: Attempt, ask: Ask, amount: int) -> None:
    """What Deposits Core did is taken as it says; what is still needed is asked for anew."""
    reference = funds_ref(draft.payment_id, attempt.number, ask.operation, ask.number)
    header = InputHeader(payment_intent_id=draft.payment_id)
    done = DepositsResult(
        header=header,
        funds_ref=reference,
        operation=ask.operation,
        result=_DONE[ask.operation],
        amount=amount,
    )
    _done(draft, attempt, ask, done)


def _declined(draft: Draft, attempt: Attempt, command: DepositsResult) -> None:
    """A declined hold ends an attempt that waits for it: INSUFFICIENT_FUNDS."""
    draft.append(
        e.FundsHoldDeclined(
            header=draft.header(attempt.number),
            funds_ref=command.funds_ref,
            code=command.code,
            details=command.details,
        )
    )
    if attempt.state in UNSENT:
        fail_unsent(
            draft,
            attempt.number,
            FailureReason.INSUFFICIENT_FUNDS.value,
            "system",
            code=command.code,
            details=command.details,
        )


def _not_done(draft: Draft, attempt: Attempt, command: DepositsResult) -> None:
    draft.append(
        e.FundsRequestFailed(
            header=draft.header(attempt.number),
            operation=command.operation,
            funds_ref=command.funds_ref,
            code=command.code,
            details=command.details,
            result="FAILED" if command.result == "FAILED" else "REFUSED",
        )
    )


def _never_held(draft: Draft, attempt: Attempt, ask: Ask, command: DepositsResult) -> None:
    """No hold stands: the release that names it has nothing to do. Said of a hold that was reported
    HELD, it is a refusal, and the hold is released by its own reference.
    """
    if not ask.hold_number or _hold_stands(attempt, ask):
        _not_done(draft, attempt, command)
    else:
        _no_hold(draft, attempt, ask, NEVER_HELD, command.details)


def _hold_gone(draft: Draft, attempt: Attempt, ask: Ask, command: DepositsResult) -> None:
    """Deposits Core ended the hold by itself: a release has nothing to do any more, and a capture
    has nothing to take from. What the customer owes is debited by force.
    """
    if ask.hold_number and not _hold_stands(attempt, ask):
        _no_hold(draft, attempt, ask, HOLD_GONE, command.details)
        return
    if command.operation == "CAPTURE":
        _not_done(draft, attempt, command)
    gone = held_cents(attempt)
    draft.append(
        e.FundsReleased(
            header=draft.header(attempt.number),
            funds_ref=command.funds_ref,
            amount=gone,
            ledger_ref=None,
        )
    )


def _no_hold(draft: Draft, attempt: Attempt, ask: Ask, code: str, details: str | None) -> None:
    reference = hold_reference(draft.payment_id, attempt, ask.hold_number) or ""
    draft.append(
        e.FundsHoldDeclined(
            header=draft.header(attempt.number), funds_ref=reference, code=code, details=details
        )
    )


def _done(draft: Draft, attempt: Attempt, ask: Ask, command: DepositsResult) -> None:
    if command.operation == "HOLD":
        _held(draft, attempt, command.funds_ref, command)
        return
    if command.operation == "RELEASE" and ask.hold_number and not _hold_stands(attempt, ask):
        hold = hold_reference(draft.payment_id, attempt, ask.hold_number) or ""
        _held(draft, attempt, hold, command)
    moved = _MOVED[command.operation]
    draft.append(
        moved(
            header=draft.header(attempt.number),
            funds_ref=command.funds_ref,
            amount=command.amount,
            ledger_ref=command.ledger_ref,
        )
    )


def _held(draft: Draft, attempt: Attempt, reference: str, command: DepositsResult) -> None:
    """A hold without a reference of Deposits Core's own is named by ours."""
    draft.append(
        e.FundsHeld(
            header=draft.header(attempt.number),
            funds_ref=reference,
            hold_ref=command.hold_ref or reference,
            amount=command.amount,
            verified_at=command.verified_at or draft.now,
            ledger_ref=command.ledger_ref,
        )
    )
