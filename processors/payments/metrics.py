"""Technical counters of the payments processor: counted per input in plain dicts, shown once per
committed batch.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter

from core.payment.commands import INPUTS
from core.payment.events import EVENTS
from core.refusals import NO_EFFECT_RULES
from core.rules import UNKNOWN_TABLE_ENDING
from core.values import attempt_id

RESULTS = ("ACCEPTED", "DUPLICATE", "REJECTED", "NO_EFFECT", "UNMATCHED")
FIRST_ATTEMPT = attempt_id(1)
NO_EFFECT_NAMES = tuple(each.name for each in NO_EFFECT_RULES)
QUARANTINE_REASONS = ("UNDECODABLE", "MISROUTED", "UNMATCHED", "PARKED")


class PaymentsMetrics:
    """No payment id and no free text in a label; every label set that is known starts at zero."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._inputs = Counter(
            "npp_inputs",
            "Inputs decided, by record type and result.",
            ["type", "result"],
            registry=registry,
        )
        self._refusals = Counter(
            "npp_rejected_commands",
            "Inputs refused, by code and rule.",
            ["code", "rule"],
            registry=registry,
        )
        self._no_effects = Counter(
            "npp_inputs_without_effect",
            "Inputs that changed nothing, by rule; CONFLICTS_FULL: a contradiction was not listed.",
            ["rule"],
            registry=registry,
        )
        self._events = Counter(
            "npp_events", "Events appended, by type.", ["type"], registry=registry
        )
        self._quarantined = Counter(
            "npp_quarantined_records",
            "Records put into quarantine, by reason.",
            ["reason"],
            registry=registry,
        )
        self._by_reference = Counter(
            "npp_quarantined_by_reference",
            "Records too large to copy, put into quarantine by reference.",
            registry=registry,
        )
        self._conflicts = Counter(
            "npp_conflicts_opened",
            "Conflicts with what is recorded, by kind.",
            ["kind"],
            registry=registry,
        )
        self._late = Counter(
            "npp_late_failures",
            "Payments that failed after their acknowledgement.",
            registry=registry,
        )
        self._retry_failures = Counter(
            "npp_retry_failures",
            "Attempts from the second on that failed.",
            registry=registry,
        )
        self._unknown_codes = Counter(
            "npp_unknown_rail_codes",
            "Failures with a rail code that has no table row.",
            registry=registry,
        )
        self._parked = Counter(
            "npp_parked_payments", "Payments parked because of a defect.", registry=registry
        )
        for kind in INPUTS:
            for result in RESULTS:
                self._inputs.labels(kind.__name__, result)
        for event in EVENTS:
            self._events.labels(event.__name__)
        for rule in NO_EFFECT_NAMES:
            self._no_effects.labels(rule)
        for reason in QUARANTINE_REASONS:
            self._quarantined.labels(reason)
        self.abort()

    def input(self, name: str, result: str, code: str = "", rule: str = "") -> None:
        key = (name, result)
        self._input_counts[key] = self._input_counts.get(key, 0) + 1
        if code:
            refusal = (code, rule)
            self._refusal_counts[refusal] = self._refusal_counts.get(refusal, 0) + 1
        elif rule:
            self._no_effect_counts[rule] = self._no_effect_counts.get(rule, 0) + 1

    def event(self, event: Any) -> None:
        name = type(event).__name__
        self._event_counts[name] = self._event_counts.get(name, 0) + 1
        if name == "ReconciliationRequired":
            self._conflict_counts[event.kind] = self._conflict_counts.get(event.kind, 0) + 1
        elif name == "PaymentFailed":
            self.late += event.late_failure
            self.retry_failures += event.attempt_id != FIRST_ATTEMPT
            self.unknown_codes += (
                event.code is not None
                and event.code_table is not None
                and event.code_table.endswith(UNKNOWN_TABLE_ENDING)
            )

    def quarantined(self, reason: str, *, by_reference: bool = False) -> None:
        self._quarantine_counts[reason] = self._quarantine_counts.get(reason, 0) + 1
        self.by_reference += by_reference

    def commit(self) -> None:
        """The batch is committed: show what it did."""
        for (name, result), count in self._input_counts.items():
            self._inputs.labels(name, result).inc(count)
        for (code, rule), count in self._refusal_counts.items():
            self._refusals.labels(code, rule).inc(count)
        for rule, count in self._no_effect_counts.items():
            self._no_effects.labels(rule).inc(count)
        for name, count in self._event_counts.items():
            self._events.labels(name).inc(count)
        for reason, count in self._quarantine_counts.items():
            self._quarantined.labels(reason).inc(count)
        for kind, count in self._conflict_counts.items():
            self._conflicts.labels(kind).inc(count)
        self._by_reference.inc(self.by_reference)
        self._late.inc(self.late)
        self._retry_failures.inc(self.retry_failures)
        self._unknown_codes.inc(self.unknown_codes)
        self._parked.inc(self.parked)
        self.abort()

    def abort(self) -> None:
        """The batch did not happen: forget what was counted."""
        self._input_counts: dict[tuple[str, str], int] = {}
        self._refusal_counts: dict[tuple[str, str], int] = {}
        self._no_effect_counts: dict[str, int] = {}
        self._event_counts: dict[str, int] = {}
        self._quarantine_counts: dict[str, int] = {}
        self._conflict_counts: dict[str, int] = {}
        self.by_reference = 0
        self.late = 0
        self.retry_failures = 0
        self.unknown_codes = 0
        self.parked = 0
