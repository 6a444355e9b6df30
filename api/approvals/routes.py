"""Approvals: requesting one, and a second person's decision."""

from __future__ import annotations

from typing import cast

from starlette.responses import Response

from api.actions import answers, models, threads
from api.actions.routes import PAYMENT, Acting, OnPayment, number_of
from api.auth.guard import router as guarded
from api.edge.paths import ApprovalId
from core import values
from core.payment import commands
from core.words import ApprovalAnswer, FailureReasonName, Verdict

router = guarded()


@router.post(f"{PAYMENT}/approvals", summary="Request an approval", **answers.TAKEN)
async def request_approval(on: OnPayment, body: models.RequestApproval) -> Response:
    """Asks Resolve; the answer names the approval. It is bound to these parameters, to the
    requester, and to the payment's attempt and phase.
    """
    attempt = None if body.attemptId is None else number_of(body.attemptId)

    command = commands.RequestApproval(
        **on.head(body),
        action=body.action.value,
        reason=body.reason,
        attempt=attempt,
        failure_reason=cast(FailureReasonName | None, body.failureReason),
        conflict_id=None if body.conflictId is None else values.ConflictId(body.conflictId),
        verdict=cast(Verdict | None, body.verdict),  # core judges the words
        amount=None if body.amount is None else values.Cents(body.amount),
    )
    return await on.send(body, command)


@router.post(f"{PAYMENT}/approvals/{{approval_id}}/approve", summary="Approve", **answers.TAKEN)
async def approve(on: OnPayment, approval_id: ApprovalId, body: models.Decide) -> Response:
    """Approves a request that Resolve has referred to a person; never the caller's own request."""
    return await _decide(on, approval_id, body, "APPROVED")


@router.post(f"{PAYMENT}/approvals/{{approval_id}}/reject", summary="Reject", **answers.TAKEN)
async def reject(on: OnPayment, approval_id: ApprovalId, body: models.Decide) -> Response:
    """Rejects a request that Resolve has referred to a person."""
    return await _decide(on, approval_id, body, "REJECTED")


async def _decide(
    on: Acting, approval_id: ApprovalId, body: models.Decide, verdict: ApprovalAnswer
) -> Response:
    command = commands.DecideApproval(
        **on.head(body),
        approval_id=approval_id,
        verdict=verdict,
        reason=body.reason,
    )
    return await on.send(body, command, threads.DECISIONS)
