"""Lists in pages: selects with the given conditions, from the key where the last page ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Select, Table, case, func, literal, select, text, tuple_
from sqlalchemy.sql.elements import TextClause

from core.words import ApprovalStatus, QuarantineReason
from readmodel.cursors import from_cursor, to_cursor
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
    """A list: its table, the columns that sort it and make up its cursor, and the direction. `key`
    maps a column to an expression that replaces it in the order.
    """

    name: str
    table: Table
    columns: tuple[str, ...]
    newest_first: bool
    key: dict[str, ColumnElement[Any]] = {}

    def page(self, conditions: Sequence[Condition], limit: int, cursor: str | None) -> Select[Any]:
        """The select of a page and one row more, which shows whether another page follows. Raises
        ValueError for a broken cursor or a limit that is not permitted.
        """
        key = [self.key.get(each, self.table.c[each]) for each in self.columns]
        wanted = select(self.table).where(*conditions)
        if cursor is not None:
            kinds = tuple(self.table.c[each].type.python_type for each in self.columns)
            values = [literal(each) for each in from_cursor(self.name, kinds, cursor)]
            last, mine = tuple_(*values), tuple_(*key)
            wanted = wanted.where(mine < last if self.newest_first else mine > last)
            if self.key:
                # SQLite cannot use an index over an expression for a comparison of row values.
                first, at = key[0], values[0]
                wanted = wanted.where(first <= at if self.newest_first else first >= at)
        order = [part.desc() if self.newest_first else part.asc() for part in key]
        return wanted.order_by(*order).limit(checked(limit) + 1)

    def cut(self, found: list[Any], limit: int) -> tuple[list[Any], str | None]:
        """The page's rows, and the cursor of the next page or None."""
        if len(found) <= limit:
            return found, None
        kept = found[:limit]
        last = [getattr(kept[-1], each) for each in self.columns]
        return kept, to_cursor(self.name, tuple(0 if each is None else each for each in last))


def checked(limit: int) -> int:
    """A permitted number of rows. Raises ValueError."""
    if not 1 <= limit <= ROWS_MAX:
        raise ValueError(f"limit is {limit}, not 1 to {ROWS_MAX}")
    return limit


PAYMENT_LIST: Final = Listing(
    "payments", PAYMENTS, ("created_at", "payment_intent_id"), newest_first=True
)
ATTENTION_LIST: Final = Listing(
    "attention",
    PAYMENTS,
    ("attention_since", "payment_intent_id"),
    newest_first=False,
    key={"attention_since": func.coalesce(PAYMENTS.c.attention_since, text("0"))},
)
APPROVAL_LIST: Final = Listing(
    "approvals", APPROVALS, ("requested_at", "payment_intent_id", "approval_id"), newest_first=False
)
CONFLICT_LIST: Final = Listing(
    "conflicts", CONFLICTS, ("opened_at", "payment_intent_id", "conflict_id"), newest_first=False
)
VIOLATION_LIST: Final = Listing(
    "violations", OUTCOMES, ("decided_at", "partition", "offset"), newest_first=True
)
QUARANTINE_LIST: Final = Listing(
    "quarantine", QUARANTINE, ("at", "partition", "offset"), newest_first=True
)
INCIDENT_LIST: Final = Listing(
    "incidents", INCIDENTS, ("opened_at", "incident_id"), newest_first=True
)
AUDIT_LIST: Final = Listing("audit", AUDIT, ("at", "audit_id"), newest_first=True)


def narrowed(table: Table, given: Mapping[str, str | bool | None]) -> list[Condition]:
    """The conditions of `given`, whose first must be the narrowest: the list is read by its index.
    The choice is not left to a planner that does not know the values.
    """
    fields = [(field, value) for field, value in given.items() if value is not None]
    found = [by_index(table.c[field], value) for field, value in fields[:1]]
    return found + [by_row(table.c[field], value) for field, value in fields[1:]]


def by_index(column: ColumnElement[Any], value: str | bool) -> Condition:
    """A condition that can use an index; a flag's index has only the rows where it is set."""
    if isinstance(value, str):
        return column == to_stored(value)
    return text(str(column.key)) if value else by_row(column, value)


def by_row(column: ColumnElement[Any], value: str | bool) -> Condition:
    """The same condition, written so that it cannot use an index."""
    if isinstance(value, str):
        return column.concat("") == to_stored(value)
    return case((column, 1), else_=0) == int(value)


def within(column: ColumnElement[int], since: int | None, until: int | None) -> list[Condition]:
    """From `since` (inclusive) to `until` (exclusive)."""
    found: list[Condition] = []
    if since is not None:
        found.append(column >= since)
    if until is not None:
        found.append(column < until)
    return found


# Payment filters with a count for each value, which says how narrow they are: the count's prefix.
COUNTED: Final = {
    "source": "source",
    "state": "state",
    "money_outcome": "money",
    "reason": "reason",
}
NARROWEST, BROADEST = -1, 2**63


def payment_fields(wanted: PaymentFilter) -> dict[str, str | bool]:
    """The filters on single columns that are set."""
    fields = ("idempotency_key", *COUNTED, "needs_attention")
    given = {field: getattr(wanted, field) for field in fields}
    return {field: value for field, value in given.items() if value is not None}


def count_of(field: str, value: str | bool) -> str:
    """The name of the count of payments that fulfil the condition; empty if there is none."""
    if isinstance(value, str):
        return f"{COUNTED[field]}:{to_stored(value)}" if field in COUNTED else ""
    return "attention" if value else ""


def payment_conditions(wanted: PaymentFilter, counts: Mapping[str, int]) -> list[Condition]:
    """The filter's conditions; `counts` says which one the fewest payments fulfil, and so which
    index the list is read by.
    """

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
    payment_intent_id: str | None, status: ApprovalStatus | None, now: int
) -> list[Condition]:
    """The conditions for approvals; EXPIRED is computed from `now` (epoch ms), see `as_of`."""
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


def quarantine_conditions(
    reason: QuarantineReason | None, payment_intent_id: str | None
) -> list[Condition]:
    return narrowed(QUARANTINE, {"payment_intent_id": payment_intent_id, "reason": reason})


def as_of(row: Any, now: int) -> Any:
    """The ApprovalRow at this time (epoch ms): one whose time is over before it was used or
    rejected is EXPIRED.
    """
    if row.status in CAN_EXPIRE and row.expires_at <= now:
        return msgspec.structs.replace(row, status=EXPIRED)
    return row
