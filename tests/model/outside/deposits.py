"""Deposits Core's true state: holds and debits by reference, each carried out once.

It is honest by itself; moves make it silent, refusing, forgetful or contradictory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from core.payment.commands import DepositsResult
from core.payment.instructions import DepositsRequest
from tests.model.vocabulary import DONE_OF, MINUTE, head

NEVER_HELD_MARGIN_MS = MINUTE  # NEVER_HELD is final only that long after `not_after`


@dataclass
class TrueHold:
    reference: str
    amount: int
    captured: int = 0
    released: int = 0

    @property
    def left(self) -> int:
        return self.amount - self.captured - self.released


@dataclass
class Bank:
    """Every request to it, and what it did."""

    requests: list[DepositsRequest] = field(default_factory=list)
    answers: dict[str, DepositsResult] = field(default_factory=dict)  # by fundsRef, final ones
    holds: dict[str, TrueHold] = field(default_factory=dict)  # by the HOLD's fundsRef
    barred: set[str] = field(default_factory=set)  # HOLDs that it refuses forever
    debited: int = 0
    given_back: int = 0
    lied: bool = False  # it contradicted itself: its ledger no longer proves anything

    def receive(self, request: DepositsRequest) -> None:
        self.requests.append(request)

    def result(
        self,
        request: DepositsRequest,
        result: Any,
        code: str | None = None,
        hold: str | None = None,
    ) -> DepositsResult:
        ledger = f"L-{request.funds_ref}" if result in DONE_OF.values() else None
        return DepositsResult(
            header=head(),
            funds_ref=request.funds_ref,
            operation=request.operation,
            result=result,
            amount=request.amount,
            hold_ref=hold,
            ledger_ref=ledger,
            verified_at=None,
            code=code,
        )

    def silence(self, request: DepositsRequest) -> DepositsResult:
        return self.result(request, "FAILED", "NO_ANSWER")

    def refuse(self, request: DepositsRequest, code: str) -> DepositsResult:
        """Refused, permanently under this reference."""
        done = self.answers.get(request.funds_ref)
        if done is not None:
            return done
        answer = self.result(request, "DECLINED" if code == "DECLINED" else "REFUSED", code)
        self.answers[request.funds_ref] = answer
        return answer

    def handle(self, request: DepositsRequest, now: int) -> DepositsResult:
        """Carry it out, once, and answer honestly."""
        done = self.answers.get(request.funds_ref)
        if done is not None:
            return done
        if request.operation == "RELEASE" and request.hold_funds_ref is not None:
            return self._release_by_name(request, request.hold_funds_ref, now)
        answer = self._carry_out(request, now)
        self.answers[request.funds_ref] = answer
        return answer

    def _carry_out(self, request: DepositsRequest, now: int) -> DepositsResult:
        amount = request.amount
        match request.operation:
            case "HOLD":
                if request.funds_ref in self.barred:
                    return self.result(request, "REFUSED", "HOLD_BARRED")
                if request.not_after is not None and now > request.not_after:
                    return self.result(request, "REFUSED", "TOO_LATE")
                reference = f"hold-{request.funds_ref}"
                self.holds[request.funds_ref] = TrueHold(reference, amount)
                return self.result(request, "HELD", hold=reference)
            case "CAPTURE" | "RELEASE":
                mine = next(
                    (h for h in self.holds.values() if h.reference == request.hold_ref), None
                )
                if mine is None or mine.left <= 0:
                    return self.result(request, "REFUSED", "HOLD_GONE")
                if amount > mine.left:
                    return self.result(request, "REFUSED", "OVER_HOLD")
                if request.operation == "CAPTURE":
                    mine.captured += amount
                    self.debited += amount
                    return self.result(request, "CAPTURED", hold=mine.reference)
                mine.released += amount
                return self.result(request, "RELEASED", hold=mine.reference)
            case "DEBIT_FORCED":
                self.debited += amount
                return self.result(request, "DEBITED")
            case _:
                self.given_back += amount
                return self.result(request, DONE_OF[request.operation])

    def _release_by_name(self, request: DepositsRequest, hold_ref: str, now: int) -> DepositsResult:
        mine = self.holds.get(hold_ref)
        if mine is not None:
            mine.released += mine.left
            answer = self.result(request, "RELEASED", hold=mine.reference)
        else:
            self.barred.add(hold_ref)
            requested = next((r for r in self.requests if r.funds_ref == hold_ref), None)
            last = (
                requested.not_after
                if requested is not None and requested.not_after is not None
                else 0
            )
            if now > last + NEVER_HELD_MARGIN_MS:
                answer = self.result(request, "NEVER_HELD")
            else:
                answer = self.result(request, "RELEASED", hold=f"hold-{hold_ref}")
        self.answers[request.funds_ref] = answer
        return answer

    def expire_hold(self, index: int) -> None:
        """A hold expires at Deposits Core."""
        alive = [h for h in self.holds.values() if h.left > 0]
        if alive:
            mine = alive[index % len(alive)]
            mine.released += mine.left

    def held(self) -> int:
        return sum(h.left for h in self.holds.values())
