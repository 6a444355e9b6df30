"""What operators do to a payment: each call is one command, and its answer is the outcome.

A header Idempotency-Key is not needed and not looked at: the same action again is recognised by
what it asks for, and gives the first result.
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
from core.values import Cents, attempt_number
from core.words import FailureReasonName, Verdict
from schemas.errors import Unencodable

router = guarded()
PAYMENT = "/api/payments/{payment_intent_id}"


class Head(TypedDict):
    """What every operator command begins with."""

    header: InputHeader
    operator: OperatorHeader


@dataclass(frozen=True, slots=True)
class Acting:
    """Who acts on which payment."""

    request: Request
    principal: Principal
    services: Services
    payment_intent_id: str

    def head(self, asked: Any) -> Head:
        """The head of a new command on the payment: who acts, until when it may be decided, and
        the approval that the body names.
        """
        trace, approval_id = answers.traceparent(self.request), getattr(asked, "approvalId", None)
        ways = self.services.commands
        return {
            "header": ways.header(self.payment_intent_id, trace),
            "operator": ways.operator(self.principal, approval_id),
        }

    async def send(
        self,
        asked: Any,
        command: commands.OperatorCommand,
        waiting: threads.ActionThreads = threads.COMMANDS,
    ) -> Response:
        """Publish the command and answer with its outcome. Raises Problem."""
        return await waiting.run(self.principal.id, partial(self._send, asked, command))

    def _send(self, asked: Any, command: commands.OperatorCommand) -> Response:
        self.check_operator(asked)
        try:
            answer = self.services.commands.operate(command)
        except Unencodable:
            raise problems.invalid("body", "does not fit into a record") from None
        personal = sees_personal(self.principal)
        return answers.respond(self.services, self.payment_intent_id, answer, personal=personal)

    def check_operator(self, asked: Any) -> None:
        """As `answers.check_operator`, of the body's own fields."""
        answers.check_operator(
            self.request,
            self.services,
            self.principal,
            asked.operatorId,
            payment_intent_id=self.payment_intent_id,
            reason=asked.reason if hasattr(asked, "reason") else asked.details,
        )


async def _acting(request: Request, who: Caller, use: Use, payment_intent_id: PaymentId) -> Acting:
    return Acting(request, who, use, payment_intent_id)


OnPayment = Annotated[Acting, Depends(_acting)]


@router.post(f"{PAYMENT}/retry", summary="Retry a failed payment", **answers.TAKEN)
async def retry(on: OnPayment, asked: models.Retry) -> Response:
    """Makes the next attempt; needs an approval RETRY, or RETRY_UNCERTAIN."""
    command = commands.RetryPayment(
        **on.head(asked),
        attempt_id=asked.attemptId,
        reason=asked.reason,
    )
    return await on.send(asked, command)


@router.post(f"{PAYMENT}/cancel", summary="Cancel a payment", **answers.TAKEN)
async def cancel(on: OnPayment, asked: models.Cancel) -> Response:
    """In CREATED, AUTHORISED or SENT; needs an approval CANCEL."""
    command = commands.CancelPayment(
        **on.head(asked),
        reason=asked.reason,
        customer_id=asked.customerId,
    )
    return await on.send(asked, command)


@router.post(f"{PAYMENT}/mark-failed", summary="Mark a payment failed", **answers.TAKEN)
async def mark_failed(on: OnPayment, asked: models.MarkFailed) -> Response:
    """In SENT or ACKNOWLEDGED; needs an approval MARK_FAILED with this reason."""
    command = commands.MarkPaymentFailed(
        **on.head(asked),
        reason=cast(FailureReasonName, asked.reason),
        details=asked.details,
    )
    return await on.send(asked, command)


@router.post(f"{PAYMENT}/expire", summary="Expire a payment", **answers.TAKEN)
async def expire(on: OnPayment, asked: models.Expire) -> Response:
    """In AUTHORISED; from SENT on it needs an approval EXPIRE."""
    command = commands.ExpirePayment(**on.head(asked), reason=asked.reason)
    return await on.send(asked, command)


@router.post(f"{PAYMENT}/release", summary="Release a deferred hold", **answers.TAKEN)
async def release_early(on: OnPayment, asked: models.OfAttempt) -> Response:
    """Before non-payment is certain; needs an approval RELEASE_EARLY."""
    return await _of_attempt(on, asked, commands.ReleaseFunds)


@router.post(f"{PAYMENT}/reverse", summary="Reverse captured funds", **answers.TAKEN)
async def reverse(on: OnPayment, asked: models.OfAttempt) -> Response:
    """Needs an approval REVERSE."""
    return await _of_attempt(on, asked, commands.ReverseCapture)


@router.post(f"{PAYMENT}/debit", summary="Debit for a second settlement", **answers.TAKEN)
async def debit(on: OnPayment, asked: models.OfAttempt) -> Response:
    """The rail settled the payment twice, and the second settlement was found true: debits the
    customer for it. Needs an approval DEBIT_AGAIN of its own."""
    return await _of_attempt(on, asked, commands.DebitFunds)


OfAttempt = type[commands.ReleaseFunds | commands.ReverseCapture | commands.DebitFunds]


async def _of_attempt(on: Acting, asked: models.OfAttempt, command: OfAttempt) -> Response:
    attempt = number_of(asked.attemptId)
    return await on.send(asked, command(**on.head(asked), attempt=attempt, reason=asked.reason))


@router.post(f"{PAYMENT}/funds/repeat", summary="Ask Deposits Core again", **answers.TAKEN)
async def repeat_funds(on: OnPayment, asked: models.RepeatFunds) -> Response:
    """For what it refused for certain; silence is repeated by the system itself. No approval: the
    operation was decided before, and moves the same money once."""
    command = commands.RepeatFundsRequest(
        **on.head(asked),
        attempt=number_of(asked.attemptId),
        operation=asked.operation.value,
        reason=asked.reason,
    )
    return await on.send(asked, command)


@router.post(
    f"{PAYMENT}/conflicts/{{conflict_id}}/resolve",
    summary="Resolve a conflict",
    **answers.TAKEN,
)
async def resolve_reconciliation(
    on: OnPayment, conflict_id: ConflictId, asked: models.Resolve
) -> Response:
    """Needs an approval RESOLVE_RECONCILIATION of the same conflict and verdict."""
    command = commands.ResolveReconciliation(
        **on.head(asked),
        conflict_id=conflict_id,
        attempt=number_of(asked.attemptId),
        verdict=cast(Verdict, asked.verdict),  # core judges the word
        details=asked.details,
        amount=None if asked.amount is None else Cents(asked.amount),
    )
    return await on.send(asked, command)


def number_of(attempt_id: str) -> int:
    """2 of att_002; the body's model has made it of that form."""
    number = attempt_number(attempt_id)
    assert number is not None
    return number
