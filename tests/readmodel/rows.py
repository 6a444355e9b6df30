"""Complete rows of the read model for its contract suite, changeable by keyword."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from readmodel import rows
from readmodel.model import Model
from readmodel.ports import Page
from readmodel.reader import DatabaseReader

NOW_MS = 1_790_000_000_000
JOURNAL = "npp.payment.events.v1"
REPORTS = "npp.rail.reports.v1"
OPERATOR = "npp.payment.operator-commands.v1"

# Text that must come back unchanged and be inert on its way.
HOSTILE: tuple[Any, ...] = (
    "'; DROP TABLE payments; --",
    '" OR 1=1 --',
    "%s %(x)s %% :name ? {payments} $1 ::text",
    "\\0 \\x00 E'\\\\' \\u0000",
    "a\x00b\x00",
    "\x00",
    "\x1a0000 \x1a001a \x1a",
    "lone \ud800 and \udfff",
    "tabs\tlines\r\n\x1b[31m",
    "\u202egnp.exe \u2066hidden\u2069 \ufeff\ufffe\uffff",
    "Zoë 支払い 🏦 𝒳 e\u0301",
    "",
    " ",
    "=1+1",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "NULL",
)


def payment(number: int, **changes: Any) -> rows.PaymentRow:
    """Payment `number`, created that many milliseconds after the start."""
    values: dict[str, Any] = {
        "payment_intent_id": f"pi_{number:04d}",
        "source": "mobile-app",
        "idempotency_key": f"key-{number}",
        "state": "SENT",
        "reason": None,
        "money_outcome": "OPEN",
        "amount": 12_345,
        "currency": "AUD",
        "attempt": 1,
        "external_ref": f"N{number:04d}001",
        "funds": "HELD",
        "sequence": 4,
        "head_hash": bytes(range(32)),
        "created_at": NOW_MS + number,
        "decided_at": NOW_MS + number + 10,
        "last_lifecycle_event": "PaymentSentToRail",
        "overdue": None,
        "open_conflicts": 0,
        "needs_attention": False,
        "attention_since": None,
        "waiting_for_person": False,
        "parked": False,
        "end_to_end_id": f"E2E-{number}",
        "service": "x2p1",
        "uetr": None,
        "customer_id": f"cust-{number}",
        "rule_set": 1,
        "partition": 0,
        "snapshot": b"\x00\xff packed",
    }
    return rows.PaymentRow(**{**values, **changes})


def event(number: int, sequence: int, offset: int, **changes: Any) -> rows.EventRow:
    """An event of payment `number`."""
    raw = f"raw {number} {sequence}".encode()
    values: dict[str, Any] = {
        "payment_intent_id": f"pi_{number:04d}",
        "sequence": sequence,
        "partition": 0,
        "offset": offset,
        "type": "PaymentAcknowledged",
        "decided_at": NOW_MS + offset,
        "from_state": "SENT",
        "state": "ACKNOWLEDGED",
        "attempt": 1,
        "cause_topic": REPORTS,
        "cause_partition": 0,
        "cause_offset": 100 + offset,
        "command_id": f"cmd-{offset}",
        "approval_id": None,
        "hash": hashlib.sha256(raw).digest(),
        "raw": raw,
    }
    return rows.EventRow(**{**values, **changes})


def outcome(offset: int, **changes: Any) -> rows.OutcomeRow:
    """The outcome of the operator command at offset `number` + 100."""
    values: dict[str, Any] = {
        "partition": 0,
        "offset": offset,
        "payment_intent_id": "pi_0001",
        "cause_topic": OPERATOR,
        "cause_partition": 0,
        "cause_offset": 100 + offset,
        "command_id": f"cmd-{offset}",
        "input_type": "CancelPayment",
        "result": "ACCEPTED",
        "code": None,
        "rule": None,
        "sentence": None,
        "decided_at": NOW_MS + offset,
        "from_sequence": 5,
        "to_sequence": 6,
        "raw": b"outcome %d" % offset,
    }
    return rows.OutcomeRow(**{**values, **changes})


def checkpoint(
    partition: int,
    number: int,
    from_offset: int,
    to_offset: int,
    raw: bytes = b"signed",
    from_outcome: int = 0,
    to_outcome: int = -1,
) -> rows.CheckpointRow:
    """A checkpoint over these journal offsets, and over no outcomes unless given."""
    return rows.CheckpointRow(
        partition=partition,
        number=number,
        from_offset=from_offset,
        to_offset=to_offset,
        outcomes_partition=0,
        from_outcome=from_outcome,
        to_outcome=to_outcome,
        log_offset=number - 1,
        raw=raw,
    )


def audit(offset: int, **changes: Any) -> rows.AuditRow:
    """The audit row of the operator command at that offset."""
    values: dict[str, Any] = {
        "audit_id": f"o-0-{offset}",
        "at": NOW_MS + offset,
        "operator_id": "olivia",
        "roles": "operator",
        "token_id": "t1",
        "action": "CANCEL",
        "payment_intent_id": "pi_0001",
        "reason": "customer asked",
        "approval_id": None,
        "command_id": f"cmd-{offset - 100}",
        "result": None,
        "code": None,
        "rule": None,
        "sentence": None,
        "from_sequence": None,
        "to_sequence": None,
        "detail": None,
    }
    return rows.AuditRow(**{**values, **changes})


def approval(number: int, **changes: Any) -> rows.ApprovalRow:
    """The first approval of payment `number`, requested that many milliseconds after the start."""
    values: dict[str, Any] = {
        "payment_intent_id": f"pi_{number:04d}",
        "approval_id": "apr_001",
        "action": "CANCEL",
        "attempt": 1,
        "phase": "SENT",
        "requester": "olivia",
        "text": "customer asked",
        "status": "REFERRED",
        "requested_at": NOW_MS + number,
        "expires_at": NOW_MS + 60_000,
        "decided_at": None,
        "decided_by": None,
        "failure_reason": None,
        "conflict_id": None,
        "verdict": None,
        "amount": None,
    }
    return rows.ApprovalRow(**{**values, **changes})


def conflict(number: int, **changes: Any) -> rows.ConflictRow:
    """An open conflict of payment `number`."""
    values: dict[str, Any] = {
        "payment_intent_id": f"pi_{number:04d}",
        "conflict_id": "cnf_001",
        "kind": "SETTLED_AFTER_FAILED",
        "attempt": 1,
        "detail": "the rail reports SETTLED",
        "opened_at": NOW_MS + number,
        "resolved_at": None,
        "verdict": None,
    }
    return rows.ConflictRow(**{**values, **changes})


def incident(number: int, **changes: Any) -> rows.IncidentRow:
    """An open incident, opened that many milliseconds after the start."""
    values: dict[str, Any] = {
        "incident_id": f"inc_retry_{number}",
        "rule": "retry",
        "status": "OPEN",
        "part": 3,
        "whole": 20,
        "limit_per_mille": 100,
        "limit_ms": None,
        "since": NOW_MS + number - 10_000,
        "opened_at": NOW_MS + number,
        "resolved_at": None,
    }
    return rows.IncidentRow(**{**values, **changes})


def quarantined(offset: int, **changes: Any) -> rows.QuarantineRow:
    """A quarantined record."""
    values: dict[str, Any] = {
        "partition": 0,
        "offset": offset,
        "reason": "UNDECODABLE",
        "detail": "no schema id",
        "origin_topic": REPORTS,
        "origin_partition": 3,
        "origin_offset": 77,
        "at": NOW_MS + offset,
        "key": b"\xff\x00key",
        "value": b"\x00\xfe value",
        "headers": b"\x90",
        "payment_intent_id": None,
        "redrive_id": None,
    }
    return rows.QuarantineRow(**{**values, **changes})


def moved(before: int, after: int, partition: int = 0, topic: str = JOURNAL) -> rows.Moved:
    return rows.Moved(topic=topic, partition=partition, before=before, after=after)


def ids(page_items: list[Any]) -> list[str]:
    """The payment ids of rows, in order."""
    return [row.payment_intent_id for row in page_items]


def given(model: Model, **parts: list[Any]) -> DatabaseReader:
    """A reader of a model with these rows."""
    batch = rows.Batch()
    for name, part in parts.items():
        setattr(batch, name, part)
    model.writer(1).apply(batch)
    return model.reader()


def walked(page: Callable[[int, str | None], Page[Any]], limit: int) -> list[Any]:
    """All items of a list, page by page."""
    found: list[Any] = []
    cursor: str | None = None
    for _ in range(1_000):
        answer = page(limit, cursor)
        assert len(answer.items) <= limit
        found += answer.items
        cursor = answer.next
        if cursor is None:
            return found
    raise AssertionError("the list has no end")
