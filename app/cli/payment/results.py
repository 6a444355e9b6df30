"""What happened to published commands, read from the log: an event, an outcome, or quarantine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from app.cluster import Cluster
from app.exits import Problem
from control import quarantine
from core.records import Outcome
from engine.clients.reader import PartitionReader
from engine.errors import EngineError
from engine.records import LogRecord
from schemas import topology
from schemas.errors import Undecodable

READ_COUNT: Final = 1_000
READ_WAIT_SECONDS: Final = 0.05
TOPICS: Final = (topology.EVENTS, topology.OUTCOMES, topology.QUARANTINE)
ACCEPTED: Final = "ACCEPTED"
QUARANTINED: Final = "QUARANTINED"

Result = dict[str, Any]  # result, and for what was not accepted code, rule and sentence


class ResultReader:
    """Reads from the ends at which it was opened. An accepted command has an event, no outcome."""

    def __init__(self, cluster: Cluster, readers: list[PartitionReader]) -> None:
        self._cluster = cluster
        self._readers = readers

    def of(self, command_ids: set[str], seconds: float) -> dict[str, Result]:
        """Results by command id, as far as they are known within `seconds`."""
        found: dict[str, Result] = {}
        clock = self._cluster.clock
        until = clock.monotonic_s() + seconds
        while self._readers and found.keys() < command_ids and clock.monotonic_s() < until:
            for reader in self._readers:
                batches, _ = reader.read(READ_COUNT, READ_WAIT_SECONDS)
                for records in batches.values():
                    for at in records:
                        command_id, result = self._read(at)
                        if command_id in command_ids:
                            found.setdefault(command_id, result)
        return found

    def _read(self, at: LogRecord) -> tuple[str, Result]:
        if at.topic == topology.QUARANTINE:
            return self._quarantined(at)
        record = self._cluster.entry(at).record
        if isinstance(record, Outcome):
            fields = ("result", "code", "rule", "sentence")
            result = {name: getattr(record, name) for name in fields}
            return record.cause.command_id or "", result
        cause = getattr(getattr(record, "header", None), "cause", None)
        return getattr(cause, "command_id", None) or "", {"result": ACCEPTED}

    def _quarantined(self, at: LogRecord) -> tuple[str, Result]:
        try:
            origin = quarantine.parse(at.headers)
            value = at.value or b""
            command = self._cluster.codec.decode(origin.topic, value, origin.original)
            command_id = command.header.command_id
        except (ValueError, KeyError, AttributeError, Undecodable):
            return "", {}
        result = {"result": QUARANTINED, "rule": origin.reason, "sentence": origin.detail}
        return command_id or "", result


@contextmanager
def opened(cluster: Cluster) -> Iterator[ResultReader | None]:
    """A reader from the current ends on; None if the access rules do not allow reading."""
    readers: list[PartitionReader] = []
    try:
        for topic in TOPICS:
            places = [(topic, number) for number in range(cluster.partitions(topic))]
            start = {n: offset for (_, n), offset in cluster.ends.high(places).items()}
            readers.append(PartitionReader(cluster.connection, topic, start))
        results = ResultReader(cluster, readers)
    except (EngineError, Problem):
        results = None
    try:
        yield results
    finally:
        for reader in readers:
            reader.close()
