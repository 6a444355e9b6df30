"""The model's own bookkeeping: every event of the history, added up.

It knows what each event means for the sums; the laws check whether it was allowed.
"""

from __future__ import annotations

from typing import Any

from core.payment import events as e
from tests.model.book import Approval, Ask, Book, Conflict, Hold, Try
from tests.model.vocabulary import attempt_of


def apply(book: Book, event: Any) -> None:
    """Add up one event."""
    header, name = event.header, type(event).__name__
    book.sequence = header.sequence
    book.decided_at = header.decided_at
    if name in _LIFECYCLE:
        _LIFECYCLE[name](book, event)
        book.state = header.state_after
        if book.tries:
            book.current.state = header.state_after
        return
    handler = _BESIDE.get(name)
    if handler is not None:
        handler(book, event)


def _created(book: Book, event: e.PaymentIntentCreated) -> None:
    book.amount, book.currency = event.amount, event.currency
    book.execution = event.requested_execution_time or 0
    book.expires_at, book.source = event.expires_at, event.source
    book.tries.append(Try(1, "CREATED"))


def _authorised(book: Book, event: e.PaymentAuthorised) -> None:
    book.authorised = True


def _attempted(book: Book, event: e.PaymentAttemptCreated) -> None:
    number = event.header.attempt
    if number == len(book.tries) + 1:
        book.tries.append(Try(number, "AUTHORISED"))


def _sent(book: Book, event: e.PaymentSentToRail) -> None:
    mine = book.current
    mine.sent += 1
    mine.submit_before = event.submit_before
    mine.claimed = False
    mine.grounds.clear()
    mine.evidence.clear()


def _settled(book: Book, event: e.PaymentSettled) -> None:
    book.pay(event.header.attempt, event.amount)


def _failed(book: Book, event: e.PaymentFailed) -> None:
    mine = book.current
    mine.reason, mine.retry_safe = event.header.reason, event.retry_safe
    mine.claimed = event.non_payment_certain


def _expired(book: Book, event: e.PaymentExpired) -> None:
    mine = book.current
    mine.reason, mine.retry_safe = "EXPIRED", False
    mine.claimed = event.non_payment_certain


def _ignored(book: Book, event: Any) -> None:
    """It only changes the state."""


_LIFECYCLE: dict[str, Any] = {
    "PaymentIntentCreated": _created,
    "PaymentAuthorised": _authorised,
    "PaymentAttemptCreated": _attempted,
    "PaymentSentToRail": _sent,
    "PaymentAcknowledged": _ignored,
    "PaymentSettled": _settled,
    "PaymentFailed": _failed,
    "PaymentExpired": _expired,
}


def _policy(book: Book, event: e.PolicyChecked) -> None:
    book.tries[event.header.attempt - 1].policy = event.verdict == "PASSED"


def _requested(book: Book, event: e.FundsRequested) -> None:
    known = book.asks.get(event.funds_ref)
    if known is not None:
        known.times += 1
        known.asked_at = event.header.decided_at
        if event.not_after is not None:
            known.not_after = max(known.not_after or 0, event.not_after)
        return
    book.asks[event.funds_ref] = Ask(
        event.funds_ref,
        event.operation,
        attempt_of(event.funds_ref) or 0,
        event.amount,
        event.header.decided_at,
        hold_funds_ref=event.hold_funds_ref,
        not_after=event.not_after,
        approval=event.header.approval_id,
    )
    used = book.approvals.get(event.header.approval_id or "")
    mine = book.attempt(attempt_of(event.funds_ref) or 0)
    by_person = used is not None and used.action == "REVERSE"
    if event.operation == "REVERSE" and mine is not None and by_person:
        mine.waived = max(mine.waived, mine.returned) + event.amount


def _answered(book: Book, funds_ref: str, status: str, code: str | None = None) -> Ask | None:
    ask = book.asks.get(funds_ref)
    if ask is not None:
        ask.status, ask.code = status, code
    return ask


def _request_failed(book: Book, event: e.FundsRequestFailed) -> None:
    ask = book.asks.get(event.funds_ref)
    if ask is not None and event.result == "REFUSED" and ask.status != "DONE":
        ask.status, ask.code = "REFUSED", event.code


def _held(book: Book, event: e.FundsHeld) -> None:
    _answered(book, event.funds_ref, "DONE")
    owner = attempt_of(event.funds_ref) or event.header.attempt
    book.holds.append(Hold(event.funds_ref, event.hold_ref, owner, event.amount))


def _declined(book: Book, event: e.FundsHoldDeclined) -> None:
    _answered(book, event.funds_ref, "DECLINED", event.code)


def _captured(book: Book, event: e.FundsCaptured) -> None:
    ask = _answered(book, event.funds_ref, "DONE")
    book.captures += 1
    mine = None if ask is None else book.hold_of(ask)
    if mine is not None:
        mine.captured += event.amount
    _take(book, event.funds_ref, event.amount)


def _released(book: Book, event: e.FundsReleased) -> None:
    ask = book.asks.get(event.funds_ref)
    if ask is not None and ask.operation == "RELEASE":
        ask.status = "DONE"
    mine = None if ask is None else book.hold_of(ask)
    if mine is not None:
        mine.released += event.amount


def _forced(book: Book, event: e.FundsDebitForced) -> None:
    _answered(book, event.funds_ref, "DONE")
    _take(book, event.funds_ref, event.amount)


def _gave(book: Book, event: e.FundsReversed | e.FundsCredited) -> None:
    _answered(book, event.funds_ref, "DONE")
    number = attempt_of(event.funds_ref) or 0
    book.given[number] = book.given.get(number, 0) + event.amount


def _take(book: Book, funds_ref: str, amount: int) -> None:
    number = attempt_of(funds_ref) or 0
    book.taken[number] = book.taken.get(number, 0) + amount


def _transferred(book: Book, event: e.FundsHoldTransferred) -> None:
    for hold in book.holds:
        if hold.reference == event.hold_ref and hold.left > 0:
            hold.attempt = event.to_attempt


def _action_requested(book: Book, event: e.OperatorActionRequested) -> None:
    identity = event.header.approval_id or ""
    book.approvals[identity] = Approval(
        identity, event.action, event.requester, event.phase, event.header.attempt,
        event.failure_reason, event.conflict_id, event.verdict, event.amount, event.expires_at,
    )  # fmt: skip
    if event.frozen_until is not None:
        mine = book.tries[event.header.attempt - 1]
        mine.frozen_until, mine.freeze_approval = event.frozen_until, identity


def _referred(book: Book, event: e.OperatorActionReferred) -> None:
    mine = book.approvals.get(event.header.approval_id or "")
    if mine is not None:
        mine.status = "REFERRED"


def _approved(book: Book, event: e.OperatorActionApproved) -> None:
    mine = book.approvals.get(event.header.approval_id or "")
    if mine is not None:
        mine.by_person = mine.status == "REFERRED"
        mine.status, mine.decided_by = "APPROVED", event.decided_by
        mine.expires_at = event.expires_at


def _rejected(book: Book, event: e.OperatorActionRejected) -> None:
    mine = book.approvals.get(event.header.approval_id or "")
    if mine is not None:
        mine.status = "REJECTED"


def _confirmed(book: Book, event: e.NonPaymentConfirmed) -> None:
    mine = book.tries[event.header.attempt - 1]
    mine.claimed = True
    if not event.retry_safe:
        mine.bad_reason = True


def _conflict(book: Book, event: e.ReconciliationRequired) -> None:
    book.conflicts[event.conflict_id] = Conflict(
        event.conflict_id, event.kind, event.header.attempt, event.report_kind,
        event.amount, event.currency, event.rail_message_id, event.code,
    )  # fmt: skip


def _resolved(book: Book, event: e.ReconciliationResolved) -> None:
    conflict = book.conflicts.get(event.conflict_id)
    if conflict is not None:
        conflict.verdict = event.verdict
    mine = book.attempt(event.header.attempt)
    if mine is None:
        return
    match event.verdict:
        case "SETTLED_AFTER_ALL":
            if not mine.settled:
                book.pay(mine.number, book.amount)
        case "AMOUNT_ACCEPTED":
            if conflict is not None and conflict.report_kind == "SETTLED":
                book.pay(mine.number, conflict.amount or book.amount)
        case "NOT_PAID":
            mine.settled, mine.paid_order = 0, 0
            mine.claimed = True
            mine.grounds.add("VERDICT")
        case "RETURNED":
            if not mine.settled:
                book.pay(mine.number, book.amount)
            mine.return_verdicts += event.amount or 0
            mine.returned += event.amount or 0
        case _:
            if conflict is not None and conflict.report_kind is not None:
                mine.evidence.discard(conflict.report_kind)


def _returned(book: Book, event: e.PaymentReturned) -> None:
    mine = book.tries[event.header.attempt - 1]
    if event.rail_message_id is not None and not event.via_enquiry:
        mine.return_ids[event.rail_message_id] = event.amount
    else:
        mine.return_total = max(mine.return_total, event.amount)
    mine.returned = event.total


def _noted(book: Book, event: e.RailStatusReported) -> None:
    """A return that does not raise the sum is recorded too: its id counts from then on."""
    one = event.rail_message_id is not None and not event.via_enquiry
    if event.kind == "RETURNED" and one and event.amount is not None:
        mine = book.tries[event.header.attempt - 1]
        mine.return_ids[event.rail_message_id or ""] = event.amount


def _suspended(book: Book, event: e.ProcessingSuspended) -> None:
    book.parked = True


def _resumed(book: Book, event: e.ProcessingResumed) -> None:
    book.parked = False


_BESIDE: dict[str, Any] = {
    "PolicyChecked": _policy,
    "FundsRequested": _requested,
    "FundsRequestFailed": _request_failed,
    "FundsHeld": _held,
    "FundsHoldDeclined": _declined,
    "FundsCaptured": _captured,
    "FundsReleased": _released,
    "FundsDebitForced": _forced,
    "FundsReversed": _gave,
    "FundsCredited": _gave,
    "FundsHoldTransferred": _transferred,
    "OperatorActionRequested": _action_requested,
    "OperatorActionReferred": _referred,
    "OperatorActionApproved": _approved,
    "OperatorActionRejected": _rejected,
    "NonPaymentConfirmed": _confirmed,
    "ReconciliationRequired": _conflict,
    "ReconciliationResolved": _resolved,
    "PaymentReturned": _returned,
    "RailStatusReported": _noted,
    "ProcessingSuspended": _suspended,
    "ProcessingResumed": _resumed,
}
