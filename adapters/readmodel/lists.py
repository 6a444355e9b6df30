"""Lists by pages: a select made of the conditions that are given, and the key it goes on from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Select, Table, func, literal, select, text, tuple_
from sqlalchemy.sql.elements import TextClause

from adapters.readmodel.cursors import Key, from_cursor, to_cursor
from adapters.readmodel.ports import AuditFilter, PaymentFilter
from adapters.readmodel.tables import APPROVALS, AUDIT, CONFLICTS, PAYMENTS, QUARANTINE
from adapters.readmodel.texts import to_stored

ROWS_MAX: Final = 10_000  # in one answer; the API asks for 200 at most
EXPIRED: Final = "EXPIRED"
CAN_EXPIRE: Final = ("REQUESTED", "REFERRED", "APPROVED")

Condition = ColumnElement[Any] | TextClause


class Listing(msgspec.Struct, frozen=True):
    """What a list is: its table, the key that it is sorted and continued by, and which way.
    `key_of` gives a row's key.
    """

    name: str
    table: Table
    key: tuple[ColumnElement[Any], ...]
    kinds: tuple[type, ...]
    key_of: Callable[[Any], Key]
    newest_first: bool

    def page(self, conditions: Sequence[Condition], limit: int, cursor: str | None) -> Select[Any]:
        """One row more than the page has, so that its end is known. Raises ValueError."""
        wanted = select(self.table).where(*conditions)
        if cursor is not None:
            last = tuple_(*map(literal, from_cursor(self.name, self.kinds, cursor)))
            mine = tuple_(*self.key)
            wanted = wanted.where(mine < last if self.newest_first else mine > last)
        order = [part.desc() if self.newest_first else part.asc() for part in self.key]
        return wanted.order_by(*order).limit(checked(limit) + 1)

    def cut(self, found: list[Any], limit: int) -> tuple[list[Any], str | None]:
        """The page's rows and the cursor of what follows."""
        if len(found) <= limit:
            return found, None
        kept = found[:limit]
        return kept, to_cursor(self.name, self.key_of(kept[-1]))


def checked(limit: int) -> int:
    """A number of rows that may be asked for. Raises ValueError."""
    if not 1 <= limit <= ROWS_MAX:
        raise ValueError(f"limit is {limit}, not 1 to {ROWS_MAX}")
    return limit


PAYMENT_LIST: Final = Listing(
    "payments",
    PAYMENTS,
    (PAYMENTS.c.created_at, PAYMENTS.c.payment_intent_id),
    (int, str),
    lambda row: (row.created_at, row.payment_intent_id),
    newest_first=True,
)
ATTENTION_LIST: Final = Listing(
    "attention",
    PAYMENTS,
    (func.coalesce(PAYMENTS.c.attention_since, text("0")), PAYMENTS.c.payment_intent_id),
    (int, str),
    lambda row: (row.attention_since or 0, row.payment_intent_id),
    newest_first=False,
)
APPROVAL_LIST: Final = Listing(
    "approvals",
    APPROVALS,
    (APPROVALS.c.requested_at, APPROVALS.c.payment_intent_id, APPROVALS.c.approval_id),
    (int, str, str),
    lambda row: (row.requested_at, row.payment_intent_id, row.approval_id),
    newest_first=False,
)
CONFLICT_LIST: Final = Listing(
    "conflicts",
    CONFLICTS,
    (CONFLICTS.c.opened_at, CONFLICTS.c.payment_intent_id, CONFLICTS.c.conflict_id),
    (int, str, str),
    lambda row: (row.opened_at, row.payment_intent_id, row.conflict_id),
    newest_first=False,
)
QUARANTINE_LIST: Final = Listing(
    "quarantine",
    QUARANTINE,
    (QUARANTINE.c.at, QUARANTINE.c.partition, QUARANTINE.c.offset),
    (int, int, int),
    lambda row: (row.at, row.partition, row.offset),
    newest_first=True,
)
AUDIT_LIST: Final = Listing(
    "audit",
    AUDIT,
    (AUDIT.c.at, AUDIT.c.audit_id),
    (int, str),
    lambda row: (row.at, row.audit_id),
    newest_first=True,
)


def equal(table: Table, **wanted: str | None) -> list[Condition]:
    """Conditions for the given ones."""
    return [
        table.c[name] == to_stored(value) for name, value in wanted.items() if value is not None
    ]


def within(column: ColumnElement[int], since: int | None, until: int | None) -> list[Condition]:
    """From `since` on, before `until`."""
    found: list[Condition] = []
    if since is not None:
        found.append(column >= since)
    if until is not None:
        found.append(column < until)
    return found


def payment_conditions(wanted: PaymentFilter) -> list[Condition]:
    found = equal(
        PAYMENTS,
        source=wanted.source,
        idempotency_key=wanted.idempotency_key,
        state=wanted.state,
        money_outcome=wanted.money_outcome,
        reason=wanted.reason,
    )
    if wanted.needs_attention is not None:
        found.append(text("needs_attention" if wanted.needs_attention else "NOT needs_attention"))
    return found + within(PAYMENTS.c.created_at, wanted.since, wanted.until)


def audit_conditions(wanted: AuditFilter) -> list[Condition]:
    return equal(
        AUDIT,
        operator_id=wanted.operator_id,
        payment_intent_id=wanted.payment_intent_id,
        action=wanted.action,
    ) + within(AUDIT.c.at, wanted.since, wanted.until)


def approval_conditions(
    payment_intent_id: str | None, status: str | None, now: int
) -> list[Condition]:
    """An approval that can expire and has is EXPIRED and nothing else."""
    found = equal(APPROVALS, payment_intent_id=payment_intent_id)
    if status == EXPIRED:
        found += [APPROVALS.c.status.in_(CAN_EXPIRE), APPROVALS.c.expires_at <= now]
    elif status is not None:
        found += equal(APPROVALS, status=status)
        if status in CAN_EXPIRE:
            found.append(APPROVALS.c.expires_at > now)
    return found


def conflict_conditions(payment_intent_id: str | None, open_only: bool) -> list[Condition]:
    found = equal(CONFLICTS, payment_intent_id=payment_intent_id)
    return [*found, text("verdict IS NULL")] if open_only else found


def as_of(row: Any, now: int) -> Any:
    """The approval as it stands at this time."""
    if row.status in CAN_EXPIRE and row.expires_at <= now:
        return msgspec.structs.replace(row, status=EXPIRED)
    return row
