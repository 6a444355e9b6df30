"""Schemas that do not ship with the code: looked up once in the registry, within a bounded cache.

A schema is accepted if its record belongs on the topic and Avro resolves it to our version. Records
of any other are for quarantine.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import fastavro

from schemas import definitions
from schemas.catalogue import RECORD_BY_NAME
from schemas.codec import CodecBackend, Decoder, strict_validation
from schemas.codec.fastavro_backend import resolving_decoder
from schemas.codec.mapping import UPCASTERS
from schemas.codec.shape import Json, full_name, shape_of
from schemas.codec.wire import SchemaName
from schemas.errors import Undecodable
from schemas.registry.client import Registry
from schemas.registry.compatibility import unreadable

K = TypeVar("K")
V = TypeVar("V")

ANSWERS_KEPT: Final = 1_024
REFUSAL_KEPT_SECONDS: Final = 60.0  # an id that is unknown now may be registered later
SCHEMA_CHARACTERS_MAX: Final = 200_000
TOO_LARGE: Final = "a schema that is nested too deep or too large"


def decoder_of(record: str, schema: Json, backend: CodecBackend) -> Decoder:
    """The decoder for a version of `record` that ships with the code."""
    struct = RECORD_BY_NAME[record]
    if record in UPCASTERS and schema != definitions.current(record):
        return resolving_decoder(struct, schema)
    return backend.decoder(shape_of(struct, schema))


class ForeignReader:
    """Decoders for schema names that the topic's own table does not have.

    The clock is monotonic seconds. A registry that is down is asked again at the next record.
    """

    def __init__(
        self,
        registry: Registry,
        records: Mapping[str, frozenset[str]],
        backend: CodecBackend,
        monotonic_seconds: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._records = records
        self._backend = backend
        self._now = monotonic_seconds
        self._answers: OrderedDict[tuple[str, SchemaName], Decoder] = OrderedDict()
        self._refusals: OrderedDict[tuple[str, SchemaName], tuple[float, str]] = OrderedDict()

    def decoder(self, topic: str, name: SchemaName) -> Decoder:
        """Raises Undecodable or RegistryDown."""
        key = (topic, name)
        known = self._answers.get(key)
        if known is not None:
            return known
        refused = self._refusals.get(key)
        if refused is not None and refused[0] > self._now():
            raise Undecodable(refused[1])
        try:
            decoder = self._found(topic, name)
        except Undecodable as error:
            _keep(self._refusals, key, (self._now() + REFUSAL_KEPT_SECONDS, error.reason))
            raise
        _keep(self._answers, key, decoder)
        return decoder

    def _found(self, topic: str, name: SchemaName) -> Decoder:
        by_id = isinstance(name, int)
        schema = (
            self._registry.by_id(name) if isinstance(name, int) else self._registry.by_guid(name)
        )
        if schema is None:
            raise Undecodable("unknown schema id" if by_id else "unknown schema GUID")
        try:
            characters = len(definitions.canonical(schema))
        except RecursionError:
            raise Undecodable(TOO_LARGE) from None
        if characters > SCHEMA_CHARACTERS_MAX:
            raise Undecodable(TOO_LARGE)
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise Undecodable("a schema that is no record")
        return self._reader_of(topic, schema)

    def _reader_of(self, topic: str, schema: Json) -> Decoder:
        record = str(schema.get("name", "")).rpartition(".")[2]
        if record not in self._records[topic] or full_name(schema) != full_name(
            definitions.current(record)
        ):
            raise Undecodable("a record that does not belong on this topic")
        for version in definitions.all_versions(record):
            if schema == version:
                return decoder_of(record, version, self._backend)
        strict_validation.check_schema(schema)
        for _ in unreadable(definitions.current(record), schema):
            raise Undecodable("a schema that cannot be read as ours")
        try:
            return resolving_decoder(RECORD_BY_NAME[record], schema)
        except fastavro.schema.SchemaParseException:
            raise Undecodable("a schema that is none") from None


def _keep(cache: OrderedDict[K, V], key: K, value: V) -> None:
    cache[key] = value
    if len(cache) > ANSWERS_KEPT:
        cache.popitem(last=False)
