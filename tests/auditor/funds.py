"""The auditor's books of one payment, by double entry: each cent is free, held or paid, and moves
only as an event says.

Written from the domain's rules (§3, rulings 3, 5 and 13), not from the product or its replay.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.auditor.orders import BOOKS_OUTSIDE, ENDED, FREE, GONE, WAYS, Fate, Order


@dataclass(slots=True)
class Funds:
    """Takes every event; returns what is wrong as sentences."""

    amount: int = 0
    state: str = ""
    parked: bool = False
    outside: bool = False  # operators correct Deposits Core's books directly
    decision: Any = None  # the input of the last event
    blocking: bool = False  # it requested a hold or a debit
    accepted: tuple[Any, int] | None = None  # a verdict's input, and the amount it accepted
    balance: Counter[tuple[str, int]] = field(default_factory=Counter)
    orders: dict[str, Order] = field(default_factory=dict)
    fates: dict[int, Fate] = field(default_factory=lambda: defaultdict(Fate))
    conflicts: dict[str, dict[str, Any]] = field(default_factory=dict)
    open_conflicts: set[str] = field(default_factory=set)
    moved: dict[str, tuple[str, int, bool]] = field(default_factory=dict)

    # -- sums -------------------------------------------------------------------------------------

    def requested(self, *operations: str, attempt: int | None = None) -> int:
        return sum(
            order.amount
            for order in self.orders.values()
            if order.state == "open"
            and order.operation in operations
            and attempt in (None, order.attempt)
        )

    def sum(self, kind: str) -> int:
        return sum(cents for (name, _), cents in self.balance.items() if name == kind)

    def outstanding(self) -> list[Order]:
        """Unanswered; or refused, still due, and not repeated."""
        last = {(order.attempt, order.operation): order for order in self.orders.values()}
        refused = [o for o in last.values() if o.state == "refused" and self._needed(o)]
        return [o for o in self.orders.values() if o.state == "open"] + refused

    def _needed(self, order: Order) -> bool:
        number = order.attempt
        missing = self.fates[number].due - self.balance["paid", number]
        if order.operation == "RELEASE":
            freed = self.orders.get(order.frees or "")
            return self.balance["held", number] > 0 or bool(freed and freed.state == "open")
        if order.operation == "HOLD":
            return False
        return missing > 0 if order.operation in ("CAPTURE", "DEBIT_FORCED") else missing < 0

    def second(self, number: int) -> bool:
        """Settled after another that stays paid, without an approved second debit."""
        mine = self.fates[number]
        if mine.again or self.balance["paid", number] >= mine.due:
            return False
        return any(
            other.claim is not None and other.back < other.claim and other.since < mine.since
            for n, other in self.fates.items()
            if n != number
        )

    def uncertain(self) -> list[int]:
        return [n for n, f in self.fates.items() if f.over and not f.unpaid and f.claim is None]

    def unrest(self) -> list[str]:
        """Why the payment is not at rest, by its events; empty when it is."""
        reasons = [] if self.state in ENDED else [f"it is {self.state}"]
        reasons += ["it is parked"] * self.parked
        reasons += [f"{name} is open" for name in sorted(self.open_conflicts)]
        reasons += [f"attempt {number} is uncertain" for number in self.uncertain()]
        reasons += [f"attempt {n} is settled twice" for n in list(self.fates) if self.second(n)]
        reasons += [f"{o.reference} is {o.state}" for o in self.outstanding()]
        if not self.outside:
            reasons += self.uneven()
        return reasons

    def uneven(self) -> list[str]:
        """Money that is still held, or paid otherwise than due."""
        found = [
            f"{cents} is held for attempt {n}"
            for (kind, n), cents in self.balance.items()
            if kind == "held" and cents
        ]
        for number, fate in list(self.fates.items()):
            paid = self.balance["paid", number]
            if paid != fate.due and not self.second(number):
                found.append(f"attempt {number}: {paid} is paid, {fate.due} is due")
        return found

    def leak(self) -> list[str]:
        """Nothing is open or awaited, but something is held or does not add up.

        An unanswered hold is a leak if no release of it was requested.
        """
        waiting = [order for order in self.outstanding() if order.operation != "HOLD"]
        busy = self.state not in ENDED or self.parked or self.outside or self.open_conflicts
        if busy or waiting or self.uncertain() or any(self.second(n) for n in list(self.fates)):
            return []
        silent = [f"{o.reference} may be held" for o in self.outstanding()]
        return silent + self.uneven()

    # -- events -----------------------------------------------------------------------------------

    def apply(self, name: str, fields: dict[str, Any]) -> Iterator[str]:
        header = fields["header"]
        number = header["attempt"]
        if header["cause"] != self.decision:
            yield from self.exposed()
        self.decision, self.state = header["cause"], header["stateAfter"]
        if name in WAYS:
            yield from self._move(name, fields)
        elif name == "FundsRequested":
            yield from self._ask(fields, number)
        elif name in ("FundsRequestFailed", "FundsHoldDeclined"):
            self._answer(name, fields)
        elif name == "FundsHoldTransferred":
            yield from self._transfer(fields)
        elif name == "ReconciliationResolved":
            yield from self._verdict(fields, header)
        else:
            yield from self._rail(name, fields, header)

    def _rail(self, name: str, fields: dict[str, Any], header: dict[str, Any]) -> Iterator[str]:
        fate = self.fates[header["attempt"]]
        match name:
            case "PaymentIntentCreated":
                self.amount = fields["amount"]
            case "PaymentSentToRail" | "PaymentAcknowledged":
                fate.unpaid = False
            case "PaymentSettled":
                expected = self.amount if fields["conflictId"] is None else fate.claim
                if fields["amount"] != expected:
                    yield f"settled {fields['amount']}, the rail said {expected}"
                self._claim(fate, expected or 0, header["sequence"])
                fate.over = True
            case "PaymentFailed" | "PaymentExpired":
                fate.over, fate.unpaid = True, fields["nonPaymentCertain"]
            case "NonPaymentConfirmed":
                fate.unpaid = True
            case "PaymentReturned":
                yield from self._return(fate, fields)
            case "RailStatusReported" if fields["kind"] == "RETURNED":
                self._came_back(fate, fields)
            case "ReconciliationRequired":
                self.conflicts[fields["conflictId"]] = fields
                self.open_conflicts.add(fields["conflictId"])
            case "ProcessingSuspended":
                self.parked = True
            case "ProcessingResumed":
                self.parked = False

    def _claim(self, fate: Fate, amount: int, sequence: int) -> None:
        fate.since = fate.since if fate.claim is not None else sequence
        fate.claim = amount

    def _came_back(self, fate: Fate, fields: dict[str, Any]) -> None:
        if fields["railMessageId"] and not fields["viaEnquiry"]:
            fate.back_by_id += fields["amount"] or 0
        else:
            fate.back_in_all = max(fate.back_in_all, fields["amount"] or 0)

    def _return(self, fate: Fate, fields: dict[str, Any]) -> Iterator[str]:
        self._came_back(fate, fields)
        if fields["total"] not in (0, fate.back):
            yield f"{fields['total']} is recorded as returned, the reports say {fate.back}"
        if fate.claim is None or fate.back > fate.claim:
            yield f"{fate.back} came back of {fate.claim} that was settled"

    def _verdict(self, fields: dict[str, Any], header: dict[str, Any]) -> Iterator[str]:
        name, fate = fields["conflictId"], self.fates[header["attempt"]]
        self.open_conflicts.discard(name)
        conflict = self.conflicts.get(name)
        if conflict is None:
            return
        if conflict["kind"] == BOOKS_OUTSIDE:
            if fields["verdict"] == "AMOUNT_ACCEPTED":
                self.outside, self.accepted = True, (header["cause"], fields["amount"])
            return
        said = self._said(conflict)
        match fields["verdict"]:
            case "SETTLED_AFTER_ALL":
                self._claim(fate, said or fate.claim or self.amount, header["sequence"])
            case "AMOUNT_ACCEPTED":
                if fields["amount"] != said:
                    yield f"{fields['amount']} was accepted, the rail said {said}"
                self._claim(fate, said or 0, header["sequence"])
            case "RETURNED":
                self._claim(fate, fate.claim or said or self.amount, header["sequence"])
                fate.back_in_all = fate.back + (fields["amount"] or 0)
            case "NOT_PAID":
                fate.claim, fate.unpaid = None, True

    def _said(self, conflict: dict[str, Any]) -> int | None:
        """The amount of a settlement that a conflict is about."""
        settles = conflict["reportKind"] == "SETTLED" and conflict["currency"] in (None, "AUD")
        return conflict["amount"] if settles else None

    # -- requests ----------------------------------------------------------------------------------

    def _ask(self, fields: dict[str, Any], number: int) -> Iterator[str]:
        reference, known = fields["fundsRef"], self.orders.get(fields["fundsRef"])
        if known is not None:
            if known.amount != fields["amount"]:
                yield f"{reference} requested {known.amount}, then {fields['amount']}"
            known.state = "open" if known.state == "refused" else known.state
            return
        if fields["repeat"]:
            yield f"{reference} is repeated and was never requested"
        operation, fate = fields["operation"], self.fates[number]
        approved = fields["header"]["approvalId"] is not None or any(
            o.approved and o.state == "refused"
            for o in self.orders.values()
            if (o.attempt, o.operation) == (number, operation)
        )
        order = Order(
            reference, operation, number, fields["amount"], fields["holdFundsRef"], approved
        )
        if fields["header"]["approvalId"] is not None and operation == "REVERSE":
            fate.given_up = max(fate.back, fate.given_up) + order.amount
        fate.again |= approved and operation in ("CAPTURE", "DEBIT_FORCED")
        self.blocking |= operation in ("HOLD", "DEBIT_FORCED")
        self.orders[reference] = order
        for wrong in self._too_much(order):
            yield f"{operation} of {order.amount} for attempt {number} is requested: {wrong}"

    def _too_much(self, order: Order) -> Iterator[str]:
        number, fate = order.attempt, self.fates[order.attempt]
        paid, held = self.balance["paid", number], self.balance["held", number]
        freeing = [o for o in self.orders.values() if o.frees == order.frees and o.state == "open"]
        if order.frees is not None and len(freeing) > 1:
            yield f"another release of {order.frees} is open"
        if order.operation in ("CAPTURE", "DEBIT_FORCED"):
            after = paid + self.requested("CAPTURE", "DEBIT_FORCED", attempt=number)
            if after > fate.due:
                yield f"{after} would be paid, {fate.due} is due"
            if self.second(number):
                yield "it is a second settlement, and no second debit was approved"
        if order.operation in ("REVERSE", "CREDIT"):
            after = paid - self.requested("REVERSE", "CREDIT", attempt=number)
            if after < fate.due:
                yield f"{after} would stay paid, {fate.due} is due"
        draws = order.operation in ("CAPTURE", "RELEASE") and order.frees is None
        if draws and self.requested("CAPTURE", "RELEASE", attempt=number) > held:
            yield f"{held} is held, more is asked of it"
        if order.operation == "RELEASE" and order.frees is None and not order.approved:
            yield from self._release_or_defer(number)

    def exposed(self) -> Iterator[str]:
        """At the end of a decision that requested a hold or a debit: debited plus held never
        exceeds what has settled and what may still settle. A refused request waits for a person.
        """
        requested, self.blocking = self.blocking, False
        if not requested or any(order.state == "refused" for order in self.outstanding()):
            return
        blocked = self.sum("held") + self.sum("paid") + self.requested("HOLD", "DEBIT_FORCED")
        blocked -= self.requested("REVERSE", "CREDIT")
        most = sum(self._most(number) for number in list(self.fates))
        if blocked > most:
            yield f"{blocked} would be held and debited, at most {most} was or may be settled"

    def _most(self, number: int) -> int:
        fate = self.fates[number]
        if fate.claim is not None:
            return fate.claim
        disputed = self._disputes(number)
        if disputed:
            return max(self.amount, *(self._said(each) or 0 for each in disputed))
        return 0 if fate.over and fate.unpaid else self.amount

    def _disputes(self, number: int) -> list[dict[str, Any]]:
        open_ones = [self.conflicts[name] for name in self.open_conflicts]
        return [
            each
            for each in open_ones
            if each["header"]["attempt"] == number and each["kind"] != BOOKS_OUTSIDE
        ]

    def _release_or_defer(self, number: int) -> Iterator[str]:
        """When all is resolved, or when it cannot be captured because the payment was already
        captured.
        """
        captured = any(each[0] == "CAPTURE" for each in self.moved.values())
        mine = self.fates[number]
        over = mine.claim is not None or (mine.over and mine.unpaid)
        if captured and over and not self._disputes(number):
            return
        for other, fate in list(self.fates.items()):
            if self._disputes(other):
                yield f"a conflict about attempt {other} is open"
            elif fate.claim is None and not (fate.over and fate.unpaid):
                yield f"attempt {other} may still be settled"
            elif self.balance["paid", other] < fate.due and not self.second(other):
                yield f"{fate.due} is due for attempt {other} and not paid"

    # -- answers ----------------------------------------------------------------------------------

    def _answer(self, name: str, fields: dict[str, Any]) -> None:
        order = self.orders.get(fields["fundsRef"])
        if order is None:
            return
        if name == "FundsRequestFailed":
            order.state = "refused" if fields["result"] == "REFUSED" else order.state
            return
        order.state = "void"
        for each in self.orders.values():
            if each.frees == order.reference and each.state == "open" and fields["code"] in GONE:
                each.state = "void"

    def _move(self, name: str, fields: dict[str, Any]) -> Iterator[str]:
        operation, source, target = WAYS[name]
        reference, amount = fields["fundsRef"], fields["amount"]
        order = self.orders.get(reference)
        if amount <= 0:
            yield f"{name} over {amount}"
        if order is None:
            yield f"{name} for {reference}, which was never requested"
            return
        gone = operation == "RELEASE" and order.operation == "CAPTURE"
        if reference in self.moved and not gone:
            yield f"{name} for {reference} happened twice"
        accepted = self.accepted == (fields["header"]["cause"], amount)
        self.outside &= not accepted
        amounts = {order.amount, amount if accepted else order.amount}
        if not gone and (order.operation != operation or amount not in amounts):
            yield f"{name} of {amount}, requested was {order.operation} of {order.amount}"
        if operation == "CAPTURE" and any(each[0] == "CAPTURE" for each in self.moved.values()):
            yield "captured more than once"
        order.state = "void" if gone else "done"
        by_itself = operation == "RELEASE" and fields["ledgerRef"] is None
        self.moved[reference] = (operation, amount, by_itself)
        yield from self._book((source, order.attempt), (target, order.attempt), amount)

    def _transfer(self, fields: dict[str, Any]) -> Iterator[str]:
        giver, taker = fields["fromAttempt"], fields["toAttempt"]
        if self.requested("CAPTURE", "RELEASE", attempt=giver):
            yield f"the hold of attempt {giver} is taken over while a request about it is open"
        yield from self._book(("held", giver), ("held", taker), fields["amount"])

    def _book(self, source: tuple[str, int], target: tuple[str, int], amount: int) -> Iterator[str]:
        source, target = (FREE if each[0] == "free" else each for each in (source, target))
        self.balance[source] -= amount
        self.balance[target] += amount
        if source != FREE and self.balance[source] < 0:
            yield f"{-self.balance[source]} more than there was left what is {source[0]}"
