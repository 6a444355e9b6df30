"""Laws of approvals, roles and people (domain §4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.header import OperatorHeader
from core.payment.commands import (
    DebitFunds,
    DecideApproval,
    MarkPaymentFailed,
    ReleaseFunds,
    RequestApproval,
    ResolveReconciliation,
    ReverseCapture,
)
from core.values import same_person
from tests.model.book import Approval, Book
from tests.model.step import Step
from tests.model.vocabulary import ROLES_OF_ACTION, UNSENT

ACTION_OF = {
    "RetryPayment": ("RETRY", "RETRY_UNCERTAIN"),
    "CancelPayment": ("CANCEL",),
    "MarkPaymentFailed": ("MARK_FAILED",),
    "ExpirePayment": ("EXPIRE",),
    "ResolveReconciliation": ("RESOLVE_RECONCILIATION",),
    "ReleaseFunds": ("RELEASE_EARLY",),
    "ReverseCapture": ("REVERSE",),
    "DebitFunds": ("DEBIT_AGAIN",),
}
OPEN_MAX, ALL_MAX = 16, 200


def gated(step: Step, book: Book) -> Iterator[str]:
    """An action passes only with an unused, unexpired approval of exactly this action."""
    operator = getattr(step.command, "operator", None)
    if not step.accepted or operator is None or step.name not in ACTION_OF:
        return
    if step.name == "ExpirePayment" and book.state in UNSENT:
        return
    identities = {
        event.header.approval_id for event in step.events if event.header.approval_id is not None
    }
    if len(identities) != 1:
        yield f"{step.name} passed with approvals {sorted(identities)}"
        return
    approval = book.approvals.get(identities.pop())
    if approval is None:
        yield f"{step.name} passed with an approval that was never requested"
        return
    yield from _usable(step, book, operator, approval)
    yield from _bound(step, book, approval)
    approval.used = True


def _usable(step: Step, book: Book, operator: OperatorHeader, approval: Approval) -> Iterator[str]:
    now = max(step.context.now_ms, book.decided_at)
    if approval.used:
        yield f"{approval.identity} was used twice"
    if approval.status != "APPROVED":
        yield f"{approval.identity} is {approval.status}"
    if now > approval.expires_at:
        yield f"{approval.identity} expired {now - approval.expires_at} ms ago"
    if approval.action not in ACTION_OF[step.name]:
        yield f"{step.name} passed with an approval of {approval.action}"
    if operator.approval_id not in (None, approval.identity):
        yield f"{operator.approval_id} was named, {approval.identity} was used"
    if not same_person(operator.operator_id, approval.requester):
        yield f"{operator.operator_id} used the approval of {approval.requester}"
    if approval.decided_by is not None and same_person(approval.decided_by, approval.requester):
        yield f"{approval.requester} approved the own request"
    if approval.action == "RETRY_UNCERTAIN" and not approval.by_person:
        yield "no person approved RETRY_UNCERTAIN"
    if not ROLES_OF_ACTION[approval.action] & set(operator.roles):
        yield f"{step.name} passed with the roles {operator.roles}"
    if now > operator.not_after:
        yield f"{step.name} passed after its notAfter"


def _bound(step: Step, book: Book, approval: Approval) -> Iterator[str]:
    command: Any = step.command
    phase = "BEFORE_SENT" if book.state in UNSENT else book.state
    if approval.phase != phase:
        yield f"{approval.identity} was given in {approval.phase}, used in {phase}"
    match command:
        case ResolveReconciliation():
            wanted = (command.conflict_id, command.verdict)
            if (approval.conflict_id, approval.verdict) != wanted:
                yield f"{approval.conflict_id} {approval.verdict} was approved, not {wanted}"
            if command.verdict == "RETURNED" and approval.amount != command.amount:
                yield f"{approval.amount} was approved, {command.amount} came back"
            return
        case MarkPaymentFailed():
            if approval.failure_reason != command.reason:
                yield f"{approval.failure_reason} was approved, not {command.reason}"
        case ReleaseFunds() | ReverseCapture() | DebitFunds():
            if approval.attempt != command.attempt:
                yield f"attempt {approval.attempt} was approved, not {command.attempt}"
            moved = step.made("FundsRequested")
            amount = sum(event.amount for event in moved)
            part = type(command) is DebitFunds  # from the hold first, the rest as a forced debit
            differs = moved and approval.amount not in (None, amount)
            if differs and not (part and amount < (approval.amount or 0)):
                yield f"{approval.amount} was approved, {amount} is requested"
            return
        case _:
            pass
    if approval.attempt != book.current.number:
        yield f"attempt {approval.attempt} was approved, the current one is {book.current.number}"


def roles(step: Step, book: Book) -> Iterator[str]:
    """Authorisation is checked first: without the role nothing is done or revealed."""
    operator = getattr(step.command, "operator", None)
    if operator is None or type(step.decision).__name__ not in {"Accepted", "Duplicate"}:
        return
    if not operator.roles or set(operator.roles) <= {"viewer", "auditor", "submitter"}:
        yield f"{step.name} of {operator.operator_id} with {operator.roles} passed"
    if step.accepted and max(step.context.now_ms, book.decided_at) > operator.not_after:
        yield f"{step.name} passed after its notAfter"


def second_person(step: Step, book: Book) -> Iterator[str]:
    """A person decides only what Resolve referred, and the requester never does."""
    command = step.command
    if not step.accepted:
        return
    for event in step.made("OperatorActionApproved", "OperatorActionRejected"):
        approval = book.approvals.get(event.header.approval_id or "")
        if approval is None:
            yield "a decision on an approval that was never requested"
            return
        if approval.status not in {"REQUESTED", "REFERRED"}:
            yield f"{approval.identity} is decided again, it was {approval.status}"
        if type(command) is DecideApproval:
            if approval.status != "REFERRED":
                yield f"a person decided {approval.identity}, which is {approval.status}"
            if not {"approver"} & set(command.operator.roles):
                yield f"{command.operator.roles} approved"
        approved = type(event).__name__ == "OperatorActionApproved"
        if approved and same_person(event.decided_by, approval.requester):
            yield f"{approval.requester} approved the own request"


def request(step: Step, book: Book) -> Iterator[str]:
    """Limits of approvals, and no approval of what an open request already gives back."""
    command = step.command
    if type(command) is not RequestApproval or not step.accepted:
        return
    now = max(step.context.now_ms, book.decided_at)
    waiting = [each for each in book.approvals.values() if each.open(now)]
    if len(waiting) >= OPEN_MAX:
        yield f"a request although {len(waiting)} approvals are open"
    if len(book.approvals) >= ALL_MAX:
        yield f"a request although there were {len(book.approvals)}"
    number = command.attempt or book.current.number
    if command.action == "REVERSE" and book.open_asks("REVERSE", "CREDIT", attempt=number):
        yield "an approval is requested for money that is already being given back"
    if command.action == "CANCEL" and command.attempt not in (None, book.current.number):
        yield f"a cancel of attempt {command.attempt}, the current one is {book.current.number}"


def frozen(step: Step, book: Book, event: Any) -> Iterator[str]:
    """A requested cancel freezes the send for at most 15 minutes, once per attempt."""
    if event.frozen_until is None:
        return
    if event.action != "CANCEL" or book.state not in UNSENT:
        yield f"{event.action} in {book.state} freezes the send"
    if event.frozen_until - event.header.decided_at > step.context.rules.windows.freeze_ms_max:
        yield "the send is frozen for too long"
    if book.current.frozen_until:
        yield f"attempt {book.current.number} is frozen a second time"
