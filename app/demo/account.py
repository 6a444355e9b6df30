"""The final account: read again from Kafka, from the simulators' ledgers, and by replay.

It uses nothing that the demo observed while it ran. Records that others published are counted
separately, because their expected results are unknown.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from app.cluster import Cluster
from app.demo.watcher import UPSTREAM, is_of_run, percentile
from control import quarantine
from core.payment import events
from core.records import Outcome, PaymentLifecycle
from core.values import State
from engine.clients.reader import read_all
from engine.ports import RecordPosition, TopicPartition
from engine.records import LogRecord
from processors.replay import Report
from schemas import topology
from schemas.errors import Undecodable

ACCEPTED: Final = "accepted"
DUPLICATES: Final = "duplicates"
REJECTED: Final = "rejected"
QUARANTINED: Final = "quarantined"
NO_EFFECT: Final = "noEffect"
OF_RESULT: Final = {"DUPLICATE": DUPLICATES, "REJECTED": REJECTED, "NO_EFFECT": NO_EFFECT}
NAMED_MAX: Final = 5  # of a kind of problem, by name
PAYMENT_OF_REF: Final = slice(1, 27)


class Books(msgspec.Struct):
    """The records since the demo started: its own upstream records, and others'."""

    appended: dict[RecordPosition, int] = {}  # own upstream record → append time
    became: dict[RecordPosition, set[str]] = {}
    others: dict[RecordPosition, set[str]] = {}  # others' upstream record → what happened to it
    no_effect: int = 0
    events: int = 0
    inputs: int = 0
    lifecycle: dict[str, PaymentLifecycle] = {}
    created: dict[str, RecordPosition] = {}
    at_once: set[str] = set()  # payments that ask for no later time
    settled_at: dict[str, int] = {}

    def counts(self) -> Counter[str]:
        """Published records by what happened to them; those without exactly one account are left
        out.
        """
        return _counts(self.became)

    def others_figures(self) -> dict[str, int]:
        """The same for what others published; some of it may not be decided yet."""
        counts = _counts(self.others)
        return {
            "published": len(self.others),
            **{kind: counts[kind] for kind in (ACCEPTED, DUPLICATES, REJECTED, QUARANTINED)},
        }

    def end_to_end(self) -> list[int]:
        """From an upstream record's append to its PaymentSettled's decision, in ms."""
        return [
            max(0, self.settled_at[payment] - self.appended[place])
            for payment, place in self.created.items()
            if payment in self.settled_at and payment in self.at_once and place in self.appended
        ]

    def own_payments(self) -> list[PaymentLifecycle]:
        """Payments that this run's records created."""
        return [self.lifecycle[name] for name in self.created if name in self.lifecycle]


def _counts(became: Mapping[RecordPosition, set[str]]) -> Counter[str]:
    return Counter(next(iter(found)) for found in became.values() if len(found) == 1)


def read_books(
    cluster: Cluster, start: Mapping[TopicPartition, int], inputs: Iterable[str], run: str
) -> Books:
    """Read the topics from `start` to their ends; `run` is the header of the demo's own load."""
    books = Books()
    for topic in inputs:
        for record in _records(cluster, topic, start):
            books.inputs += 1
            if topic in UPSTREAM:
                place = (topic, record.partition, record.offset)
                if is_of_run(record.headers, run):
                    books.appended[place] = record.timestamp_ms
                    books.became[place] = set()
                else:
                    books.others[place] = set()
    for record in _records(cluster, topology.EVENTS, start):
        books.events += 1
        _event(books, cluster.codec.decode(topology.EVENTS, record.value, record.headers))
    for record in _records(cluster, topology.LIFECYCLE, start):
        found = cluster.codec.decode(topology.LIFECYCLE, record.value, record.headers)
        books.lifecycle[found.payment_intent_id] = found
    for record in _records(cluster, topology.OUTCOMES, start):
        _outcome(books, cluster.codec.decode(topology.OUTCOMES, record.value, record.headers))
    for record in _records(cluster, topology.QUARANTINE, start):
        try:
            origin = quarantine.parse(record.headers)
        except (ValueError, Undecodable):
            continue
        _note(books, (origin.topic, origin.partition, origin.offset), QUARANTINED)
    return books


def _records(
    cluster: Cluster, topic: str, start: Mapping[TopicPartition, int]
) -> Iterable[LogRecord]:
    begin = {n: offset for (name, n), offset in start.items() if name == topic}
    for batch in read_all(cluster.connection, topic, start=begin, clock=cluster.clock):
        yield from batch


def _event(books: Books, event: Any) -> None:
    header = event.header
    cause = header.cause
    place = (cause.topic, cause.partition, cause.offset)
    _note(books, place, ACCEPTED)
    if isinstance(event, events.PaymentIntentCreated) and place in books.became:
        books.created[header.payment_intent_id] = place
        if event.requested_execution_time is None:
            books.at_once.add(header.payment_intent_id)
    elif isinstance(event, events.PaymentSettled):
        books.settled_at.setdefault(header.payment_intent_id, header.decided_at)


def _outcome(books: Books, outcome: Outcome) -> None:
    books.no_effect += outcome.result == "NO_EFFECT"
    kind = OF_RESULT.get(outcome.result)  # MISROUTED is in quarantine, ACCEPTED in the journal
    if kind is not None:
        _note(books, (outcome.cause.topic, outcome.cause.partition, outcome.cause.offset), kind)


def _note(books: Books, place: RecordPosition, kind: str) -> None:
    for became in (books.became, books.others):
        if place in became:
            became[place].add(kind)


# -- judgement ------------------------------------------------------------------------------------


class Verdict(msgspec.Struct):
    """The figures of the JSON, and every reason why it does not reconcile."""

    figures: dict[str, Any]
    problems: list[str]


def judge(
    books: Books,
    published_load: Mapping[str, Any],
    rail: Mapping[str, Any],
    deposits: Mapping[str, Any],
    report: Report,
) -> Verdict:
    """Compare what Kafka, the publisher, the ledgers and the replay say."""
    counts = books.counts()
    payments = books.own_payments()
    twice = settled_twice(rail)
    problems = [
        *_published_problems(books, published_load, counts),
        *_money_problems(payments, rail, deposits, twice),
    ]
    # What others publish at this moment may be pending; our own records are looked at one by one.
    pending = 0 if books.others else report.inputs.pending
    unaccounted = report.inputs.unaccounted + pending
    if unaccounted:
        problems.append(f"{unaccounted} inputs are unaccounted for")
    problems.extend(
        f"replay {strength.name}: {strength.verdict}"
        for strength in report.strengths()
        if strength.verdict != "passed"
    )
    if report.first_failure is not None:
        problems.append(report.first_failure.sentence())
    states = Counter(str(payment.state) for payment in payments)
    end_to_end = books.end_to_end()
    figures = {
        "published": len(books.appended),
        "accepted": counts[ACCEPTED],
        "duplicates": counts[DUPLICATES],
        "rejected": counts[REJECTED],
        "quarantined": counts[QUARANTINED],
        "others": books.others_figures(),
        "noEffect": books.no_effect,
        "states": {str(state): states[str(state)] for state in State},
        "openConflicts": sum(payment.open_conflicts for payment in payments),
        "waitingForPerson": sum(payment.waiting_for_person for payment in payments),
        "events": books.events,
        "settledTwice": len(twice),
        "unaccountedInputs": unaccounted,
        "replay": {
            name: getattr(report, name).verdict == "passed"
            for name in ("fold", "chain", "redecide", "identity", "money")
        },
        "endToEndMillis": {
            "p50": percentile(end_to_end, 0.50),
            "p99": percentile(end_to_end, 0.99),
        },
    }
    return Verdict(figures, problems)


def _published_problems(
    books: Books, published_load: Mapping[str, Any], counts: Counter[str]
) -> Iterable[str]:
    published = len(books.appended)
    if published != published_load["records"]:
        yield f"the publisher says {published_load['records']} records, Kafka has {published}"
    for place, found in books.became.items():
        if len(found) != 1:
            yield f"{place[0]}[{place[1]}]@{place[2]} has {sorted(found) or 'no'} account"
    for place, found in books.others.items():
        if len(found) > 1:
            yield f"{place[0]}[{place[1]}]@{place[2]} (published by others) has {sorted(found)}"
    expected = published_load["expected"]
    total = sum(counts[kind] for kind in (ACCEPTED, DUPLICATES, REJECTED, QUARANTINED))
    if total != published:
        yield f"accounts of {total} of {published} published records"
    for kind in (DUPLICATES, QUARANTINED):
        if counts[kind] != expected[kind]:
            yield f"{kind}: {counts[kind]}, the publisher made {expected[kind]}"
    for kind in (ACCEPTED, REJECTED):
        low, high = expected[kind], expected[kind] + expected["either"]
        if not low <= counts[kind] <= high:
            yield f"{kind}: {counts[kind]}, the publisher made {low} to {high}"


def settled_twice(rail: Mapping[str, Any]) -> list[str]:
    """Payments of which the rail's own ledger settled more than one reference."""
    settled: dict[str, int] = defaultdict(int)
    for entry in rail["payments"]:
        if entry["settledAmount"]:
            settled[entry["externalRef"][PAYMENT_OF_REF]] += 1
    return sorted(name for name, count in settled.items() if count > 1)


def _money_problems(
    payments: Iterable[PaymentLifecycle],
    rail: Mapping[str, Any],
    deposits: Mapping[str, Any],
    twice: list[str],
) -> Iterable[str]:
    """No payment paid twice, and no money lost: our records against the ledgers."""
    for name in twice[:NAMED_MAX]:
        yield f"the rail settled two references of {name}"
    paid = {
        "pi_" + entry["externalRef"][PAYMENT_OF_REF].lower()
        for entry in rail["payments"]
        if entry["settledAmount"]
    }
    wrong = [
        payment.payment_intent_id
        for payment in payments
        if (payment.payment_intent_id in paid and payment.money_outcome == "NOT_PAID")
        or (payment.payment_intent_id not in paid and payment.money_outcome == "PAID")
    ]
    for name in wrong[:NAMED_MAX]:
        yield f"{name}: our moneyOutcome contradicts the rail's ledger"
    for ref, hold in deposits["holds"].items():
        if hold["left"] < 0:
            yield f"hold {ref} gave out more than it held"
