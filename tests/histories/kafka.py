"""A history read from a running cluster, found as by `npp`: settings, registry, keyring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.cluster import Cluster, open_registry
from app.config import settings
from app.control.proof import keyring_of
from engine.clients.reader import read_all
from engine.ports import TopicPartition
from engine.records import LogRecord
from schemas import catalogue
from schemas import topology as t
from schemas.codec import wire
from schemas.errors import Undecodable
from schemas.registry import setup
from schemas.registry.client import Registry
from tests.histories.file import TOPICS, Recording, Schema, recording

QUIET_SECONDS: Final = 5.0  # without writes for that long, before and during the read
TRIES_MAX: Final = 60  # five minutes: a demo's load has ended by then
MOVING: Final = frozenset({t.CHECKPOINTS, t.CONTROL})  # written at rest too, harmlessly


class NotQuiet(Exception):
    """The log does not come to rest, so its topics would be inconsistent."""


def record(name: str, data_dir: Path, say: Callable[[str], None]) -> Recording:
    """The log of the demo that runs in `data_dir`. Raises NotQuiet, Problem."""
    environment = settings.load({"NPP_DATA_DIR": str(data_dir)})
    with Cluster(environment) as cluster:
        counts = cluster.ends.partition_counts(TOPICS)
        log = _at_rest(cluster, counts, say)
        registry = open_registry(environment)
        keyring = keyring_of(environment.settings.data_dir / "verifier" / "keyring.json")
        listed = () if keyring is None else keyring.listed()
        return recording(
            name,
            f"the log of a {name} run",
            log,
            schemas=_schemas(registry, log),
            counts=counts,
            keys=[bytes.fromhex(each.public_key) for each in listed],
        )


def _at_rest(
    cluster: Cluster, counts: dict[str, int], say: Callable[[str], None]
) -> dict[TopicPartition, list[LogRecord]]:
    """Every record, read while nothing was written."""
    places = [(topic, n) for topic in TOPICS for n in range(counts[topic])]
    before = cluster.ends.high(places)
    for _ in range(TRIES_MAX):
        cluster.clock.sleep(QUIET_SECONDS)
        log = {place: _read(cluster, place, before[place]) for place in places}
        after = cluster.ends.high(places)
        moved = sorted({topic for topic, n in places if after[topic, n] != before[topic, n]})
        if not set(moved) - MOVING:
            return log
        say(f"not at rest yet: {', '.join(moved)}")
        before = after
    raise NotQuiet(
        "The log does not come to rest. Wait until the demo says that everything is at rest and "
        "proven, then record again."
    )


def _read(cluster: Cluster, place: TopicPartition, end: int) -> list[LogRecord]:
    topic, number = place
    return [
        record
        for batch in read_all(
            cluster.connection, topic, partitions=[number], ends={number: end}, clock=cluster.clock
        )
        for record in batch
    ]


def _schemas(registry: Registry, log: dict[TopicPartition, list[LogRecord]]) -> list[Schema]:
    """Today's schemas under the registry's ids, and all others that the bytes name."""
    known = {
        each.schema_id: each.schema
        for each in setup.look_up_all(registry, catalogue.load()).entries
    }
    named = {
        number
        for records in log.values()
        for record in records
        if (number := _named(record)) is not None
    }
    for number in sorted(named - known.keys()):
        schema = registry.by_id(number)
        if schema is not None:
            known[number] = schema
    return [Schema(number, schema) for number, schema in sorted(known.items())]


def _named(record: LogRecord) -> int | None:
    try:
        name, _ = wire.split(record.value, record.headers)
    except Undecodable:
        return None
    return name if isinstance(name, int) else None
