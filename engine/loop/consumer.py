"""The plain group consumer of the loop: range assignor, nothing committed or stored by the client,
and its callbacks.

Callbacks run only inside `poll` and do no slow work: they record the assignment and start no
fetching.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, Message
from confluent_kafka import TopicPartition as ClientPartition

from engine.clients.membership import (
    UNREACHABLE,
    BrokerLiveness,
    Membership,
    Renewals,
    close_aside,
)
from engine.clients.partition_errors import PartitionErrors, sort_messages
from engine.clock import Clock
from engine.errors import (
    ConsumerLost,
    Exit,
    LostMembership,
    Retry,
    Step,
    call,
    call_until,
    check_message_error,
)
from engine.loop.assignment import INIT_METADATA, Committed
from engine.loop.groupmeta import parse
from engine.ports import TopicPartition
from engine.settings import EngineSettings

COMMITTED_WAIT_S: Final = 5.0
LEAVE_S_MAX: Final = 5.0


class GroupConsumer:
    """Membership, positions and polling of one application's inputs."""

    def __init__(
        self,
        settings: EngineSettings,
        application: str,
        inputs: Sequence[str],
        clock: Clock,
        errors: PartitionErrors,
    ) -> None:
        """`errors`: of the process, for partitions that cannot be read further."""
        self._settings = settings
        self.errors = errors.of(f"npp-{application}")
        self._clock = clock
        self._inputs = list(inputs)
        self._assigned: list[TopicPartition] | None = (
            None  # assigned by the group, not yet set up by the loop
        )
        self.epoch = 0  # increases with every rebalance callback
        self.rebalances = 0
        self._liveness = BrokerLiveness(clock)
        self._membership = Membership(clock)
        self._renewals = Renewals(clock)
        self._config = {
            **settings.connection,
            "group.id": f"npp-{application}",
            # A killed instance rejoins at once, without a rebalance. See `leave`.
            "group.instance.id": settings.transactional_id(application),
            "partition.assignment.strategy": "range",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "session.timeout.ms": settings.session_timeout_ms,
            "heartbeat.interval.ms": settings.session_timeout_ms // 8,
            "max.poll.interval.ms": settings.poll_interval_ms_max,
            # For the whole client queue, not each partition: beyond it nothing is fetched.
            "queued.min.messages": settings.queued_messages_min,
            "max.partition.fetch.bytes": settings.partition_fetch_bytes,
            "queued.max.messages.kbytes": settings.queued_kbytes_max,
            "fetch.queue.backoff.ms": 5,
            "fetch.error.backoff.ms": 50,
            "fetch.wait.max.ms": 100,
        }
        self._consumer = self._made()

    def _made(self) -> Consumer:
        return Consumer(self._liveness.with_statistics(self._config))

    def subscribe(self) -> None:
        """Join the group."""
        call(
            Step.READ,
            self._consumer.subscribe,
            self._inputs,
            on_assign=self._on_assign,
            on_revoke=self._on_gone,
            on_lost=self._on_gone,
        )

    def renew(self, error: ConsumerLost) -> None:
        """Rejoin the group with a new client, after `error`: nothing is assigned until then.

        Raises Exit if that happened too often.
        """
        self._renewals.note(error)
        lost, self._consumer = self._consumer, self._made()
        self.epoch += 1
        self._assigned = None
        self._liveness.answered()
        self._membership.renewed()
        self.subscribe()
        close_aside(lost)

    def poll(self, count: int, wait_s: float) -> tuple[list[Message], dict[TopicPartition, int]]:
        """Records, and the end offsets of partitions that reached them. Rebalances happen in here.
        Raises ConsumerLost and Exit.
        """
        self._membership.check(self._consumer)
        before = self.epoch
        messages = call(Step.READ, self._consumer.consume, count, wait_s)
        records, ends = sort_messages(messages, self._note)
        if self.epoch != before:
            # Polled for an old assignment: read again from the committed offsets.
            self._liveness.answered()
            return [], {}
        self.errors.polled(records, ends)
        if records or ends:
            self._liveness.answered()
        else:
            self._check_reached()
        return records, ends

    def _note(self, message: Message) -> None:
        error = check_message_error(message)
        if error is not None:
            self.errors.note(error)

    def _check_reached(self) -> None:
        """Raises ConsumerLost if no broker has answered this client for too long."""
        if self._liveness.lost(self._consumer.list_topics, self._inputs[0]):
            raise ConsumerLost(UNREACHABLE, "no broker answers this client any more")

    def take_assigned(self) -> list[TopicPartition] | None:
        """The assignment that the loop has not taken yet."""
        assigned, self._assigned = self._assigned, None
        return assigned

    def give_back(self, assigned: list[TopicPartition]) -> None:
        """Not now: offer the same assignment again unless a newer one arrived."""
        if self._assigned is None:
            self._assigned = assigned

    def fetch_from(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Fetch these input partitions from these offsets, and no others.

        The client keeps pauses across assignments: one left by a STOP or a priority before a
        rebalance would block the partition forever.
        """
        self.errors.forget()
        places = [ClientPartition(t, p, offset) for (t, p), offset in offsets.items()]
        call(Step.READ, self._consumer.assign, places)
        call(Step.READ, self._consumer.resume, places)

    def fetch_nothing(self) -> None:
        """Stay a member, read nothing."""
        call(Step.READ, self._consumer.assign, [])

    def pause(self, names: Iterable[TopicPartition]) -> None:
        """Stop fetching these; the client's prefetched records are dropped."""
        call(Step.READ, self._consumer.pause, [ClientPartition(t, p) for t, p in names])

    def resume(self, names: Iterable[TopicPartition]) -> None:
        """Fetch these again from where `poll` stopped."""
        call(Step.READ, self._consumer.resume, [ClientPartition(t, p) for t, p in names])

    def committed(self, names: Sequence[TopicPartition]) -> dict[TopicPartition, Committed]:
        """Committed offsets with metadata; open transactions are waited for. Raises ConsumerLost at
        the deadline.
        """
        if not names:
            return {}
        deadline_s = self._clock.monotonic_s() + self._settings.committed_s
        try:
            return call_until(self._clock, deadline_s, Step.READ, self._committed, names)
        except Exit as error:
            if not isinstance(error.__cause__, Retry):
                raise
            raise ConsumerLost(error.code, error.detail) from error

    def _committed(self, names: Sequence[TopicPartition]) -> dict[TopicPartition, Committed]:
        places = [ClientPartition(t, p) for t, p in names]
        try:
            answer = call(Step.READ, self._consumer.committed, places, COMMITTED_WAIT_S)
        except Retry:
            self._check_reached()
            raise
        self._liveness.answered()
        for position in answer:
            if position.error is not None:
                raise Retry(position.error.name(), position.error.str())
        return {(p.topic, p.partition): Committed(p.offset, p.metadata or "") for p in answer}

    def initialise(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit first offsets with metadata `init`, fenced by the group's generation. Raises
        LostMembership if the commit is refused.
        """
        self.metadata_for_commit()
        positions = [
            ClientPartition(t, p, offset, INIT_METADATA) for (t, p), offset in offsets.items()
        ]
        done = call(Step.WORK, self._consumer.commit, offsets=positions, asynchronous=False)
        for position in done or ():
            if position.error is not None:
                raise LostMembership(position.error.name(), position.error.str())

    def metadata_for_commit(self) -> Any:
        """The current group metadata. Raises LostMembership if a broker would accept the commit
        unfenced.
        """
        raw = self._consumer.consumer_group_metadata()
        if not parse(raw).is_member:
            raise LostMembership("NOT_A_MEMBER", "no generation or no member id")
        return raw

    def is_member(self) -> bool:
        """True while a commit carries a generation that can be fenced."""
        return parse(self._consumer.consumer_group_metadata()).is_member

    def leave(self) -> None:
        """Leave the group at once, so that another member takes over without waiting for the
        session's end.

        A static member does not leave by closing; unsubscribing makes it do so.
        """
        with contextlib.suppress(ConsumerLost):  # then the session must time out
            call(Step.READ, self._consumer.unsubscribe)
            deadline_s = self._clock.monotonic_s() + LEAVE_S_MAX
            while self.is_member() and self._clock.monotonic_s() < deadline_s:
                self.poll(1, 0.05)
        close_aside(self._consumer)

    def _on_assign(self, consumer: Consumer, partitions: list[ClientPartition]) -> None:
        if consumer is not self._consumer:
            return
        self.epoch += 1
        self.rebalances += 1
        self._assigned = [(p.topic, p.partition) for p in partitions]
        consumer.assign([])

    def _on_gone(self, consumer: Consumer, partitions: list[ClientPartition]) -> None:
        if consumer is self._consumer:  # else it is a replaced consumer that is being closed
            self.epoch += 1
            self._assigned = None
        consumer.unassign()
