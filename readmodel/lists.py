"""Lists by pages: a select made of the conditions that are given, and the key it goes on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Select, Table, case, func, literal, select, text, tuple_
from sqlalchemy.sql.elements import TextClause

from readmodel.cursors import Key, from_cursor, to_cursor
from readmodel.database.texts import to_stored
from readmodel.ports import AuditFilter, PaymentFilter
from readmodel.tables import (
    APPROVALS,
    AUDIT,
    CONFLICTS,
    INCIDENTS,
    OUTCOMES,
    PAYMENTS,
    QUARANTINE,
    VIOLATED,
)

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
VIOLATION_LIST: Final = Listing(
    "violations",
    OUTCOMES,
    (OUTCOMES.c.decided_at, OUTCOMES.c.partition, OUTCOMES.c.offset),
    (int, int, int),
    lambda row: (row.decided_at, row.partition, row.offset),
    newest_first=True,
)
QUARANTINE_LIST: Final = Listing(
    "quarantine",
    QUARANTINE,
    (QUARANTINE.c.at, QUARANTINE.c.partition, QUARANTINE.c.offset),
    (int, int, int),
    lambda row: (row.at, row.partition, row.offset),
    newest_first=True,
)
INCIDENT_LIST: Final = Listing(
    "incidents",
    INCIDENTS,
    (INCIDENTS.c.opened_at, INCIDENTS.c.incident_id),
    (int, str),
    lambda row: (row.opened_at, row.incident_id),
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


def narrowed(table: Table, given: Mapping[str, str | bool | None]) -> list[Condition]:
    """The conditions that are given, narrowest first: the list is read by the index of that one,
    and no planner without knowledge of the values is asked.
    """
    fields = [(field, value) for field, value in given.items() if value is not None]
    found = [by_index(table.c[field], value) for field, value in fields[:1]]
    return found + [by_row(table.c[field], value) for field, value in fields[1:]]


def by_index(column: ColumnElement[Any], value: str | bool) -> Condition:
    """A condition that an index can serve; a flag's index has only the rows where it is set."""
    if isinstance(value, str):
        return column == to_stored(value)
    return text(str(column.key)) if value else by_row(column, value)


def by_row(column: ColumnElement[Any], value: str | bool) -> Condition:
    """The same condition, written so that no index can serve it."""
    if isinstance(value, str):
        return column.concat("") == to_stored(value)
    return case((column, 1), else_=0) == int(value)


def within(column: ColumnElement[int], since: int | None, until: int | None) -> list[Condition]:
    """From `since` on, before `until`."""
    found: list[Condition] = []
    if since is not None:
        found.append(column >= since)
    if until is not None:
        found.append(column < until)
    return found


# The counts that say how narrow a condition of a list of payments is.
COUNTED: Final = {
    "source": "source",
    "state": "state",
    "money_outcome": "money",
    "reason": "reason",
}
NARROWEST, BROADEST = -1, 2**63


def payment_fields(wanted: PaymentFilter) -> dict[str, str | bool]:
    """The conditions on single columns that are given."""
    fields = ("idempotency_key", *COUNTED, "needs_attention")
    given = {field: getattr(wanted, field) for field in fields}
    return {field: value for field, value in given.items() if value is not None}


def count_of(field: str, value: str | bool) -> str:
    """The name of the count of the payments that fulfil the condition; empty if none is kept."""
    if isinstance(value, str):
        return f"{COUNTED[field]}:{to_stored(value)}" if field in COUNTED else ""
    return "attention" if value else ""


def payment_conditions(wanted: PaymentFilter, counts: Mapping[str, int]) -> list[Condition]:
    """Read by the index of the condition that the fewest payments fulfil, as `counts` says."""

    def width(field: str) -> int:
        if field == "idempotency_key":
            return NARROWEST
        name = count_of(field, given[field])
        return counts.get(name, 0) if name else BROADEST

    given = payment_fields(wanted)
    conditions = narrowed(PAYMENTS, {field: given[field] for field in sorted(given, key=width)})
    return conditions + within(PAYMENTS.c.created_at, wanted.since, wanted.until)


def audit_conditions(wanted: AuditFilter) -> list[Condition]:
    given = {
        "payment_intent_id": wanted.payment_intent_id,
        "operator_id": wanted.operator_id,
        "action": wanted.action,
    }
    return narrowed(AUDIT, given) + within(AUDIT.c.at, wanted.since, wanted.until)


def violation_conditions(since: int, until: int) -> list[Condition]:
    return [text(VIOLATED), *within(OUTCOMES.c.decided_at, since, until)]


def approval_conditions(
    payment_intent_id: str | None, status: str | None, now: int
) -> list[Condition]:
    """An approval that could still open something but whose time is over is EXPIRED."""
    if status == EXPIRED:
        found = narrowed(APPROVALS, {"payment_intent_id": payment_intent_id})
        return [*found, APPROVALS.c.status.in_(CAN_EXPIRE), APPROVALS.c.expires_at <= now]
    found = narrowed(APPROVALS, {"payment_intent_id": payment_intent_id, "status": status})
    return [*found, APPROVALS.c.expires_at > now] if status in CAN_EXPIRE else found


def incident_conditions(open_only: bool) -> list[Condition]:
    """The conditions of the monitor's incidents."""
    return [INCIDENTS.c.status == "OPEN"] if open_only else []


def conflict_conditions(payment_intent_id: str | None, open_only: bool) -> list[Condition]:
    found = narrowed(CONFLICTS, {"payment_intent_id": payment_intent_id})
    if not open_only:
        return found
    by_payment = payment_intent_id is not None
    is_open = case((CONFLICTS.c.verdict.is_(None), 1), else_=0) == 1
    return [*found, is_open if by_payment else text("verdict IS NULL")]


def quarantine_conditions(reason: str | None, payment_intent_id: str | None) -> list[Condition]:
    return narrowed(QUARANTINE, {"payment_intent_id": payment_intent_id, "reason": reason})


def as_of(row: Any, now: int) -> Any:
    """The ApprovalRow as it stands at this time."""
    if row.status in CAN_EXPIRE and row.expires_at <= now:
        return msgspec.structs.replace(row, status=EXPIRED)
    return row
