"""Bytes on a topic ↔ the structs of `core`: the one interface, and the codec over a backend.

Reading has three outcomes: the record; `Undecodable`, for ever; `RegistryDown`, for now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from schemas.codec import wire
from schemas.codec.shape import Shape
from schemas.codec.wire import ID_FORM_BYTES, Headers, SchemaName
from schemas.errors import Undecodable, Unencodable

Encoder = Callable[[Any], bytes]
Decoder = Callable[[bytes, int], Any]


class Codec(Protocol):
    """Everybody's way between bytes and records."""

    def encode(self, topic: str, record: object) -> bytes:
        """The value to put on `topic`.

        Raises Unencodable when the record does not fit its schema or the topic's limits, KeyError
        when the topic does not carry this record type.
        """

    def encode_as(self, topic: str, record: object, schema_id: int) -> bytes:
        """As `encode`, in the version that `schema_id` names: what a replay compares bytes with."""

    def decode(self, topic: str, value: bytes | None, headers: Headers | None = None) -> Any:
        """The record in `value`. Raises Undecodable or RegistryDown; KeyError: undeclared topic."""

    def schema_id(self, topic: str, record_name: str) -> int:
        """Id under which this record type is written to `topic` now. Raises KeyError."""


class CodecBackend(Protocol):
    """Makes the functions for one shape. Which backend is used nobody else knows."""

    name: str

    def encoder(self, shape: Shape, prefix: bytes) -> Encoder:
        """struct → prefix and datum. Whatever it raises means: the struct does not fit."""

    def decoder(self, shape: Shape) -> Decoder:
        """(value, offset of the datum) → struct.

        Raises Undecodable, IndexError (cut off) or UnicodeDecodeError, and nothing else.
        """


class TopicCodec(msgspec.Struct, frozen=True):
    """What one topic carries: encoders by struct, readers by the five bytes before the datum.

    `value_bytes` is the largest record that the topic takes. Within it everything is read, so that
    an over-long field is answered by core and not set aside without a word (domain §5).
    """

    name: str
    encoders: Mapping[type, Encoder]
    encoders_by_id: Mapping[tuple[type, int], Encoder]
    decoders: Mapping[bytes, Decoder]
    ids: Mapping[str, int]
    value_bytes: int


class Foreign(Protocol):
    """Finds a way to read what an unknown schema wrote."""

    def decoder(self, topic: str, name: SchemaName) -> Decoder:
        """Raises Undecodable or RegistryDown."""


class SchemaCodec:
    """The codec over the topics' schemas as the registry numbers them."""

    def __init__(self, topics: Mapping[str, TopicCodec], foreign: Foreign) -> None:
        self._topics = dict(topics)
        self._foreign = foreign

    def encode(self, topic: str, record: object) -> bytes:
        own = self._topics[topic]
        return _encoded(own, own.encoders[type(record)], record)

    def encode_as(self, topic: str, record: object, schema_id: int) -> bytes:
        own = self._topics[topic]
        return _encoded(own, own.encoders_by_id[type(record), schema_id], record)

    def decode(self, topic: str, value: bytes | None, headers: Headers | None = None) -> Any:
        own = self._topics[topic]
        decoder = own.decoders.get(value[:ID_FORM_BYTES]) if value and not headers else None
        at = ID_FORM_BYTES
        if decoder is None:
            decoder, at = self._slowly(own, value, headers)
        assert value is not None
        if len(value) > own.value_bytes:
            raise Undecodable(f"more than {own.value_bytes} bytes")
        try:
            return decoder(value, at)
        except IndexError:
            raise Undecodable("truncated") from None
        except UnicodeDecodeError:
            raise Undecodable("text that is not UTF-8") from None

    def _slowly(
        self, own: TopicCodec, value: bytes | None, headers: Headers | None
    ) -> tuple[Decoder, int]:
        """The decoder and the offset of the datum, where a header or the registry has a say."""
        name, at = wire.split(value, headers)
        if isinstance(name, int):
            known = own.decoders.get(wire.prefix(name))
            if known is not None:
                return known, at
        return self._foreign.decoder(own.name, name), at

    def schema_id(self, topic: str, record_name: str) -> int:
        return self._topics[topic].ids[record_name]


def _encoded(own: TopicCodec, encoder: Encoder, record: object) -> bytes:
    try:
        value = encoder(record)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise Unencodable(f"{type(record).__name__}: {type(error).__name__}") from error
    if len(value) > own.value_bytes:
        raise Unencodable(f"{type(record).__name__}: more than {own.value_bytes} bytes")
    return value
