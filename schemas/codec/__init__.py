"""Bytes on a topic ↔ the structs of `core`: the one interface, and the codec over a backend.

Reading has three outcomes: the record; `Undecodable`, permanently; `RegistryDown`, temporarily.
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


class CodecBackend(Protocol):
    """Makes the functions for one shape. No other module knows which backend is used."""

    name: str

    def encoder(self, shape: Shape, prefix: bytes) -> Encoder:
        """A function struct → prefix and datum. It raises AttributeError, TypeError, ValueError or
        OverflowError for a struct that does not fit.
        """

    def decoder(self, shape: Shape) -> Decoder:
        """A function (value, offset of the datum) → struct.

        It raises Undecodable, IndexError (truncated) or UnicodeDecodeError, and nothing else.
        """


class TopicCodec(msgspec.Struct, frozen=True):
    """What one topic carries: encoders by struct, readers by the five bytes before the datum.

    `value_bytes` is the largest record that the topic takes. Every record up to that size is read,
    so that core can answer an over-long field with an outcome (domain §5).
    """

    name: str
    encoders: dict[type, Encoder]
    encoders_by_id: dict[tuple[type, int], Encoder]
    decoders: dict[bytes, Decoder]
    ids: dict[str, int]
    value_bytes: int


class Foreign(Protocol):
    """Makes decoders for schemas that do not ship with the code."""

    def decoder(self, topic: str, name: SchemaName) -> Decoder:
        """Raises Undecodable or RegistryDown."""


class Codec:
    """Encodes and decodes the records of all topics, with the registry's schema ids."""

    def __init__(self, topics: Mapping[str, TopicCodec], foreign: Foreign) -> None:
        self._topics = dict(topics)
        self._foreign = foreign

    def encode(self, topic: str, record: object) -> bytes:
        """The value to put on `topic`.

        Raises Unencodable when the record does not fit its schema or the topic's limits, KeyError
        when the topic does not carry this record type.
        """
        own = self._topics[topic]
        return _encoded(own, own.encoders[type(record)], record)

    def encode_as(self, topic: str, record: object, schema_id: int) -> bytes:
        """As `encode`, in the version that `schema_id` names: what a replay compares bytes with."""
        own = self._topics[topic]
        return _encoded(own, own.encoders_by_id[type(record), schema_id], record)

    def decode(self, topic: str, value: bytes | None, headers: Headers | None = None) -> Any:
        """The record in `value`. Raises Undecodable or RegistryDown; KeyError: undeclared topic."""
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
        """The decoder and the offset of the datum, if a header names the schema or its first bytes
        are not in the topic's table. Raises Undecodable or RegistryDown.
        """
        name, at = wire.split(value, headers)
        if isinstance(name, int):
            known = own.decoders.get(wire.prefix(name))
            if known is not None:
                return known, at
        return self._foreign.decoder(own.name, name), at

    def schema_id(self, topic: str, record_name: str) -> int:
        """Id under which this record type is written to `topic` now. Raises KeyError."""
        return self._topics[topic].ids[record_name]


def _encoded(own: TopicCodec, encoder: Encoder, record: object) -> bytes:
    try:
        value = encoder(record)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise Unencodable(f"{type(record).__name__}: {type(error).__name__}") from error
    if len(value) > own.value_bytes:
        raise Unencodable(f"{type(record).__name__}: more than {own.value_bytes} bytes")
    return value
