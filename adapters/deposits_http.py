"""Deposits Core over HTTP: the interface of docs/deposits-gateway.md. No accounts in its log."""

from __future__ import annotations

from typing import Any, Final

import structlog

from adapters import ports
from adapters.gateway import Gateway
from adapters.http_call import HttpAnswer, call, readable
from adapters.ports import FundsAnswer
from core.payment.instructions import DepositsRequest
from core.payment.limits import OUTSIDE_ID_CHARACTERS_MAX
from core.values import FundsOperation, Parties
from engine.clock import Clock

log = structlog.get_logger("adapters.deposits_http")

PATHS: Final[dict[str, str]] = {
    FundsOperation.HOLD: "/holds",
    FundsOperation.CAPTURE: "/captures",
    FundsOperation.RELEASE: "/releases",
    FundsOperation.DEBIT_FORCED: "/debits",
    FundsOperation.REVERSE: "/reversals",
    FundsOperation.CREDIT: "/credits",
}
# Kept whole; an answer with a longer one is unreadable.
TEXTS: Final = dict.fromkeys(("holdRef", "ledgerRef", "code"), OUTSIDE_ID_CHARACTERS_MAX)
DECLINES: Final = frozenset({402, 422})
REFUSALS: Final = frozenset({400, 402, 404, 409, 422})  # Deposits Core's own no, with its code


class HttpDepositsCore:
    """`DepositsCore` over HTTP. One gateway, shared by all lanes' threads."""

    def __init__(self, *, gateway: Gateway, clock: Clock) -> None:
        self._gateway = gateway
        self._clock = clock

    def perform(self, request: DepositsRequest, parties: Parties | None) -> FundsAnswer:
        """POST the operation. An answer without the same fundsRef is SILENT."""
        path = PATHS.get(request.operation)
        if path is None:
            now = self._clock.now_ms()
            return FundsAnswer(ports.REFUSED, now, now, "NOT_SENT", code="UNKNOWN_OPERATION")
        body = body_of(request, parties)
        answer = readable(call(self._gateway, self._clock, "POST", path, body), TEXTS)
        outcome = _outcome(answer, request)
        log.info(
            "deposits request",
            funds_ref=request.funds_ref,
            operation=request.operation,
            at=answer.asked_at,
            latency_ms=answer.answered_at - answer.asked_at,
            result=outcome,
            technical_result=answer.technical_result,
            code=answer.text("code"),
        )
        return FundsAnswer(
            outcome=outcome,
            asked_at=answer.asked_at,
            answered_at=answer.answered_at,
            technical_result=answer.technical_result,
            hold_ref=answer.text("holdRef"),
            ledger_ref=answer.text("ledgerRef"),
            verified_at=answer.whole("verifiedAt"),
            code=None if outcome == ports.DONE else answer.text("code"),
            details=answer.free_text("details"),
        )


def body_of(request: DepositsRequest, parties: Parties | None) -> dict[str, Any]:
    """The body of a request; the debtor stands in it for a HOLD only."""
    body: dict[str, Any] = {
        "fundsRef": request.funds_ref,
        "paymentIntentId": request.header.payment_intent_id,
        "amount": request.amount,
        "currency": request.currency,
        "holdRef": request.hold_ref,
    }
    if request.operation == FundsOperation.HOLD and parties is not None:
        debtor = parties.debtor
        body["debtor"] = {"name": debtor.name, "bsb": debtor.bsb, "account": debtor.account}
    return body


def _outcome(answer: HttpAnswer, request: DepositsRequest) -> str:
    if answer.text("fundsRef") != request.funds_ref:
        return ports.SILENT
    is_hold = request.operation == FundsOperation.HOLD
    if answer.status in (200, 201):
        # A hold that can not be named can not be captured: it is asked again.
        return ports.SILENT if is_hold and not answer.text("holdRef") else ports.DONE
    if answer.status in REFUSALS and answer.text("code"):
        return ports.DECLINED if is_hold and answer.status in DECLINES else ports.REFUSED
    return ports.SILENT
