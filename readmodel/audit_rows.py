"""Rows of the audit list: what operators commanded, and what they asked that became no command."""

from __future__ import annotations

import json
from typing import Any, Final

from core import records
from core.header import OperatorHeader
from core.payment import commands as c
from core.values import Action
from engine.records import LogRecord
from readmodel import rows

DONE: Final = "DONE"
REFUSED: Final = "REFUSED"

_ACTIONS: Final[dict[type, str]] = {
    c.RequestApproval: "REQUEST_APPROVAL",
    c.RetryPayment: Action.RETRY.value,
    c.CancelPayment: Action.CANCEL.value,
    c.MarkPaymentFailed: Action.MARK_FAILED.value,
    c.ExpirePayment: Action.EXPIRE.value,
    c.ResolveReconciliation: Action.RESOLVE_RECONCILIATION.value,
    c.ReleaseFunds: Action.RELEASE_EARLY.value,
    c.ReverseCapture: Action.REVERSE.value,
    c.DebitFunds: Action.DEBIT_AGAIN.value,
    c.RepeatFundsRequest: "REPEAT_FUNDS_REQUEST",
    c.ResumeProcessing: "RESUME_PROCESSING",
}
_DECISIONS: Final = {"APPROVED": "APPROVE", "REJECTED": "REJECT"}
# What of a command is in the audit row's columns, or is personal; all else goes into `detail`.
_NOT_DETAIL: Final = frozenset(
    {"header", "operator", "reason", "details", "approval_id", "customer_id"}
)


def command_row(at: LogRecord, command: c.OperatorCommand) -> rows.AuditRow | None:
    """The audit row of an operator's command: id, time, action, payment, reason, approval.

    None for a command without an operator, which the engine refuses.
    """
    operator: OperatorHeader | None = command.operator
    if operator is None:
        return None
    approval_id = operator.approval_id
    reason: str | None = getattr(command, "reason", None)
    extra = {
        name: value
        for name in command.__struct_fields__
        if name not in _NOT_DETAIL and (value := getattr(command, name)) is not None
    }
    match command:
        case c.MarkPaymentFailed():
            reason = command.details
            extra["failureReason"] = command.reason
        case c.ResolveReconciliation():
            reason = command.details
        case c.DecideApproval():
            approval_id = command.approval_id
    return rows.AuditRow(
        audit_id=f"o-{at.partition}-{at.offset}",
        at=at.timestamp_ms,
        operator_id=operator.operator_id,
        roles=",".join(operator.roles),
        token_id=operator.token_id,
        action=_action_of(command),
        payment_intent_id=command.header.payment_intent_id,
        reason=reason,
        approval_id=approval_id,
        command_id=command.header.command_id,
        result=None,
        code=None,
        rule=None,
        sentence=None,
        from_sequence=None,
        to_sequence=None,
        detail=detail(extra),
    )


def _action_of(command: c.OperatorCommand) -> str:
    if isinstance(command, c.DecideApproval):
        return _DECISIONS.get(command.verdict, "DECIDE_APPROVAL")
    return _ACTIONS[type(command)]


def audit_row(at: LogRecord, asked: records.OperatorAudit) -> rows.AuditRow:
    """The row of something that became no command."""
    refused = asked.status >= 400
    extra: dict[str, Any] = {
        "auditId": asked.audit_id,
        "method": asked.method,
        "path": asked.path,
        "status": asked.status,
        "clientId": asked.client_id,
        "more": asked.detail,
    }
    return rows.AuditRow(
        audit_id=f"a-{at.partition}-{at.offset}",
        at=asked.at,
        operator_id=asked.operator_id,
        roles=",".join(asked.roles),
        token_id=asked.token_id,
        action=asked.action,
        payment_intent_id=asked.payment_intent_id,
        reason=asked.reason,
        approval_id=asked.approval_id,
        command_id=asked.command_id,
        result=REFUSED if refused else DONE,
        code=asked.code,
        rule=asked.rule,
        sentence=asked.sentence,
        from_sequence=None,
        to_sequence=None,
        detail=detail({k: v for k, v in extra.items() if v is not None}),
    )


def detail(extra: dict[str, Any]) -> str | None:
    """JSON in ASCII: NUL and everything else unwelcome is an escape in it."""
    if not extra:
        return None
    return json.dumps({_camel(k): v for k, v in extra.items()}, separators=(",", ":"))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
