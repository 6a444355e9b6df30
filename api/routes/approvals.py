"""Approvals: asking for one, and a second person's word on it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from api import answers, models
from api.auth import Caller, Use
from api.guard import router as guarded
from api.paths import ApprovalId, PaymentId
from api.routes.actions import PAYMENT, act, number_of
from api.services import Principal, Services
from core.header import InputHeader, OperatorHeader
from core.payment import commands

router = guarded()


@router.post(f"{PAYMENT}/approvals", summary="Ask for an approval", **answers.TAKEN)
async def request_approval(
    request: Request,
    who: Caller,
    use: Use,
    payment_intent_id: PaymentId,
    asked: models.RequestApproval,
) -> Response:
    """Asks Resolve; the answer names the approval. It is bound to these parameters, to the
    requester, and to the payment's attempt and phase."""
    attempt = None if asked.attemptId is None else number_of(asked.attemptId)

    def make(header: InputHeader, operator: OperatorHeader) -> commands.RequestApproval:
        return commands.RequestApproval(
            header,
            operator,
            str(asked.action),
            asked.reason,
            attempt,
            asked.failureReason,
            asked.conflictId,
            asked.verdict,
            asked.amount,
        )

    return await act(request, who, use, payment_intent_id, asked, make)


@router.post(f"{PAYMENT}/approvals/{{approval_id}}/approve", summary="Approve", **answers.TAKEN)
async def approve(
    request: Request,
    who: Caller,
    use: Use,
    payment_intent_id: PaymentId,
    approval_id: ApprovalId,
    asked: models.Decide,
) -> Response:
    """Of a request that Resolve has referred to a person; not one's own."""
    return await _decide(request, who, use, payment_intent_id, approval_id, asked, "APPROVED")


@router.post(f"{PAYMENT}/approvals/{{approval_id}}/reject", summary="Reject", **answers.TAKEN)
async def reject(
    request: Request,
    who: Caller,
    use: Use,
    payment_intent_id: PaymentId,
    approval_id: ApprovalId,
    asked: models.Decide,
) -> Response:
    """Of a request that Resolve has referred to a person."""
    return await _decide(request, who, use, payment_intent_id, approval_id, asked, "REJECTED")


async def _decide(
    request: Request,
    who: Principal,
    use: Services,
    payment_intent_id: str,
    approval_id: str,
    asked: models.Decide,
    verdict: str,
) -> Response:
    def make(header: InputHeader, operator: OperatorHeader) -> commands.DecideApproval:
        return commands.DecideApproval(header, operator, approval_id, verdict, asked.reason)

    return await act(request, who, use, payment_intent_id, asked, make)
