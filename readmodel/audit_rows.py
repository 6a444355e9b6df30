"""Rows of the audit list: operators' commands, and requests that did not become a command."""

from __future__ import annotations

import json
from typing import Any, Final, assert_never

from core import records
from core.declared import camel_case
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
# Fields that have a column of their own in the audit row, or are personal. All others go into
# `detail`.
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
        case c.RequestApproval() | c.RetryPayment() | c.CancelPayment() | c.ExpirePayment():
            pass
        case c.ReleaseFunds() | c.ReverseCapture() | c.DebitFunds() | c.RepeatFundsRequest():
            pass
        case c.ResumeProcessing():
            pass
        case _:
            assert_never(command)
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


def audit_row(at: LogRecord, requested: records.OperatorAudit) -> rows.AuditRow:
    """The row of a request that did not become a command. REFUSED from HTTP status 400 on, else
    DONE.
    """
    refused = requested.status >= 400
    extra: dict[str, Any] = {
        "auditId": requested.audit_id,
        "method": requested.method,
        "path": requested.path,
        "status": requested.status,
        "clientId": requested.client_id,
        "more": requested.detail,
    }
    return rows.AuditRow(
        audit_id=f"a-{at.partition}-{at.offset}",
        at=requested.at,
        operator_id=requested.operator_id,
        roles=",".join(requested.roles),
        token_id=requested.token_id,
        action=requested.action,
        payment_intent_id=requested.payment_intent_id,
        reason=requested.reason,
        approval_id=requested.approval_id,
        command_id=requested.command_id,
        result=REFUSED if refused else DONE,
        code=requested.code,
        rule=requested.rule,
        sentence=requested.sentence,
        from_sequence=None,
        to_sequence=None,
        detail=detail({k: v for k, v in extra.items() if v is not None}),
    )


def detail(extra: dict[str, Any]) -> str | None:
    """The fields as JSON in ASCII, so that NUL and lone surrogates are escapes; None for none."""
    if not extra:
        return None
    return json.dumps({camel_case(k): v for k, v in extra.items()}, separators=(",", ":"))
