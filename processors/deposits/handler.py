"""The deposits adapter: sends one funds request to Deposits Core and its answer to the payment.

REFUSED is certain and is reported at once. Without a certain answer the request is repeated with
the same reference, then reported as FAILED (NO_ANSWER, UNREADABLE_ANSWER); core requests it again.
"""

from __future__ import annotations

from typing import Final, Unpack, assert_never

import msgspec
import structlog

from core.payment.commands import DepositsResult
from core.payment.instructions import DepositsRequest
from core.values import Cents, FundsOperation, Parties
from core.words import FundsResult
from gateways import ports
from gateways.ports import DepositsCore, FundsAnswer
from processors.adapter.handler import Common, GatewayHandler
from processors.adapter.ports import Work
from schemas import topology
from schemas.codec.parties import open_parties

log = structlog.get_logger("processors.deposits.handler")

TRIES_MAX: Final = 6
PAUSE_S_FIRST: Final = 0.2
PAUSE_S_MAX: Final = 5.0
TRIES_S_MAX: Final = 20.0  # no try starts later, and a call takes at most 10 s: 30 s in all
CODE_NO_ANSWER: Final = "NO_ANSWER"
CODE_UNREADABLE_ANSWER: Final = "UNREADABLE_ANSWER"
CODE_UNREADABLE_PARTIES: Final = "UNREADABLE_PARTIES"

RESULT_OF: Final[dict[str, FundsResult]] = {
    FundsOperation.HOLD: "HELD",
    FundsOperation.CAPTURE: "CAPTURED",
    FundsOperation.RELEASE: "RELEASED",
    FundsOperation.DEBIT_FORCED: "DEBITED",
    FundsOperation.REVERSE: "REVERSED",
    FundsOperation.CREDIT: "CREDITED",
}
RESULTS: Final = (*RESULT_OF.values(), "DECLINED", "REFUSED", "NEVER_HELD", "FAILED")
TOO_EARLY: Final = "NEVER_HELD was said before the hold's notAfter and the margin had passed"


class DepositsHandler(GatewayHandler):
    """Handles funds requests (domain §3)."""

    name = "deposits"
    requests = topology.DEPOSITS_REQUESTS
    topic = topology.DEPOSITS_RESULTS
    lanes = 40  # two calls a payment: docs/capacity.md says how many payments that carries

    def __init__(self, *, deposits: DepositsCore, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self._deposits = deposits
        self._metrics.start_at_zero(
            self.name, operations=RESULT_OF, outcomes=ports.FUNDS_OUTCOMES, kinds=RESULTS
        )

    def handle(self, work: Work) -> float | None:
        request: DepositsRequest = work.instruction
        parties: Parties | None = None
        if request.parties is not None:
            try:
                parties = open_parties(request.parties)
            except ValueError:
                self._report(request, "FAILED", None, CODE_UNREADABLE_PARTIES)
                return None
        if work.tries == 0:
            work.begun_s = self._clock.monotonic_s()
        answer = self._ask(request, parties)
        match answer.outcome:
            case ports.DONE:
                self._report(request, RESULT_OF[request.operation], answer, None)
            case ports.DECLINED | ports.REFUSED | ports.NEVER_HELD:
                self._report(request, answer.outcome, answer, answer.code)
            case ports.PENDING | ports.SILENT | ports.UNREADABLE:
                work.tries += 1
                pause_s = work.pause_s(PAUSE_S_FIRST, PAUSE_S_MAX)
                tried_s = self._clock.monotonic_s() - work.begun_s
                if work.tries < TRIES_MAX and tried_s + pause_s <= TRIES_S_MAX:
                    return pause_s
                unreadable = answer.outcome == ports.UNREADABLE
                code = CODE_UNREADABLE_ANSWER if unreadable else CODE_NO_ANSWER
                self._report(request, "FAILED", answer, code)
            case _:
                assert_never(answer.outcome)
        return None

    def _ask(self, request: DepositsRequest, parties: Parties | None) -> FundsAnswer:
        answer = self._deposits.perform(request, parties)
        if answer.outcome == ports.NEVER_HELD and request.not_after is not None:
            final_at = request.not_after + ports.NEVER_HELD_MARGIN_MS
            if answer.answered_at < final_at:
                # The HOLD may still be in flight: before `final_at` this is not an answer.
                answer = msgspec.structs.replace(answer, outcome=ports.PENDING, details=TOO_EARLY)
        operation = request.operation if request.operation in RESULT_OF else "other"
        millis = answer.answered_at - answer.requested_at
        self._metrics.called(self.name, operation, answer.outcome, millis)
        return answer

    def _report(
        self,
        request: DepositsRequest,
        result: FundsResult,
        answer: FundsAnswer | None,
        code: str | None,
    ) -> None:
        """Publish the result with the amount that Deposits Core states, if any: core compares it
        with the requested one.
        """
        named = None if answer is None else answer.amount
        report = DepositsResult(
            header=self.header(request.header),
            funds_ref=request.funds_ref,
            operation=request.operation,
            result=result,
            amount=Cents(request.amount if named is None else named),
            hold_ref=None if answer is None else answer.hold_ref,
            ledger_ref=None if answer is None else answer.ledger_ref,
            verified_at=None if answer is None else answer.verified_at,
            code=code,
            details=None if answer is None else answer.details,
        )
        self.publish(report, result)
        log.info("deposits result", funds_ref=request.funds_ref, result=result, code=code)
