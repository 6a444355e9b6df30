"""Laws of sending, certainty, retries, conflicts and returns (rulings 2 to 8 and 13)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.decider import Duplicate, NoEffect
from core.payment.commands import CancelPayment, RailReport, ResolveReconciliation, TimerDue
from tests.model.book import Book, Conflict, Try
from tests.model.step import Step, Truth, certain, ground_of
from tests.model.vocabulary import ATTEMPTS, UNSENT, attempt_of, reference, rules


def send(step: Step, book: Book, event: Any) -> Iterator[str]:
    """Domain §1: SENT needs funds held, policy passed, no conflict, no freeze, the time reached."""
    mine = book.current
    now = event.header.decided_at
    if event.amount != book.amount or event.currency != book.currency:
        yield f"{event.amount} {event.currency} is sent of {book.amount} {book.currency}"
    if event.submit_before <= now:
        yield f"its window ended {now - event.submit_before} ms ago"
    held = [h for h in book.holds if h.attempt == mine.number and h.left >= book.amount]
    if not any(not book.asks_of(hold) for hold in held):
        yield f"attempt {mine.number} is sent without its funds held"
    if not mine.policy:
        yield f"attempt {mine.number} is sent without its policy check passed"
    if book.open_conflicts():
        yield f"attempt {mine.number} is sent while {book.open_conflicts()[0].identity} is open"
    approval = book.approvals.get(mine.freeze_approval or "")
    if approval is not None and mine.frozen_until > now and approval.open(now):
        yield f"attempt {mine.number} is sent while {approval.identity} freezes it"
    if now < book.execution:
        yield f"it is sent {book.execution - now} ms before its execution time"
    yield from _earlier(book, mine.number)


def _earlier(book: Book, number: int) -> Iterator[str]:
    for each in book.tries[: number - 1]:
        if each.settled:
            yield f"attempt {number} goes on although attempt {each.number} was paid"
        elif not (each.claimed and certain(each)) and not each.risk_taken:
            yield (
                f"attempt {number} goes on although attempt {each.number} may be paid "
                f"(claimed certain: {each.claimed}, grounds {sorted(each.grounds)}, "
                f"evidence {sorted(each.evidence)})"
            )


def retry(step: Step, book: Book, event: Any) -> Iterator[str]:
    """Ruling 2: what a retry needs."""
    number = event.header.attempt
    if number == 1:
        return
    last = book.current
    used = book.approvals.get(event.header.approval_id or "")
    if number != last.number + 1 or number > ATTEMPTS:
        yield f"attempt {number} follows {last.number}"
    if not book.authorised:
        yield "the payment was never AUTHORISED"
    if not last.retry_safe or last.bad_reason or last.reason not in {"RAIL", "TIMEOUT"}:
        yield f"a retry after {last.reason} is not safe"
    if book.open_conflicts():
        yield f"a retry while {book.open_conflicts()[0].identity} is open"
    if book.open_asks("HOLD", "RELEASE"):
        yield "a retry while a HOLD or RELEASE is unanswered"
    if used is not None and used.action == "RETRY_UNCERTAIN":
        for each in book.tries:
            each.risk_taken = each.risk_taken or not each.settled
    yield from _earlier(book, number)


def truth_unpaid(step: Step, book: Book, event: Any, truth: Truth) -> Iterator[str]:
    """The first law: no attempt starts while the rail may pay, or has paid, an earlier one."""
    number = event.header.attempt
    now = event.header.decided_at
    for each in book.tries[: number - 1]:
        mine = truth.rail.submissions.get(each.number)
        if each.risk_taken or each.number in truth.excused or mine is None:
            continue
        if mine.may_settle(now):
            yield f"attempt {number} goes on; at the rail attempt {each.number} is {mine.status}"


def truth_certain(step: Step, book: Book, event: Any, truth: Truth) -> Iterator[str]:
    """Ruling 3 compared with the rail's own ledger: if nothing was misreported, certainty must be
    true.
    """
    if not getattr(event, "non_payment_certain", True):
        return
    number = event.header.attempt
    mine = truth.rail.submissions.get(number)
    if mine is None or number in truth.excused:
        return
    if mine.may_settle(event.header.decided_at):
        yield f"attempt {number} is called unpaid for certain; at the rail it is {mine.status}"


def claim(step: Step, book: Book, event: Any) -> Iterator[str]:
    """Ruling 3: non-payment is certain only for reasons about submissions already made."""
    if not getattr(event, "non_payment_certain", True):
        return
    mine = book.attempt(event.header.attempt)
    if mine is None:
        yield "certain of an attempt that does not exist"
        return
    report = step.command
    if certain(mine):
        return
    ours = type(report) is RailReport and attempt_of(report.external_ref) == mine.number
    if ours and ground_of(report, mine, event.header.decided_at) is not None:
        return
    yield (
        f"{type(event).__name__} calls attempt {mine.number} unpaid for certain by {step.name} "
        f"{getattr(report, 'kind', '')} {getattr(report, 'code', '')}, after grounds "
        f"{sorted(mine.grounds)} and evidence {sorted(mine.evidence)}"
    )


def unsent_is_certain(step: Step, book: Book, event: Any) -> Iterator[str]:
    """Rulings 3 and 12: an attempt that ends unsent, without a contradiction, is
    certainly unpaid.
    """
    mine = book.current
    if mine.sent or mine.reported or step.context.recovered_submissions or book.open_conflicts():
        return
    if not event.non_payment_certain:
        yield f"attempt {mine.number} was never sent, and ends uncertain"


def failure_safe(step: Step, book: Book, event: Any) -> Iterator[str]:
    """Domain §6: only RAIL and TIMEOUT may be retried, and only as their code's row says."""
    reason, report = event.header.reason, step.command
    if event.retry_safe and reason not in {"RAIL", "TIMEOUT"}:
        yield f"{reason} is called safe to retry"
    if type(report) is not RailReport or report.kind != "REJECTED":
        return
    meaning = rules().meaning(report.adapter, report.code)
    if reason != meaning.reason or event.retry_safe != meaning.retry_safe:
        yield f"{report.code} became {reason}, retry safe: {event.retry_safe}"
    if (book.state == "ACKNOWLEDGED") != event.late_failure:
        yield f"a failure from {book.state} has lateFailure {event.late_failure}"


def ended_by(step: Step, book: Book, event: Any) -> Iterator[str]:
    """Rulings 5 and 7: timers end nothing from SENT on, and nothing ends a payment under a
    conflict.
    """
    if type(step.command) is TimerDue and book.state not in UNSENT:
        yield f"a timer ended a payment that was {book.state}"
    if type(step.command) in {RailReport, ResolveReconciliation}:
        return
    by_answer = step.name in {"PolicyVerdict", "DepositsResult"}
    if book.open_conflicts() and not by_answer:
        yield f"{step.name} ended it while {book.open_conflicts()[0].identity} is open"
    if step.name == "ExpirePayment" and step.origin == "upstream" and book.state not in UNSENT:
        yield f"an upstream expired a payment that was {book.state}"


def settled_amount(step: Step, book: Book, event: Any) -> Iterator[str]:
    """Rulings 5 and 13: another amount or currency never settles without a person."""
    if event.currency != book.currency:
        yield f"settled in {event.currency}"
    report = step.command
    if type(report) is ResolveReconciliation:
        conflict = book.conflicts.get(report.conflict_id)
        if conflict is None or report.verdict in {"NOT_PAID", "REPORT_WRONG"}:
            yield f"the verdict {report.verdict} settled it"
            return
        wanted = conflict.amount if report.verdict == "AMOUNT_ACCEPTED" else book.amount
        if event.amount != wanted:
            yield f"{report.verdict} settled it at {event.amount}, not {wanted}"
    elif event.amount != book.amount:
        yield f"settled at {event.amount} of {book.amount} without a verdict"


def blocked(step: Step, book: Book) -> Iterator[str]:
    """Ruling 5: no early release while a conflict is open."""
    if step.name == "ReleaseFunds" and step.accepted and book.open_conflicts():
        yield "an early release while a conflict is open"


def verdict(step: Step, book: Book) -> Iterator[str]:
    """Ruling 5: which verdict fits which conflict in which state of the attempt."""
    command = step.command
    if type(command) is not ResolveReconciliation or not step.accepted:
        return
    conflict = book.conflicts.get(command.conflict_id)
    if conflict is None or conflict.verdict is not None:
        yield f"{command.conflict_id} was not open"
        return
    why = unfit(book, conflict, command.attempt, command.verdict, command.amount)
    if why is not None:
        yield f"{command.verdict} of {conflict.kind} ({conflict.report_kind}): {why}"


def unfit(
    book: Book, conflict: Conflict, number: int, verdict: str, amount: int | None
) -> str | None:
    """Why the verdict does not fit, or None if it may."""
    mine = book.attempt(number)
    if mine is None or number != conflict.attempt:
        return f"the conflict is about attempt {conflict.attempt}, not {number}"
    other_currency = conflict.currency not in (None, book.currency)
    expected = mine.settled or book.amount
    other_amount = conflict.amount not in (None, expected) and conflict.report_kind != "RETURNED"
    settlement = conflict.report_kind == "SETTLED"
    if conflict.kind.startswith("FUNDS_"):  # Deposits Core contradicts itself: not about the rail
        fits = verdict in {"AMOUNT_ACCEPTED", "REPORT_WRONG"}
        return None if fits else "it is not about the rail"
    match verdict:
        case "NOT_PAID":
            return None if mine.ended else f"the attempt is {mine.state}"
        case "SETTLED_AFTER_ALL":
            return "amount or currency differs" if other_amount or other_currency else None
        case "AMOUNT_ACCEPTED":
            known = conflict.kind == "AMOUNT_DIFFERS"  # meanwhile accepted by another conflict
            if other_currency or not (other_amount or known) or not settlement:
                return "it is no settlement of another amount"
            return None
        case "RETURNED":
            if other_amount or other_currency:
                return "amount or currency differs"
            if not (mine.settled or mine.sent or mine.found):
                return "nothing was sent that could come back"
            most = (mine.settled or book.amount) - mine.returned
            fits = amount is not None and 0 < amount <= most
            return None if fits else f"{amount} of at most {most} came back"
        case "REPORT_WRONG":
            return None
        case _:
            return "there is no such verdict"


def same_conflict(step: Step, book: Book, event: Any) -> Iterator[str]:
    """Ruling 5: the same contradiction is the same conflict while that is open."""
    for each in book.open_conflicts():
        mine = (each.kind, each.attempt, each.report_kind, each.code, each.amount, each.currency)
        new = (event.kind, event.header.attempt, event.report_kind, event.code)
        reported = each.report_kind not in {None, "RETURNED"}  # each return is a separate fact
        if event.kind == "SAME_MESSAGE_OTHER_CONTENT":
            reported = event.rail_message_id == each.message_id
        if reported and mine == (*new, event.amount, event.currency):
            yield f"{event.conflict_id} repeats {each.identity}: {event.kind}"


def kept(step: Step, book: Book) -> Iterator[str]:
    """Ruling 5: a settlement is never dropped: it applies, opens a conflict, or is known."""
    report = step.command
    if type(report) is not RailReport or report.kind != "SETTLED" or step.accepted:
        return
    mine = book.attempt(attempt_of(report.external_ref) or 0)
    if mine is None or len(book.open_conflicts()) >= 16 or len(book.conflicts) >= 60:
        return
    amount = mine.settled if report.amount is None else report.amount
    agrees = 0 < mine.settled == amount and report.currency in (None, book.currency)
    known = agrees or bool(book.open_conflicts(mine.number))
    if type(step.decision) is NoEffect and not known:
        yield f"SETTLED of attempt {mine.number} had no effect"
    if type(step.decision) is Duplicate and not known and step.fresh:
        yield f"SETTLED of attempt {mine.number} is called known; it is {mine.state}, not paid"


def applies(step: Step, book: Book) -> Iterator[str]:
    """Rulings 4, 5, 8: a consistent, new report of the current attempt applies."""
    report = step.command
    if type(report) is not RailReport or not step.fresh or not book.tries:
        return
    mine = book.current
    if attempt_of(report.external_ref) != mine.number or mine.sent == 0:
        return
    if report.amount not in (None, book.amount) or report.currency not in (None, book.currency):
        return
    wanted = _wanted(mine, report)
    if report.kind == "NOT_SUBMITTED" and book.open_conflicts(mine.number):
        return  # the open conflict may be about it
    if wanted is not None and not step.made(wanted, "ReconciliationRequired"):
        yield f"{report.kind} {report.code} in {mine.state} made no {wanted}: {step.decision}"
    moves = wanted in {"PaymentSettled", "PaymentAcknowledged"} and not step.made(wanted)
    if moves and not book.conflicts and not step.context.recovered_submissions:
        yield f"{report.kind} in {mine.state} made {[type(x).__name__ for x in step.events]}"


def _wanted(mine: Try, report: RailReport) -> str | None:
    if mine.state not in {"SENT", "ACKNOWLEDGED"}:
        return None
    match report.kind:
        case "SETTLED":
            return "PaymentSettled"
        case "ACCEPTED" if mine.state == "SENT":
            return "PaymentAcknowledged"
        case "REJECTED" if report.code not in rules().resend_rejected_codes:
            return "PaymentFailed"
        case "NOT_SUBMITTED" if mine.state == "SENT":
            contradicted = mine.evidence or mine.reported or mine.hinted
            return None if contradicted else "PaymentFailed"
        case _:
            return None


def returned(step: Step, book: Book, event: Any) -> Iterator[str]:
    """Ruling 13: a return has an amount, raises the sum, and never exceeds what was settled."""
    mine = book.attempt(event.header.attempt)
    report = step.command
    if mine is None or type(report) is not RailReport or report.amount is None:
        yield "a return without an amount"
        return
    one = report.rail_message_id is not None and not report.via_enquiry
    ids = dict(mine.return_ids)
    total = mine.return_total
    if one and report.rail_message_id is not None:
        ids[report.rail_message_id] = report.amount
    else:
        total = max(total, report.amount)
    said = max(sum(ids.values()), total)
    # Whether a verdict's amount is a further return or part of the reported ones is not recorded.
    fits = {max(said, mine.returned), max(sum(ids.values()) + mine.return_verdicts, total)}
    if event.total <= mine.returned:
        yield f"a return that does not raise {mine.returned}"
    if event.total > mine.settled:
        yield f"{event.total} returned of {mine.settled}"
    if event.total not in fits:
        yield f"it says {event.total} in all, the sum is {sorted(fits)}"


def cancel_named(step: Step, book: Book) -> Iterator[str]:
    """Ruling 8: a cancel in SENT withdraws; otherwise only a verdict that it was paid does."""
    if type(step.command) is not CancelPayment or not step.accepted or book.state != "SENT":
        return
    reported = [getattr(each, "kind", "") for each in step.instructions]
    if "WITHDRAW" not in reported:
        yield f"a cancel in SENT instructed {reported}"


def instruction_refs(step: Step, book: Book) -> Iterator[str]:
    """Domain §2: a reference is that of its attempt, and SUBMIT comes only with its event."""
    for each in step.instructions:
        if type(each).__name__ == "RailInstruction" and each.external_ref != reference(
            each.attempt
        ):
            yield f"{each.kind} of attempt {each.attempt} names {each.external_ref}"
