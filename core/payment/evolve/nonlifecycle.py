"""Parts of `evolve`: the records other than lifecycle events. None of them changes the state. They
raise CorruptHistory for an attempt, approval, conflict or message that the history does not have.
"""

from __future__ import annotations

from typing import Never

from core.header import EventHeader
from core.payment import events as e
from core.payment.evolve.lifecycle import (
    NEVER_SUBMITTED,
    own_attempt,
    remember_report,
    remember_result,
    use_approval,
)
from core.payment.funds import returned_cents
from core.payment.keys import compared, conflict_key, content_of, digest, recovered_key, result_key
from core.payment.report_table import FUNDS_CONTRADICTION, SUBMISSION_FOUND
from core.payment.state import (
    APPROVALS_REMEMBERED_MAX,
    CONFLICTS_LISTED_MAX,
    CONFLICTS_OPEN_MAX,
    CONFLICTS_REMEMBERED_MAX,
    Approval,
    Attempt,
    Conflict,
    CorruptHistory,
    Notification,
    Payment,
)
from core.values import NO_CENTS, ApprovalId, Cents, attempt_of_external_ref, person_digest
from core.words import ApprovalStatus, ConflictKind, ReportKind, SeenKind


def policy_checked(new: Payment, event: e.PolicyChecked, header: EventHeader) -> None:
    mine = own_attempt(new, header.attempt)
    mine.policy = event.verdict
    mine.policy_from = new.decision_from
    new.decision_remembered = True


def suspended(new: Payment, event: e.ProcessingSuspended, header: EventHeader) -> None:
    new.parked = True


def resumed(new: Payment, event: e.ProcessingResumed, header: EventHeader) -> None:
    new.parked = False


def action_requested(new: Payment, event: e.OperatorActionRequested, header: EventHeader) -> None:
    approval = Approval(
        id=_approval_id(header),
        action=event.action,
        requester=person_digest(event.requester),
        attempt=header.attempt,
        phase=event.phase,
        failure_reason=event.failure_reason,
        conflict_id=event.conflict_id,
        verdict=event.verdict,
        amount=event.amount,
        status="REQUESTED",
        expires_at=event.expires_at,
        requested_from=new.decision_from,
    )
    new.approvals_made += 1
    new.approvals = [*_without_oldest_ended(new), approval]
    new.decision_remembered = True
    if event.frozen_until is not None:
        mine = own_attempt(new, header.attempt)
        mine.frozen_until = event.frozen_until
        mine.frozen_by = approval.id


def action_referred(new: Payment, event: e.OperatorActionReferred, header: EventHeader) -> None:
    _decide(new, header, "REFERRED")


def action_approved(new: Payment, event: e.OperatorActionApproved, header: EventHeader) -> None:
    approval = _decide(new, header, "APPROVED")
    approval.expires_at = event.expires_at
    for attempt in new.attempts:
        if attempt.frozen_by == approval.id and attempt.frozen_until is not None:
            mine = own_attempt(new, attempt.number)
            mine.frozen_until = min(attempt.frozen_until, event.expires_at)


def action_rejected(new: Payment, event: e.OperatorActionRejected, header: EventHeader) -> None:
    # The system rejects a request that was not decided in time.
    status: ApprovalStatus = "EXPIRED" if header.actor.kind == "system" else "REJECTED"
    approval = _decide(new, header, status)
    for attempt in new.attempts:
        if attempt.frozen_by == approval.id and attempt.frozen_until is not None:
            # Kept: the window ends submit_ms after the freeze at the earliest (ruling 8).
            frozen_until = min(attempt.frozen_until, header.decided_at)
            own_attempt(new, attempt.number).frozen_until = frozen_until


def overdue(new: Payment, event: e.PaymentOverdue, header: EventHeader) -> None:
    own_attempt(new, header.attempt).overdue = event.level


def enquiry_requested(new: Payment, event: e.RailEnquiryRequested, header: EventHeader) -> None:
    mine = own_attempt(new, header.attempt)
    mine.enquiries = event.number
    mine.enquiry_round += 1
    mine.enquiry_at = header.decided_at


def status_reported(new: Payment, event: e.RailStatusReported, header: EventHeader) -> None:
    """A report that is only recorded, such as RECEIVED, STATUS or a rejection of our own resend."""
    mine = own_attempt(new, header.attempt)
    new.notes += 1
    if not event.retry_safe:
        mine.retry_safe = False
    elif event.kind == "REJECTED":
        mine.resend_rejected = True
    if event.rail_has_it:
        mine.rail_had_it = True
    if event.submitted_at is not None and not event.via_enquiry:
        mine.tried_at = max(mine.tried_at, event.submitted_at)
    if event.kind == "RETURNED":
        amount = event.amount or NO_CENTS
        _add_return(mine, amount, event.rail_message_id, via_enquiry=event.via_enquiry)
    content = content_of(new, event.code, event.amount, event.currency)
    remember_report(new, mine, note_kind(event.kind), event.rail_message_id, content)


def note_kind(kind: ReportKind) -> SeenKind:
    """A noted rejection of a resend must not hide the rail's rejection of the payment itself."""
    return "NOTED" if kind == "REJECTED" else kind


def non_payment_confirmed(new: Payment, event: e.NonPaymentConfirmed, header: EventHeader) -> None:
    mine = own_attempt(new, header.attempt)
    mine.certain = True
    mine.never_submitted = event.by in NEVER_SUBMITTED
    mine.retry_safe = mine.retry_safe and event.retry_safe
    content = content_of(new, event.code, None, None)
    remember_report(new, mine, event.by, event.rail_message_id, content)


def recall_requested(new: Payment, event: e.RecallRequested, header: EventHeader) -> None:
    mine = own_attempt(new, header.attempt)
    mine.recall = "REQUESTED"
    if event.code == "SUBMITTED":
        mine.rail_had_it = True
    remember_report(new, mine, "ALREADY_SUBMITTED", None, None)


def recall_answered(new: Payment, event: e.RecallAnswered, header: EventHeader) -> None:
    mine = own_attempt(new, header.attempt)
    mine.recall = "ACCEPTED" if event.accepted else "REFUSED"
    mine.rail_had_it = True
    kind: ReportKind = "RECALL_ACCEPTED" if event.accepted else "RECALL_REFUSED"
    content = content_of(new, event.code, None, None)
    remember_report(new, mine, kind, event.rail_message_id, content)


def reconciliation_required(
    new: Payment, event: e.ReconciliationRequired, header: EventHeader
) -> None:
    new.conflicts_made += 1
    new.decision_remembered = True
    if event.kind == SUBMISSION_FOUND and event.external_ref is not None:
        remember_result(new, recovered_key(event.external_ref, event.report_kind))
        if attempt_of_external_ref(event.external_ref) == header.attempt:
            own_attempt(new, header.attempt).rail_had_it = True
    content = content_of(new, event.code, event.amount, event.currency)
    listed = sum(1 for c in new.conflicts if c.verdict is None)
    if listed >= CONFLICTS_LISTED_MAX:
        new.conflicts_unlisted += 1
        keys = [*new.conflicts_unlisted_keys.items()][-(CONFLICTS_OPEN_MAX - 1) :]
        key = conflict_key(header.attempt, event.report_kind, content)
        new.conflicts_unlisted_keys = {**dict(keys), key: new.decision_from}
        return
    conflict = Conflict(
        id=event.conflict_id,
        kind=event.kind,
        attempt=header.attempt,
        report_kind=event.report_kind,
        content=content,
        message_id=digest(event.rail_message_id),
        amount=event.amount,
        currency=None if event.currency is None else compared(event.currency),
        from_sequence=new.decision_from,
    )
    new.conflicts = [*new.conflicts, conflict]


def reconciliation_resolved(
    new: Payment, event: e.ReconciliationResolved, header: EventHeader
) -> None:
    kind = _close_conflict(new, event)
    remember_result(new, result_key("Q", f"{event.conflict_id}:{header.attempt}:{event.verdict}"))
    use_approval(new, header)
    if kind == FUNDS_CONTRADICTION:
        return  # the books are corrected outside; the payment's result is not in question
    mine = own_attempt(new, header.attempt)
    match event.verdict:
        case "NOT_PAID":
            mine.certain = True
            mine.outcome = "NOT_PAID"
            mine.settled = NO_CENTS
        case "SETTLED_AFTER_ALL" | "AMOUNT_ACCEPTED":
            _paid(new, mine, event.amount or mine.settled or new.amount)
        case "RETURNED":
            _paid(new, mine, mine.settled or new.amount)
            mine.returns_total = Cents(returned_cents(mine) + (event.amount or 0))
        case "REPORT_WRONG":
            mine.enquiry_round = 0
        case _:
            _unknown_word(event.verdict)
    if mine.outcome == "PAID" and 0 < mine.settled <= returned_cents(mine):
        mine.outcome = "RETURNED"


def returned(new: Payment, event: e.PaymentReturned, header: EventHeader) -> None:
    mine = own_attempt(new, header.attempt)
    _add_return(mine, event.amount, event.rail_message_id, via_enquiry=event.via_enquiry)
    if mine.outcome == "PAID" and mine.settled <= returned_cents(mine):
        mine.outcome = "RETURNED"
    content = content_of(new, event.code, event.amount, event.currency)
    remember_report(new, mine, "RETURNED", event.rail_message_id, content)


def notification_requested(
    new: Payment, event: e.CustomerNotificationRequested, header: EventHeader
) -> None:
    if event.kind != "retry_started":
        own_attempt(new, header.attempt).notified = True
    note = Notification(id=event.notification_id, kind=event.kind)
    new.notifications = [*new.notifications, note]


def notified(new: Payment, event: e.CustomerNotified, header: EventHeader) -> None:
    for index, known in enumerate(new.notifications):
        if known.id == event.notification_id:
            answered = Notification(
                id=known.id,
                kind=known.kind,
                result=event.result,
                from_sequence=new.decision_from,
            )
            new.notifications = [
                *new.notifications[:index],
                answered,
                *new.notifications[index + 1 :],
            ]
            new.decision_remembered = True
            return
    raise CorruptHistory(f"no notification {event.notification_id}")


def _paid(new: Payment, mine: Attempt, settled: Cents) -> None:
    """A person says that the rail moved money. If another attempt is paid too, this is a second
    settlement, whose debit needs a separate approval (ruling 5).
    """
    others = any(a.outcome == "PAID" and a.number != mine.number for a in new.attempts)
    if others and mine.outcome != "PAID":
        mine.second_settlement = True
    mine.outcome = "PAID"
    mine.settled = settled
    mine.certain = mine.never_submitted = False


def _add_return(mine: Attempt, amount: Cents, message_id: str | None, *, via_enquiry: bool) -> None:
    """One return by its id, or the total so far (ruling 13)."""
    name = digest(message_id)
    if via_enquiry or name is None:
        mine.returns_total = max(mine.returns_total, amount)
    else:
        mine.returns_sum = Cents(mine.returns_sum + amount)
        mine.returns = {**mine.returns, name: amount}


def _close_conflict(new: Payment, event: e.ReconciliationResolved) -> ConflictKind | None:
    """The kind of the closed conflict; None if it was only counted."""
    for index, known in enumerate(new.conflicts):
        if known.id == event.conflict_id and known.verdict is None:
            closed: Conflict = known.__copy__()
            closed.verdict = event.verdict
            rest = [*new.conflicts[:index], closed, *new.conflicts[index + 1 :]]
            new.conflicts = _without_oldest_closed(rest)
            return closed.kind
    if not new.conflicts_unlisted:
        raise CorruptHistory(f"no open conflict {event.conflict_id}")
    new.conflicts_unlisted -= 1
    return None


def _without_oldest_closed(conflicts: list[Conflict]) -> list[Conflict]:
    closed = [c for c in conflicts if c.verdict is not None]
    if len(closed) <= CONFLICTS_REMEMBERED_MAX:
        return conflicts
    return [c for c in conflicts if c is not closed[0]]


def _without_oldest_ended(new: Payment) -> list[Approval]:
    now = new.decided_at
    ended = [
        a
        for a in new.approvals
        if a.status in ("USED", "REJECTED", "EXPIRED") or a.expires_at <= now
    ]
    if len(ended) < APPROVALS_REMEMBERED_MAX:
        return new.approvals
    return [a for a in new.approvals if a is not ended[0]]


def _decide(new: Payment, header: EventHeader, status: ApprovalStatus) -> Approval:
    approval_id = _approval_id(header)
    for index, known in enumerate(new.approvals):
        if known.id == approval_id:
            mine: Approval = known.__copy__()
            mine.status = status
            mine.decided_from = new.decision_from
            mine.decision = status
            mine.by_person = header.actor.kind == "operator"
            new.approvals = [*new.approvals[:index], mine, *new.approvals[index + 1 :]]
            new.decision_remembered = True
            return mine
    raise CorruptHistory(f"no approval {approval_id} at sequence {header.sequence}")


def _approval_id(header: EventHeader) -> ApprovalId:
    if header.approval_id is None:
        raise CorruptHistory(f"no approval id at sequence {header.sequence}")
    return header.approval_id


def _unknown_word(word: Never) -> Never:
    """For the last case of a match: at run time a closed set's values are plain strings."""
    raise CorruptHistory(f"{word} is in no set of words")
