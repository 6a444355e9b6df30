"""Follows the outcomes and quarantine topics for all requests that wait for a command.

It starts at the topics' ends before the first command is published, so it misses no outcome.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from typing import Any, Final

import msgspec
import structlog

from control import quarantine
from core.records import Outcome
from engine.clients.partition_errors import PartitionErrors
from engine.clients.reader import LogEnds
from engine.clients.topics_reader import TopicsReader
from engine.errors import EngineError
from engine.ports import TopicPartition
from engine.records import LogRecord
from schemas import topology
from schemas.codec import Codec
from schemas.errors import RegistryDown, Undecodable

log = structlog.get_logger("npp.api")

WAIT_S: Final = 0.1  # for a first record; others that are there are read with it
READ_COUNT: Final = 1_000
READER: Final = "outcomes"
QUEUED_KB: Final = 16 * 1024
REOPEN_S: Final = 1.0
CLOSE_S_MAX: Final = 5.0
TOPICS: Final = (topology.OUTCOMES, topology.QUARANTINE)


class CommandResult(msgspec.Struct, frozen=True):
    """What happened to a command: an outcome, or why it is in quarantine."""

    outcome: Outcome | None = None
    quarantined: str | None = None


class OutcomeTail:
    """One thread; `expect` before publishing, then wait for the future, then `forget`."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        ends: LogEnds,
        codec: Codec,
        partitions: Mapping[str, int],
        errors: PartitionErrors,
    ) -> None:
        """`partitions`: how many each of TOPICS has. `errors` of the process."""
        self._errors = errors.of(READER)
        self._connection = connection
        self._ends = ends
        self._codec = codec
        self._names = [(topic, n) for topic in TOPICS for n in range(partitions[topic])]
        self._position: dict[TopicPartition, int] = {}
        self._reader: TopicsReader | None = None
        self._expected: dict[bytes, dict[str, Future[CommandResult]]] = {}
        self._lock = threading.Lock()
        self._failure: str | None = "the outcomes are not followed yet"
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="npp-outcomes", daemon=True)

    def start(self) -> None:
        """Start following from the current ends. Raises Exit."""
        self._position = self._ends.high(self._names)
        self._reader = self._open()
        self._failure = None
        self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S_MAX)

    def failure(self) -> str | None:
        """Why outcomes are not followed at the moment, or None."""
        return self._failure

    def expect(self, payment_id: str, command_id: str) -> Future[CommandResult]:
        """A future for what happens to the command."""
        future: Future[CommandResult] = Future()
        with self._lock:
            self._expected.setdefault(payment_id.encode(), {})[command_id] = future
        return future

    def forget(self, payment_id: str, command_id: str) -> None:
        """Nobody waits for this command any more."""
        key = payment_id.encode()
        with self._lock:
            waiting = self._expected.get(key, {})
            waiting.pop(command_id, None)
            if not waiting:
                self._expected.pop(key, None)

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._step()
            except (EngineError, RegistryDown) as error:
                log.exception("outcomes_not_followed", error=str(error))
                self._failure = f"outcomes are not followed: {error}"
                self._shut()
                self._closing.wait(REOPEN_S)
        self._shut()

    def _open(self) -> TopicsReader:
        return TopicsReader(
            self._connection, self._position, queued_kb=QUEUED_KB, errors=self._errors
        )

    def _reopened(self) -> TopicsReader:
        """After a failure: from the last position, or, if that is gone, from the first available
        record.
        """
        low = self._ends.low(self._names)
        self._position = {name: max(at, low[name]) for name, at in self._position.items()}
        reader = self._open()
        self._failure = None
        return reader

    def _shut(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _step(self) -> None:
        reader = self._reader = self._reader or self._reopened()
        for count, wait_s in ((1, WAIT_S), (READ_COUNT, 0.0)):
            for place, records in reader.read(count, wait_s).records.items():
                for record in records:
                    if record.key in self._expected:
                        self._on_record(record)
                    self._position[place] = record.offset + 1

    def _on_record(self, record: LogRecord) -> None:
        if record.topic == topology.OUTCOMES:
            self._on_outcome(record)
        else:
            self._on_quarantined(record)

    def _on_outcome(self, record: LogRecord) -> None:
        try:
            outcome = self._codec.decode(record.topic, record.value, record.headers)
        except Undecodable as error:
            log.exception("outcome_unreadable", offset=record.offset, error=error.reason)
            return
        if isinstance(outcome, Outcome):
            self._deliver(record.key, outcome.cause.command_id, CommandResult(outcome=outcome))

    def _on_quarantined(self, record: LogRecord) -> None:
        try:
            why = quarantine.parse(record.headers)
            if why.reference is not None:
                return  # not a command of ours: those are small
            command = self._codec.decode(why.topic, record.value, why.original)
        except (ValueError, KeyError, Undecodable):
            return  # not a command of ours: those can be read
        if why.reason == quarantine.MISROUTED:
            return  # it has an outcome too
        self._deliver(record.key, command.header.command_id, CommandResult(quarantined=why.reason))

    def _deliver(self, key: bytes | None, command_id: str | None, found: CommandResult) -> None:
        if key is None or command_id is None:
            return
        with self._lock:
            future = self._expected.get(key, {}).get(command_id)
        if future is not None:
            try:
                future.set_result(found)
            except InvalidStateError:
                return  # a redriven command has a second outcome: the first one counts
