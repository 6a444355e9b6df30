"""Laws of the funds (domain §3): what may be requested from Deposits Core, and what must add up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.payment.commands import DepositsResult, TimerDue
from tests.model.book import Ask, Book, Hold
from tests.model.laws.history import well_formed
from tests.model.step import Step, Truth
from tests.model.vocabulary import (
    DONE_OF,
    GIVING,
    HOLD_REPEAT_MS,
    TAKING,
    attempt_of,
    reference,
)

LETTERS = {
    "HOLD": "H", "CAPTURE": "C", "RELEASE": "R", "DEBIT_FORCED": "D", "REVERSE": "V", "CREDIT": "K",
}  # fmt: skip


def requested(step: Step, book: Book, event: Any) -> Iterator[str]:
    """One fundsRef is one instruction; a new one is made only when no similar one is open."""
    number = attempt_of(event.funds_ref)
    prefix = f"{reference(number or 0)}{LETTERS.get(event.operation, '?')}"
    if len(event.funds_ref) != 33 or not event.funds_ref.startswith(prefix):
        yield f"{event.operation} has the reference {event.funds_ref}"
    if book.attempt(number or 0) is None:
        yield f"{event.funds_ref} names no attempt"
        return
    if event.amount <= 0 or event.currency != book.currency:
        yield f"{event.operation} of {event.amount} {event.currency}"
    known = book.asks.get(event.funds_ref)
    if known is not None:
        if (known.operation, known.amount) != (event.operation, event.amount):
            yield f"{event.funds_ref} was {known.operation} of {known.amount}, not {event.amount}"
        if known.status != "OPEN":
            yield f"{event.funds_ref} is asked again although it was answered {known.status}"
        return
    yield from _after_refusal(step, book, event, number or 0)
    yield from _NEW[event.operation](step, book, event, number or 0)


BY_PERSONS = frozenset({"RepeatFundsRequest", "DebitFunds", "ReverseCapture", "ReleaseFunds"})


def _after_refusal(step: Step, book: Book, event: Any, number: int) -> Iterator[str]:
    """A request that Deposits Core refused is repeated by a person only (unless its
    hold is gone).
    """
    before = [
        ask
        for ask in book.asks.values()
        if ask.attempt == number and ask.operation == event.operation
    ]
    if not before or before[-1].status != "REFUSED" or step.name in BY_PERSONS:
        return
    known = event.operation == "RELEASE" and before[-1].hold_funds_ref is not None
    if before[-1].code != "HOLD_GONE" and not known:
        yield f"{event.operation} is asked again by {step.name} after it was refused"


def hold_has_end(step: Step, book: Book, event: Any) -> Iterator[str]:
    """Domain §3: a HOLD has a notAfter, after which Deposits Core never carries it out."""
    if event.operation != "HOLD":
        return
    if event.not_after is None:
        yield "a HOLD without notAfter"
    elif event.not_after < event.header.decided_at and not book.open_conflicts():
        yield f"a HOLD asked {event.header.decided_at - event.not_after} ms after its notAfter"


def _new_hold(step: Step, book: Book, event: Any, number: int) -> Iterator[str]:
    if event.amount != book.amount:
        yield f"a hold of {event.amount} for a payment of {book.amount}"
    if book.open_asks("HOLD", attempt=number):
        yield "two HOLDs of one attempt are open"
    if any(h.attempt == number and h.left for h in book.holds):
        yield f"a second hold for attempt {number}"
    current = book.current
    if number != current.number or current.ended:
        yield f"a hold for attempt {number}, which is {book.tries[number - 1].state}"


def _new_capture(step: Step, book: Book, event: Any, number: int) -> Iterator[str]:
    yield from _taking(step, book, event, number)
    mine = _reported_hold(step, book, event)
    if mine is None:
        yield "a CAPTURE of a hold that is not known"
        return
    if mine.attempt != number:
        yield f"a CAPTURE for attempt {number} of the hold of attempt {mine.attempt}"
    if event.amount > mine.left:
        yield f"a CAPTURE of {event.amount} of {mine.left} held"
    if book.asks_of(mine):
        yield f"a CAPTURE of a hold with an open {book.asks_of(mine)[0].operation}"
    if book.captures or book.open_asks("CAPTURE"):
        yield "a second CAPTURE of one payment"


def _new_release(step: Step, book: Book, event: Any, number: int) -> Iterator[str]:
    named = event.hold_funds_ref
    if named is not None:
        ask = book.asks.get(named)
        if ask is None or ask.operation != "HOLD":
            yield f"a RELEASE names {named}, which is no HOLD"
        elif book.open_asks("RELEASE", attempt=number):
            yield f"two RELEASEs are open for {named}"
        elif any(h.attempt == number and h.left for h in book.holds):
            return  # an earlier HOLD was carried out after all
        elif book.open_conflicts() and step.name != "RepeatFundsRequest":
            yield f"a HOLD is ended by name while {book.open_conflicts()[0].identity} is open"
        elif not book.tries[ask.attempt - 1].ended:
            yield f"the unanswered HOLD of attempt {ask.attempt} is ended before its attempt is"
        return
    mine = _reported_hold(step, book, event)
    if mine is None:
        yield "a RELEASE of a hold that is not known"
        return
    if any(ask.operation == "RELEASE" for ask in book.asks_of(mine)):
        yield "two RELEASEs of one hold are open"
    rest = mine.left - sum(a.amount for a in book.asks_of(mine) if a.operation == "CAPTURE")
    if event.amount != rest:
        yield f"a RELEASE of {event.amount}, {rest} is left of the hold"
    used = book.approvals.get(event.header.approval_id or "")
    again = [a for a in book.asks.values() if book.approved(a, "RELEASE_EARLY")]
    if (used is not None and used.action == "RELEASE_EARLY") or again:
        return  # a person approved it, or repeated it after a refusal
    if book.open_conflicts() and step.name != "RepeatFundsRequest":
        yield f"a hold is released while {book.open_conflicts()[0].identity} is open"
    owner = book.tries[mine.attempt - 1]
    if owner.may_settle:
        yield f"the hold of attempt {owner.number} is released; the attempt may still settle"
    for each in book.tries:
        if book.captures:
            return  # captured once per payment: the remaining hold can pay nothing
        if each is not owner and each.may_settle and not _holds_its_own(book, each.number):
            yield f"the hold of attempt {owner.number} is released; {each.number} is not resolved"
        owed = book.net(each.number) < each.bears and not _second(book, each.number)
        if each.settled and owed and not book.captures:
            yield f"a hold is released although attempt {each.number} was not debited"


def _holds_its_own(book: Book, number: int) -> bool:
    """The attempt has or requests a hold: another one would exceed what may settle."""
    requested = book.open_asks("HOLD", attempt=number)
    return bool(requested) or any(hold.attempt == number and hold.left for hold in book.holds)


def _new_debit(step: Step, book: Book, event: Any, number: int) -> Iterator[str]:
    yield from _taking(step, book, event, number)
    usable = [hold for hold in book.holds if _may_pay_another(book, hold)]
    if usable and not book.captures and not _second(book, number):
        yield f"a forced debit while a hold of attempt {usable[0].attempt} could pay"


def _may_pay_another(book: Book, hold: Hold) -> bool:
    """Nothing is requested of it, and its attempt can no longer settle."""
    owner = book.tries[hold.attempt - 1]
    return hold.left > 0 and not book.asks_of(hold) and not (owner.may_settle or owner.settled)


def _taking(step: Step, book: Book, event: Any, number: int) -> Iterator[str]:
    mine = book.tries[number - 1]
    if not mine.settled:
        yield f"{event.operation} for attempt {number}, which is not settled"
    if book.open_asks(*TAKING, attempt=number):
        yield f"two taking requests of attempt {number} are open"
    if book.net(number) + event.amount > mine.bears:
        yield f"{event.operation} of {event.amount}: {book.net(number)} of {mine.bears} is taken"
    if _second(book, number):
        used = book.approvals.get(event.header.approval_id or "")
        again = any(
            a.attempt == number and (a.status == "REFUSED" or book.approved(a, "DEBIT_AGAIN"))
            for a in book.asks.values()
            if a.operation in TAKING
        )
        if (used is None or used.action != "DEBIT_AGAIN") and not again:
            yield f"attempt {number} is the second settlement; its debit has no approval"


def _second(book: Book, number: int) -> bool:
    """Whether another attempt was paid before, and its money did not come back."""
    mine = book.tries[number - 1]
    return any(
        each.paid_order and each.paid_order < mine.paid_order and each.bears > 0
        for each in book.tries
        if each is not mine
    )


def _later_settlement(book: Book, number: int) -> bool:
    """Whether another attempt was paid before, whether or not it came back: a person may decide."""
    mine = book.tries[number - 1]
    return any(0 < each.paid_order < mine.paid_order for each in book.tries)


def _new_giving(step: Step, book: Book, event: Any, number: int) -> Iterator[str]:
    mine = book.tries[number - 1]
    if book.open_asks(*GIVING, attempt=number):
        yield f"two requests that give back the money of attempt {number} are open"
    used = book.approvals.get(event.header.approval_id or "")
    waived = mine.waived
    if used is not None and used.action == "REVERSE":
        waived = max(mine.waived, mine.returned) + event.amount
    taken = book.taken.get(number, 0)
    given = book.given.get(number, 0) + book.giving(number)
    if given + event.amount > taken:
        yield f"{event.operation} of {event.amount}: {given} of {taken} taken is given back"
    due = max(0, mine.settled - max(mine.returned, waived))
    if taken - given - event.amount < due:
        yield f"{event.operation} of {event.amount} leaves less than the {due} that is due"


_NEW: dict[str, Any] = {
    "HOLD": _new_hold,
    "CAPTURE": _new_capture,
    "RELEASE": _new_release,
    "DEBIT_FORCED": _new_debit,
    "REVERSE": _new_giving,
    "CREDIT": _new_giving,
}


def _reported_hold(step: Step, book: Book, event: Any) -> Hold | None:
    for each in step.instructions:
        if type(each).__name__ == "DepositsRequest" and each.funds_ref == event.funds_ref:
            return book.hold_of(Ask(event.funds_ref, "", 0, 0, 0, hold_ref=each.hold_ref))
    return None


def moved(step: Step, book: Book, event: Any) -> Iterator[str]:
    """Money moves once per request, by the requested amount."""
    ask = book.asks.get(event.funds_ref)
    if ask is None:
        yield f"{type(event).__name__} without a request {event.funds_ref}"
        return
    by_verdict = step.name == "ResolveReconciliation"  # a person accepts Deposits Core's amount
    if event.amount != ask.amount and type(event).__name__ != "FundsReleased" and not by_verdict:
        yield f"{type(event).__name__} of {event.amount}, asked was {ask.amount}"
    if ask.status == "DONE":
        yield f"{type(event).__name__} of {event.funds_ref}, which was done"


def transferred(step: Step, book: Book, event: Any) -> Iterator[str]:
    """A hold with an open request, or whose attempt may still settle, is not transferred."""
    mine = [h for h in book.holds if h.reference == event.hold_ref and h.left > 0]
    if not mine:
        yield f"{event.hold_ref} is not held"
        return
    hold = mine[0]
    if hold.attempt != event.from_attempt:
        yield f"the hold belongs to attempt {hold.attempt}, not {event.from_attempt}"
        return
    if book.asks_of(hold):
        yield f"a hold with an open {book.asks_of(hold)[0].operation} is transferred"
    owner, target = book.tries[hold.attempt - 1], book.attempt(event.to_attempt)
    if target is None:
        yield f"a hold goes to attempt {event.to_attempt}, which does not exist"
    elif target.settled and owner.may_settle:
        yield f"the hold of attempt {owner.number}, which may still settle, pays another"


def answer_taken(step: Step, book: Book) -> Iterator[str]:
    """Domain §3: Deposits Core's answer to an open request is never dropped."""
    result = step.command
    if type(result) is not DepositsResult or step.accepted:
        return
    ask = book.asks.get(result.funds_ref)
    if ask is None or not ask.open or ask.operation != result.operation:
        return
    if result.amount != ask.amount or not well_formed(result):
        return
    done = result.result == DONE_OF[ask.operation]
    if done or result.result in {"REFUSED", "NEVER_HELD"}:
        yield f"{result.result} of the open {ask.operation} had no effect: {step.decision}"


def given_back(step: Step, book: Book) -> Iterator[str]:
    """Given back never exceeds taken; a hold is never used beyond its amount."""
    for number, given in book.given.items():
        if given > book.taken.get(number, 0):
            yield f"{given} given back of {book.taken.get(number, 0)} (attempt {number})"
    for hold in book.holds:
        if hold.captured + hold.released > hold.amount:
            yield f"{hold.captured} captured and {hold.released} released of {hold.amount}"


def exposure(step: Step, book: Book) -> Iterator[str]:
    """Debited plus held never exceeds what has settled and what may still settle."""
    if not step.accepted or book.open_conflicts() or book.refused_asks():
        return
    if book.open_asks(*TAKING, *GIVING):
        return  # a hold no longer needed is released once every other attempt is resolved
    if any(_later_settlement(book, t.number) and book.net(t.number) < t.bears for t in book.tries):
        return  # a person decides whether the hold pays the second settlement
    held = sum(_blocked(book, hold) for hold in book.holds)
    named = {ask.hold_funds_ref for ask in book.open_asks("RELEASE")}
    held += sum(ask.amount for ask in book.open_asks("HOLD") if ask.funds_ref not in named)
    debited = 0
    for each in book.tries:
        net = book.net(each.number)
        waiting = bool(book.open_asks("RELEASE", attempt=each.number))
        debited += min(net, each.bears) if waiting else net
    settled = sum(each.bears for each in book.tries)
    may = book.amount * sum(each.may_settle for each in book.tries)
    if debited + held > settled + may:
        yield f"{debited} debited, {held} held; {settled} settled and {may} may still settle"


def _blocked(book: Book, hold: Hold) -> int:
    """The blocked part of a hold once every open request about it is carried out."""
    asks = [ask for ask in book.asks.values() if ask.status == "OPEN"]
    waits = any(book.hold_of(ask) is hold or ask.attempt == hold.attempt for ask in asks)
    return 0 if waits else hold.left


def waits(step: Step, book: Book) -> Iterator[str]:
    """An open request is repeated without end: the payment has a deadline for it."""
    if not step.accepted or book.parked or not book.open_asks() or book.refused_asks():
        return
    if book.open_conflicts() and book.current.ended:
        return  # a person decides whether the hold is ended or pays
    soon = max(step.context.now_ms, book.decided_at) + HOLD_REPEAT_MS + 1
    asks = [ask for ask in book.open_asks() if not (book.open_conflicts() and ask.over(soon))]
    if asks and step.after is not None and step.after.deadline is None:
        yield f"{asks[0].operation} is open, and the payment waits for no time"


def hold_repeated(book: Book, now: int) -> Iterator[str]:
    """A HOLD is repeated at least every 30 s within the payment's window."""
    if book.state is None or book.current.ended or book.parked:
        return
    for ask in book.open_asks("HOLD"):
        over = book.open_conflicts() and ask.over(now)
        if now - ask.asked_at > HOLD_REPEAT_MS and not over:
            yield f"HOLD {ask.funds_ref} was last asked {now - ask.asked_at} ms ago"


def adds_up(book: Book) -> Iterator[str]:
    """With nothing open and nothing refused, the debited amount is what the customer bears."""
    unanswered = any(ask.status == "OPEN" for ask in book.asks.values())
    if book.open_conflicts() or unanswered or book.refused_asks():
        return
    for each in book.tries:
        net = book.net(each.number)
        allowed = {each.bears, 0} if _later_settlement(book, each.number) else {each.bears}
        if net not in allowed:
            yield f"attempt {each.number}: {net} is debited, {each.bears} is due"


def settled_up(step: Step, book: Book) -> Iterator[str]:
    """As `adds_up`, after each accepted input."""
    if step.accepted and book.state is not None and not book.parked:
        yield from adds_up(book)


def nothing_held(book: Book, truth: Truth | None = None) -> Iterator[str]:
    """A payment at rest holds nothing, requests nothing, and every attempt is resolved."""
    for hold in book.holds:
        if hold.left:
            yield f"{hold.left} of attempt {hold.attempt} is still held"
    for ask in book.open_asks():
        yield f"{ask.operation} {ask.funds_ref} is not answered"
    for ask in book.refused_asks():
        yield f"{ask.operation} {ask.funds_ref} was refused ({ask.code}) and nobody asked again"
    for each in book.tries:
        if not each.ended or each.may_settle:
            yield f"attempt {each.number} is {each.state} and may still settle"
        elif book.net(each.number) != each.bears:
            yield f"attempt {each.number}: {book.net(each.number)} debited, {each.bears} due"
    if book.open_conflicts():
        yield f"{book.open_conflicts()[0].identity} is open"


def timer_ends_early(step: Step, book: Book) -> Iterator[str]:
    """A timer acts only when it is due (domain §8)."""
    if type(step.command) is not TimerDue or not step.accepted:
        return
    if step.before is None or step.command.deadline != step.before.deadline:
        yield "a timer acted that the payment did not wait for"
