"""A worker's member of its group: polled by one thread, replaced when it is of no more use.

Commits are the worker's to ask for; nothing is committed or stored by the client.
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
from engine.clients.partition_errors import ReaderErrors, Rest
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
    is_end_of_partition,
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
    """Who is told, inside `poll`, what the group assigns and revokes."""

    def assigned(self, names: Sequence[TopicPartition]) -> None:
        """These are ours; nothing is fetched before `begin`."""

    def revoked(self) -> None:
        """They are about to be given to others: what is under way may end and be committed."""

    def lost(self) -> None:
        """Nothing is ours any more."""


class Polled(msgspec.Struct, frozen=True):
    """What one poll gave: records, and for partitions that came to their end that offset."""

    records: list[Message]
    ends: dict[TopicPartition, int]
    full: bool  # there may be more at once


class WorkerConsumer:
    """Membership, polling, pauses and commits. Raises ConsumerLost and Exit, as engine.errors."""

    def __init__(
        self, settings: WorkerSettings, clock: Clock, errors: ReaderErrors, rebalances: Rebalances
    ) -> None:
        self._settings = settings
        self._errors = errors
        self._rebalances = rebalances
        self._rest = Rest(errors)
        self._liveness = BrokerLiveness(clock)
        self._membership = Membership(clock)
        self._renewals = Renewals(clock)
        self._clock = clock
        self._start: dict[
            TopicPartition, int
        ] = {}  # where each partition of the assignment was begun
        self._consumer = self._made()

    def _made(self) -> Consumer:
        return Consumer(self._liveness.told_by(self._settings.consumer()))

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
        """Another client takes this one's place, after `error`. Raises Exit when that came too
        often."""
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
        """For how long it has been seen not to be in its group. Raises ConsumerLost."""
        return self._membership.check(self._consumer)

    def poll(self, wait_s: float) -> Polled:
        """The next record as soon as it comes, and all that are there with it. Rebalances happen in
        here."""
        records: list[Message] = []
        ends: dict[TopicPartition, int] = {}
        messages = self._messages(wait_s)
        for message in messages:
            error = message.error()
            name = message.topic() or "", message.partition() or 0
            if error is None:
                records.append(message)
            elif is_end_of_partition(error):
                ends[name] = message.offset() or 0
            else:
                self._note(message)
                continue
            if name in self._errors:
                self._errors.given({name: (message.offset() or 0) + (error is None)})
        self._rest.keep(self._consumer)
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
        """What the client says in place of a record.

        An adapter whose position is not on the log any more begins with what is there: whatever it
        carries out again has the same reference, and what is gone the payment asks for again.
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
        """One partition from its first record, the others from where they are: the client gives up
        a partition whose position is off the log, and takes no seek for it."""
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
        """Fetch what was assigned from where the group says; the offsets, OFFSET_BEGINNING where it
        says nothing. None when it does not answer: ask again.

        The client's own question is lost when a coordinator that wakes up refuses it: it would
        read nothing, and say nothing, until the next rebalance (decision 13).
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
        # The client keeps a pause from before they were taken away.
        call(Step.READ, self._consumer.resume, committed)
        self._start = {(place.topic, place.partition): place.offset for place in committed}
        return dict(self._start)

    def pause(self, names: Iterable[TopicPartition]) -> None:
        """Fetch nothing of these; what the client has fetched ahead of them is dropped."""
        call(Step.READ, self._consumer.pause, [ClientPartition(t, p) for t, p in names])

    def resume(self, names: Iterable[TopicPartition]) -> None:
        """Fetch these again from where `poll` stopped."""
        call(Step.READ, self._consumer.resume, [ClientPartition(t, p) for t, p in names])

    def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """False when it was refused or not answered. Raises Exit."""
        places = [ClientPartition(t, p, offset) for (t, p), offset in offsets.items()]
        try:
            call(Step.READ, self._consumer.commit, offsets=places, asynchronous=False)
        except Exit:
            raise
        except EngineError:
            return False
        return True

    def confirmed(self, offsets: Mapping[TopicPartition, int]) -> set[TopicPartition]:
        """Partitions whose commit the coordinator took from us as a member. Raises Exit."""
        places = [ClientPartition(t, p, offset) for (t, p), offset in offsets.items()]
        try:
            if not parse(self._consumer.consumer_group_metadata()).is_member:
                return set()  # a broker may take such a commit unfenced
            done = call(Step.READ, self._consumer.commit, offsets=places, asynchronous=False)
        except Exit:
            raise
        except EngineError:
            return set()
        return {(p.topic, p.partition) for p in done or () if p.error is None}

    def leave(self, has_partitions: Callable[[], object]) -> None:
        """Leave the group at once: a static member does so by unsubscribing, not by closing."""
        with contextlib.suppress(ConsumerLost):  # then its session's end has to do
            call(Step.READ, self._consumer.unsubscribe)
            deadline_s = self._clock.monotonic_s() + LEAVE_S_MAX
            while has_partitions() and self._clock.monotonic_s() < deadline_s:
                call(Step.READ, self._consumer.consume, 1, LEAVE_POLL_S)

    def close(self) -> None:
        """Give the client back; bounded."""
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
        """Other partitions are read from now on, and none is paused."""
        self._start = {}
        self._errors.forget()
        self._rest.forget()
