"""The tables of one generation, once for SQLite and PostgreSQL. Columns stand in the order of the
structs in `rows.py`; a table that has none is said so. The queries are in `queries.sql`.
"""

from __future__ import annotations

from typing import Any, Final

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

# Identifiers sort by their bytes on both databases, whatever the locale of the server.
TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")

METADATA: Final = MetaData()


def _words(name: str) -> Column[str]:
    return Column(name, TEXT, nullable=False)


def _words_or_none(name: str) -> Column[str]:
    return Column(name, TEXT, nullable=True)


def _number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _number_or_none(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=True)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean(create_constraint=False), nullable=False)


def _octets(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=False)


def _octets_or_none(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=True)


def _key(*names: str) -> PrimaryKeyConstraint:
    return PrimaryKeyConstraint(*names)


def _only_where(condition: str) -> dict[str, Any]:
    """A partial index: only rows that fulfil the condition stand in it."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


PAYMENTS: Final = Table(
    "payments",
    METADATA,
    _words("payment_intent_id"),
    _words("source"),
    _words("idempotency_key"),
    _words("state"),
    _words_or_none("reason"),
    _words("money_outcome"),
    _number("amount"),
    _words("currency"),
    _number("attempt"),
    _words_or_none("external_ref"),
    _words("funds"),
    _number("sequence"),
    _octets("head_hash"),
    _number("created_at"),
    _number("decided_at"),
    _words("last_lifecycle_event"),
    _words_or_none("overdue"),
    _number("open_conflicts"),
    _flag("needs_attention"),
    _number_or_none("attention_since"),
    _flag("waiting_for_person"),
    _flag("parked"),
    _words("end_to_end_id"),
    _words("service"),
    _words_or_none("uetr"),
    _words_or_none("customer_id"),
    _number("rule_set"),
    _number("partition"),
    _octets("snapshot"),
    _key("payment_intent_id"),
)
# Lists are pages by (created_at, payment_intent_id); each filter has them in that order.
Index("payments_created", PAYMENTS.c.created_at, PAYMENTS.c.payment_intent_id)
for _filter in ("source", "state", "money_outcome", "reason"):
    Index(
        f"payments_{_filter}",
        PAYMENTS.c[_filter],
        PAYMENTS.c.created_at,
        PAYMENTS.c.payment_intent_id,
        **(_only_where("reason IS NOT NULL") if _filter == "reason" else {}),
    )
Index("payments_idempotency_key", PAYMENTS.c.idempotency_key)
Index("payments_end_to_end_id", PAYMENTS.c.end_to_end_id)
Index("payments_uetr", func.lower(PAYMENTS.c.uetr), **_only_where("uetr IS NOT NULL"))
Index(
    "payments_attention",
    func.coalesce(PAYMENTS.c.attention_since, text("0")),
    PAYMENTS.c.payment_intent_id,
    **_only_where("needs_attention"),
)

Index(
    "payments_attention_created",
    PAYMENTS.c.created_at,
    PAYMENTS.c.payment_intent_id,
    **_only_where("needs_attention"),
)

EVENTS: Final = Table(
    "events",
    METADATA,
    _words("payment_intent_id"),
    _number("sequence"),
    _number("partition"),
    _number("offset"),
    _words("type"),
    _number("decided_at"),
    _words_or_none("from_state"),
    _words("state"),
    _number("attempt"),
    _words("cause_topic"),
    _number("cause_partition"),
    _number("cause_offset"),
    _words_or_none("command_id"),
    _words_or_none("approval_id"),
    _octets("hash"),
    _octets("raw"),
    _key("payment_intent_id", "sequence"),
    UniqueConstraint("partition", "offset", name="events_place"),
)
Index("events_cause", EVENTS.c.cause_partition, EVENTS.c.cause_offset)

IDENTIFIERS: Final = Table(
    "identifiers",
    METADATA,
    _words("kind"),
    _words("value"),
    _words("payment_intent_id"),
    _key("value", "kind", "payment_intent_id"),
    sqlite_with_rowid=False,
)

APPROVALS: Final = Table(
    "approvals",
    METADATA,
    _words("payment_intent_id"),
    _words("approval_id"),
    _words("action"),
    _number("attempt"),
    _words("phase"),
    _words("requester"),
    _words("text"),
    _words("status"),
    _number("requested_at"),
    _number("expires_at"),
    _number_or_none("decided_at"),
    _words_or_none("decided_by"),
    _words_or_none("failure_reason"),
    _words_or_none("conflict_id"),
    _words_or_none("verdict"),
    _number_or_none("amount"),
    _key("payment_intent_id", "approval_id"),
)
Index(
    "approvals_requested",
    APPROVALS.c.requested_at,
    APPROVALS.c.payment_intent_id,
    APPROVALS.c.approval_id,
)
Index(
    "approvals_status",
    APPROVALS.c.status,
    APPROVALS.c.requested_at,
    APPROVALS.c.payment_intent_id,
    APPROVALS.c.approval_id,
)

CONFLICTS: Final = Table(
    "conflicts",
    METADATA,
    _words("payment_intent_id"),
    _words("conflict_id"),
    _words("kind"),
    _number("attempt"),
    _words("detail"),
    _number("opened_at"),
    _number_or_none("resolved_at"),
    _words_or_none("verdict"),
    _key("payment_intent_id", "conflict_id"),
)
for _name, _where in (("conflicts_opened", None), ("conflicts_open", "verdict IS NULL")):
    Index(
        _name,
        CONFLICTS.c.opened_at,
        CONFLICTS.c.payment_intent_id,
        CONFLICTS.c.conflict_id,
        **(_only_where(_where) if _where else {}),
    )

OUTCOMES: Final = Table(
    "outcomes",
    METADATA,
    _number("partition"),
    _number("offset"),
    _words("payment_intent_id"),
    _words("cause_topic"),
    _number("cause_partition"),
    _number("cause_offset"),
    _words_or_none("command_id"),
    _words("input_type"),
    _words("result"),
    _words_or_none("code"),
    _words_or_none("rule"),
    _words_or_none("sentence"),
    _number("decided_at"),
    _number("from_sequence"),
    _number("to_sequence"),
    _octets("raw"),
    _key("partition", "offset"),
)
Index("outcomes_payment", OUTCOMES.c.payment_intent_id, OUTCOMES.c.partition, OUTCOMES.c.offset)
Index("outcomes_cause", OUTCOMES.c.cause_topic, OUTCOMES.c.cause_partition, OUTCOMES.c.offset)
Index("outcomes_command", OUTCOMES.c.command_id, **_only_where("command_id IS NOT NULL"))
VIOLATED: Final = "code = 'INVARIANT_VIOLATION'"  # as `core.refusals` says it
Index(
    "outcomes_violations",
    OUTCOMES.c.decided_at,
    OUTCOMES.c.partition,
    OUTCOMES.c.offset,
    **_only_where(VIOLATED),
)

QUARANTINE: Final = Table(
    "quarantine",
    METADATA,
    _number("partition"),
    _number("offset"),
    _words("reason"),
    _words("detail"),
    _words("origin_topic"),
    _number("origin_partition"),
    _number("origin_offset"),
    _number("at"),
    _octets_or_none("key"),
    _octets_or_none("value"),
    _octets("headers"),
    _words_or_none("payment_intent_id"),
    _words_or_none("redrive_id"),
    _key("partition", "offset"),
)
for _name, _column, _where in (
    ("quarantine_at", None, None),
    ("quarantine_reason", "reason", None),
    ("quarantine_payment", "payment_intent_id", "payment_intent_id IS NOT NULL"),
    ("quarantine_waiting", None, "redrive_id IS NULL"),
):
    Index(
        _name,
        *([QUARANTINE.c[_column]] if _column else []),
        QUARANTINE.c.at,
        QUARANTINE.c.partition,
        QUARANTINE.c.offset,
        **(_only_where(_where) if _where else {}),
    )

AUDIT: Final = Table(
    "audit",
    METADATA,
    _words("audit_id"),
    _number("at"),
    _words("operator_id"),
    _words("roles"),
    _words_or_none("token_id"),
    _words("action"),
    _words_or_none("payment_intent_id"),
    _words_or_none("reason"),
    _words_or_none("approval_id"),
    _words_or_none("command_id"),
    _words_or_none("result"),
    _words_or_none("code"),
    _words_or_none("rule"),
    _words_or_none("sentence"),
    _number_or_none("from_sequence"),
    _number_or_none("to_sequence"),
    _words_or_none("detail"),
    _key("audit_id"),
)
Index("audit_at", AUDIT.c.at, AUDIT.c.audit_id)
for _filter in ("operator_id", "payment_intent_id", "action"):
    Index(f"audit_{_filter}", AUDIT.c[_filter], AUDIT.c.at, AUDIT.c.audit_id)

COMMANDS: Final = Table(
    "commands",
    METADATA,
    _number("partition"),
    _number("offset"),
    _octets("raw"),
    _key("partition", "offset"),
)

CHECKPOINTS: Final = Table(
    "checkpoints",
    METADATA,
    _number("partition"),
    _number("number"),
    _number("from_offset"),
    _number("to_offset"),
    _number("outcomes_partition"),
    _number("from_outcome"),
    _number("to_outcome"),
    _number("log_offset"),
    _octets("raw"),
    _key("partition", "number"),
)
Index("checkpoints_from", CHECKPOINTS.c.partition, CHECKPOINTS.c.from_offset)
Index("checkpoints_from_outcome", CHECKPOINTS.c.partition, CHECKPOINTS.c.from_outcome)

CONTROL: Final = Table(
    "control",
    METADATA,
    Column("offset", BigInteger, nullable=False, autoincrement=False),
    _words("type"),
    _number("at"),
    _words_or_none("actor"),
    _octets("raw"),
    _key("offset"),
)

MINUTES: Final = Table(
    "minutes",
    METADATA,
    _number("partition"),
    _number("minute"),
    _octets("figures"),
    _key("minute", "partition"),
)

INCIDENTS: Final = Table(
    "incidents",
    METADATA,
    _words("incident_id"),
    _words("rule"),
    _words("status"),
    _number("part"),
    _number("whole"),
    _number_or_none("limit_per_mille"),
    _number_or_none("limit_ms"),
    _number("since"),
    _number("opened_at"),
    _number_or_none("resolved_at"),
    _key("incident_id"),
)
Index("incidents_opened", INCIDENTS.c.opened_at, INCIDENTS.c.incident_id)

# Next offset of each topic partition; no struct of its own (`rows.Moved` changes it).
OFFSETS: Final = Table(
    "offsets",
    METADATA,
    _words("topic"),
    _number("partition"),
    _number("next"),
    _key("topic", "partition"),
)

# Numbers of payments by what `Reader.counts` names, kept up with every batch; no struct.
COUNTS: Final = Table("counts", METADATA, _words("name"), _number("amount"), _key("name"))
