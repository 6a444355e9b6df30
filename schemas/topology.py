"""The names of the topics. `topics.yaml` says the rest of each, and a test compares the two."""

from __future__ import annotations

from typing import Final

from core.words import Origin

COMMANDS: Final = "npp.payment.commands.v1"
BATCH_COMMANDS: Final = "npp.payment.commands.batch.v1"
API_COMMANDS: Final = "npp.payment.commands.api.v1"
OPERATOR_COMMANDS: Final = "npp.payment.operator-commands.v1"
RAIL_REPORTS: Final = "npp.rail.reports.v1"
DEPOSITS_RESULTS: Final = "npp.deposits.results.v1"
RESOLVE_DECISIONS: Final = "npp.resolve.decisions.v1"
CUSTOMER_NOTIFIED: Final = "npp.customer.notified.v1"
TIMERS: Final = "npp.payment.timers.v1"

EVENTS: Final = "npp.payment.events.v1"
LIFECYCLE: Final = "npp.payment.lifecycle.v1"
OUTCOMES: Final = "npp.payment.outcomes.v1"
QUARANTINE: Final = "npp.payment.quarantine.v1"
RAIL_SUBMISSIONS: Final = "npp.rail.submissions.v1"
RAIL_SUBMITTED: Final = "npp.rail.submitted.v1"
DEPOSITS_REQUESTS: Final = "npp.deposits.requests.v1"
RESOLVE_REQUESTS: Final = "npp.resolve.requests.v1"
NOTIFICATIONS: Final = "npp.customer.notifications.v1"
CHECKPOINTS: Final = "npp.payment.checkpoints.v1"
AUDIT: Final = "npp.operator.audit.v1"
CONTROL: Final = "npp.control.v1"
MINUTES: Final = "npp.monitoring.minutes.v1"
TICKS: Final = "npp.monitoring.ticks.v1"
PROOFS: Final = "npp.monitoring.proofs.v1"
INCIDENTS: Final = "npp.monitoring.incidents.v1"
MINUTES_TABLE: Final = "npp.monitoring.minutes-table.v1"
RULES_TABLE: Final = "npp.monitoring.rules-table.v1"

# What the payments processor decides, in this order when several wait.
INPUTS: Final = (
    RESOLVE_DECISIONS,
    OPERATOR_COMMANDS,
    RAIL_REPORTS,
    DEPOSITS_RESULTS,
    CUSTOMER_NOTIFIED,
    TIMERS,
    COMMANDS,
    BATCH_COMMANDS,
    API_COMMANDS,
)

# Who may send to it; any other command topic is an upstream system's.
ORIGINS: Final[dict[str, Origin]] = {
    RESOLVE_DECISIONS: "resolve",
    OPERATOR_COMMANDS: "operator",
    RAIL_REPORTS: "rail",
    DEPOSITS_RESULTS: "deposits",
    CUSTOMER_NOTIFIED: "notified",
    TIMERS: "timer",
    COMMANDS: "upstream",
    BATCH_COMMANDS: "upstream",
    API_COMMANDS: "upstream",
}
