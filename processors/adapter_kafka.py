"""The adapter processors' reading on the engine's reader, and the redriver's loop."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

import structlog

from engine.clock import Clock
from engine.control import ControlReader
from engine.errors import Exit
from engine.publisher import NotConfirmed
from engine.reader import LogEnds, read_all
from engine.records import LogRecord
from engine.watch import Health, Phase
from processors import topology
from processors.control import Control
from processors.redriver import Redriver
from schemas.errors import RegistryDown

log = structlog.get_logger("processors.adapter_kafka")

REDRIVE_EVERY_S: Final = 0.5


class KafkaRecords:
    """`processors.rail_worker.RecordReader`, and `processors.redrive_plan.ReadRecord`."""

    def __init__(self, connection: Mapping[str, Any], clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._ends = LogEnds(connection, clock)

    def submissions(self, partition: int) -> Iterable[LogRecord]:
        """The own record's partition, from the first that is still there."""
        for batch in read_all(
            self._connection,
            topology.RAIL_SUBMITTED,
            partitions=[partition],
            clock=self._clock,
        ):
            yield from batch

    def submissions_end(self, partition: int) -> int:
        """Next offset to be written to the submissions topic."""
        name = (topology.RAIL_SUBMISSIONS, partition)
        return self._ends.high([name])[name]

    def quarantined(self, partition: int, offset: int) -> LogRecord | None:
        """One quarantined record, or None when none stands there."""
        topic = topology.QUARANTINE
        counts = self._ends.partition_counts([topic])
        if not 0 <= partition < counts[topic] or offset < 0:
            return None
        for batch in read_all(
            self._connection,
            topic,
            start={partition: offset},
            ends={partition: offset + 1},
            partitions=[partition],
            clock=self._clock,
        ):
            for record in batch:
                if record.offset == offset:
                    return record
        return None


class RedriverLoop:
    """Follows the control topic and carries out what two persons confirmed, until asked to stop."""

    def __init__(
        self,
        *,
        connection: Mapping[str, Any],
        control: Control,
        redriver: Redriver,
        clock: Clock,
        health: Health,
    ) -> None:
        self._reader = ControlReader(connection, topology.CONTROL, clock)
        self._control = control
        self._redriver = redriver
        self._health = health
        self._stopping = threading.Event()

    def request_stop(self) -> None:
        """End after the request under way; safe from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Raises Exit when Kafka does not allow it, or control can not be read at the start."""
        self._reader.start()
        try:
            if not self._reader.read_to_end(self._control):
                raise Exit("CONTROL_UNREADABLE", "the control topic could not be read to its end")
            self._health.wait(Phase.RUNNING, "")
            while not self._stopping.is_set():
                self._health.beat()
                self._reader.drain(self._control)
                try:
                    self._redriver.step()
                except (NotConfirmed, RegistryDown) as error:
                    log.warning("redrive waits", error=str(error))
                self._stopping.wait(REDRIVE_EVERY_S)
        finally:
            self._reader.close()
