"""Counters of the payments processor: collected per input in a dict, published once per committed
batch.
"""

from __future__ import annotations

from typing import Any, Final, get_args

from prometheus_client import CollectorRegistry, Counter

from core.closed_sets import QuarantineReason
from core.payment.commands import INPUTS
from core.payment.events import EVENTS
from core.refusals import NO_EFFECT_RULES, RULES
from core.rules import UNKNOWN_TABLE_ENDING
from core.values import attempt_id
from engine.meters import ANY, Meters
from readmodel.minutes import was_cancelled

ACCEPTED: Final = "ACCEPTED"
RESULTS = (ACCEPTED, "DUPLICATE", "REJECTED", "NO_EFFECT", "UNMATCHED")
FIRST_ATTEMPT = attempt_id(1)
NO_EFFECT_NAMES = tuple(each.name for each in NO_EFFECT_RULES)
ENDS = {"PaymentSettled": "settled", "PaymentFailed": "failed", "PaymentExpired": "expired"}
CANCELLED = "cancelled"
COUNTED_AGAIN: Final = frozenset((*ENDS, "ReconciliationRequired"))
OUTCOMES = (*ENDS.values(), CANCELLED)


class PaymentsMetrics:
    """No payment id and no free text in a label. Every label set known beforehand starts at 0."""

    def __init__(self, registry: CollectorRegistry) -> None:
        new = Meters(registry)
        self._inputs = new.counter(
            "npp_inputs",
            "Inputs decided, by record type and result.",
            type=[kind.__name__ for kind in INPUTS],
            result=RESULTS,
        )
        self._refusals = new.counter(
            "npp_rejected_commands", "Inputs refused, by code and rule.", code=ANY, rule=ANY
        )
        for refusal in RULES:
            self._refusals.labels(refusal.code, refusal.name)
        self._no_effects = new.counter(
            "npp_inputs_without_effect",
            "Inputs that changed nothing, by rule; CONFLICTS_FULL: a contradiction was not listed.",
            rule=NO_EFFECT_NAMES,
        )
        self._events = new.counter(
            "npp_events", "Events appended, by type.", type=[event.__name__ for event in EVENTS]
        )
        self._quarantined = new.counter(
            "npp_quarantined_records",
            "Records put into quarantine, by reason.",
            reason=get_args(QuarantineReason),
        )
        self._by_reference = new.counter(
            "npp_quarantined_by_reference",
            "Records too large to copy, put into quarantine by reference.",
        )
        self._conflicts = new.counter(
            "npp_conflicts_opened", "Conflicts with what is recorded, by kind.", kind=ANY
        )
        self._ended = new.counter(
            "npp_attempts_ended", "Attempts that ended, by outcome.", outcome=OUTCOMES
        )
        self._late = new.counter(
            "npp_late_failures", "Payments that failed after their acknowledgement."
        )
        self._retry_failures = new.counter(
            "npp_retry_failures", "Attempts from the second on that failed."
        )
        self._unknown_codes = new.counter(
            "npp_unknown_rail_codes", "Failures with a rail code that has no table row."
        )
        self._parked = new.counter("npp_parked_payments", "Payments parked because of a defect.")
        self.abort()

    def _count(self, metric: Counter, *labels: str) -> None:
        key = (metric, labels)
        self._pending[key] = self._pending.get(key, 0) + 1

    def input(self, name: str, result: str, code: str = "", rule: str = "") -> None:
        if result == ACCEPTED:  # nearly all
            self._accepted[name] = self._accepted.get(name, 0) + 1
            return
        self._count(self._inputs, name, result)
        if code:
            self._count(self._refusals, code, rule)
        elif rule:
            self._count(self._no_effects, rule)

    def event(self, event: Any) -> None:
        name = type(event).__name__
        self._appended[name] = self._appended.get(name, 0) + 1
        if name not in COUNTED_AGAIN:
            return
        if name in ENDS:
            cancelled = name == "PaymentFailed" and was_cancelled(event)
            self._count(self._ended, CANCELLED if cancelled else ENDS[name])
        if name == "ReconciliationRequired":
            self._count(self._conflicts, event.kind)
        elif name == "PaymentFailed":
            if event.late_failure:
                self._count(self._late)
            if event.attempt_id != FIRST_ATTEMPT:
                self._count(self._retry_failures)
            if event.code is not None and (event.code_table or "").endswith(UNKNOWN_TABLE_ENDING):
                self._count(self._unknown_codes)

    def quarantined(self, reason: str, *, by_reference: bool = False) -> None:
        self._count(self._quarantined, reason)
        if by_reference:
            self._count(self._by_reference)

    def parked(self) -> None:
        self._count(self._parked)

    def commit(self) -> None:
        """The batch is committed: publish its counts."""
        for name, count in self._accepted.items():
            self._inputs.labels(name, ACCEPTED).inc(count)
        for name, count in self._appended.items():
            self._events.labels(name).inc(count)
        for (metric, labels), count in self._pending.items():
            (metric.labels(*labels) if labels else metric).inc(count)
        self.abort()

    def abort(self) -> None:
        """The batch was aborted: discard its counts."""
        self._accepted: dict[str, int] = {}  # by type of input
        self._appended: dict[str, int] = {}  # by type of event
        self._pending: dict[tuple[Counter, tuple[str, ...]], int] = {}  # the others
