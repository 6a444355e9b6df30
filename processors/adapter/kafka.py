"""The adapter processors' reading on the engine's reader, and the redriver's loop."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import structlog

from control.fold import Control
from engine.clients.control_reader import ControlReader
from engine.clients.publisher import NotConfirmed
from engine.clients.reader import LogEnds, read_all
from engine.clock import Clock
from engine.errors import Exit
from engine.loop.watch import Health, Phase
from engine.records import LogRecord
from processors.redriver.handler import Redriver
from schemas import topology

log = structlog.get_logger("processors.adapter.kafka")

REDRIVE_EVERY_S: Final = 0.5
GAP_MAX: Final = 1_000  # offsets that are read past rather than asked for anew
# A batch may unpack to a thousand times its size: few are fetched at once (one at least, always).
QUARANTINE_FETCH: Final = {"max.partition.fetch.bytes": 256 * 1024}
ORIGINAL_FETCH: Final = {"max.partition.fetch.bytes": 1_024}


class KafkaRecords:
    """`processors.rail.worker.RecordReader`, and `processors.redriver.handler.QuarantineReader`."""

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

    def quarantined(self, partition: int, offsets: Sequence[int]) -> Iterator[LogRecord]:
        """Those of these offsets, in order, that hold a quarantined record."""
        yield from self._at(topology.QUARANTINE, partition, offsets, QUARANTINE_FETCH)

    def original(self, topic: str, partition: int, offset: int) -> LogRecord | None:
        """The record at this place, or None when none stands there (any more)."""
        return next(self._at(topic, partition, [offset], ORIGINAL_FETCH), None)

    def _at(
        self, topic: str, partition: int, offsets: Sequence[int], fetch: Mapping[str, Any]
    ) -> Iterator[LogRecord]:
        if not 0 <= partition < self._ends.partition_counts([topic])[topic]:
            return
        name = (topic, partition)
        end = self._ends.high([name])[name]
        for near in _near([each for each in offsets if 0 <= each < end]):
            wanted = set(near)
            for batch in read_all(
                self._connection,
                topic,
                start={partition: near[0]},
                ends={partition: near[-1] + 1},
                partitions=[partition],
                clock=self._clock,
                extra=fetch,
            ):
                yield from (record for record in batch if record.offset in wanted)


def _near(offsets: Sequence[int]) -> Iterator[list[int]]:
    """Runs of offsets that are read in one go."""
    run: list[int] = []
    for offset in offsets:
        if run and offset - run[-1] > GAP_MAX:
            yield run
            run = []
        run.append(offset)
    if run:
        yield run


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
        self._reader = ControlReader(connection, topology.CONTROL, clock, health.partition_errors)
        self._control = control
        self._redriver = redriver
        self._health = health
        self._stopping = threading.Event()

    def request_stop(self) -> None:
        """End after the request under way; safe from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Raises Exit when Kafka does not allow it, or control cannot be read at the start."""
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
                except NotConfirmed as error:
                    log.warning("kafka takes no RedriveDone", error=str(error))
                self._stopping.wait(REDRIVE_EVERY_S)
        finally:
            self._reader.close()
