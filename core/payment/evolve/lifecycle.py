"""Parts of `evolve`: the eight lifecycle events. The transition table has already set the state.
They raise CorruptHistory for an attempt or approval that the history does not have.
"""

from __future__ import annotations

from typing import Final

from core.header import EventHeader
from core.payment import events as e
from core.payment.keys import content_of, digest, result_key
from core.payment.state import Approval, Attempt, CorruptHistory, Payment, SeenReport
from core.words import EndSource, SeenKind

# Reports of which the last is kept; of all others the first. NOTED: our own resend rejected.
LAST_ONLY: Final = frozenset({"STATUS", "RECEIVED", "NOTED"})
# Reports that nothing was ever submitted, by our adapter or the rail's "unknown".
NEVER_SUBMITTED: Final = frozenset({"WITHDRAWN", "NOT_SUBMITTED", "STATUS"})


def created(event: e.PaymentIntentCreated, mark: int) -> Payment:
    header = event.header
    at = header.decided_at
    return Payment(
        payment_intent_id=header.payment_intent_id,
        source=event.source,
        idempotency_key=event.idempotency_key,
        amount=event.amount,
        currency=event.currency,
        parties_scheme=event.parties.scheme,
        parties_key_id=event.parties.key_id,
        parties_bytes=event.parties.bytes,
        end_to_end_id=event.end_to_end_id,
        service=event.service,
        uetr=event.uetr,
        customer_id=event.customer_id,
        requested_execution_time=event.requested_execution_time,
        expires_at=event.expires_at,
        state="CREATED",
        created_at=at,
        sequence=1,
        decided_at=at,
        rule_set=header.rule_set,
        attempts=[Attempt(number=1, started_at=at, state="CREATED")],
        decision_topic=mark,
        decision_offset=header.cause.offset,
        decision_remembered=True,
        traceparent=header.traceparent,
    )


def authorised(new: Payment, event: e.PaymentAuthorised, header: EventHeader) -> None:
    mine = _current(new, header)
    mine.state = new.state
    mine.started_at = header.decided_at
    new.authorised_at = header.decided_at


def attempt_created(new: Payment, event: e.PaymentAttemptCreated, header: EventHeader) -> None:
    number = header.attempt
    last = new.attempts[-1]
    if number == 1 and last.number == 1 and last.state == "AUTHORISED":
        return
    if number != last.number + 1 or last.state != "FAILED":
        raise CorruptHistory(f"attempt {number} after attempt {last.number}, {last.state}")
    mine = Attempt(number=number, started_at=header.decided_at, state=new.state)
    new.attempts = [*new.attempts, mine]
    new.reason = None
    remember_result(new, result_key("R", number))
    use_approval(new, header)


def sent(new: Payment, event: e.PaymentSentToRail, header: EventHeader) -> None:
    mine = _current(new, header)
    mine.state = new.state
    mine.sent_at = header.decided_at
    mine.submit_before = event.submit_before
    # Certainty is about submissions already made: this one starts as uncertain (ruling 3).
    mine.certain = mine.never_submitted = False


def acknowledged(new: Payment, event: e.PaymentAcknowledged, header: EventHeader) -> None:
    mine = _current(new, header)
    mine.state = new.state
    mine.acknowledged_at = header.decided_at
    mine.rail_had_it = True
    mine.overdue = None
    mine.enquiry_round = 0
    content = None if event.implied else content_of(new, event.code, None, None)
    message_id = None if event.implied else event.rail_message_id
    remember_report(new, mine, "ACCEPTED", message_id, content)


def settled(new: Payment, event: e.PaymentSettled, header: EventHeader) -> None:
    mine = _current(new, header)
    mine.state = new.state
    mine.ended_at = header.decided_at
    mine.overdue = None
    mine.enquiry_round = 0
    mine.settled = event.amount
    if mine.outcome != "RETURNED":  # by the verdict that this settlement belongs to
        mine.outcome = "PAID"
    if event.conflict_id is None:
        mine.ended_by = "rail"
        content = content_of(new, event.code, event.amount, event.currency)
        remember_report(new, mine, "SETTLED", event.rail_message_id, content)
    else:
        mine.ended_by = "operator"
        remember_report(new, mine, "SETTLED", None, None)


def failed(new: Payment, event: e.PaymentFailed, header: EventHeader) -> None:
    mine = _current(new, header)
    if event.report_kind is not None:
        content = content_of(new, event.code, None, None)
        remember_report(new, mine, event.report_kind, event.rail_message_id, content)
    mine.late_failure = event.late_failure
    mine.retry_safe = event.retry_safe
    submitted = bool(mine.sent_at) or mine.rail_had_it
    mine.withdraw = submitted and header.reason == "CANCELLED" and event.source != "rail"
    mine.ended_by_enquiry = event.via_enquiry
    _end(new, mine, header, event.source, event.non_payment_certain)
    if event.report_kind in NEVER_SUBMITTED:
        mine.never_submitted = True
    elif event.source == "rail":
        mine.rail_had_it = True
    if event.source == "operator":
        if header.reason == "CANCELLED":
            remember_result(new, result_key("C", f"{header.attempt}:{event.customer_id or ''}"))
        else:
            remember_result(new, result_key("M", f"{header.attempt}:{header.reason}"))
        use_approval(new, header)


def expired(new: Payment, event: e.PaymentExpired, header: EventHeader) -> None:
    mine = _current(new, header)
    if event.source == "rail":
        content = content_of(new, event.code, None, None)
        remember_report(new, mine, "EXPIRED", event.rail_message_id, content)
    _end(new, mine, header, event.source, event.non_payment_certain)
    mine.ended_by_enquiry = event.via_enquiry
    if event.source == "rail":
        mine.rail_had_it = True
    if event.source in ("operator", "upstream"):
        remember_result(new, result_key("E", header.attempt))
        use_approval(new, header)


def use_approval(new: Payment, header: EventHeader) -> None:
    """Use up the approval that the event names. Raises CorruptHistory for an unknown one."""
    if header.approval_id is None:
        return
    for index, approval in enumerate(new.approvals):
        if approval.id == header.approval_id:
            used: Approval = approval.__copy__()
            used.status = "USED"
            new.approvals = [*new.approvals[:index], used, *new.approvals[index + 1 :]]
            return
    raise CorruptHistory(f"no approval {header.approval_id} at sequence {header.sequence}")


def _current(new: Payment, header: EventHeader) -> Attempt:
    if header.attempt != len(new.attempts):
        raise CorruptHistory(f"attempt {header.attempt} is not the current one")
    return own_attempt(new, header.attempt)


def _end(
    new: Payment, mine: Attempt, header: EventHeader, source: EndSource, certain: bool
) -> None:
    mine.state = new.state
    mine.ended_at = header.decided_at
    mine.ended_by = source
    mine.reason = header.reason
    mine.certain = certain
    mine.overdue = None
    mine.enquiry_round = 0
    mine.frozen_until = None
    new.reason = header.reason


def own_attempt(new: Payment, number: int) -> Attempt:
    """A new copy of the attempt, already part of `new`. Raises CorruptHistory if there is none."""
    attempts = new.attempts
    if not 0 < number <= len(attempts):
        raise CorruptHistory(f"no attempt {number} at sequence {new.sequence}")
    mine = attempts[number - 1].__copy__()
    new.attempts = attempts = attempts.copy()
    attempts[number - 1] = mine
    return mine


def remember_result(new: Payment, key: str) -> None:
    """The current decision is the result for the natural key `key`; the first one is kept."""
    if key not in new.results:
        new.results = {**new.results, key: new.decision_from}
    new.decision_remembered = True


def remember_report(
    new: Payment, attempt: Attempt, kind: SeenKind, message_id: str | None, content: str | None
) -> None:
    """Keep the first report of this kind (of those in LAST_ONLY, the last)."""
    new.decision_remembered = True
    memory = SeenReport(
        kind=kind,
        message_id=digest(message_id),
        content=content,
        from_sequence=new.decision_from,
    )
    for index, known in enumerate(attempt.reports):
        if known.kind == kind:
            if kind in LAST_ONLY:
                reports = attempt.reports.copy()
                reports[index] = memory
                attempt.reports = reports
            return
    attempt.reports = [*attempt.reports, memory]
