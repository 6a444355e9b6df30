"""Groups the records of a partition by payment in bounded memory.

A payment's key chooses a bucket; small logs stay in memory, large ones go to a temporary file per
bucket, which is then read and grouped separately. So memory is one bucket, whatever the log's size.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

import msgspec

BUCKET_RECORDS: Final = 100_000  # about 100 MB once grouped
BUCKETS_MAX: Final = 256  # open files; larger logs get larger buckets
LENGTH_BYTES: Final = 4

EVENT: Final = 0
LIFECYCLE: Final = 1
INPUT: Final = 2
OUTCOME: Final = 3


class Entry(msgspec.Struct, array_like=True, gc=False):
    """One record. `topic` is an index into the job's list of input topics, 0 for other kinds."""

    kind: int
    key: bytes
    topic: int
    partition: int
    offset: int
    value: bytes
    headers: list[tuple[str, bytes | None]] | None = None


class History(msgspec.Struct):
    """Everything of one payment, each list in log order."""

    key: bytes
    events: list[Entry] = []
    inputs: dict[tuple[int, int], Entry] = {}  # by (topic, offset)
    outcomes: list[Entry] = []
    lifecycle: Entry | None = None


class Buckets:
    """Add all records, then iterate the histories once."""

    def __init__(self, expected: int) -> None:
        """`expected` is the approximate number of records; it determines the number of buckets."""
        self.count = min(max(-(-expected // BUCKET_RECORDS), 1), BUCKETS_MAX)
        self._memory: list[Entry] = []
        self._files: list[BinaryIO] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._encoder = msgspec.msgpack.Encoder()
        if self.count > 1:
            self._folder = tempfile.TemporaryDirectory(prefix="npp-replay-")
            self._files = [
                (Path(self._folder.name) / f"bucket-{number:03d}").open("w+b")
                for number in range(self.count)
            ]

    def __enter__(self) -> Buckets:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, entry: Entry) -> None:
        """Put a record into its payment's bucket."""
        if not self._files:
            self._memory.append(entry)
            return
        raw = self._encoder.encode(entry)
        file = self._files[zlib.crc32(entry.key) % self.count]
        file.write(len(raw).to_bytes(LENGTH_BYTES, "big"))
        file.write(raw)

    def histories(self) -> Iterator[History]:
        """One payment after the other; ordered by key within a bucket."""
        if not self._files:
            yield from _group(iter(self._memory))
            return
        for file in self._files:
            file.seek(0)
            yield from _group(_entries(file))

    def close(self) -> None:
        """Delete the temporary files."""
        for file in self._files:
            file.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._files, self._folder, self._memory = [], None, []


def _entries(file: BinaryIO) -> Iterator[Entry]:
    decode = msgspec.msgpack.Decoder(Entry).decode
    while True:
        length = file.read(LENGTH_BYTES)
        if len(length) < LENGTH_BYTES:
            return
        yield decode(file.read(int.from_bytes(length, "big")))


def _group(entries: Iterator[Entry]) -> Iterator[History]:
    histories: dict[bytes, History] = {}
    for entry in entries:
        history = histories.get(entry.key)
        if history is None:
            history = histories[entry.key] = History(entry.key)
        if entry.kind == EVENT:
            history.events.append(entry)
        elif entry.kind == LIFECYCLE:
            history.lifecycle = entry
        elif entry.kind == INPUT:
            history.inputs[entry.topic, entry.offset] = entry
        else:
            history.outcomes.append(entry)
    for key in sorted(histories):
        yield histories.pop(key)
