"""Story events by people and conflicts: approvals, verdicts, confirmations, returns."""

from __future__ import annotations

from typing import Any

from core.payment import events as e
from core.values import (
    Cents,
    ConflictId,
    attempt_id,
    external_ref,
)
from tests.processors.replay.story import AMOUNT, Maker


def approved(
    action: Any, name: str = "apr_001", *, attempt: int = 1, conflict: str | None = None,
    verdict: Any = None,
) -> tuple[Maker, Maker]:  # fmt: skip
    """Requested by one person and approved by another."""
    return (
        lambda story: e.OperatorActionRequested(
            header=story.header(attempt=attempt, approval=name),
            action=action,
            requester="ann",
            phase=story.state,
            text="please",
            expires_at=90_000,
            failure_reason=None,
            conflict_id=None if conflict is None else ConflictId(conflict),
            verdict=verdict,
            amount=Cents(AMOUNT),
            frozen_until=None,
        ),
        lambda story: e.OperatorActionApproved(
            header=story.header(attempt=attempt, approval=name),
            action=action,
            decided_by="bob",
            rules_evaluated=(),
            policy_version="1",
            text=None,
            expires_at=90_000,
        ),
    )


def conflict(
    kind: Any, amount: int | None = AMOUNT, *, attempt: int = 1, name: str = "cnf_001",
    report: str = "SETTLED",
) -> Maker:  # fmt: skip
    return lambda story: e.ReconciliationRequired(
        header=story.header(attempt=attempt),
        conflict_id=ConflictId(name),
        kind=kind,
        external_ref=external_ref(story.payment, attempt),
        detail="detail",
        code=None,
        amount=None if amount is None else Cents(amount),
        currency="AUD",
        rail_message_id=None,
        assigned_from=None,
        report_kind=report,
    )


def resolved(
    verdict: Any, amount: int | None = None, *, attempt: int = 1, name: str = "cnf_001"
) -> tuple[Maker, Maker, Maker]:
    """A person's verdict, under a separate approval."""
    approval = name.replace("cnf_", "apr_9")[:7]
    asking, granting = approved(
        "RESOLVE_RECONCILIATION", approval, attempt=attempt, conflict=name, verdict=verdict
    )
    return (
        asking,
        granting,
        lambda story: e.ReconciliationResolved(
            header=story.header(attempt=attempt, approval=approval),
            conflict_id=ConflictId(name),
            verdict=verdict,
            text="seen",
            amount=None if amount is None else Cents(amount),
        ),
    )


def confirmed(attempt: int) -> Maker:
    return lambda story: e.NonPaymentConfirmed(
        header=story.header(attempt=attempt),
        attempt_id=attempt_id(attempt),
        external_ref=external_ref(story.payment, attempt),
        by="REJECTED",
        code=None,
        code_table=None,
    )


def noted_return(amount: int, message: str) -> Maker:
    """A return that raised no total."""
    return lambda story: e.RailStatusReported(
        header=story.header(),
        external_ref=external_ref(story.payment, story.attempt),
        kind="RETURNED",
        adapter="simulator",
        code=None,
        amount=Cents(amount),
        currency="AUD",
        rail_message_id=message,
        transaction_id=None,
        details=None,
        submitted_at=None,
        answered_at=None,
        technical_result=None,
        via_enquiry=False,
        adapter_stopped=False,
        assigned_from=None,
    )


def returned(
    amount: int, *, message: str | None = "RET-1", enquiry: bool = False, total: int = 0
) -> Maker:
    return lambda story: e.PaymentReturned(
        header=story.header(),
        external_ref=external_ref(story.payment, story.attempt),
        amount=Cents(amount),
        currency="AUD",
        code=None,
        rail_message_id=message,
        assigned_from=None,
        via_enquiry=enquiry,
        total=Cents(total),
    )
