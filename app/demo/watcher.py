"""What Kafka says while the demo runs: states, counts, latencies, and what people look at."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, Final

from app.cluster import Cluster, Entry
from control import quarantine
from core.payment import events
from core.records import Outcome, PaymentLifecycle
from engine.clients.groups import GroupAdmin
from engine.clients.partition_errors import PartitionErrors
from engine.clients.reader import PartitionReader, read_all
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
PAYMENTS_GROUP: Final = "npp-payments"
LATENCIES_KEPT: Final = 20_000
LAG_EVERY_SECONDS: Final = 2.0
FOR_PEOPLE: Final = (
    events.OperatorActionReferred,
    events.OperatorActionApproved,
    events.OperatorActionRejected,
    events.ReconciliationRequired,
    events.ReconciliationResolved,
)
Place = tuple[str, int, int]


class Watcher:
    """Follows six topics from their ends at the start; `look` takes what is new."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._clock = cluster.clock
        counts = cluster.ends.partition_counts(list(WATCHED))
        names = [(topic, n) for topic in WATCHED for n in range(counts[topic])]
        self.start: Mapping[tuple[str, int], int] = cluster.ends.high(names)
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
        self._appended: dict[Place, int] = {}  # upstream records and their append times
        self._asked_at: dict[str, int] = {}  # payments that want no later time → append time
        self._accounted: set[Place] = set()
        self._lag_asked_s = 0.0
        self.payments: dict[str, PaymentLifecycle] = {}
        self.changed: set[str] = set()
        self.for_people: deque[Any] = deque()
        self.events = 0
        self.results: Counter[str] = Counter()
        self.quarantined = 0
        self.settled_millis: deque[int] = deque(maxlen=LATENCIES_KEPT)
        self.engine_millis: deque[int] = deque(maxlen=LATENCIES_KEPT)
        self.lag = 0
        self.changed_s = self._clock.monotonic_s()

    def close(self) -> None:
        for reader in self._readers:
            reader.close()

    @property
    def published(self) -> int:
        """Records of the upstream system that Kafka has."""
        return len(self._appended)

    @property
    def accounted(self) -> int:
        """Of those, how many have events, an outcome, or stand in quarantine."""
        return len(self._accounted)

    def look(self) -> None:
        """Take what was committed since the last look."""
        for reader in self._readers:
            batches, _ = reader.read(READ_COUNT, READ_WAIT_SECONDS)
            for records in batches.values():
                for at in records:
                    if at.topic in UPSTREAM:
                        self._appended[at.topic, at.partition, at.offset] = at.timestamp_ms
                    elif at.topic == topology.QUARANTINE:
                        self._quarantined(at.headers)
                    else:
                        self._take(self._cluster.entry(at))
                self.changed_s = self._clock.monotonic_s()
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
        """Input records, not markers, that the payments processor has not decided."""
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
            count += sum(len(batch) for batch in batches)
        return count

    def _behind(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Committed offset and stable end of every input partition that differs."""
        committed = self._groups.committed(PAYMENTS_GROUP)
        names = [name for name in committed if name[0] in self._inputs]
        ends = self._cluster.ends.stable(names)
        return {
            name: (committed[name], ends[name]) for name in names if ends[name] > committed[name]
        }

    def quiet_seconds(self) -> float:
        """Since anything was committed."""
        return self._clock.monotonic_s() - self.changed_s

    def states(self) -> Counter[str]:
        return Counter(str(payment.state) for payment in self.payments.values())

    def restless(self) -> list[PaymentLifecycle]:
        """Payments that are neither final nor wait for a person."""
        return [
            each
            for each in self.payments.values()
            if not each.at_rest and not each.waiting_for_person
        ]

    def _quarantined(self, headers: Any) -> None:
        self.quarantined += 1
        try:
            origin = quarantine.parse(headers)
        except ValueError:
            return
        self._account(origin.topic, origin.partition, origin.offset)

    def _account(self, topic: str, partition: int, offset: int) -> None:
        if topic in UPSTREAM and offset >= self.start.get((topic, partition), 0):
            self._accounted.add((topic, partition, offset))

    def _take(self, entry: Entry) -> None:
        record = entry.record
        if isinstance(record, PaymentLifecycle):
            self.payments[record.payment_intent_id] = record
            self.changed.add(record.payment_intent_id)
        elif isinstance(record, Outcome):
            self.results[record.result] += 1
            cause = record.cause
            self._account(cause.topic, cause.partition, cause.offset)
        elif record is not None:
            self._event(entry)

    def _event(self, entry: Entry) -> None:
        event, header = entry.record, entry.record.header
        cause = header.cause
        self.events += 1
        self._account(cause.topic, cause.partition, cause.offset)
        if isinstance(event, events.PaymentIntentCreated):
            appended = self._appended.get((cause.topic, cause.partition, cause.offset))
            if appended is not None:
                self.engine_millis.append(max(0, entry.at.timestamp_ms - appended))
                if event.requested_execution_time is None:
                    self._asked_at[header.payment_intent_id] = appended
        elif isinstance(event, events.PaymentSettled):
            asked = self._asked_at.pop(header.payment_intent_id, None)
            if asked is not None:
                self.settled_millis.append(max(0, header.decided_at - asked))
        elif isinstance(event, FOR_PEOPLE):
            self.for_people.append(event)


def percentile(values: Any, share: float) -> int:
    """Nearest-rank percentile in whole milliseconds; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0
