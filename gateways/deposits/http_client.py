"""Deposits Core over HTTP: the interface of docs/deposits-gateway.md. Logs no account numbers."""

from __future__ import annotations

from typing import Any, Final

import structlog

from core.payment.instructions import DepositsRequest
from core.values import FundsOperation, Parties
from engine.clock import Clock
from gateways import ports
from gateways.connections import Gateway
from gateways.deposits.answers import END_HOLD, HOLD, question_of, read
from gateways.http_call import call
from gateways.ports import FundsAnswer

log = structlog.get_logger("gateways.deposits.http_client")

PATHS: Final[dict[str, str]] = {
    FundsOperation.HOLD: "/holds",
    FundsOperation.CAPTURE: "/captures",
    FundsOperation.RELEASE: "/releases",
    FundsOperation.DEBIT_FORCED: "/debits",
    FundsOperation.REVERSE: "/reversals",
    FundsOperation.CREDIT: "/credits",
}


class HttpDepositsCore:
    """`DepositsCore` over HTTP. One gateway, shared by all lanes' threads."""

    def __init__(self, *, gateway: Gateway, clock: Clock) -> None:
        self._gateway = gateway
        self._clock = clock

    def perform(self, request: DepositsRequest, parties: Parties | None) -> FundsAnswer:
        """POST the operation; `gateways.deposits.answers` says what the answer means."""
        path = PATHS.get(request.operation)
        if path is None:
            now = self._clock.now_ms()
            return FundsAnswer(
                outcome=ports.REFUSED,
                requested_at=now,
                answered_at=now,
                technical_result="NOT_SENT",
                code="UNKNOWN_OPERATION",
            )
        wire = call(self._gateway, self._clock, "POST", path, body_of(request, parties))
        answer = read(request, wire)
        log.info(
            "deposits request",
            funds_ref=request.funds_ref,
            operation=request.operation,
            at=answer.requested_at,
            latency_ms=answer.answered_at - answer.requested_at,
            result=answer.outcome,
            technical_result=answer.technical_result,
            code=answer.code,
            why=answer.details if answer.outcome == ports.UNREADABLE else None,
        )
        return answer


def body_of(request: DepositsRequest, parties: Parties | None) -> dict[str, Any]:
    """The body of a request; only a HOLD has the debtor. Amounts in cents, times in epoch ms."""
    body: dict[str, Any] = {
        "fundsRef": request.funds_ref,
        "paymentIntentId": request.header.payment_intent_id,
        "amount": request.amount,
        "currency": request.currency,
    }
    question = question_of(request)
    if question == HOLD:
        body["notAfter"] = request.not_after
        if parties is not None:
            debtor = parties.debtor
            body["debtor"] = {"name": debtor.name, "bsb": debtor.bsb, "account": debtor.account}
    elif question == END_HOLD:
        body["holdFundsRef"] = request.hold_funds_ref
        body["notAfter"] = request.not_after
    else:
        body["holdRef"] = request.hold_ref
    return body
