"""Follows Kafka while the demo runs: states, counts, latencies, and the operators' work.

A header on its records distinguishes the demo's own load from other publishers'. States,
results and latencies are those of its own load; events and lag are of everything.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, Final

from app.cluster import Cluster, Entry
from app.recovery import GROUP
from control import quarantine
from core.payment import events
from core.records import Outcome, PaymentLifecycle
from engine.clients.groups import GroupAdmin
from engine.clients.partition_errors import PartitionErrors
from engine.clients.reader import PartitionReader, read_all
from engine.ports import Headers, RecordPosition, TopicPartition
from engine.records import LogRecord
from examples.upstream_publisher import RUN_HEADER
from schemas import catalogue, topology

UPSTREAM: Final = (topology.COMMANDS, topology.BATCH_COMMANDS)
WATCHED: Final = (
    *UPSTREAM,
    topology.EVENTS,
    topology.LIFECYCLE,
    topology.OUTCOMES,
    topology.QUARANTINE,
)
READ_COUNT: Final = 5_000
READ_WAIT_SECONDS: Final = 0.01

LATENCIES_KEPT: Final = 20_000
LAG_EVERY_SECONDS: Final = 2.0
DUPLICATE: Final = "DUPLICATE"
REJECTED: Final = "REJECTED"
ACCEPTED: Final = "ACCEPTED"
QUARANTINED: Final = "QUARANTINED"
ForPeople = (
    events.OperatorActionRequested
    | events.OperatorActionReferred
    | events.OperatorActionApproved
    | events.OperatorActionRejected
    | events.ReconciliationRequired
    | events.ReconciliationResolved
)


class Watcher:
    """Follows six topics from their ends at the start; `look` reads new records."""

    def __init__(self, cluster: Cluster, run: str) -> None:
        """`run`: the header of the demo's own records."""
        self._run = run
        self._cluster = cluster
        self._clock = cluster.clock
        counts = cluster.ends.partition_counts(list(WATCHED))
        names = [(topic, n) for topic in WATCHED for n in range(counts[topic])]
        self.start: Mapping[TopicPartition, int] = cluster.ends.high(names)
        errors = PartitionErrors(self._clock)
        self._readers = [
            PartitionReader(
                cluster.connection,
                topic,
                {n: offset for (name, n), offset in self.start.items() if name == topic},
                errors=errors.of(topic),
            )
            for topic in WATCHED
        ]
        self._groups = GroupAdmin(cluster.connection, cluster.clock)
        self._inputs = {topic.name for topic in catalogue.load().inputs()}
        self._appended: dict[RecordPosition, int] = {}  # append times of our records, ms
        self._became: dict[RecordPosition, str] = {}  # of any upstream record
        self._created: dict[RecordPosition, str] = {}  # of any upstream record: its payment
        self.others = 0  # upstream records that are not ours
        self._requested_at: dict[str, int] = {}  # payments that want no later time → append time
        self._lag_asked_s = 0.0
        self.payments: dict[str, PaymentLifecycle] = {}  # every change, including others'
        self.own: set[str] = set()  # those that our records created
        self.changed: set[str] = set()
        self.for_people: deque[ForPeople] = deque()
        self.events = 0
        self.results: Counter[str] = Counter()  # what happened to our records
        self.settled_millis: deque[int] = deque(maxlen=LATENCIES_KEPT)
        self.engine_millis: deque[int] = deque(maxlen=LATENCIES_KEPT)
        self.lag = 0
        self.changed_s = self._clock.monotonic_s()

    def close(self) -> None:
        for reader in self._readers:
            reader.close()

    @property
    def published(self) -> int:
        """Our upstream records that Kafka has."""
        return len(self._appended)

    @property
    def accounted(self) -> int:
        """Of those, how many have events, an outcome, or are in quarantine."""
        return self.results.total()

    def look(self) -> None:
        """Read the records committed since the last call."""
        for reader in self._readers:
            batches, _ = reader.read(READ_COUNT, READ_WAIT_SECONDS)
            for records in batches.values():
                for at in records:
                    if at.topic in UPSTREAM:
                        self._upstream(at)
                    elif at.topic == topology.QUARANTINE:
                        self._quarantined(at.headers)
                    else:
                        self._take(self._cluster.entry(at))
        if self._clock.monotonic_s() - self._lag_asked_s > LAG_EVERY_SECONDS:
            self.ask_lag()

    def ask_lag(self) -> None:
        """Note how many offsets are not decided. The timers topic is left out: it is written in
        transactions, whose markers take offsets too.
        """
        self._lag_asked_s = self._clock.monotonic_s()
        self.lag = sum(
            end - offset
            for (topic, _), (offset, end) in self._behind().items()
            if topic != topology.TIMERS
        )

    def undecided(self) -> int:
        """Input records, not markers, that the payments processor has not decided: our own, and
        those about our payments.
        """
        count = 0
        for (topic, number), (offset, end) in self._behind().items():
            batches = read_all(
                self._cluster.connection,
                topic,
                start={number: offset},
                ends={number: end},
                partitions=[number],
                clock=self._clock,
            )
            count += sum(self._is_ours(at) for batch in batches for at in batch)
        return count

    def _is_ours(self, record: LogRecord) -> bool:
        key = (record.key or b"").decode("utf-8", "replace")
        return key in self.own or is_of_run(record.headers, self._run)

    def _behind(self) -> dict[TopicPartition, tuple[int, int]]:
        """Committed offset and stable end of every input partition that differs."""
        committed = self._groups.committed(GROUP)
        names = [name for name in committed if name[0] in self._inputs]
        ends = self._cluster.ends.stable(names)
        return {
            name: (committed[name], ends[name]) for name in names if ends[name] > committed[name]
        }

    def quiet_seconds(self) -> float:
        """Since anything was committed about our own payments."""
        return self._clock.monotonic_s() - self.changed_s

    def states(self) -> Counter[str]:
        """Of our own payments."""
        return Counter(str(payment.state) for payment in self.own_payments())

    def own_payments(self) -> list[PaymentLifecycle]:
        return [self.payments[name] for name in self.own if name in self.payments]

    def restless(self) -> list[PaymentLifecycle]:
        """Payments of ours that are neither final nor wait for a person."""
        return [
            each for each in self.own_payments() if not each.at_rest and not each.waiting_for_person
        ]

    def _upstream(self, at: LogRecord) -> None:
        if not is_of_run(at.headers, self._run):
            self.others += 1
            return
        place = (at.topic, at.partition, at.offset)
        self._appended[place] = at.timestamp_ms
        self.changed_s = self._clock.monotonic_s()
        if place in self._became:  # its fate was read before it
            self.results[self._became[place]] += 1
        if place in self._created:
            self._own_payment(self._created[place])

    def _own_payment(self, payment_id: str) -> None:
        self.own.add(payment_id)
        if payment_id in self.payments:
            self.changed.add(payment_id)

    def _quarantined(self, headers: Any) -> None:
        try:
            origin = quarantine.parse(headers)
        except ValueError:
            return
        self._account((origin.topic, origin.partition, origin.offset), QUARANTINED)

    def _account(self, place: RecordPosition, became: str) -> None:
        topic, partition, offset = place
        if topic not in UPSTREAM or offset < self.start.get((topic, partition), 0):
            return
        if place in self._became:
            return
        self._became[place] = became
        if place in self._appended:
            self.results[became] += 1
            self.changed_s = self._clock.monotonic_s()

    def _take(self, entry: Entry) -> None:
        record = entry.record
        if isinstance(record, PaymentLifecycle):
            self.payments[record.payment_intent_id] = record
            self.changed.add(record.payment_intent_id)
            if record.payment_intent_id in self.own:
                self.changed_s = self._clock.monotonic_s()
        elif isinstance(record, Outcome):
            cause = record.cause
            if record.result in (DUPLICATE, REJECTED):  # MISROUTED is in quarantine
                self._account((cause.topic, cause.partition, cause.offset), record.result)
        elif record is not None:
            self._event(entry)

    def _event(self, entry: Entry) -> None:
        event, header = entry.record, entry.record.header
        cause = header.cause
        place = (cause.topic, cause.partition, cause.offset)
        self.events += 1
        self._account(place, ACCEPTED)
        if isinstance(event, events.PaymentIntentCreated):
            self._created[place] = header.payment_intent_id
            appended = self._appended.get(place)
            if appended is not None:
                self._own_payment(header.payment_intent_id)
            if appended is not None:
                self.engine_millis.append(max(0, entry.at.timestamp_ms - appended))
                if event.requested_execution_time is None:
                    self._requested_at[header.payment_intent_id] = appended
        elif isinstance(event, events.PaymentSettled):
            requested = self._requested_at.pop(header.payment_intent_id, None)
            if requested is not None:
                self.settled_millis.append(max(0, header.decided_at - requested))
        elif isinstance(event, ForPeople):
            self.for_people.append(event)


def is_of_run(headers: Headers | None, run: str) -> bool:
    """Whether a record says by its header that this run of the example published it."""
    return (RUN_HEADER, run.encode()) in (headers or ())


def percentile(values: Any, share: float) -> int:
    """Nearest-rank percentile in whole milliseconds; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0
