"""Creating a payment over HTTP: one idempotency key of one source is one payment."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header
from starlette.requests import Request
from starlette.responses import Response

from api.actions import answers, models, threads
from api.auth.guard import router as guarded
from api.auth.sign_in import PAYMENT, Caller, Use
from api.edge import problems
from api.edge.params import time_of
from api.services import Services
from core import refusals
from core.payment import commands
from core.refusals import refuse
from core.values import Cents, Parties, Party, Sealed, payment_intent_id
from schemas.codec import parties
from schemas.errors import Unencodable

router = guarded()

IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        pattern="^[!-~]{1,128}$",
        description="Names the payment within the caller's source. The same key with the same "
        "content gives the first result, with other content a refusal.",
    ),
]


@router.post("/api/payments", summary="Create a payment", **answers.TAKEN)
async def create_payment(
    request: Request,
    who: Caller,
    use: Use,
    idempotency_key: IdempotencyKey,
    body: models.CreatePayment,
) -> Response:
    """The source is the one that the configuration gives the token's client. A client that lost the
    response repeats the request with the same key.
    """
    source = use.sources.get(who.client_id or "")
    if source is None:
        client = who.client_id or "none"
        raise problems.refused(refuse(refusals.SOURCE_NOT_ENTITLED, source=f"of client {client}"))
    payment_id = payment_intent_id(source, idempotency_key)
    request.scope[PAYMENT] = payment_id
    sealed = _sealed(body)
    not_before = _epoch_ms("requestedExecutionTime", body.requestedExecutionTime)
    expires_at = _epoch_ms("expiresAt", body.expiresAt)

    command = commands.CreatePayment(
        header=use.commands.header(payment_id, answers.traceparent(request)),
        source=source,
        idempotency_key=idempotency_key,
        amount=Cents(body.amount),
        currency=body.currency,
        parties=sealed,
        end_to_end_id=body.endToEndId,
        service=body.service,
        uetr=body.uetr,
        customer_id=body.customerId,
        requested_execution_time=not_before,
        expires_at=expires_at,
    )
    return await threads.CREATIONS.run(who.id, _submit, use, command)


def _submit(use: Services, command: commands.CreatePayment) -> Response:
    try:
        answer = use.commands.submit(command)
    except Unencodable:
        raise problems.invalid("body", "does not fit into a record") from None
    payment_id = command.header.payment_intent_id
    return answers.respond(use, payment_id, answer, personal=True)  # it is the caller's own


def _sealed(body: models.CreatePayment) -> Sealed:
    """Party details as the record carries them. Raises Problem when they are too long."""
    try:
        return parties.seal(
            Parties(
                debtor=_party(body.debtor),
                creditor=_party(body.creditor),
                remittance=body.remittance,
            )
        )
    except ValueError:
        raise problems.invalid("debtor, creditor or remittance", "is too long") from None


def _party(given: models.Party) -> Party:
    return Party(
        name=given.name,
        bsb=given.bsb,
        account=given.account,
        pay_id_type=given.payIdType,
        pay_id=given.payId,
    )


def _epoch_ms(field: str, given: str | int | None) -> int | None:
    """Epoch milliseconds. Raises Problem for a text that is not a time with its zone."""
    return given if isinstance(given, int) else time_of(given, field)
