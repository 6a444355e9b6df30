"""What operators do to a payment: each call is one command, and its answer is the outcome.

A header Idempotency-Key is not needed and ignored: a repeated action is recognised by its
parameters, and gets the first result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypedDict, cast

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from api.actions import answers, models, threads
from api.auth.guard import router as guarded
from api.auth.sign_in import Caller, Use, sees_personal
from api.edge import problems
from api.edge.paths import ConflictId, PaymentId
from api.services import Principal, Services
from core.header import InputHeader, OperatorHeader
from core.payment import commands
from core.values import Cents, PaymentIntentId, attempt_number
from core.words import FailureReasonName, Verdict
from schemas.errors import Unencodable

router = guarded()
PAYMENT = "/api/payments/{payment_intent_id}"


class Head(TypedDict):
    """The fields common to all operator commands."""

    header: InputHeader
    operator: OperatorHeader


@dataclass(frozen=True, slots=True)
class Acting:
    """Who acts on which payment."""

    request: Request
    principal: Principal
    services: Services
    payment_intent_id: PaymentIntentId

    def head(self, body: Any) -> Head:
        """The head of a new command on the payment: who acts, until when it may be decided, and
        the approval that the body names.
        """
        trace, approval_id = answers.traceparent(self.request), getattr(body, "approvalId", None)
        ways = self.services.commands
        return {
            "header": ways.header(self.payment_intent_id, trace),
            "operator": ways.operator(self.principal, approval_id),
        }

    async def send(
        self,
        body: Any,
        command: commands.OperatorCommand,
        waiting: threads.ActionThreads = threads.COMMANDS,
    ) -> Response:
        """Publish the command and answer with its outcome. Raises Problem."""
        return await waiting.run(self.principal.id, partial(self._send, body, command))

    def _send(self, body: Any, command: commands.OperatorCommand) -> Response:
        self.check_operator(body)
        try:
            answer = self.services.commands.operate(command)
        except Unencodable:
            raise problems.invalid("body", "does not fit into a record") from None
        personal = sees_personal(self.principal)
        return answers.respond(self.services, self.payment_intent_id, answer, personal=personal)

    def check_operator(self, body: Any) -> None:
        """As `answers.check_operator`, of the body's own fields."""
        answers.check_operator(
            self.request,
            self.services,
            self.principal,
            body.operatorId,
            payment_intent_id=self.payment_intent_id,
            reason=body.reason if hasattr(body, "reason") else body.details,
        )


async def _acting(request: Request, who: Caller, use: Use, payment_intent_id: PaymentId) -> Acting:
    return Acting(request, who, use, PaymentIntentId(payment_intent_id))


OnPayment = Annotated[Acting, Depends(_acting)]


@router.post(f"{PAYMENT}/retry", summary="Retry a failed payment", **answers.TAKEN)
async def retry(on: OnPayment, body: models.Retry) -> Response:
    """Makes the next attempt; needs an approval RETRY, or RETRY_UNCERTAIN."""
    command = commands.RetryPayment(
        **on.head(body),
        attempt_id=body.attemptId,
        reason=body.reason,
    )
    return await on.send(body, command)


@router.post(f"{PAYMENT}/cancel", summary="Cancel a payment", **answers.TAKEN)
async def cancel(on: OnPayment, body: models.Cancel) -> Response:
    """In CREATED, AUTHORISED or SENT; needs an approval CANCEL."""
    command = commands.CancelPayment(
        **on.head(body),
        reason=body.reason,
        customer_id=body.customerId,
    )
    return await on.send(body, command)


@router.post(f"{PAYMENT}/mark-failed", summary="Mark a payment failed", **answers.TAKEN)
async def mark_failed(on: OnPayment, body: models.MarkFailed) -> Response:
    """In SENT or ACKNOWLEDGED; needs an approval MARK_FAILED with this reason."""
    command = commands.MarkPaymentFailed(
        **on.head(body),
        reason=cast(FailureReasonName, body.reason),
        details=body.details,
    )
    return await on.send(body, command)


@router.post(f"{PAYMENT}/expire", summary="Expire a payment", **answers.TAKEN)
async def expire(on: OnPayment, body: models.Expire) -> Response:
    """In AUTHORISED; from SENT on it needs an approval EXPIRE."""
    command = commands.ExpirePayment(**on.head(body), reason=body.reason)
    return await on.send(body, command)


@router.post(f"{PAYMENT}/release", summary="Release a deferred hold", **answers.TAKEN)
async def release_early(on: OnPayment, body: models.OfAttempt) -> Response:
    """Before non-payment is certain; needs an approval RELEASE_EARLY."""
    return await _of_attempt(on, body, commands.ReleaseFunds)


@router.post(f"{PAYMENT}/reverse", summary="Reverse captured funds", **answers.TAKEN)
async def reverse(on: OnPayment, body: models.OfAttempt) -> Response:
    """Needs an approval REVERSE."""
    return await _of_attempt(on, body, commands.ReverseCapture)


@router.post(f"{PAYMENT}/debit", summary="Debit for a second settlement", **answers.TAKEN)
async def debit(on: OnPayment, body: models.OfAttempt) -> Response:
    """Debits the customer for a second settlement by the rail that a verdict has confirmed. Needs
    an approval DEBIT_AGAIN of its own.
    """
    return await _of_attempt(on, body, commands.DebitFunds)


OfAttempt = type[commands.ReleaseFunds | commands.ReverseCapture | commands.DebitFunds]


async def _of_attempt(on: Acting, body: models.OfAttempt, command: OfAttempt) -> Response:
    attempt = number_of(body.attemptId)
    return await on.send(body, command(**on.head(body), attempt=attempt, reason=body.reason))


@router.post(
    f"{PAYMENT}/funds/repeat", summary="Repeat the request to Deposits Core", **answers.TAKEN
)
async def repeat_funds(on: OnPayment, body: models.RepeatFunds) -> Response:
    """For a request that Deposits Core refused; the system itself repeats those without an answer.
    Needs no approval: the operation was decided before, and moves the same money once.
    """
    command = commands.RepeatFundsRequest(
        **on.head(body),
        attempt=number_of(body.attemptId),
        operation=body.operation.value,
        reason=body.reason,
    )
    return await on.send(body, command)


@router.post(
    f"{PAYMENT}/conflicts/{{conflict_id}}/resolve",
    summary="Resolve a conflict",
    **answers.TAKEN,
)
async def resolve_reconciliation(
    on: OnPayment, conflict_id: ConflictId, body: models.Resolve
) -> Response:
    """Needs an approval RESOLVE_RECONCILIATION of the same conflict and verdict."""
    command = commands.ResolveReconciliation(
        **on.head(body),
        conflict_id=conflict_id,
        attempt=number_of(body.attemptId),
        verdict=cast(Verdict, body.verdict),  # core judges the word
        details=body.details,
        amount=None if body.amount is None else Cents(body.amount),
    )
    return await on.send(body, command)


def number_of(attempt_id: str) -> int:
    """The number in an attempt id that the body's model has checked: 2 for att_002."""
    number = attempt_number(attempt_id)
    assert number is not None
    return number
