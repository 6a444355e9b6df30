"""Checks, outside the sequence, which verdicts an open conflict accepts; nothing is kept.

Ruling 5: each accepted verdict must fit, and at least one must be accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from core.decider import Accepted, Context, Refusal
from core.payment.commands import (
    ApprovalDecision,
    DecideApproval,
    RequestApproval,
    ResolveReconciliation,
)
from core.payment.decide import decide
from core.values import Cents, ConflictId
from tests.model.book import Book, Conflict
from tests.model.laws.rail import unfit
from tests.model.vocabulary import APPROVER, SENIOR, VERDICTS, by, head

ALREADY_REQUESTED = "already requested"


def verdicts(state: Any, context: Context, book: Book, conflict: Conflict) -> Iterator[str]:
    """What is wrong with the verdicts that `conflict` accepts now."""
    refusals: dict[str, str] = {}
    for verdict in VERDICTS:
        amount = returned_amount(book, conflict) if verdict == "RETURNED" else None
        decision = _give(state, context, conflict, verdict, amount)
        if type(decision) is Accepted:
            why = unfit(book, conflict, conflict.attempt, verdict, amount)
            if why is not None:
                yield f"{verdict} of {conflict.kind} ({conflict.report_kind}) is accepted: {why}"
        else:
            refusals[verdict] = decision.rule if type(decision) is Refusal else ALREADY_REQUESTED
    limit = {"LIMIT_REACHED", ALREADY_REQUESTED} & set(refusals.values())
    if len(refusals) == len(VERDICTS) and not limit:
        mine = book.tries[conflict.attempt - 1]
        yield f"none fits {conflict.kind} ({conflict.report_kind}) in {mine.state}: {refusals}"


def returned_amount(book: Book, conflict: Conflict) -> int:
    """What may have come back for the attempt: everything not yet reported."""
    mine = book.tries[conflict.attempt - 1]
    return max(1, (mine.settled or book.amount) - mine.returned)


def _give(
    state: Any, context: Context, conflict: Conflict, verdict: Any, amount: int | None
) -> Any:
    """Request, refer, approve, resolve; return the first decision that is not accepted, or the
    last.
    """
    ask = RequestApproval(
        header=head(),
        operator=by(SENIOR),
        action="RESOLVE_RECONCILIATION",
        reason="probe",
        attempt=conflict.attempt,
        conflict_id=ConflictId(conflict.identity),
        verdict=verdict,
        amount=None if amount is None else Cents(amount),
    )
    requested = decide(state, ask, _from(context, "operator"))
    if type(requested) is not Accepted:
        return requested
    identity = next(i.approval_id for i in requested.instructions if hasattr(i, "approval_id"))
    referred = ApprovalDecision(
        header=head(),
        approval_id=identity,
        verdict="REFERRED",
        decided_by="policy",
        rules_evaluated=(),
        policy_version="7",
    )
    decision = decide(requested.state, referred, _from(context, "resolve"))
    if type(decision) is not Accepted:
        return decision
    approved = DecideApproval(
        header=head(),
        operator=by(APPROVER),
        approval_id=identity,
        verdict="APPROVED",
        reason="seen",
    )
    decision = decide(decision.state, approved, _from(context, "operator"))
    if type(decision) is not Accepted:
        return decision
    resolve = ResolveReconciliation(
        header=head(),
        operator=by(SENIOR),
        conflict_id=ConflictId(conflict.identity),
        attempt=conflict.attempt,
        verdict=verdict,
        details="probe",
        amount=None if amount is None else Cents(amount),
    )
    return decide(decision.state, resolve, _from(context, "operator"))


def _from(context: Context, origin: str) -> Context:
    return msgspec.structs.replace(context, origin=origin)
