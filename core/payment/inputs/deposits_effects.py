"""The events that follow from each result of Deposits Core. core.payment.inputs.deposits has
already decided that it applies.
"""

from __future__ import annotations

from typing import Final

from core.header import InputHeader
from core.payment import events as e
from core.payment.commands import DepositsResult
from core.payment.draft import Draft
from core.payment.evolve.funds import funds_request_index
from core.payment.flow.funds import hold_reference
from core.payment.funds import UNANSWERED, held_cents, taken_cents
from core.payment.inputs.policy import fail_unsent
from core.payment.report_table import FUNDS_CONTRADICTION
from core.payment.state import UNSENT, Attempt, Conflict, FundsRequestStatus
from core.values import (
    Cents,
    ExternalRef,
    FailureReason,
    FundsRef,
    conflict_id,
    format_amount,
    funds_ref,
)
from core.words import FundsResult, OperationName

# Deposits Core's answer once it has carried out each request.
DONE: Final[dict[OperationName, FundsResult]] = {
    "HOLD": "HELD",
    "CAPTURE": "CAPTURED",
    "RELEASE": "RELEASED",
    "DEBIT_FORCED": "DEBITED",
    "REVERSE": "REVERSED",
    "CREDIT": "CREDITED",
}
_Moved = e.FundsCaptured | e.FundsReleased | e.FundsDebitForced | e.FundsReversed | e.FundsCredited
# The event for each request that Deposits Core has carried out; a HOLD becomes FundsHeld.
_MOVED: Final[dict[OperationName, type[_Moved]]] = {
    "CAPTURE": e.FundsCaptured,
    "RELEASE": e.FundsReleased,
    "DEBIT_FORCED": e.FundsDebitForced,
    "REVERSE": e.FundsReversed,
    "CREDIT": e.FundsCredited,
}
HOLD_GONE: Final = "HOLD_GONE"  # code of a refusal: the hold expired or Deposits Core released it
NEVER_HELD: Final = "NEVER_HELD"


def hold_stands(attempt: Attempt, release: FundsRequestStatus) -> bool:
    """Whether the HOLD that a release names has been reported HELD."""
    index = funds_request_index(attempt, "HOLD", release.hold_number)
    return index is not None and attempt.funds_requests[index].status == "DONE"


def report_kind(command: DepositsResult) -> str:
    return f"{command.operation}:{command.result}:{command.funds_ref[30:]}"


def contradiction(
    draft: Draft, attempt: Attempt, ask: FundsRequestStatus, command: DepositsResult
) -> None:
    """An amount other than requested, a refusal after a success, or a success after a refusal: the
    money is not where the record says.
    """
    currency = draft.state.currency
    draft.append(
        e.ReconciliationRequired(
            header=draft.header(attempt.number),
            conflict_id=conflict_id(draft.state.conflicts_made + 1),
            kind=FUNDS_CONTRADICTION,
            external_ref=ExternalRef(command.funds_ref[:30]),
            detail=f"{command.funds_ref}: {command.result} "
            f"{format_amount(command.amount, currency)}, "
            f"asked {format_amount(ask.amount, currency)}, recorded {ask.status}",
            code=command.code,
            amount=command.amount,
            currency=currency,
            report_kind=report_kind(command),
        )
    )


def acceptable(attempt: Attempt, conflict: Conflict) -> FundsRequestStatus | None:
    """The request that a person can close with the amount that Deposits Core names, or None: it is
    still unanswered, and that amount can have moved. A hold cannot be closed this way: its
    reference would be unknown.
    """
    operation, result, name = (conflict.report_kind or "::").split(":")
    index = funds_request_index(attempt, operation, int(name[1:] or 0))
    if index is None:
        return None
    ask = attempt.funds_requests[index]
    if ask.operation == "HOLD" or result != DONE[ask.operation]:
        return None
    most = {
        "CAPTURE": held_cents(attempt),
        "REVERSE": attempt.captured - attempt.reversed,
        "CREDIT": taken_cents(attempt),
    }
    if operation == "RELEASE" and not (ask.hold_number and not hold_stands(attempt, ask)):
        most["RELEASE"] = held_cents(attempt)
    amount = conflict.amount or 0
    fits = 0 < amount <= most.get(operation, amount)
    return ask if fits and ask.status in UNANSWERED else None


def record_accepted(draft: Draft, attempt: Attempt, ask: FundsRequestStatus, amount: Cents) -> None:
    """Accept the amount that Deposits Core reports; what is still needed is requested again."""
    reference = funds_ref(draft.payment_id, attempt.number, ask.operation, ask.number)
    header = InputHeader(payment_intent_id=draft.payment_id)
    answer = DepositsResult(
        header=header,
        funds_ref=reference,
        operation=ask.operation,
        result=DONE[ask.operation],
        amount=amount,
    )
    done(draft, attempt, ask, answer)


def declined(draft: Draft, attempt: Attempt, command: DepositsResult) -> None:
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


def not_done(draft: Draft, attempt: Attempt, command: DepositsResult) -> None:
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


def never_held(
    draft: Draft, attempt: Attempt, ask: FundsRequestStatus, command: DepositsResult
) -> None:
    """There is no hold: the release that names it has no effect. For a hold that was reported HELD,
    the answer is a refusal, and the hold is released by its own reference.
    """
    if not ask.hold_number or hold_stands(attempt, ask):
        not_done(draft, attempt, command)
    else:
        _no_hold(draft, attempt, ask, NEVER_HELD, command.details)


def hold_gone(
    draft: Draft, attempt: Attempt, ask: FundsRequestStatus, command: DepositsResult
) -> None:
    """Deposits Core ended the hold: a release has no effect, and a capture has no hold. What the
    customer owes becomes a forced debit.
    """
    if ask.hold_number and not hold_stands(attempt, ask):
        _no_hold(draft, attempt, ask, HOLD_GONE, command.details)
        return
    if command.operation == "CAPTURE":
        not_done(draft, attempt, command)
    gone = held_cents(attempt)
    draft.append(
        e.FundsReleased(
            header=draft.header(attempt.number),
            funds_ref=command.funds_ref,
            amount=gone,
            ledger_ref=None,
        )
    )


def _no_hold(
    draft: Draft, attempt: Attempt, ask: FundsRequestStatus, code: str, details: str | None
) -> None:
    reference = hold_reference(draft.payment_id, attempt, ask.hold_number) or FundsRef("")
    draft.append(
        e.FundsHoldDeclined(
            header=draft.header(attempt.number), funds_ref=reference, code=code, details=details
        )
    )


def done(draft: Draft, attempt: Attempt, ask: FundsRequestStatus, command: DepositsResult) -> None:
    if command.operation == "HOLD":
        _held(draft, attempt, command.funds_ref, command)
        return
    if command.operation == "RELEASE" and ask.hold_number and not hold_stands(attempt, ask):
        hold = hold_reference(draft.payment_id, attempt, ask.hold_number) or FundsRef("")
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


def _held(draft: Draft, attempt: Attempt, reference: FundsRef, command: DepositsResult) -> None:
    """A hold without a reference from Deposits Core is named by our reference."""
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
