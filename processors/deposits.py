"""The deposits adapter: one funds instruction to Deposits Core, its answer to the payment.

Refused and silent are kept apart: a refusal is Deposits Core's word and is told at once, silence is
asked again with the same reference and then told as FAILED/NO_ANSWER, which the payment repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from adapters import ports
from adapters.ports import DepositsCore, FundsAnswer
from core.header import InputHeader
from core.payment.commands import DepositsResult
from core.payment.instructions import DepositsRequest
from core.values import FundsOperation, Parties
from engine.clock import Clock
from processors import topology
from processors.adapter_metrics import AdapterMetrics
from processors.adapter_ports import Codec, OpenParties, Publisher, Work

log = structlog.get_logger("processors.deposits")

TRIES_MAX: Final = 6
PAUSE_S_FIRST: Final = 0.2
PAUSE_S_MAX: Final = 5.0
STOPPED_S: Final = 0.25
CODE_NO_ANSWER: Final = "NO_ANSWER"
CODE_UNREADABLE: Final = "UNREADABLE_PARTIES"

RESULT_OF: Final[dict[str, str]] = {
    FundsOperation.HOLD: "HELD",
    FundsOperation.CAPTURE: "CAPTURED",
    FundsOperation.RELEASE: "RELEASED",
    FundsOperation.DEBIT_FORCED: "DEBITED",
    FundsOperation.REVERSE: "REVERSED",
    FundsOperation.CREDIT: "CREDITED",
}


class DepositsDesk:
    """`handle` gives the seconds until the request is tried again, or None when it is done."""

    def __init__(
        self,
        *,
        deposits: DepositsCore,
        publisher: Publisher,
        codec: Codec,
        open_parties: OpenParties,
        clock: Clock,
        stopped: Callable[[], str | None],
        metrics: AdapterMetrics,
    ) -> None:
        self._deposits = deposits
        self._publisher = publisher
        self._codec = codec
        self._open_parties = open_parties
        self._clock = clock
        self._stopped = stopped
        self._metrics = metrics

    def handle(self, work: Work) -> float | None:
        """One try. Under STOP nothing is asked. Raises NotConfirmed when Kafka takes no result."""
        if self._stopped() is not None:
            return STOPPED_S
        request: DepositsRequest = work.instruction
        parties: Parties | None = None
        if request.parties is not None:
            try:
                parties = self._open_parties(request.parties)
            except ValueError:
                self._report(request, "FAILED", None, CODE_UNREADABLE)
                return None
        answer = self._deposits.perform(request, parties)
        millis = answer.answered_at - answer.asked_at
        operation = request.operation if request.operation in RESULT_OF else "other"
        self._metrics.called("deposits", operation, answer.outcome, millis)
        match answer.outcome:
            case ports.DONE:
                self._report(request, RESULT_OF[request.operation], answer, None)
            case ports.DECLINED:
                self._report(request, "DECLINED", answer, answer.code)
            case ports.REFUSED:
                self._report(request, "FAILED", answer, answer.code)
            case _:
                work.tries += 1
                if work.tries < TRIES_MAX:
                    return min(PAUSE_S_MAX, PAUSE_S_FIRST * float(2**work.tries))
                self._report(request, "FAILED", answer, CODE_NO_ANSWER)
        return None

    def _report(
        self, request: DepositsRequest, result: str, answer: FundsAnswer | None, code: str | None
    ) -> None:
        payment_id = request.header.payment_intent_id
        report = DepositsResult(
            header=InputHeader(
                payment_intent_id=payment_id,
                sent_at=self._clock.now_ms(),
                traceparent=request.header.traceparent,
            ),
            funds_ref=request.funds_ref,
            operation=request.operation,
            result=result,
            amount=request.amount,
            hold_ref=None if answer is None else answer.hold_ref,
            ledger_ref=None if answer is None else answer.ledger_ref,
            verified_at=None if answer is None else answer.verified_at,
            code=code,
            details=None if answer is None else answer.details,
        )
        key = payment_id.encode()
        topic = topology.DEPOSITS_RESULTS
        self._publisher.publish(topic, key, self._codec.encode(topic, report))
        self._metrics.reports.labels("deposits", result).inc()
        log.info("deposits result", funds_ref=request.funds_ref, result=result, code=code)
