"""fastavro: a backend of the codec, and the reader of what an unknown but compatible schema wrote.

fastavro accepts some malformed bytes, so schemas.codec.strict_validation checks them first.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import fastavro

from schemas import definitions
from schemas.codec import Decoder, Encoder, strict_validation
from schemas.codec.mapping import UPCASTERS, datum_writer, struct_reader
from schemas.codec.shape import Json, Shape, shape_of
from schemas.errors import Undecodable


class FastavroBackend:
    """Encoders and decoders through fastavro's schemaless writer and reader."""

    name = "fastavro"

    def encoder(self, shape: Shape, prefix: bytes) -> Encoder:
        schema = fastavro.parse_schema(shape.schema)
        to_datum = datum_writer(shape)
        write = fastavro.schemaless_writer

        def encode(record: Any) -> bytes:
            out = io.BytesIO()
            write(out, schema, to_datum(record))
            return prefix + out.getvalue()

        return encode

    def decoder(self, shape: Shape) -> Decoder:
        to_struct = struct_reader(shape)
        return _reading(shape.schema, shape.schema, to_struct)


def resolving_decoder(struct: type, writer: Json) -> Decoder:
    """Reads what schema `writer` wrote as the current version of `struct`. `writer` was checked."""
    reader = definitions.current(struct.__name__)
    to_struct = struct_reader(shape_of(struct, reader))
    upcast = UPCASTERS.get(struct.__name__)
    if upcast is None:
        return _reading(writer, reader, to_struct)
    return _reading(writer, reader, lambda datum: to_struct(upcast(datum)))


def _reading(writer: Json, reader: Json, to_struct: Callable[[Any], Any]) -> Decoder:
    parsed_writer = fastavro.parse_schema(writer)
    parsed_reader = None if writer == reader else fastavro.parse_schema(reader)
    read = fastavro.schemaless_reader

    def decode(value: bytes, at: int) -> Any:
        strict_validation.check_datum(writer, value, at)
        try:
            datum = read(io.BytesIO(value[at:]), parsed_writer, parsed_reader)
        except (fastavro.read.SchemaResolutionError, EOFError, ValueError) as error:
            raise Undecodable(
                f"not readable as the current schema: {type(error).__name__}"
            ) from None
        return to_struct(datum)

    return decode
