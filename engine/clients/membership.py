"""Whether a client still reaches the cluster, and how often a lost one may be replaced. librdkafka
forgets each broker that a metadata response does not name.

A response that names none (all were considered dead at that moment: the only broker resumes from a
pause, the controllers from an outage) leaves the client without any broker, for minutes or forever,
and without an error (librdkafka issue 5301). So a client that gets no responses sends a probe, and
is replaced if there is still none.

A client may also lose the leader of a single partition (issue 5430): it gets responses for the
others, so the same statistics are asked whether each assigned partition is being fetched, and a
publisher watches its oldest record.

The client's own statistics count the responses: any response of any broker, however late. The probe
alone would prove nothing: it waits on the connection after a fetch that the broker holds open for
half a second, and suffers from the load of a busy machine.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer

from engine.clock import MS_PER_S, Clock
from engine.errors import ConsumerLost, EngineError, Exit, Step, call
from engine.loop.groupmeta import parse

ASK_AFTER_S: Final = 5.0  # of silence, and the same time after each probe
ANSWER_S_MAX: Final = 0.5  # the caller waits so long; a later answer counts anyway
STATISTICS_S: Final = 2.0  # less than ASK_AFTER_S: a client with answers is never asked
CLIENTS_KEPT_MAX: Final = 4  # this one, and those it has replaced that are still being closed
LOST_AFTER_S: Final = 15.0
CLOSE_S_MAX: Final = 5.0
UNREACHABLE: Final = "UNREACHABLE"
FETCHING: Final = "active"  # librdkafka's word
NOT_JOINED: Final = "NOT_JOINED"
NOT_FETCHING: Final = "NOT_FETCHING"
SEEN_LATE: Final = frozenset({UNREACHABLE, NOT_JOINED, NOT_FETCHING})
LOOK_EVERY_S: Final = 1.0
JOIN_S_MAX: Final = 45.0  # a member that is slow to release its partitions delays the others
RENEWALS_MAX: Final = 3
RENEWALS_S: Final = 120.0


class PartitionStatistics(msgspec.Struct, frozen=True):
    """What the client does about one partition."""

    desired: bool  # assigned, so it is to be fetched
    broker: int  # -1: it knows no leader
    fetch_state: str


class TopicStatistics(msgspec.Struct, frozen=True):
    """A topic's partitions, by number."""

    partitions: dict[str, PartitionStatistics] = {}


class Statistics(msgspec.Struct, frozen=True):
    """The parts of librdkafka's statistics that are used."""

    name: str  # of the client
    rx: int  # responses of all its brokers so far
    topics: dict[str, TopicStatistics] = {}

    def fetches_all(self) -> bool:
        """Whether every assigned partition is being fetched from a broker."""
        return all(
            each.broker >= 0 and each.fetch_state == FETCHING
            for topic in self.topics.values()
            for each in topic.partitions.values()
            if each.desired
        )


_statistics: Final = msgspec.json.Decoder(Statistics).decode


class BrokerLiveness:
    """One client's liveness. Call `answered` for every response; ask `lost` when there was none."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._responses: dict[str, int] = {}  # by client
        self._idle_client = ""  # its last statistics named a partition that it does not fetch
        self._idle_s = 0.0
        self.answered()

    def with_statistics(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A client configuration that reports every response here.

        The client must be polled continuously, or its statistics pile up in its queue.
        """
        return {
            **config,
            "statistics.interval.ms": int(STATISTICS_S * MS_PER_S),
            "stats_cb": self.note_statistics,
        }

    def note_statistics(self, text: str) -> None:
        """The client's own count of responses: an increase is a sign of life."""
        seen = _statistics(text)
        if seen.rx > self._responses.get(seen.name, 0):
            self.answered()
        self._responses[seen.name] = seen.rx
        if seen.fetches_all():
            self._idle_s = 0.0
        else:
            before_s = self._idle_s if seen.name == self._idle_client else 0.0
            self._idle_client, self._idle_s = seen.name, before_s + STATISTICS_S
        if len(self._responses) > CLIENTS_KEPT_MAX:
            del self._responses[next(iter(self._responses))]

    def stuck(self) -> bool:
        """True if by its own statistics the client has fetched not all of its assigned partitions
        for LOST_AFTER_S, although it may get responses for the others: it knows no leader of one,
        or waits for an offset.
        """
        return self._idle_s >= LOST_AFTER_S

    def replaced(self) -> None:
        """Another client begins."""
        self._idle_s = 0.0
        self.answered()

    def answered(self) -> None:
        """The client got a response."""
        self._heard_s = self._requested_s = self._clock.monotonic_s()
        self._unanswered = 0

    def lost(self, ask: Callable[..., Any], *arguments: Any) -> bool:
        """True if the client has had no response for LOST_AFTER_S and the probe `ask(*arguments,
        timeout=)`, which any broker answers, failed more than once: a process that was itself
        suspended probes again first. Waits at most ANSWER_S_MAX, every ASK_AFTER_S. Raises Exit if
        the request is forbidden.
        """
        now_s = self._clock.monotonic_s()
        if now_s - self._requested_s < ASK_AFTER_S:
            return False
        self._requested_s = now_s
        try:
            call(Step.READ, ask, *arguments, timeout=ANSWER_S_MAX)
        except Exit:
            raise
        except EngineError:
            self._unanswered += 1
            return self._unanswered > 1 and now_s - self._heard_s >= LOST_AFTER_S
        self.answered()
        return False


class Membership:
    """Whether a consumer is in its group. A consumer that subscribed and never joins reports no
    error: it polls, reaches the brokers, and gets no partition.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.renewed()

    def renewed(self) -> None:
        """Another consumer has subscribed."""
        self._looked_s = self._clock.monotonic_s()
        self._missing_s = 0.0

    def check(self, consumer: Consumer) -> float:
        """For how many seconds it has not been a member; checks at most once per LOOK_EVERY_S.
        Raises ConsumerLost after JOIN_S_MAX.
        """
        now_s = self._clock.monotonic_s()
        elapsed_s = now_s - self._looked_s
        if elapsed_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            if parse(consumer.consumer_group_metadata()).is_member:
                self._missing_s = 0.0
            else:  # a process that was itself suspended observed nothing in that time
                self._missing_s += min(elapsed_s, 2 * LOOK_EVERY_S)
        if self._missing_s >= JOIN_S_MAX:
            raise ConsumerLost(NOT_JOINED, f"not in its group for {self._missing_s:.0f} s")
        return self._missing_s


class Renewals:
    """Limits how often a consumer that was fenced rejoins: two processes with one instance id would
    fence each other forever.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at_s: deque[float] = deque(maxlen=RENEWALS_MAX)

    def note(self, error: EngineError) -> None:
        """Count one more, for this reason. Raises Exit beyond RENEWALS_MAX within RENEWALS_S.
        Slowly detected losses do not count: they are no evidence of another process.
        """
        if error.code in SEEN_LATE:
            return
        now_s = self._clock.monotonic_s()
        if len(self._at_s) == RENEWALS_MAX and now_s - self._at_s[0] < RENEWALS_S:
            raise Exit(
                "CONSUMER_LOST",
                f"{RENEWALS_MAX + 1} times within {RENEWALS_S:.0f} s, at last: {error}",
            ) from error
        self._at_s.append(now_s)


def close_aside(consumer: Consumer) -> None:
    """Close a client, waiting at most CLOSE_S_MAX: one that reaches no broker may take long, and
    its group membership does not depend on it.
    """

    def close() -> None:
        with contextlib.suppress(EngineError):  # a lost client reports it again
            call(Step.READ, consumer.close)

    thread = threading.Thread(target=close, name="npp-close", daemon=True)
    thread.start()
    thread.join(CLOSE_S_MAX)
