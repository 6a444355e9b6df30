"""The first tables."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER: Final = sa.BigInteger()
FLAG: Final = sa.Boolean()
OCTETS: Final = sa.LargeBinary()


def required(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def optional(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=True)


def only_where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    create_approvals()
    create_audit()
    create_checkpoints()
    create_commands()
    create_conflicts()
    create_control()
    create_counts()
    create_events()
    create_identifiers()
    create_foreign_records()
    create_incidents()
    create_minutes()
    create_offsets()
    create_outcomes()
    create_payments()
    create_quarantine()


def create_approvals() -> None:
    op.create_table(
        "approvals",
        required("payment_intent_id", TEXT),
        required("approval_id", TEXT),
        required("action", TEXT),
        required("attempt", NUMBER),
        required("phase", TEXT),
        required("requester", TEXT),
        required("text", TEXT),
        required("status", TEXT),
        required("requested_at", NUMBER),
        required("expires_at", NUMBER),
        optional("decided_at", NUMBER),
        optional("decided_by", TEXT),
        optional("failure_reason", TEXT),
        optional("conflict_id", TEXT),
        optional("verdict", TEXT),
        optional("amount", NUMBER),
        sa.PrimaryKeyConstraint("payment_intent_id", "approval_id"),
    )
    op.create_index(
        "approvals_requested", "approvals", ["requested_at", "payment_intent_id", "approval_id"]
    )
    op.create_index(
        "approvals_status",
        "approvals",
        ["status", "requested_at", "payment_intent_id", "approval_id"],
    )


def create_audit() -> None:
    op.create_table(
        "audit",
        required("audit_id", TEXT),
        required("at", NUMBER),
        required("operator_id", TEXT),
        required("roles", TEXT),
        optional("token_id", TEXT),
        required("action", TEXT),
        optional("payment_intent_id", TEXT),
        optional("reason", TEXT),
        optional("approval_id", TEXT),
        optional("command_id", TEXT),
        optional("result", TEXT),
        optional("code", TEXT),
        optional("rule", TEXT),
        optional("sentence", TEXT),
        optional("from_sequence", NUMBER),
        optional("to_sequence", NUMBER),
        optional("detail", TEXT),
        sa.PrimaryKeyConstraint("audit_id"),
    )
    op.create_index("audit_action", "audit", ["action", "at", "audit_id"])
    op.create_index("audit_at", "audit", ["at", "audit_id"])
    op.create_index("audit_operator_id", "audit", ["operator_id", "at", "audit_id"])
    op.create_index("audit_payment_intent_id", "audit", ["payment_intent_id", "at", "audit_id"])


def create_checkpoints() -> None:
    op.create_table(
        "checkpoints",
        required("partition", NUMBER),
        required("number", NUMBER),
        required("from_offset", NUMBER),
        required("to_offset", NUMBER),
        required("outcomes_partition", NUMBER),
        required("from_outcome", NUMBER),
        required("to_outcome", NUMBER),
        required("log_offset", NUMBER),
        required("raw", OCTETS),
        sa.PrimaryKeyConstraint("partition", "number"),
    )
    op.create_index("checkpoints_from", "checkpoints", ["partition", "from_offset"])
    op.create_index("checkpoints_from_outcome", "checkpoints", ["partition", "from_outcome"])


def create_commands() -> None:
    op.create_table(
        "commands",
        required("partition", NUMBER),
        required("offset", NUMBER),
        required("raw", OCTETS),
        sa.PrimaryKeyConstraint("partition", "offset"),
    )


def create_foreign_records() -> None:
    op.create_table(
        "foreign_records",
        required("partition", NUMBER),
        required("offset", NUMBER),
        required("raw", OCTETS),
        sa.PrimaryKeyConstraint("partition", "offset"),
    )


def create_conflicts() -> None:
    op.create_table(
        "conflicts",
        required("payment_intent_id", TEXT),
        required("conflict_id", TEXT),
        required("kind", TEXT),
        required("attempt", NUMBER),
        required("detail", TEXT),
        required("opened_at", NUMBER),
        optional("resolved_at", NUMBER),
        optional("verdict", TEXT),
        sa.PrimaryKeyConstraint("payment_intent_id", "conflict_id"),
    )
    op.create_index(
        "conflicts_open",
        "conflicts",
        ["opened_at", "payment_intent_id", "conflict_id"],
        **only_where("verdict IS NULL"),
    )
    op.create_index(
        "conflicts_opened", "conflicts", ["opened_at", "payment_intent_id", "conflict_id"]
    )


def create_control() -> None:
    op.create_table(
        "control",
        sa.Column("offset", NUMBER, autoincrement=False, nullable=False),
        required("type", TEXT),
        required("at", NUMBER),
        optional("actor", TEXT),
        required("raw", OCTETS),
        optional("refused", TEXT),
        sa.PrimaryKeyConstraint("offset"),
    )


def create_counts() -> None:
    op.create_table(
        "counts",
        required("name", TEXT),
        required("amount", NUMBER),
        sa.PrimaryKeyConstraint("name"),
    )


def create_events() -> None:
    op.create_table(
        "events",
        required("payment_intent_id", TEXT),
        required("sequence", NUMBER),
        required("partition", NUMBER),
        required("offset", NUMBER),
        required("type", TEXT),
        required("decided_at", NUMBER),
        optional("from_state", TEXT),
        required("state", TEXT),
        required("attempt", NUMBER),
        required("cause_topic", TEXT),
        required("cause_partition", NUMBER),
        required("cause_offset", NUMBER),
        optional("command_id", TEXT),
        optional("approval_id", TEXT),
        required("hash", OCTETS),
        required("raw", OCTETS),
        sa.PrimaryKeyConstraint("payment_intent_id", "sequence"),
        sa.UniqueConstraint("partition", "offset", name="events_place"),
    )
    op.create_index("events_cause", "events", ["cause_partition", "cause_offset"])


def create_identifiers() -> None:
    op.create_table(
        "identifiers",
        required("kind", TEXT),
        required("value", TEXT),
        required("payment_intent_id", TEXT),
        sa.PrimaryKeyConstraint("value", "kind", "payment_intent_id"),
        sqlite_with_rowid=False,
    )


def create_incidents() -> None:
    op.create_table(
        "incidents",
        required("incident_id", TEXT),
        required("rule", TEXT),
        required("status", TEXT),
        required("part", NUMBER),
        required("whole", NUMBER),
        optional("limit_per_mille", NUMBER),
        optional("limit_ms", NUMBER),
        required("since", NUMBER),
        required("opened_at", NUMBER),
        optional("resolved_at", NUMBER),
        sa.PrimaryKeyConstraint("incident_id"),
    )
    op.create_index("incidents_opened", "incidents", ["opened_at", "incident_id"])


def create_minutes() -> None:
    op.create_table(
        "minutes",
        required("partition", NUMBER),
        required("minute", NUMBER),
        required("figures", OCTETS),
        sa.PrimaryKeyConstraint("minute", "partition"),
    )


def create_offsets() -> None:
    op.create_table(
        "offsets",
        required("topic", TEXT),
        required("partition", NUMBER),
        required("next", NUMBER),
        sa.PrimaryKeyConstraint("topic", "partition"),
    )


def create_outcomes() -> None:
    op.create_table(
        "outcomes",
        required("partition", NUMBER),
        required("offset", NUMBER),
        required("payment_intent_id", TEXT),
        required("cause_topic", TEXT),
        required("cause_partition", NUMBER),
        required("cause_offset", NUMBER),
        optional("command_id", TEXT),
        required("input_type", TEXT),
        required("result", TEXT),
        optional("code", TEXT),
        optional("rule", TEXT),
        optional("sentence", TEXT),
        required("decided_at", NUMBER),
        required("from_sequence", NUMBER),
        required("to_sequence", NUMBER),
        required("raw", OCTETS),
        sa.PrimaryKeyConstraint("partition", "offset"),
    )
    op.create_index("outcomes_cause", "outcomes", ["cause_topic", "cause_partition", "offset"])
    op.create_index(
        "outcomes_command", "outcomes", ["command_id"], **only_where("command_id IS NOT NULL")
    )
    op.create_index("outcomes_payment", "outcomes", ["payment_intent_id", "partition", "offset"])
    op.create_index(
        "outcomes_violations",
        "outcomes",
        ["decided_at", "partition", "offset"],
        **only_where("code = 'INVARIANT_VIOLATION'"),
    )


def create_payments() -> None:
    op.create_table(
        "payments",
        required("payment_intent_id", TEXT),
        required("source", TEXT),
        required("idempotency_key", TEXT),
        required("state", TEXT),
        optional("reason", TEXT),
        required("money_outcome", TEXT),
        required("amount", NUMBER),
        required("currency", TEXT),
        required("attempt", NUMBER),
        optional("external_ref", TEXT),
        required("funds", TEXT),
        required("sequence", NUMBER),
        required("head_hash", OCTETS),
        required("created_at", NUMBER),
        required("decided_at", NUMBER),
        required("last_lifecycle_event", TEXT),
        optional("overdue", TEXT),
        required("open_conflicts", NUMBER),
        required("needs_attention", FLAG),
        optional("attention_since", NUMBER),
        required("waiting_for_person", FLAG),
        required("parked", FLAG),
        required("end_to_end_id", TEXT),
        required("service", TEXT),
        optional("uetr", TEXT),
        optional("customer_id", TEXT),
        required("rule_set", NUMBER),
        required("partition", NUMBER),
        required("snapshot", OCTETS),
        sa.PrimaryKeyConstraint("payment_intent_id"),
    )
    op.create_index("payments_created", "payments", ["created_at", "payment_intent_id"])
    op.create_index("payments_end_to_end_id", "payments", ["end_to_end_id"])
    op.create_index("payments_idempotency_key", "payments", ["idempotency_key"])
    op.create_index(
        "payments_money_outcome", "payments", ["money_outcome", "created_at", "payment_intent_id"]
    )
    op.create_index(
        "payments_reason",
        "payments",
        ["reason", "created_at", "payment_intent_id"],
        **only_where("reason IS NOT NULL"),
    )
    op.create_index("payments_source", "payments", ["source", "created_at", "payment_intent_id"])
    op.create_index("payments_state", "payments", ["state", "created_at", "payment_intent_id"])
    op.create_index(
        "payments_uetr", "payments", [sa.text("lower(uetr)")], **only_where("uetr IS NOT NULL")
    )
    op.create_index(
        "payments_attention_created",
        "payments",
        ["created_at", "payment_intent_id"],
        **only_where("needs_attention"),
    )
    op.create_index(
        "payments_attention",
        "payments",
        [sa.text("coalesce(attention_since, 0)"), "payment_intent_id"],
        **only_where("needs_attention"),
    )


def create_quarantine() -> None:
    op.create_table(
        "quarantine",
        required("partition", NUMBER),
        required("offset", NUMBER),
        required("reason", TEXT),
        required("detail", TEXT),
        required("origin_topic", TEXT),
        required("origin_partition", NUMBER),
        required("origin_offset", NUMBER),
        required("at", NUMBER),
        optional("key", OCTETS),
        optional("value", OCTETS),
        required("headers", OCTETS),
        optional("payment_intent_id", TEXT),
        optional("redrive_id", TEXT),
        sa.PrimaryKeyConstraint("partition", "offset"),
    )
    op.create_index("quarantine_at", "quarantine", ["at", "partition", "offset"])
    op.create_index(
        "quarantine_payment",
        "quarantine",
        ["payment_intent_id", "at", "partition", "offset"],
        **only_where("payment_intent_id IS NOT NULL"),
    )
    op.create_index("quarantine_reason", "quarantine", ["reason", "at", "partition", "offset"])
    op.create_index(
        "quarantine_waiting",
        "quarantine",
        ["at", "partition", "offset"],
        **only_where("redrive_id IS NULL"),
    )
