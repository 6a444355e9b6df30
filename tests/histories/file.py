"""A recorded history on disk: every record of some topics, raw, as xz over MessagePack.

Records are complete: key, value, headers, offset and timestamp are as on the log. A compacted topic
holds the last record of each key, as Kafka may leave it.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.ports import Headers, TopicPartition
from engine.records import LogRecord
from processors.replay import MemoryLog
from schemas import topology as t
from schemas.codec.shape import Json
from schemas.topology import INPUTS
from tests.histories.hashes import Cut, Hashes

FORMAT: Final = 1
SUFFIX: Final = ".history.xz"
COMPACTED: Final = frozenset({t.LIFECYCLE})
# Values are packed in this order: those that others name by hash come first.
TOPICS: Final = (
    *INPUTS, t.EVENTS, t.OUTCOMES, t.QUARANTINE, t.LIFECYCLE, t.CHECKPOINTS, t.CONTROL,
    t.RAIL_SUBMISSIONS, t.RAIL_SUBMITTED, t.DEPOSITS_REQUESTS,
)  # fmt: skip
_FILTERS: Final[list[dict[str, Any]]] = [
    {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 26}
]


class Schema(msgspec.Struct, frozen=True):
    """A schema, and the id by which the recorded bytes name it."""

    id: int
    schema: Json


class Column(msgspec.Struct, frozen=True):
    """One partition, field by field, which packs best.

    `offsets` and `times` are differences to the previous record; `cuts` (by index) are the hashes
    removed from a value; `headers` (by index) are those of records that have any.
    """

    topic: str
    partition: int
    offsets: list[int]
    times: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    cuts: dict[int, list[Cut]]
    headers: dict[int, Headers]


class Recording(msgspec.Struct, frozen=True):
    """A whole log. `about` describes its origin; `expected` has its proof's counts; `counts` the
    partitions of each topic; `keys` the verifier's raw public keys. `digest` is SHA-256 over the
    records, so that unpacking yields what was recorded.
    """

    format: int
    name: str
    about: str
    schemas: list[Schema]
    counts: dict[str, int]
    keys: list[bytes]
    expected: dict[str, int]
    digest: bytes
    columns: list[Column]


def recording(
    name: str,
    about: str,
    log: Mapping[TopicPartition, list[LogRecord]],
    *,
    schemas: list[Schema],
    counts: Mapping[str, int],
    keys: list[bytes],
) -> Recording:
    """Everything that `log` has in TOPICS, by topic and partition."""
    kept = {
        (topic, number): _compacted(records) if topic in COMPACTED else records
        for topic in TOPICS
        for (name_, number), records in sorted(log.items())
        if name_ == topic
    }
    hashes = Hashes()
    return Recording(
        format=FORMAT, name=name, about=about, schemas=schemas,
        counts={topic: counts[topic] for topic in TOPICS if counts.get(topic)}, keys=keys,
        expected={}, digest=_digest(kept.values()),
        columns=[_column(place, records, hashes) for place, records in kept.items()],
    )  # fmt: skip


def log_of(recording: Recording) -> MemoryLog:
    """The log as a replay reads it. Raises ValueError if it differs from what was recorded."""
    log, hashes = MemoryLog(recording.counts), Hashes()
    for column in recording.columns:
        log.records[column.topic, column.partition] = _records(column, hashes)
    if _digest(log.records.values()) != recording.digest:
        raise ValueError(f"{recording.name}: the unpacked records are not those that were recorded")
    return log


def write(recording: Recording, path: Path) -> int:
    """Pack to `path`; return its size in bytes. The same recording gives the same bytes."""
    raw = msgspec.msgpack.encode(recording)
    packed = lzma.compress(raw, format=lzma.FORMAT_XZ, filters=_FILTERS)
    path.write_bytes(packed)
    return len(packed)


def read(path: Path) -> Recording:
    """Raises ValueError for anything but a recording of this format."""
    try:
        raw = lzma.decompress(path.read_bytes())
        found = msgspec.msgpack.decode(raw, type=Recording)
    except (lzma.LZMAError, msgspec.DecodeError) as error:
        raise ValueError(f"{path.name} is no recorded history: {error}") from error
    if found.format != FORMAT:
        raise ValueError(f"{path.name} has format {found.format}, this reads {FORMAT}")
    return found


def _column(place: TopicPartition, records: list[LogRecord], hashes: Hashes) -> Column:
    offsets, times, values, cuts, at, then = [], [], [], {}, 0, 0
    for index, record in enumerate(records):
        offsets.append(record.offset - at)
        times.append(record.timestamp_ms - then)
        at, then = record.offset, record.timestamp_ms
        rest = record.value
        if rest is None:
            hashes.skip()
        else:
            rest, found = hashes.cut(rest)
            if found:
                cuts[index] = found
        values.append(rest)
    headers = {n: record.headers for n, record in enumerate(records) if record.headers}
    keys = [record.key for record in records]
    return Column(*place, offsets, times, keys, values, cuts, headers)


def _records(column: Column, hashes: Hashes) -> list[LogRecord]:
    found, at, then = [], 0, 0
    fields = zip(column.offsets, column.times, column.keys, column.values, strict=True)
    for index, (step, later, key, value) in enumerate(fields):
        at, then = at + step, then + later
        if value is None:
            hashes.skip()
        else:
            value = hashes.restore(value, column.cuts.get(index, ()))
        headers = [(name, raw) for name, raw in column.headers.get(index, ())]
        found.append(LogRecord(column.topic, column.partition, at, then, key, value, headers))
    return found


def _compacted(records: list[LogRecord]) -> list[LogRecord]:
    """The last record of each key, in place."""
    last = {record.key: record.offset for record in records}
    return [record for record in records if last[record.key] == record.offset]


def _digest(partitions: Iterable[list[LogRecord]]) -> bytes:
    digest = hashlib.sha256()
    for records in partitions:
        for record in records:
            digest.update(msgspec.msgpack.encode(record))
    return digest.digest()
