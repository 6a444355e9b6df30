"""Deposits Core's answers. They are never refused for the state they find."""

from __future__ import annotations

from typing import Final

from core.decider import Context, Decision, Duplicate, Refusal, Unmatched
from core.header import Actor, EventHeader
from core.payment import events as e
from core.payment.commands import DepositsResult
from core.payment.decide_policy import fail_unsent
from core.payment.draft import Draft, decided_at
from core.payment.evolve_funds import ask_index
from core.payment.finish import finish
from core.payment.state import UNSENT, Ask, Attempt, Payment, range_of
from core.refusals import (
    ANSWER_SUPERSEDED,
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
)

_DONE: Final[dict[str, str]] = {
    "HOLD": "HELD",
    "CAPTURE": "CAPTURED",
    "RELEASE": "RELEASED",
    "DEBIT_FORCED": "DEBITED",
    "REVERSE": "REVERSED",
    "CREDIT": "CREDITED",
}
_ACTOR: Final = Actor("deposits", "deposits-core")
CONFLICT_KIND: Final = "FUNDS_CONTRADICTION"


def deposits_result(state: Payment | None, command: DepositsResult, context: Context) -> Decision:
    """One answer for one funds reference (domain: money and funds)."""
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
    result = command.result
    if _same_answer(ask, command):
        return Duplicate(*range_of(state, ask.answered_from))
    known = _known_conflict(state, attempt, command)
    if known is not None:
        return Duplicate(*range_of(state, known))
    if result == "FAILED" and ask.status in ("DONE", "DECLINED"):
        return no_effect(ANSWER_SUPERSEDED)

    draft = Draft(
        state,
        context,
        state.payment_intent_id,
        _ACTOR,
        command.header.traceparent,
        decided_at(state, context.now_ms),
    )
    if ask.status == "DONE" or (
        result not in ("DECLINED", "FAILED") and command.amount != ask.amount
    ):
        _contradiction(draft, attempt, ask, command)
    elif result == "DECLINED":
        _declined(draft, attempt, command)
    elif result == "FAILED":
        draft.append(
            e.FundsRequestFailed(
                draft.header(attempt.number),
                command.operation,
                reference,
                command.code,
                command.details,
            )
        )
    else:
        _done(draft, attempt, command)
    return finish(draft)


def _shape(command: DepositsResult) -> Refusal | None:
    operation, result = command.operation, command.result
    done = _DONE.get(operation)
    if done is None:
        return refuse(FIELD_INVALID, field="operation", problem="is not one of Deposits Core's")
    if result != done and result != "FAILED" and not (operation == "HOLD" and result == "DECLINED"):
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
    if result == "FAILED":
        return status == "FAILED"
    if result == "DECLINED":
        return status == "DECLINED"
    return status == "DONE" and command.amount == ask.amount


def _known_conflict(state: Payment, attempt: Attempt, command: DepositsResult) -> int | None:
    for conflict in state.conflicts:
        if (
            conflict.kind == CONFLICT_KIND
            and conflict.attempt == attempt.number
            and conflict.report_kind == _report_kind(command)
            and conflict.amount == command.amount
        ):
            return conflict.from_sequence
    return None


def _report_kind(command: DepositsResult) -> str:
    return f"{command.operation}:{command.result}"


def _contradiction(draft: Draft, attempt: Attempt, ask: Ask, command: DepositsResult) -> None:
    """Another amount than asked, or a refusal after a success: money is not where the
    record says.
    """
    draft.append(
        e.ReconciliationRequired(
            draft.header(attempt.number),
            f"cnf_{draft.state.conflicts_made + 1:03d}",
            CONFLICT_KIND,
            command.funds_ref[:30],
            f"{command.funds_ref}: {command.result} {command.amount}, "
            f"asked {ask.amount}, recorded {ask.status}",
            command.code,
            command.amount,
            draft.state.currency,
            None,
            None,
            _report_kind(command),
        )
    )


def _declined(draft: Draft, attempt: Attempt, command: DepositsResult) -> None:
    """A declined hold ends an attempt that waits for it: INSUFFICIENT_FUNDS (domain: money and
    funds).
    """
    draft.append(
        e.FundsHoldDeclined(
            draft.header(attempt.number), command.funds_ref, command.code, command.details
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


def _done(draft: Draft, attempt: Attempt, command: DepositsResult) -> None:
    header: EventHeader = draft.header(attempt.number)
    reference, amount, ledger = command.funds_ref, command.amount, command.ledger_ref
    match command.operation:
        case "HOLD":
            draft.append(
                e.FundsHeld(
                    header,
                    reference,
                    command.hold_ref or "",
                    amount,
                    command.verified_at or draft.now,
                    ledger,
                )
            )
        case "CAPTURE":
            draft.append(e.FundsCaptured(header, reference, amount, ledger))
        case "RELEASE":
            draft.append(e.FundsReleased(header, reference, amount, ledger))
        case "DEBIT_FORCED":
            draft.append(e.FundsDebitForced(header, reference, amount, ledger))
        case "REVERSE":
            draft.append(e.FundsReversed(header, reference, amount, ledger))
        case _:
            draft.append(e.FundsCredited(header, reference, amount, ledger))
