"""A worker's group consumer: polled by one thread, replaced when it is no longer usable.

The worker requests commits; the client commits or stores nothing.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message
from confluent_kafka import TopicPartition as ClientPartition

from engine.clients.membership import (
    UNREACHABLE,
    BrokerLiveness,
    Membership,
    Renewals,
    close_aside,
)
from engine.clients.partition_errors import ReaderErrors, RetryPauses, sort_messages
from engine.clock import Clock
from engine.errors import (
    NO_OFFSET,
    ConsumerLost,
    EngineError,
    Exit,
    Retry,
    Step,
    call,
    check_message_error,
    out_of_range,
)
from engine.loop.groupmeta import parse
from engine.ports import TopicPartition
from engine.worker.settings import WorkerSettings

POLL_COUNT: Final = 200
COMMITTED_S_MAX: Final = 5.0
LEAVE_S_MAX: Final = 5.0
LEAVE_POLL_S: Final = 0.1

_log = logging.getLogger(__name__)


class Rebalances(Protocol):
    """Notified, inside `poll`, of assignments and revocations."""

    def assigned(self, names: Sequence[TopicPartition]) -> None:
        """These are assigned to us; nothing is fetched before `begin`."""

    def revoked(self) -> None:
        """They will be given to others: work in progress may finish and be committed."""

    def lost(self) -> None:
        """All partitions are lost."""


class Polled(msgspec.Struct, frozen=True):
    """The result of one poll: records, and the end offset of partitions that reached it."""

    records: list[Message]
    ends: dict[TopicPartition, int]
    full: bool  # more may be available at once


class WorkerConsumer:
    """Membership, polling, pauses and commits. Raises ConsumerLost and Exit, as engine.errors."""

    def __init__(
        self, settings: WorkerSettings, clock: Clock, errors: ReaderErrors, rebalances: Rebalances
    ) -> None:
        self._settings = settings
        self._errors = errors
        self._rebalances = rebalances
        self._retry_pauses = RetryPauses(errors)
        self._liveness = BrokerLiveness(clock)
        self._membership = Membership(clock)
        self._renewals = Renewals(clock)
        self._clock = clock
        self._start: dict[
            TopicPartition, int
        ] = {}  # the starting offset of each assigned partition
        self._consumer = self._made()

    def _made(self) -> Consumer:
        return Consumer(self._liveness.with_statistics(self._settings.consumer()))

    def subscribe(self) -> None:
        """Join the group."""
        call(
            Step.READ,
            self._consumer.subscribe,
            list(self._settings.topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def renew(self, error: ConsumerLost) -> None:
        """Replace the client, after `error`. Raises Exit if that happened too often."""
        _log.warning("consumer of %s is replaced: %s", self._settings.group, error)
        self._renewals.note(error)
        self._forget()
        self._rebalances.lost()
        lost, self._consumer = self._consumer, self._made()
        self._liveness.answered()
        self._membership.renewed()
        self.subscribe()
        close_aside(lost)

    def missing_s(self) -> float:
        """For how long it has not been in its group. Raises ConsumerLost."""
        return self._membership.check(self._consumer)

    def poll(self, wait_s: float) -> Polled:
        """The next record as soon as it arrives, and all others available. Rebalances happen in
        here.
        """
        messages = self._messages(wait_s)
        records, ends = sort_messages(messages, self._note)
        self._errors.polled(records, ends)
        self._retry_pauses.keep(self._consumer)
        return Polled(records, ends, len(messages) >= POLL_COUNT)

    def _messages(self, wait_s: float) -> list[Message]:
        first = call(Step.READ, self._consumer.poll, wait_s)
        if first is None:
            if self._liveness.lost(self._consumer.list_topics, self._settings.topics[0]):
                raise ConsumerLost(UNREACHABLE, "no broker answers this client any more")
            return []
        if first.error() is None:
            self._liveness.answered()
        return [first, *call(Step.READ, self._consumer.consume, POLL_COUNT, 0)]

    def _note(self, message: Message) -> None:
        """Handle an error in place of a record.

        An adapter whose position is off the log starts at the first available record: repeated work
        has the same reference, and the payment repeats requests that are lost.
        """
        gone = out_of_range(message)
        if gone is not None:
            self._errors.note_passing(gone)
            self._begin_anew((gone.topic, gone.partition))
            return
        error = check_message_error(message)
        if error is not None:
            self._errors.note(error)

    def _begin_anew(self, name: TopicPartition) -> None:
        """Restart one partition from its first record, the others from their positions: the client
        abandons a partition whose position is off the log, and accepts no seek for it.
        """
        self._start[name] = OFFSET_BEGINNING
        names = [ClientPartition(t, p) for t, p in self._start if (t, p) != name]
        at = {(p.topic, p.partition): p.offset for p in call(Step.READ, self._position, names)}
        places = [
            ClientPartition(t, p, start if at.get((t, p), NO_OFFSET) < 0 else at[t, p])
            for (t, p), start in self._start.items()
        ]
        call(Step.READ, self._consumer.assign, places)

    def _position(self, names: list[ClientPartition]) -> list[ClientPartition]:
        return self._consumer.position(names) if names else []

    def begin(self, assigned: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """Fetch the assignment from the group's committed offsets; returns the offsets,
        OFFSET_BEGINNING where there is none. None if the group does not answer: retry.

        The client's own request is lost if a resuming coordinator refuses it: it would read
        nothing, without an error, until the next rebalance (decision 13).
        """
        places = [ClientPartition(t, p) for t, p in assigned]
        try:
            committed = call(Step.READ, self._consumer.committed, places, COMMITTED_S_MAX)
        except Retry:
            return None
        if any(place.error is not None for place in committed):
            return None
        for place in committed:
            place.offset = place.offset if place.offset >= 0 else OFFSET_BEGINNING
        call(Step.READ, self._consumer.assign, committed)
        # The client keeps pauses from before the revocation.
        call(Step.READ, self._consumer.resume, committed)
        self._start = {(place.topic, place.partition): place.offset for place in committed}
        return dict(self._start)

    def pause(self, names: Iterable[TopicPartition]) -> None:
        """Stop fetching these; the client's prefetched records are dropped."""
        call(Step.READ, self._consumer.pause, [ClientPartition(t, p) for t, p in names])

    def resume(self, names: Iterable[TopicPartition]) -> None:
        """Fetch these again from where `poll` stopped."""
        call(Step.READ, self._consumer.resume, [ClientPartition(t, p) for t, p in names])

    def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """False if it was refused or not answered. Raises Exit."""
        places = [ClientPartition(t, p, offset) for (t, p), offset in offsets.items()]
        try:
            call(Step.READ, self._consumer.commit, offsets=places, asynchronous=False)
        except Exit:
            raise
        except EngineError:
            return False
        return True

    def confirmed(self, offsets: Mapping[TopicPartition, int]) -> set[TopicPartition]:
        """Partitions whose commit the coordinator accepted from us as a member. Raises Exit."""
        places = [ClientPartition(t, p, offset) for (t, p), offset in offsets.items()]
        try:
            if not parse(self._consumer.consumer_group_metadata()).is_member:
                return set()  # a broker may accept such a commit unfenced
            done = call(Step.READ, self._consumer.commit, offsets=places, asynchronous=False)
        except Exit:
            raise
        except EngineError:
            return set()
        return {(p.topic, p.partition) for p in done or () if p.error is None}

    def leave(self, has_partitions: Callable[[], object]) -> None:
        """Leave the group at once: a static member does so by unsubscribing, not by closing."""
        with contextlib.suppress(ConsumerLost):  # then its session must time out
            call(Step.READ, self._consumer.unsubscribe)
            deadline_s = self._clock.monotonic_s() + LEAVE_S_MAX
            while has_partitions() and self._clock.monotonic_s() < deadline_s:
                call(Step.READ, self._consumer.consume, 1, LEAVE_POLL_S)

    def close(self) -> None:
        """Close the client, within a time limit."""
        close_aside(self._consumer)

    # -- rebalances, inside poll; one that was replaced is still being closed --------------------

    def _on_assign(self, consumer: Consumer, partitions: list[ClientPartition]) -> None:
        if consumer is not self._consumer:
            return
        self._forget()
        self._rebalances.assigned([(p.topic, p.partition) for p in partitions])
        consumer.assign([])

    def _on_revoke(self, consumer: Consumer, partitions: list[ClientPartition]) -> None:
        if consumer is self._consumer:
            self._rebalances.revoked()
        self._on_lost(consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[ClientPartition]) -> None:
        if consumer is self._consumer:
            self._forget()
            self._rebalances.lost()
        consumer.unassign()

    def _forget(self) -> None:
        """Other partitions are read from here on, and none is paused."""
        self._start = {}
        self._errors.forget()
        self._retry_pauses.forget()
