"""topics.yaml as typed values: topics, partition counts, record types, principals, sources.

The one reader of that file: topic administration, access rules, codec and command line use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from core import monitoring
from core import records as record_types
from core.control_records import CONTROL_RECORDS
from core.payment import commands, events, instructions

TOPICS_YAML: Final = Path(__file__).resolve().parent.parent / "topics.yaml"
FILE_BYTES_MAX: Final = 1_000_000
TOPIC_BYTES: Final = "max.message.bytes"  # of a batch as it is stored, so mostly compressed
AUDIT_RETENTION_MS: Final = 7 * 365 * 24 * 3600 * 1000  # the audit log's seven years

RecordType = type[msgspec.Struct]
Compatibility = Literal["BACKWARD_TRANSITIVE", "FULL_TRANSITIVE"]

# In the order of `core`; the order of registration is that of topics.yaml.
RECORD_TYPES: Final[tuple[RecordType, ...]] = (
    *commands.INPUTS,
    *events.EVENTS,
    *instructions.INSTRUCTIONS,
    record_types.PaymentLifecycle,
    record_types.Outcome,
    record_types.RailSubmission,
    record_types.Checkpoint,
    record_types.OperatorAudit,
    *CONTROL_RECORDS,
    *monitoring.MONITORING_RECORDS,
)
RECORD_BY_NAME: Final[dict[str, RecordType]] = {each.__name__: each for each in RECORD_TYPES}


class CatalogueError(ValueError):
    """topics.yaml cannot be read, or contradicts itself; the sentence names the place."""


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of one kind of cluster. `partitions` is by group: payments, work, audit, one."""

    partitions: dict[str, int]
    replication: int
    min_insync_replicas: int


class Topic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One topic. `partitions` names a group of the profile, `records` what it may hold."""

    name: str
    role: Literal[
        "input", "journal", "state", "output", "adapter", "proof", "audit", "control", "monitor"
    ]
    partitions: str
    cleanup: Literal["keep", "compact", "delete"]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    records: tuple[str, ...] | Literal["events", "control"]
    compatibility: Compatibility | None = None
    retention_ms: int | None = None
    config: dict[str, str] = {}
    sources: tuple[str, ...] = ()

    def record_names(self) -> tuple[str, ...]:
        """Names of the record types of this topic, in the order in which they are registered."""
        if self.records == "events":
            return tuple(each.__name__ for each in events.EVENTS)
        if self.records == "control":
            return tuple(each.__name__ for each in CONTROL_RECORDS)
        return self.records

    def record_types(self) -> tuple[RecordType, ...]:
        """The structs of `record_names`, in the same order."""
        return tuple(RECORD_BY_NAME[name] for name in self.record_names())


class Principal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who connects to the cluster: the consumer groups, prefixes of groups and transactional ids
    that it may use.
    """

    groups: tuple[str, ...] = ()
    group_prefixes: tuple[str, ...] = ()
    transactional_ids: tuple[str, ...] = ()
    installs: bool = False  # creates topics and access rules
    sees_all: bool = False  # reads every topic, settings, rules and groups of the cluster
    sets_offsets: bool = False  # of any group, after a loss
    watches_retention: bool = False  # may see the configuration of what is kept for years
    producer_bytes_per_second: int | None = None  # to each broker, compressed; None: no limit


class TopicsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. `source_map` is the version number of the topics' `sources`."""

    version: int
    profiles: dict[str, Profile]
    defaults: dict[str, str]
    producer_bytes_max: int  # of one record before compression, for every producer of ours
    source_map: int
    topics: tuple[Topic, ...]
    principals: dict[str, Principal]

    def topic(self, name: str) -> Topic:
        """The topic of that name. Raises KeyError when it is not declared."""
        for each in self.topics:
            if each.name == name:
                return each
        raise KeyError(name)

    def inputs(self) -> tuple[Topic, ...]:
        """Inputs of the payments processor, in decision order."""
        return tuple(each for each in self.topics if each.role == "input")

    def kept_for_years(self) -> tuple[Topic, ...]:
        """Topics whose records an auditor may ask for years later (runbook: Compliance & Audit)."""
        return tuple(
            each
            for each in self.topics
            if each.cleanup == "keep" or (each.retention_ms or 0) >= AUDIT_RETENTION_MS
        )

    def partition_count(self, name: str, profile: str) -> int:
        """Partitions of topic `name` under `profile`. Raises KeyError when either is unknown."""
        return self.profiles[profile].partitions[self.topic(name).partitions]

    def configuration(self, name: str, profile: str) -> dict[str, str]:
        """Kafka configuration of topic `name`: defaults, cleanup, then the topic's own."""
        topic = self.topic(name)
        config = dict(self.defaults)
        config["min.insync.replicas"] = str(self.profiles[profile].min_insync_replicas)
        config["cleanup.policy"] = "compact" if topic.cleanup == "compact" else "delete"
        if topic.cleanup == "keep":
            config["retention.ms"] = "-1"
        elif topic.retention_ms is not None:
            config["retention.ms"] = str(topic.retention_ms)
        if topic in self.kept_for_years():
            config["retention.bytes"] = "-1"  # and no size limit either
        config.update(topic.config)
        return config

    def record_bytes_max(self, name: str) -> int:
        """The largest batch that topic `name` takes, in bytes as it is stored: so also the largest
        record that is not compressed. Raises KeyError when the topic is not declared.
        """
        return int({**self.defaults, **self.topic(name).config}[TOPIC_BYTES])

    def client_options(self) -> dict[str, str]:
        """librdkafka's options of every client of ours, in addition to the connection settings."""
        return {"message.max.bytes": str(self.producer_bytes_max)}

    def source_topics(self) -> dict[str, tuple[str, ...]]:
        """Command topic → the sources it may carry: the content of SourceMapActivated."""
        return {each.name: each.sources for each in self.topics if each.sources}


def load(path: Path = TOPICS_YAML) -> TopicsFile:
    """Read and check `path`. Raises CatalogueError naming what is wrong."""
    if path.stat().st_size > FILE_BYTES_MAX:
        raise CatalogueError(f"{path.name} is larger than {FILE_BYTES_MAX} bytes")
    return parse(path.read_text(encoding="utf-8"))


def parse(text: str) -> TopicsFile:
    """The text of a topics.yaml as values. Raises CatalogueError naming what is wrong."""
    try:
        file = msgspec.yaml.decode(text, type=TopicsFile)
    except msgspec.MsgspecError as error:
        raise CatalogueError(f"topics file: {error}") from error
    for sentence in _contradictions(file):
        raise CatalogueError(sentence)
    return file


def _contradictions(file: TopicsFile) -> Iterator[str]:
    seen: set[str] = set()
    for topic in file.topics:
        if topic.name in seen:
            yield f"topic {topic.name} is declared twice"
        seen.add(topic.name)
        yield from _topic_contradictions(file, topic)


def _topic_contradictions(file: TopicsFile, topic: Topic) -> Iterator[str]:
    for name, profile in file.profiles.items():
        if topic.partitions not in profile.partitions:
            yield f"topic {topic.name}: profile {name} has no partition group {topic.partitions}"
    for record in topic.record_names():
        if record not in RECORD_BY_NAME:
            yield f"topic {topic.name}: there is no record type {record}"
    if topic.record_names() and topic.compatibility is None:
        yield f"topic {topic.name} carries records, so it needs a compatibility"
    for principal in (*topic.producers, *topic.consumers):
        if principal not in file.principals:
            yield f"topic {topic.name}: there is no principal {principal}"
    if topic.cleanup == "delete" and topic.retention_ms is None:
        yield f"topic {topic.name} is deleted after a time, so it needs retention_ms"
    try:
        fits = file.record_bytes_max(topic.name) < file.producer_bytes_max
    except (KeyError, ValueError):
        yield f"topic {topic.name}: {TOPIC_BYTES} is not given as a number"
    else:
        if not fits:
            yield f"topic {topic.name}: its {TOPIC_BYTES} is not below producer_bytes_max"
