"""Parts of `evolve`: the funds sub-state of each attempt and its sums, from Deposits Core's
answers. They raise CorruptHistory for an answer to a request that was never made.
"""

from __future__ import annotations

from typing import Final

from core.header import EventHeader
from core.payment import events as e
from core.payment.evolve.lifecycle import own_attempt, remember_result, use_approval
from core.payment.funds import UNANSWERED, held_cents, returned_cents
from core.payment.keys import result_key
from core.payment.state import Attempt, CorruptHistory, FundsRequestStatus, Payment
from core.values import FUNDS_LETTER, Cents, FundsRef
from core.words import FundsStatus, OperationName, RequestStatus

# The funds of an attempt while a request waits, and once it was refused or got no readable answer.
_REQUESTED: Final[dict[OperationName, FundsStatus]] = {
    "HOLD": "HOLD_REQUESTED",
    "CAPTURE": "CAPTURE_REQUESTED",
    "RELEASE": "RELEASE_REQUESTED",
    "DEBIT_FORCED": "DEBIT_REQUESTED",
    "REVERSE": "REVERSE_REQUESTED",
    "CREDIT": "CREDIT_REQUESTED",
}
_FAILED: Final[dict[OperationName, FundsStatus]] = {
    "HOLD": "HOLD_FAILED",
    "CAPTURE": "CAPTURE_FAILED",
    "RELEASE": "RELEASE_FAILED",
    "DEBIT_FORCED": "DEBIT_FAILED",
    "REVERSE": "REVERSE_FAILED",
    "CREDIT": "CREDIT_FAILED",
}
# Natural keys of what a person's approval allowed.
_APPROVED_LETTER: Final[dict[str, str]] = {
    "RELEASE": "L",
    "REVERSE": "V",
    "CAPTURE": "D",
    "DEBIT_FORCED": "D",
}
# Deposits Core's answers to a release without a hold: never carried out, or already ended.
NO_HOLD_CODES: Final = frozenset({"NEVER_HELD", "HOLD_GONE"})
_OPERATION_OF_LETTER: Final[dict[str, str]] = {letter: op for op, letter in FUNDS_LETTER.items()}


def requested(new: Payment, event: e.FundsRequested, header: EventHeader) -> None:
    mine = own_attempt(new, header.attempt)
    operation = event.operation
    number = int(event.funds_ref[31:])
    mine.funds = _REQUESTED[operation]
    index = funds_request_index(mine, operation, number)
    if index is None:
        if event.repeat:
            raise CorruptHistory(f"{event.funds_ref} was repeated but never asked")
        by_name = 0 if event.hold_funds_ref is None else int(event.hold_funds_ref[31:])
        ask = FundsRequestStatus(
            operation=operation,
            number=number,
            amount=event.amount,
            status="REQUESTED",
            asked_at=header.decided_at,
            not_after=event.not_after or 0,
            hold_number=by_name,
        )
        mine.funds_requests = [*mine.funds_requests, ask]
    else:
        ask = mine.funds_requests[index].__copy__()
        ask.status = "REQUESTED"
        ask.asked_at = header.decided_at
        ask.repeat = event.repeat
        ask.not_after = event.not_after or 0
        mine.funds_requests = [*mine.funds_requests[:index], ask, *mine.funds_requests[index + 1 :]]
    if header.approval_id is not None:
        if operation == "REVERSE":
            # The rest that a person waives, in addition to what the rail has returned (ruling 13).
            mine.waived = Cents(max(returned_cents(mine), mine.waived) + event.amount)
        elif operation != "RELEASE":
            mine.debit_approved = True
        remember_result(new, result_key(_APPROVED_LETTER[operation], header.attempt))
        use_approval(new, header)


def request_failed(new: Payment, event: e.FundsRequestFailed, header: EventHeader) -> None:
    mine = own_attempt(new, header.attempt)
    _answer(new, mine, event.funds_ref, event.result)
    mine.funds = _FAILED[event.operation]


def held(new: Payment, event: e.FundsHeld, header: EventHeader) -> None:
    mine = own_attempt(new, header.attempt)
    _answer(new, mine, event.funds_ref, "DONE")
    if not any(a.hold_number and a.status in UNANSWERED for a in mine.funds_requests):
        mine.funds = "HELD"  # else its release by name is in progress
    if held_cents(mine) <= 0:
        mine.hold_ref = event.hold_ref
    mine.held = Cents(mine.held + event.amount)


def hold_declined(new: Payment, event: e.FundsHoldDeclined, header: EventHeader) -> None:
    """Declined, or never carried out: then the release that names the hold has no effect."""
    mine = own_attempt(new, header.attempt)
    _answer(new, mine, event.funds_ref, "DECLINED")
    mine.funds = "HOLD_DECLINED"
    if event.code not in NO_HOLD_CODES:
        return
    number = int(event.funds_ref[31:])
    for ask in mine.funds_requests:
        if ask.hold_number == number and ask.status in UNANSWERED:
            release = FundsRef(f"{event.funds_ref[:30]}R{ask.number:02d}")
            _answer(new, mine, release, "NEVER_HELD")


def released(new: Payment, event: e.FundsReleased, header: EventHeader) -> None:
    """Released by request, or found to be gone when its capture was refused."""
    mine = own_attempt(new, header.attempt)
    if event.funds_ref[30] == FUNDS_LETTER["RELEASE"]:
        _answer(new, mine, event.funds_ref, "DONE")
    mine.released = Cents(mine.released + event.amount)
    mine.funds = _settled_funds(mine) or "RELEASED"


def captured(new: Payment, event: e.FundsCaptured, header: EventHeader) -> None:
    mine = _moved(new, event.funds_ref, header, "CAPTURED")
    mine.captured = Cents(mine.captured + event.amount)


def debit_forced(new: Payment, event: e.FundsDebitForced, header: EventHeader) -> None:
    mine = _moved(new, event.funds_ref, header, "DEBITED")
    mine.debited = Cents(mine.debited + event.amount)


def reversed_(new: Payment, event: e.FundsReversed, header: EventHeader) -> None:
    mine = _moved(new, event.funds_ref, header, "REVERSED")
    mine.reversed = Cents(mine.reversed + event.amount)


def credited(new: Payment, event: e.FundsCredited, header: EventHeader) -> None:
    mine = _moved(new, event.funds_ref, header, "CREDITED")
    mine.credited = Cents(mine.credited + event.amount)


def _moved(new: Payment, funds_ref: FundsRef, header: EventHeader, funds: FundsStatus) -> Attempt:
    """The attempt whose money has moved; the event decides which sum increases."""
    mine = own_attempt(new, header.attempt)
    _answer(new, mine, funds_ref, "DONE")
    mine.funds = funds
    return mine


def release_deferred(new: Payment, event: e.FundsReleaseDeferred, header: EventHeader) -> None:
    own_attempt(new, header.attempt).funds = "RELEASE_DEFERRED"


def hold_transferred(new: Payment, event: e.FundsHoldTransferred, header: EventHeader) -> None:
    """Another attempt takes over the hold, with its sums and reference."""
    giver = own_attempt(new, event.from_attempt)
    taker = own_attempt(new, event.to_attempt)
    giver.held = Cents(giver.held - event.amount)
    giver.funds = "TRANSFERRED"
    taker.held = Cents(taker.held + event.amount)
    taker.hold_ref = event.hold_ref
    taker.funds = "HELD"


def funds_request_index(attempt: Attempt, operation: str, number: int) -> int | None:
    """The index of this request in the attempt's list, or None if it was never made."""
    for index, ask in enumerate(attempt.funds_requests):
        if ask.operation == operation and ask.number == number:
            return index
    return None


def _answer(new: Payment, mine: Attempt, funds_ref: FundsRef, status: RequestStatus) -> None:
    operation = _OPERATION_OF_LETTER[funds_ref[30]]
    index = funds_request_index(mine, operation, int(funds_ref[31:]))
    if index is None:
        raise CorruptHistory(f"{funds_ref} was answered but never asked")
    ask = mine.funds_requests[index].__copy__()
    ask.status = status
    ask.answered_from = new.decision_from
    mine.funds_requests = [*mine.funds_requests[:index], ask, *mine.funds_requests[index + 1 :]]
    new.decision_remembered = True


def _settled_funds(mine: Attempt) -> FundsStatus | None:
    """The rest of a hold was released after its capture: the funds state is still CAPTURED."""
    if mine.debited:
        return "DEBITED"
    return "CAPTURED" if mine.captured else None
