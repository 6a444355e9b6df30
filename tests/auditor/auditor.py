"""All invariants over one set of evidence. Reads nothing itself and changes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.auditor import accounting, money, proofs
from tests.auditor.evidence import (
    CHECKPOINTS,
    EVENTS,
    INPUTS,
    LIFECYCLE,
    OUTCOMES,
    QUARANTINE,
    Evidence,
    Place,
    Record,
    Report,
    Violation,
)
from tests.auditor.history import Event, Payment
from tests.auditor.wire import Decoder, Unreadable


@dataclass(slots=True)
class Case:
    """The evidence, decoded, and the findings so far."""

    evidence: Evidence
    decoder: Decoder
    drained: bool
    events: list[Event] = field(default_factory=list)
    histories: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    payments: dict[str, Payment] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)

    def found(
        self, invariant: str, sentence: str, payment: str | None = None, place: Place | None = None
    ) -> None:
        self.violations.append(Violation(invariant, sentence, payment, place))

    def topic(self, name: str) -> list[Record]:
        return self.evidence.records.get(name, [])

    def decoded(self, name: str, invariant: str) -> list[tuple[Record, str, dict[str, Any]]]:
        """The product's records of a topic; an unreadable one is a violation.

        Only the compacted topic may have tombstones: then there is no name and no field.
        """
        out: list[tuple[Record, str, dict[str, Any]]] = []
        for record in self.topic(name):
            if record.value is None and name == LIFECYCLE:
                out.append((record, "", {}))
                continue
            try:
                out.append((record, *self.decoder.decode(record.value)))
            except Unreadable as error:
                self.found(invariant, f"unreadable: {error}", None, record.place)
        return out


def audit(evidence: Evidence, *, drained: bool = True, decoder: Decoder | None = None) -> Report:
    """Check the evidence. `drained`: nothing is waiting, so whatever is missing will never come.

    `decoder` may have read an earlier state of the same log; that only saves time.
    """
    case = Case(evidence, decoder or Decoder(evidence.schemas), drained)
    for record, name, fields in case.decoded(EVENTS, "I3"):
        case.events.append(Event(name, fields, record.value or b"", record.place))
    _fold(case)
    accounting.check_inputs(case)
    accounting.check_identity(case)
    proofs.check_chain(case)
    proofs.check_control(case)
    proofs.check_torn(case)
    proofs.check_lifecycle(case)
    proofs.check_checkpoints(case)
    proofs.check_aborted(case)
    money.check_payments(case)
    money.check_rest(case)
    money.check_rail(case)
    money.check_deposits(case)
    if drained:
        accounting.check_liveness(case)
    _count(case)
    return Report(case.violations, case.counters)


def _fold(case: Case) -> None:
    """I2, and the parts of I5 that a single history shows."""
    for event in case.events:
        payment = event.header["paymentIntentId"]
        case.histories[payment].append(event)
        folded = case.payments.setdefault(payment, Payment(payment))
        for invariant, sentence in folded.apply(event):
            case.found(invariant, sentence, payment, event.place)


def _count(case: Case) -> None:
    counters = case.counters
    counters["payments"] = len(case.payments)
    counters["inputs"] = sum(len(case.topic(name)) for name in INPUTS)
    counters["quarantined"] = len(case.topic(QUARANTINE))
    counters["lifecycle records"] = len(case.topic(LIFECYCLE))
    counters["outcomes"] = len(case.topic(OUTCOMES))
    counters["checkpoints"] = len(case.topic(CHECKPOINTS))
    counters["aborted records"] = len(case.evidence.uncommitted)
    for event in case.events:
        counters["events"] += 1
        counters[event.name] += 1
    for folded in case.payments.values():
        counters[f"state {folded.state}"] += 1
        counters["conflicts"] += folded.conflicts
        counters["open conflicts"] += bool(folded.open_conflicts)
