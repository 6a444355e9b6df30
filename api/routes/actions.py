"""What operators do to a payment: each call is one command, and its answer is the outcome.

A header Idempotency-Key is not needed and not looked at: the same action again is recognised by
what it asks for, and gives the first result.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api import answers, models, problems
from api.auth import Caller, Use, sees_personal
from api.guard import router as guarded
from api.paths import ConflictId, PaymentId
from api.services import MakeCommand, Principal, Services
from core.header import InputHeader, OperatorHeader
from core.payment import commands
from schemas.errors import Unencodable

router = guarded()
PAYMENT = "/api/payments/{payment_intent_id}"


async def act(
    request: Request,
    principal: Principal,
    services: Services,
    payment_intent_id: str,
    asked: Any,
    make: MakeCommand,
) -> Response:
    """Publish the command that `make` gives and answer with its outcome. Raises Problem."""

    def work() -> Response:
        answers.check_operator(
            request,
            services,
            principal,
            asked.operatorId,
            payment_intent_id=payment_intent_id,
            reason=asked.reason if hasattr(asked, "reason") else asked.details,
        )
        try:
            answer = services.commands.operate(
                principal,
                payment_intent_id,
                make,
                approval_id=getattr(asked, "approvalId", None),
                traceparent=answers.traceparent(request),
            )
        except Unencodable:
            raise problems.invalid("body", "does not fit into a record") from None
        personal = sees_personal(principal)
        return answers.respond(services, payment_intent_id, answer, personal=personal)

    return await answers.in_command_thread(work)


@router.post(f"{PAYMENT}/retry", summary="Retry a failed payment", **answers.TAKEN)
async def retry(
    request: Request, who: Caller, use: Use, payment_intent_id: PaymentId, asked: models.Retry
) -> Response:
    """Makes the next attempt; needs an approval RETRY, or RETRY_UNCERTAIN."""

    def make(header: InputHeader, operator: OperatorHeader) -> commands.RetryPayment:
        return commands.RetryPayment(header, operator, asked.attemptId, asked.reason)

    return await act(request, who, use, payment_intent_id, asked, make)


@router.post(f"{PAYMENT}/cancel", summary="Cancel a payment", **answers.TAKEN)
async def cancel(
    request: Request, who: Caller, use: Use, payment_intent_id: PaymentId, asked: models.Cancel
) -> Response:
    """In CREATED, AUTHORISED or SENT; needs an approval CANCEL."""

    def make(header: InputHeader, operator: OperatorHeader) -> commands.CancelPayment:
        return commands.CancelPayment(header, operator, asked.reason, asked.customerId)

    return await act(request, who, use, payment_intent_id, asked, make)


@router.post(f"{PAYMENT}/mark-failed", summary="Mark a payment failed", **answers.TAKEN)
async def mark_failed(
    request: Request, who: Caller, use: Use, payment_intent_id: PaymentId, asked: models.MarkFailed
) -> Response:
    """In SENT or ACKNOWLEDGED; needs an approval MARK_FAILED with this reason."""

    def make(header: InputHeader, operator: OperatorHeader) -> commands.MarkPaymentFailed:
        return commands.MarkPaymentFailed(header, operator, asked.reason, asked.details)

    return await act(request, who, use, payment_intent_id, asked, make)


@router.post(f"{PAYMENT}/expire", summary="Expire a payment", **answers.TAKEN)
async def expire(
    request: Request, who: Caller, use: Use, payment_intent_id: PaymentId, asked: models.Expire
) -> Response:
    """In AUTHORISED; from SENT on it needs an approval EXPIRE."""

    def make(header: InputHeader, operator: OperatorHeader) -> commands.ExpirePayment:
        return commands.ExpirePayment(header, operator, asked.reason)

    return await act(request, who, use, payment_intent_id, asked, make)


@router.post(f"{PAYMENT}/release", summary="Release a deferred hold", **answers.TAKEN)
async def release_early(
    request: Request, who: Caller, use: Use, payment_intent_id: PaymentId, asked: models.OfAttempt
) -> Response:
    """Before non-payment is certain; needs an approval RELEASE_EARLY."""

    def make(header: InputHeader, operator: OperatorHeader) -> commands.ReleaseFunds:
        return commands.ReleaseFunds(header, operator, number_of(asked.attemptId), asked.reason)

    return await act(request, who, use, payment_intent_id, asked, make)


@router.post(f"{PAYMENT}/reverse", summary="Reverse captured funds", **answers.TAKEN)
async def reverse(
    request: Request, who: Caller, use: Use, payment_intent_id: PaymentId, asked: models.OfAttempt
) -> Response:
    """Needs an approval REVERSE."""

    def make(header: InputHeader, operator: OperatorHeader) -> commands.ReverseCapture:
        return commands.ReverseCapture(header, operator, number_of(asked.attemptId), asked.reason)

    return await act(request, who, use, payment_intent_id, asked, make)


@router.post(
    f"{PAYMENT}/conflicts/{{conflict_id}}/resolve",
    summary="Resolve a conflict",
    **answers.TAKEN,
)
async def resolve_reconciliation(
    request: Request,
    who: Caller,
    use: Use,
    payment_intent_id: PaymentId,
    conflict_id: ConflictId,
    asked: models.Resolve,
) -> Response:
    """Needs an approval RESOLVE_RECONCILIATION of the same conflict and verdict."""

    def make(header: InputHeader, operator: OperatorHeader) -> commands.ResolveReconciliation:
        return commands.ResolveReconciliation(
            header,
            operator,
            conflict_id,
            number_of(asked.attemptId),
            asked.verdict,
            asked.details,
        )

    return await act(request, who, use, payment_intent_id, asked, make)


def number_of(attempt_id: str) -> int:
    """2 of att_002; the body's model has checked the form."""
    return int(attempt_id[-3:])
