"""Opens a codec: registers the schemas in a fixed order, checks their ids, makes the functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from schemas import catalogue, definitions
from schemas.catalogue import RECORD_BY_NAME, Topic, TopicsFile
from schemas.codec import (
    Codec,
    CodecBackend,
    Decoder,
    Encoder,
    TopicCodec,
    wire,
)
from schemas.codec.compiled_backend import own_backend
from schemas.codec.shape import full_name, shape_of
from schemas.registry.client import HttpRegistry, Registry, StaticRegistry
from schemas.registry.ids import LOOK_UPS_AT_ONCE, Registered, Version, check_lock, pinned
from schemas.registry.unknown_schemas import ForeignReader, decoder_of


class NotRegistered(Exception):
    """A schema is not in the registry, and this process may not register it."""


class Options(msgspec.Struct, frozen=True):
    """`register`: register missing schemas (otherwise NotRegistered is raised). `user_info`:
    user:password. `monotonic_seconds`: a clock, used only for unknown schema ids.
    """

    monotonic_seconds: Callable[[], float]
    register: bool = True
    user_info: str | None = None


def subject(topic: str, record_full_name: str) -> str:
    """Subject of a record type on a topic (TopicRecordNameStrategy)."""
    return f"{topic}-{record_full_name}"


def register_all(registry: Registry, topics: TopicsFile) -> Registered:
    """Register every version of every record on every topic, in the order of topics.yaml.

    The order decides the ids, so it is a storage format. Raises RegistryDown, Incompatible.
    """
    registered = Registered()
    for topic, name, where in _subjects(topics):
        assert topic.compatibility is not None
        registry.set_compatibility(where, topic.compatibility)
        for schema in definitions.all_versions(name):
            registered.add(topic.name, name, where, registry.register(where, schema), schema)
    return registered


def look_up_all(registry: Registry, topics: TopicsFile) -> Registered:
    """As `register_all`, changing nothing. Raises NotRegistered when a schema is missing."""
    wanted = list(_versions(topics))
    with ThreadPoolExecutor(LOOK_UPS_AT_ONCE) as several:
        ids = list(several.map(lambda each: registry.lookup(each.subject, each.schema), wanted))
    registered = Registered()
    for each, found in zip(wanted, ids, strict=True):
        if found is None:
            raise NotRegistered(
                f"{each.subject} is not in the registry; npp schemas register does it"
            )
        registered.add(each.topic, each.record, each.subject, found, each.schema)
    return registered


def open_codec(
    registry: str | Registry, topics: TopicsFile, ids_lock: Path | None, options: Options
) -> Codec:
    """The codec over `registry` (a URL, or one in the process), ids compared with `ids_lock`.

    Raises RegistryDown, NotRegistered, Incompatible, IdsChanged.
    """
    if isinstance(registry, str):
        registry = HttpRegistry(registry, user_info=options.user_info)
    registered = None
    if ids_lock is not None and not options.register:
        registered = pinned(ids_lock, _versions(topics), registry)
    if registered is None:
        registered = (register_all if options.register else look_up_all)(registry, topics)
        if ids_lock is not None:
            check_lock(ids_lock, registered, registry)
    return build(registry, topics, registered, options.monotonic_seconds)


def static_codec(topics: TopicsFile | None = None, backend: CodecBackend | None = None) -> Codec:
    """A codec over a registry in memory: for tests without a broker. Ids are from 1 on."""
    topics = topics or catalogue.load()
    registry = StaticRegistry()
    return build(registry, topics, register_all(registry, topics), lambda: 0.0, backend)


def build(
    registry: Registry,
    topics: TopicsFile,
    registered: Registered,
    monotonic_seconds: Callable[[], float],
    backend: CodecBackend | None = None,
) -> Codec:
    """The codec of everything that is registered."""
    backend = backend or own_backend()
    by_topic = {
        topic.name: _topic_codec(topic, topics.record_bytes_max(topic.name), registered, backend)
        for topic in topics.topics
        if topic.record_names()
    }
    names = {topic.name: frozenset(topic.record_names()) for topic in topics.topics}
    return Codec(by_topic, ForeignReader(registry, names, backend, monotonic_seconds))


def _subjects(topics: TopicsFile) -> Iterator[tuple[Topic, str, str]]:
    for topic in topics.topics:
        for name in topic.record_names():
            yield topic, name, subject(topic.name, full_name(definitions.current(name)))


def _versions(topics: TopicsFile) -> Iterator[Version]:
    for topic, name, where in _subjects(topics):
        for schema in definitions.all_versions(name):
            yield Version(topic.name, name, where, schema)


def _topic_codec(
    topic: Topic, value_bytes: int, registered: Registered, backend: CodecBackend
) -> TopicCodec:
    encoders: dict[type, Encoder] = {}
    by_id: dict[tuple[type, int], Encoder] = {}
    decoders: dict[bytes, Decoder] = {}
    ids: dict[str, int] = {}
    for entry in registered.on_topic(topic.name):
        struct = RECORD_BY_NAME[entry.record]
        shape = shape_of(struct, entry.schema)
        prefix = wire.prefix(entry.schema_id)
        encoder = backend.encoder(shape, prefix)
        by_id[struct, entry.schema_id] = encoder
        decoders[prefix] = decoder_of(entry.record, entry.schema, backend)
        encoders[struct] = encoder  # versions come oldest first: the current one stays
        ids[entry.record] = entry.schema_id
    return TopicCodec(topic.name, encoders, by_id, decoders, ids, value_bytes)
