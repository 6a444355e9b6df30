"""Approvals: asking for one, and a second person's word on it."""

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


@router.post(f"{PAYMENT}/approvals", summary="Ask for an approval", **answers.TAKEN)
async def request_approval(on: OnPayment, asked: models.RequestApproval) -> Response:
    """Asks Resolve; the answer names the approval. It is bound to these parameters, to the
    requester, and to the payment's attempt and phase."""
    attempt = None if asked.attemptId is None else number_of(asked.attemptId)

    command = commands.RequestApproval(
        **on.head(asked),
        action=asked.action.value,
        reason=asked.reason,
        attempt=attempt,
        failure_reason=cast(FailureReasonName | None, asked.failureReason),
        conflict_id=None if asked.conflictId is None else values.ConflictId(asked.conflictId),
        verdict=cast(Verdict | None, asked.verdict),  # core judges the words
        amount=None if asked.amount is None else values.Cents(asked.amount),
    )
    return await on.send(asked, command)


@router.post(f"{PAYMENT}/approvals/{{approval_id}}/approve", summary="Approve", **answers.TAKEN)
async def approve(on: OnPayment, approval_id: ApprovalId, asked: models.Decide) -> Response:
    """Of a request that Resolve has referred to a person; not one's own."""
    return await _decide(on, approval_id, asked, "APPROVED")


@router.post(f"{PAYMENT}/approvals/{{approval_id}}/reject", summary="Reject", **answers.TAKEN)
async def reject(on: OnPayment, approval_id: ApprovalId, asked: models.Decide) -> Response:
    """Of a request that Resolve has referred to a person."""
    return await _decide(on, approval_id, asked, "REJECTED")


async def _decide(
    on: Acting, approval_id: ApprovalId, asked: models.Decide, verdict: ApprovalAnswer
) -> Response:
    command = commands.DecideApproval(
        **on.head(asked),
        approval_id=approval_id,
        verdict=verdict,
        reason=asked.reason,
    )
    return await on.send(asked, command, threads.DECISIONS)
