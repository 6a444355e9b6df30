"""The rail over HTTP: our gateway interface of docs/rail-gateway.md. Logs no account numbers."""

from __future__ import annotations

from typing import Any, Final, get_args

import structlog

from core.payment.instructions import RailInstruction
from core.payment.limits import CODE_CHARACTERS_MAX, OUTSIDE_ID_CHARACTERS_MAX
from core.values import Cents, ExternalRef, Parties, Party
from engine.clock import Clock
from gateways import ports
from gateways.connections import Gateway
from gateways.http_call import HttpAnswer, call, readable
from gateways.ports import (
    RailStatus,
    RecallAnswer,
    RecallOutcome,
    StatusAnswer,
    SubmitAnswer,
    SubmitOutcome,
)

log = structlog.get_logger("gateways.rail.http_client")

CURRENCY_CHARACTERS: Final = 3
# Kept whole; an answer with a longer one is unreadable (docs/rail-gateway.md).
TEXTS: Final = {
    "railRef": OUTSIDE_ID_CHARACTERS_MAX,
    "messageId": OUTSIDE_ID_CHARACTERS_MAX,
    "transactionId": OUTSIDE_ID_CHARACTERS_MAX,
    "code": CODE_CHARACTERS_MAX,
    "currency": CURRENCY_CHARACTERS,
}
AMOUNTS: Final = ("amount", "returnedAmount")
STATUSES: Final[dict[str, RailStatus]] = {
    each: each for each in get_args(RailStatus) if each != ports.NO_ANSWER
}
RECALLS: Final[dict[str, RecallOutcome]] = {
    "ACCEPTED": ports.RECALL_ACCEPTED,
    "REFUSED": ports.RECALL_REFUSED,
    "PENDING": ports.RECALL_PENDING,
}


class HttpRail:
    """`Rail` over HTTP. One gateway, shared by all lanes' threads."""

    def __init__(self, *, gateway: Gateway, clock: Clock, name: str = "npp-gateway") -> None:
        self.name = name
        self._gateway = gateway
        self._clock = clock

    def submit(self, instruction: RailInstruction, parties: Parties) -> SubmitAnswer:
        """POST /payments. Only an answer of the gateway's own form is anything but UNCLEAR."""
        answer = self._ask("POST", "/payments", submission(instruction, parties))
        outcome = _submit_outcome(answer, instruction.external_ref)
        _log("rail submission", instruction.external_ref, answer, outcome)
        return SubmitAnswer(
            outcome=outcome,
            submitted_at=answer.requested_at,
            answered_at=answer.answered_at,
            technical_result=answer.technical_result,
            rail_ref=answer.text("railRef"),
            code=answer.text("code") if outcome == ports.REJECTED else None,
            message_id=answer.text("messageId"),
            details=answer.free_text("details"),
        )

    def status(self, external_ref: ExternalRef) -> StatusAnswer:
        """GET /payments/{externalRef}. A 404 without the gateway's own body is NO_ANSWER."""
        answer = self._ask("GET", f"/payments/{external_ref}", None)
        said = answer.text("status") if _is_of(answer, external_ref) else None
        status = STATUSES.get(said or "", ports.NO_ANSWER)
        if answer.status != (404 if status == ports.UNKNOWN else 200):
            status = ports.NO_ANSWER
        _log("rail enquiry", external_ref, answer, status)
        return StatusAnswer(
            status=status,
            submitted_at=answer.requested_at,
            answered_at=answer.answered_at,
            technical_result=answer.technical_result,
            rail_ref=answer.text("railRef"),
            code=answer.text("code"),
            amount=_cents(answer, "amount"),
            returned_amount=_cents(answer, "returnedAmount"),
            currency=answer.text("currency"),
            message_id=answer.text("messageId"),
            transaction_id=answer.text("transactionId"),
            details=answer.free_text("details"),
        )

    def recall(self, external_ref: ExternalRef, *, number: int) -> RecallAnswer:
        """POST /payments/{externalRef}/recalls, idempotent by `number`."""
        answer = self._ask("POST", f"/payments/{external_ref}/recalls", {"number": number})
        outcome: RecallOutcome = ports.NO_ANSWER
        if _is_of(answer, external_ref):
            if answer.status == 404 and answer.text("status") == ports.UNKNOWN:
                outcome = ports.UNKNOWN
            elif answer.status in (200, 202):
                outcome = RECALLS.get(answer.text("recall") or "", ports.NO_ANSWER)
        _log("rail recall", external_ref, answer, outcome)
        return RecallAnswer(
            outcome=outcome,
            submitted_at=answer.requested_at,
            answered_at=answer.answered_at,
            technical_result=answer.technical_result,
            code=answer.text("code"),
            message_id=answer.text("messageId"),
            details=answer.free_text("details"),
        )

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> HttpAnswer:
        return readable(call(self._gateway, self._clock, method, path, body), TEXTS, AMOUNTS)


def submission(instruction: RailInstruction, parties: Parties) -> dict[str, Any]:
    """The body of a submission; amounts in cents, `submitBefore` in epoch milliseconds."""
    return {
        "externalRef": instruction.external_ref,
        "endToEndId": instruction.end_to_end_id,
        "uetr": instruction.uetr,
        "service": instruction.service,
        "amount": instruction.amount,
        "currency": instruction.currency,
        "submitBefore": instruction.submit_before,
        "debtor": _party(parties.debtor),
        "creditor": _party(parties.creditor),
        "remittance": parties.remittance,
    }


def _party(party: Party) -> dict[str, str | None]:
    return {
        "name": party.name,
        "bsb": party.bsb,
        "account": party.account,
        "payIdType": party.pay_id_type,
        "payId": party.pay_id,
    }


def _cents(answer: HttpAnswer, name: str) -> Cents | None:
    value = answer.whole(name)
    return None if value is None else Cents(value)


def _is_of(answer: HttpAnswer, external_ref: ExternalRef) -> bool:
    """A proxy's error page is not the gateway's answer: the reference must come back."""
    return (answer.text("externalRef") or "").upper() == external_ref.upper()


def _submit_outcome(answer: HttpAnswer, external_ref: ExternalRef) -> SubmitOutcome:
    if not _is_of(answer, external_ref):
        return ports.UNCLEAR
    if answer.status in (200, 202):
        return ports.RECEIVED
    if answer.status in (400, 409, 422) and answer.text("status") == ports.REJECTED:
        return ports.REJECTED
    if answer.status == 410 and answer.text("status") == ports.TOO_LATE:
        return ports.TOO_LATE
    return ports.UNCLEAR


def _log(event: str, external_ref: ExternalRef, answer: HttpAnswer, result: str) -> None:
    log.info(
        event,
        external_ref=external_ref,
        at=answer.requested_at,
        latency_ms=answer.answered_at - answer.requested_at,
        result=result,
        technical_result=answer.technical_result,
        code=answer.text("code"),
    )
