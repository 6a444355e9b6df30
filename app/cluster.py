"""The command line's access to a cluster: read topics, publish commands, wait for their outcomes.

Every wait is bounded; nothing is cached between commands.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

import msgspec

from app.config.floor import require_kafka_floor
from app.config.settings import Environment
from app.control import operators
from app.exits import ExitCode, Problem
from control import quarantine
from control.acts.actors import SIGNED_MS_MAX
from control.fold import Control
from core.control_records import ProcessingStopped
from core.records import Outcome, PaymentLifecycle
from engine.clients.publisher import NotConfirmed, Placed, Publisher, Refused
from engine.clients.reader import LogEnds, PartitionReader, read_all
from engine.clock import SystemClock
from engine.partitioner import partition_of
from engine.records import LogRecord
from schemas import catalogue, topology
from schemas.codec import Codec
from schemas.errors import IdsChanged, RegistryDown, Undecodable
from schemas.registry.client import HttpRegistry, Incompatible
from schemas.registry.setup import NotRegistered, Options, open_codec

COMMAND_ID_BYTES: Final = 8
ACT_ID_BYTES: Final = 4
READ_COUNT: Final = 1_000
READ_WAIT_SECONDS: Final = 0.1
LISTENER_SECONDS: Final = 3.0


class Entry(msgspec.Struct, frozen=True):
    """A record of the log with its value read: `record` is None when it cannot be."""

    at: LogRecord
    record: Any
    problem: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """What happened to a command: its outcome record, or the reason why it is in quarantine."""

    outcome: Outcome | None
    quarantined: quarantine.Quarantined | None = None


class Cluster:
    """The cluster of the settings. Raises Problem if none is configured, or none listens there."""

    def __init__(self, environment: Environment) -> None:
        require_kafka_floor(environment)
        self.environment = environment
        self.connection = environment.connection()
        require_listener(environment.settings.bootstrap_servers)
        self.clock = SystemClock()
        self.ends = LogEnds(self.connection, self.clock)

    @cached_property
    def codec(self) -> Codec:
        """The codec over the registry's ids. Raises Problem when the registry does not answer."""
        return open_registry_codec(self.environment)

    @cached_property
    def publisher(self) -> Publisher:
        return Publisher(self.connection, "npp-command-line", self.clock)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the clients; a producer that is left open can crash the process at its end."""
        if "publisher" in self.__dict__:
            self.publisher.close()

    # -- reading ---------------------------------------------------------------------------------

    def partitions(self, topic: str) -> int:
        """Partitions of a topic. Raises Problem when it is not there."""
        count = self.ends.partition_counts([topic])[topic]
        if count == 0:
            raise Problem(
                f"Topic {topic} is not on the cluster.",
                do="`npp topics apply` puts the topics there.",
                code=ExitCode.UNREACHABLE,
            )
        return count

    def read(self, topic: str, partition: int, key: bytes | None = None) -> Iterator[Entry]:
        """Committed records of one partition to its present end; of one key if it is given."""
        for batch in read_all(self.connection, topic, partitions=[partition], clock=self.clock):
            for at in batch:
                if key is None or at.key == key:
                    yield self.entry(at)

    def entry(self, at: LogRecord) -> Entry:
        """The record's value, or why it cannot be read. Raises Problem if the registry is down."""
        if at.value is None:
            return Entry(at, None, "no value")
        try:
            return Entry(at, self.codec.decode(at.topic, at.value, at.headers))
        except Undecodable as error:
            return Entry(at, None, error.reason)
        except RegistryDown as error:
            raise registry_down(self.environment, error) from error

    def history(self, payment_id: str) -> list[Entry]:
        """The payment's events in order, from the journal."""
        return list(self.read(topology.EVENTS, self.partition(payment_id), payment_id.encode()))

    def lifecycle(self, payment_id: str) -> PaymentLifecycle | None:
        """The payment's last lifecycle record, or None when it is unknown."""
        last = None
        for entry in self.read(topology.LIFECYCLE, self.partition(payment_id), payment_id.encode()):
            last = entry.record
        return last if isinstance(last, PaymentLifecycle) else None

    def outcomes(self, payment_id: str) -> list[Entry]:
        """Outcome records of the payment, in order."""
        count = self.partitions(topology.OUTCOMES)
        partition = self.partition(payment_id) % count
        return list(self.read(topology.OUTCOMES, partition, payment_id.encode()))

    def partition(self, payment_id: str) -> int:
        """The partition of all records of a payment."""
        return partition_of(payment_id.encode(), self.partitions(topology.EVENTS))

    def control(self) -> tuple[Control, int]:
        """The current control topic folded, and the offset after its last record."""
        deployed = operators.deployed(self.environment, catalogue.load())
        control = Control(self.codec.decode, deployed=deployed)
        end = 0
        for batch in read_all(self.connection, topology.CONTROL, clock=self.clock):
            for at in batch:
                end = at.offset + 1
                if at.value is not None:
                    control.apply(at.offset, at.value, at.timestamp_ms)
        return control, end

    # -- writing ---------------------------------------------------------------------------------

    def publish(
        self, topic: str, partition: int, key: str | None, record: msgspec.Struct
    ) -> Placed:
        """Write one record; returns when Kafka has it, and where. Raises Problem."""
        value = self.codec.encode(topic, record)
        raw_key = None if key is None else key.encode()
        try:
            return self.publisher.publish(topic, raw_key, value, partition=partition)
        except Refused as error:
            raise Problem(
                f"Kafka refuses the record: {error}",
                means="It is not on the log. A repeat would be refused too.",
                do="Make it smaller: shorter texts, fewer offsets or partitions at once.",
            ) from error
        except NotConfirmed as error:
            raise Problem(
                f"Kafka did not confirm the record: {error}",
                means="It may be on the log or not. A repeat is recognised as a duplicate.",
                do="Repeat it with the same key, or check with `npp payment show`.",
                code=ExitCode.UNKNOWN,
            ) from error

    def stop(self, cause: str, why: str, process: str) -> None:
        """A process stops all processing under its own name, once for this cause. Raises
        Problem.
        """
        if any(each.cause == cause for each in self.control()[0].stops()):
            return
        now = self.clock.now_ms()
        self.publish_control(
            ProcessingStopped(
                stop_id=f"{process}-{cause}-{now}",
                reason=f"{cause}: {why}",
                automatic=True,
                stopped_at=now,
                actor=process,
                cause=cause,
            )
        )

    def publish_control(self, record: msgspec.Struct) -> Placed:
        """Write a control record. Raises Problem, also if by the broker's clock no process will
        obey it.
        """
        placed = self.publish(topology.CONTROL, 0, None, record)
        stops = isinstance(record, ProcessingStopped)  # obeyed in any case
        signature = None if stops else getattr(record, "signature", None)
        off_ms = 0 if signature is None else signature.signed_at - placed.timestamp_ms
        if abs(off_ms) > SIGNED_MS_MAX:
            raise Problem(
                f"It was signed {abs(off_ms)} ms off the broker's time: no process accepts it.",
                means=f"It is at control offset {placed.offset}, refused as TIME.",
                do="Set this machine's clock by NTP, then repeat it.",
            )
        return placed

    def ask(self, topic: str, record: Any, wait_seconds: float) -> Answer | None:
        """Publish a command and wait for its outcome; None if there is none in that time.

        The command must have a command id from `command_id()`. Raises Problem.
        """
        payment_id: str = record.header.payment_intent_id
        partition = self.partition(payment_id)
        outcomes = partition % self.partitions(topology.OUTCOMES)
        held = partition % self.partitions(topology.QUARANTINE)
        names = [(topology.OUTCOMES, outcomes), (topology.QUARANTINE, held)]
        start = self.ends.high(names)
        readers = [
            PartitionReader(self.connection, name, {number: start[name, number]})
            for name, number in names
        ]
        try:
            self.publish(topic, partition, payment_id, record)
            until = self.clock.monotonic_s() + wait_seconds
            while self.clock.monotonic_s() < until:
                for reader in readers:
                    found = self._answer_in(reader, record.header.command_id)
                    if found is not None:
                        return found
            return None
        finally:
            for reader in readers:
                reader.close()

    def _answer_in(self, reader: PartitionReader, command_id: str) -> Answer | None:
        batches, _ = reader.read(READ_COUNT, READ_WAIT_SECONDS)
        for records in batches.values():
            for at in records:
                if at.topic == topology.OUTCOMES:
                    outcome = self.entry(at).record
                    if isinstance(outcome, Outcome) and outcome.cause.command_id == command_id:
                        return Answer(outcome)
                elif at.value is not None:
                    answer = self._quarantined(at, command_id)
                    if answer is not None:
                        return answer
        return None

    def _quarantined(self, at: LogRecord, command_id: str) -> Answer | None:
        """The reason, when this quarantined record is our command."""
        try:
            origin = quarantine.parse(at.headers)
            if origin.reference is not None:
                return None  # not a command of ours: those are small
            command = self.codec.decode(origin.topic, at.value or b"", origin.original)
        except (ValueError, KeyError, Undecodable):
            return None  # not a command that we wrote
        if command.header.command_id != command_id or origin.reason == quarantine.MISROUTED:
            return None
        return Answer(None, origin)


def require_listener(bootstrap_servers: str) -> None:
    """Fail at once when nothing listens at any of these addresses. Raises Problem."""
    errors = []
    for each in bootstrap_servers.split(","):
        host, _, port = each.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), LISTENER_SECONDS).close()
        except (OSError, ValueError) as error:
            errors.append(f"{each.strip()}: {error}")
        else:
            return
    raise Problem(
        f"Kafka does not answer: {'; '.join(errors)}",
        means="NPP_BOOTSTRAP_SERVERS names it.",
        do="Start it, or correct the address (host:port[,host:port]).",
        code=ExitCode.UNREACHABLE,
    )


def command_id() -> str:
    """A new command id, by which the command's outcome is found."""
    return "cli-" + secrets.token_hex(COMMAND_ID_BYTES)


def act_id(kind: str) -> str:
    """A new id for a record of the control topic, with `kind` as its prefix."""
    return f"{kind}_{secrets.token_hex(ACT_ID_BYTES)}"


def open_registry_codec(environment: Environment, *, may_register: bool = False) -> Codec:
    """The codec over the registry. Raises Problem that describes the fault."""
    options = Options(
        monotonic_seconds=SystemClock().monotonic_s,
        register=may_register,
        user_info=_user_info(environment),
    )
    lock = environment.ids_lock()
    try:
        return open_codec(environment.registry_url(), catalogue.load(), lock, options)
    except RegistryDown as error:
        raise registry_down(environment, error) from error
    except NotRegistered as error:
        raise Problem(
            f"The schemas are not in the registry: {error}",
            do="`npp schemas register` puts them there.",
        ) from error
    except Incompatible as error:
        raise Problem(
            f"The registry refuses a schema: {error}",
            means="It breaks the compatibility of its subject; records already written need it.",
            do="Add fields with a default; never rename, remove or change the type of one.",
        ) from error
    except IdsChanged as error:
        raise Problem(
            f"The schema registry gives other ids than {lock}: {error}",
            means="Records on the log would be read with the wrong schemas; nothing is started.",
            do="Restore the registry's data, or point NPP_SCHEMA_REGISTRY_URL at the right one.",
        ) from error


def open_registry(environment: Environment) -> HttpRegistry:
    """The registry alone: a look-up raises RegistryDown if it does not answer."""
    return HttpRegistry(environment.registry_url(), user_info=_user_info(environment))


def _user_info(environment: Environment) -> str | None:
    found = environment.settings.schema_registry_user_info
    return None if found is None else found.get_secret_value()


def registry_down(environment: Environment, error: Exception) -> Problem:
    return Problem(
        f"The schema registry does not answer: {error}",
        means=f"NPP_SCHEMA_REGISTRY_URL is {environment.settings.schema_registry_url}.",
        do="Start it, or correct the address; `npp schemas register` fills an empty one.",
        code=ExitCode.UNREACHABLE,
    )
