"""The tables of one generation, for SQLite and PostgreSQL, made from the structs in `rows.py`; two
tables have no struct. The queries are in `queries.sql`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.types import TypeEngine

from readmodel import rows

# Identifiers sort by their bytes on both databases, whatever the locale of the server.
TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")

METADATA: Final = MetaData()
# The struct of each table that has one.
STRUCTS: Final[dict[str, type[msgspec.Struct]]] = {}

_KINDS: Final[dict[Any, TypeEngine[Any]]] = {
    str: TEXT,
    int: BigInteger(),
    bool: Boolean(create_constraint=False),
    bytes: LargeBinary(),
}


def _table(
    name: str, struct: type[msgspec.Struct], key: Sequence[str], *more: Any, **options: Any
) -> Table:
    """A table with a column for each field of the struct, in its order; NULL is allowed where the
    field may be None.
    """
    STRUCTS[name] = struct
    columns = [_column(field, hint) for field, hint in get_type_hints(struct).items()]
    return Table(name, METADATA, *columns, PrimaryKeyConstraint(*key), *more, **options)


def _column(name: str, hint: Any) -> Column[Any]:
    kinds = [each for each in (get_args(hint) or (hint,)) if each is not NoneType]
    nullable = len(kinds) < len(get_args(hint))
    # NewTypes of money and ids are stored as the type that they wrap.
    kind = getattr(kinds[0], "__supertype__", kinds[0])
    return Column(name, _KINDS[kind], nullable=nullable, autoincrement=False)


def _index(name: str, *columns: str, where: str = "") -> Index:
    """With `where` a partial index: only rows that fulfil the condition are in it."""
    return Index(name, *columns, **_only(where))


def _only(where: str) -> dict[str, Any]:
    return {"sqlite_where": text(where), "postgresql_where": text(where)} if where else {}


# Pages are sorted by (created_at, payment_intent_id); each filter's index ends with these.
_PAYMENT_PAGE: Final = ("created_at", "payment_intent_id")
PAYMENTS: Final = _table(
    "payments",
    rows.PaymentRow,
    ("payment_intent_id",),
    _index("payments_created", *_PAYMENT_PAGE),
    *(_index(f"payments_{each}", each, *_PAYMENT_PAGE) for each in ("source", "state")),
    _index("payments_money_outcome", "money_outcome", *_PAYMENT_PAGE),
    _index("payments_reason", "reason", *_PAYMENT_PAGE, where="reason IS NOT NULL"),
    _index("payments_idempotency_key", "idempotency_key"),
    _index("payments_end_to_end_id", "end_to_end_id"),
    _index("payments_attention_created", *_PAYMENT_PAGE, where="needs_attention"),
)
Index("payments_uetr", func.lower(PAYMENTS.c.uetr), **_only("uetr IS NOT NULL"))
Index(
    "payments_attention",
    func.coalesce(PAYMENTS.c.attention_since, text("0")),
    PAYMENTS.c.payment_intent_id,
    **_only("needs_attention"),
)

# What a payment's first event says once and for all: no later row changes it. SQLite would write
# the index of each column that an update names, whether its value changes or not.
FIXED: Final = {
    "payments": ("source", "idempotency_key", "created_at", "end_to_end_id", "uetr"),
}

EVENTS: Final = _table(
    "events",
    rows.EventRow,
    ("payment_intent_id", "sequence"),
    UniqueConstraint("partition", "offset", name="events_place"),
    _index("events_cause", "cause_partition", "cause_offset"),
)

_table(
    "identifiers",
    rows.IdentifierRow,
    ("value", "kind", "payment_intent_id"),
    sqlite_with_rowid=False,
)

_APPROVAL_PAGE: Final = ("requested_at", "payment_intent_id", "approval_id")
APPROVALS: Final = _table(
    "approvals",
    rows.ApprovalRow,
    ("payment_intent_id", "approval_id"),
    _index("approvals_requested", *_APPROVAL_PAGE),
    _index("approvals_status", "status", *_APPROVAL_PAGE),
)

_CONFLICT_PAGE: Final = ("opened_at", "payment_intent_id", "conflict_id")
CONFLICTS: Final = _table(
    "conflicts",
    rows.ConflictRow,
    ("payment_intent_id", "conflict_id"),
    _index("conflicts_opened", *_CONFLICT_PAGE),
    _index("conflicts_open", *_CONFLICT_PAGE, where="verdict IS NULL"),
)

VIOLATED: Final = "code = 'INVARIANT_VIOLATION'"  # as `core.refusals` says it
OUTCOMES: Final = _table(
    "outcomes",
    rows.OutcomeRow,
    ("partition", "offset"),
    _index("outcomes_payment", "payment_intent_id", "partition", "offset"),
    _index("outcomes_cause", "cause_topic", "cause_partition", "offset"),
    _index("outcomes_command", "command_id", where="command_id IS NOT NULL"),
    _index("outcomes_violations", "decided_at", "partition", "offset", where=VIOLATED),
)

_QUARANTINE_PAGE: Final = ("at", "partition", "offset")
QUARANTINE: Final = _table(
    "quarantine",
    rows.QuarantineRow,
    ("partition", "offset"),
    _index("quarantine_at", *_QUARANTINE_PAGE),
    _index("quarantine_reason", "reason", *_QUARANTINE_PAGE),
    _index(
        "quarantine_payment",
        "payment_intent_id",
        *_QUARANTINE_PAGE,
        where="payment_intent_id IS NOT NULL",
    ),
    _index("quarantine_waiting", *_QUARANTINE_PAGE, where="redrive_id IS NULL"),
)

_AUDIT_FILTERS: Final = ("operator_id", "payment_intent_id", "action")
AUDIT: Final = _table(
    "audit",
    rows.AuditRow,
    ("audit_id",),
    _index("audit_at", "at", "audit_id"),
    *(_index(f"audit_{each}", each, "at", "audit_id") for each in _AUDIT_FILTERS),
)

_table("commands", rows.CommandRow, ("partition", "offset"))

_table("foreign_records", rows.ForeignRow, ("partition", "offset"))

_table(
    "checkpoints",
    rows.CheckpointRow,
    ("partition", "number"),
    _index("checkpoints_from", "partition", "from_offset"),
    _index("checkpoints_from_outcome", "partition", "from_outcome"),
)

_table("control", rows.ControlRow, ("offset",))

_table("minutes", rows.MinuteRow, ("minute", "partition"))

INCIDENTS: Final = _table(
    "incidents",
    rows.IncidentRow,
    ("incident_id",),
    _index("incidents_opened", "opened_at", "incident_id"),
)

# Next offset of each topic partition; no struct (`rows.Moved` changes it).
Table(
    "offsets",
    METADATA,
    Column("topic", TEXT, nullable=False),
    Column("partition", BigInteger, nullable=False),
    Column("next", BigInteger, nullable=False),
    PrimaryKeyConstraint("topic", "partition"),
)

# Numbers of payments under the names of `counted_under`, updated by every batch; no struct.
Table(
    "counts",
    METADATA,
    Column("name", TEXT, nullable=False),
    Column("amount", BigInteger, nullable=False),
    PrimaryKeyConstraint("name"),
)
