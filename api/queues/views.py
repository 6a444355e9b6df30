"""Items of the queues and lists: approvals, conflicts, attention, quarantine, audit, search."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import orjson

from api.edge.views import (
    VerdictView,
    View,
    amount_text,
    approval_status,
    iso,
    iso_or_none,
    verdicts,
)
from api.payments.views import PaymentBrief, brief
from api.payments.views_events import PlaceView
from api.payments.views_hints import Why, why_attention
from control import quarantine
from core.payment.operator.reconcile import find_conflict
from core.payment.state import Payment, unpack
from core.values import ConflictId, attempt_id
from engine.clock import MS_PER_S
from readmodel import rows


class PaymentList(View):
    """Newest first; `next` is passed back as `cursor`."""

    items: list[PaymentBrief]
    next: str | None


class ApprovalView(View):
    """A request for approval. `waits`: a person must decide now; `ageSeconds` is its age."""

    payment_intent_id: str
    approval_id: str
    action: str
    attempt_id: str
    phase: str
    requester: str
    reason: str
    status: str
    waits: bool
    age_seconds: int
    requested_at: str
    expires_at: str
    decided_at: str | None
    decided_by: str | None
    failure_reason: str | None
    conflict_id: str | None
    verdict: str | None
    amount: int | None
    amount_text: str | None


class ApprovalList(View):
    """Oldest first."""

    items: list[ApprovalView]
    next: str | None


class ConflictView(View):
    """What contradicts the record; open while `verdict` is null. Then `verdicts` are those that
    fit, each with its consequence; any other is refused VERDICT_NOT_APPLICABLE.
    """

    payment_intent_id: str
    conflict_id: str
    kind: str
    attempt_id: str
    detail: str
    opened_at: str
    age_seconds: int
    resolved_at: str | None
    verdict: str | None
    open: bool
    amount: int | None
    currency: str | None
    amount_text: str | None
    verdicts: list[VerdictView]


class ConflictList(View):
    """Oldest first."""

    items: list[ConflictView]
    next: str | None


class AttentionItem(View):
    """A payment that operators should look at: why, and since when."""

    payment_intent_id: str
    state: str
    money_outcome: str
    amount: int
    currency: str
    amount_text: str | None
    attempt_id: str
    external_ref: str | None
    funds: str
    overdue: str | None
    parked: bool
    open_conflicts: int
    waiting_for_person: bool
    attention: bool
    attention_since: str | None
    age_seconds: int | None
    why: list[Why]
    last_event_at: str


class AttentionList(View):
    """Longest waiting first."""

    items: list[AttentionItem]
    next: str | None


class QuarantineItem(View):
    """A quarantined record. `origin.offset` -1: it was never on a topic (a rail callback).

    `byReference`: it is too large to copy, so only the first KiB of key and value are here; the
    original is at its origin. `valueBytes` is the whole value's length either way, `valueSha256`
    (hex) the original's, null for a whole copy and for those who may not see its bytes.
    """

    partition: int
    offset: int
    at: str
    reason: str
    detail: str
    payment_intent_id: str | None
    origin: PlaceView
    value_bytes: int
    by_reference: bool
    value_sha256: str | None
    redrive_id: str | None


class QuarantineList(View):
    """Newest first."""

    items: list[QuarantineItem]
    next: str | None


class HeaderView(View):
    """A record header; its value in base64."""

    name: str
    value: str | None


class QuarantineView(QuarantineItem):
    """A quarantined record with its bytes in base64; they may hold personal data, so only
    operator, senior_operator, auditor and admin see them (`masked`). With `byReference` they are
    the first KiB, and `headers` are the quarantine's own alone.
    """

    key: str | None
    value: str | None
    headers: list[HeaderView]
    masked: bool


class AuditItem(View):
    """One audited request. The first six fields are the runbook's; `fromSequence`..`toSequence` are
    the events it made. `result` is null until it is known.
    """

    operator_id: str
    at: str
    action: str
    payment_intent_id: str | None
    reason: str | None
    approval_id: str | None
    audit_id: str
    roles: list[str]
    token_id: str | None
    command_id: str | None
    result: str | None
    code: str | None
    rule: str | None
    sentence: str | None
    from_sequence: int | None
    to_sequence: int | None
    events: str | None
    detail: Any


class AuditList(View):
    """Newest first."""

    items: list[AuditItem]
    next: str | None


class FoundView(View):
    """A payment found by the search, and the identifier that matched."""

    kind: str
    payment_intent_id: str
    state: str | None
    money_outcome: str | None
    amount: int | None
    amount_text: str | None


class FoundList(View):
    """Everything that was found; `next` is always null."""

    items: list[FoundView]
    next: str | None


def approval(row: rows.ApprovalRow, now_ms: int) -> ApprovalView:
    status = approval_status(row.status, row.expires_at, now_ms)
    return ApprovalView.of(
        row,
        attempt_id=attempt_id(row.attempt),
        reason=row.text,
        status=status,
        waits=status == "REFERRED",
        age_seconds=_age(row.requested_at, now_ms),
        requested_at=iso(row.requested_at),
        expires_at=iso(row.expires_at),
        decided_at=iso_or_none(row.decided_at),
        amount_text=amount_text(row.amount),
    )


def conflict(row: rows.ConflictRow, state: Payment, now_ms: int) -> ConflictView:
    """A conflict's item; `state` is the current one of its payment."""
    found = find_conflict(state, ConflictId(row.conflict_id))
    amount = None if found is None else found.amount
    currency = None if found is None else found.currency
    return ConflictView.of(
        row,
        attempt_id=attempt_id(row.attempt),
        opened_at=iso(row.opened_at),
        age_seconds=_age(row.opened_at, row.resolved_at or now_ms),
        resolved_at=iso_or_none(row.resolved_at),
        open=row.verdict is None,
        amount=amount,
        currency=currency,
        amount_text=amount_text(amount, currency),
        verdicts=verdicts(state, found) if row.verdict is None else [],
    )


def attention(row: rows.PaymentRow, now_ms: int) -> AttentionItem:
    item = brief(row)
    since = row.attention_since
    return AttentionItem.of(
        row,
        amount_text=amount_text(row.amount, row.currency),
        attempt_id=item.attempt_id,
        attention=True,
        attention_since=item.attention_since,
        age_seconds=None if since is None else _age(since, now_ms),
        why=why_attention(unpack(row.snapshot), now_ms),
        last_event_at=item.last_event_at,
    )


def quarantine_item(row: rows.QuarantineRow, *, with_hash: bool) -> QuarantineItem:
    reference = _reference(row)
    value_bytes = len(row.value or b"") if reference is None else max(0, reference.value_bytes)
    return QuarantineItem.of(
        row,
        at=iso(row.at),
        origin=PlaceView(row.origin_topic, row.origin_partition, row.origin_offset),
        value_bytes=value_bytes,
        by_reference=reference is not None,
        value_sha256=reference.value_sha256.hex() if reference and with_hash else None,
    )


def _reference(row: rows.QuarantineRow) -> quarantine.Reference | None:
    """The reference of a record too large to copy; None for a whole copy, and for headers that are
    not of our quarantine.
    """
    headers = msgspec.msgpack.decode(row.headers, type=list[tuple[str, bytes | None]])
    try:
        return quarantine.parse(headers).reference
    except ValueError:
        return None


def quarantined(row: rows.QuarantineRow, *, with_bytes: bool) -> QuarantineView:
    item = quarantine_item(row, with_hash=with_bytes)
    headers: list[tuple[str, bytes | None]] = msgspec.msgpack.decode(row.headers)
    return QuarantineView(
        **msgspec.structs.asdict(item),
        key=_base64(row.key) if with_bytes else None,
        value=_base64(row.value) if with_bytes else None,
        headers=[HeaderView(n, _base64(v)) for n, v in headers] if with_bytes else [],
        masked=not with_bytes,
    )


def audit(row: rows.AuditRow) -> AuditItem:
    made = row.payment_intent_id and row.result in ("ACCEPTED", "DUPLICATE")
    return AuditItem.of(
        row,
        at=iso(row.at),
        roles=[role for role in row.roles.split(",") if role],
        events=f"/api/payments/{row.payment_intent_id}/events" if made else None,
        detail=_detail(row.detail),
    )


def _detail(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _base64(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode("ascii")


def _age(since_ms: int, now_ms: int) -> int:
    return max(0, now_ms - since_ms) // MS_PER_S
