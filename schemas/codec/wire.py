"""The Confluent wire format: which schema wrote these bytes, and where the Avro datum starts.

We write the payload form: 0x00, schema id as four bytes big-endian, datum. We also read the forms
of newer serializers: 0x01 and a 16-byte GUID, in the payload or in the header `__value_schema_id`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.errors import Undecodable

ID_MAGIC: Final = 0
GUID_MAGIC: Final = 1
ID_FORM_BYTES: Final = 5
GUID_FORM_BYTES: Final = 17
SCHEMA_ID_MAX: Final = 0xFFFF_FFFF
VALUE_SCHEMA_ID_HEADER: Final = "__value_schema_id"

Headers = Sequence[tuple[str, bytes | None]]
SchemaName = int | bytes
"""How a record names its writer's schema: the id, or the 16 bytes of the GUID."""


def prefix(schema_id: int) -> bytes:
    """The five bytes before a datum. Raises ValueError outside 0..2^32-1."""
    if not 0 <= schema_id <= SCHEMA_ID_MAX:
        raise ValueError(f"{schema_id} is no schema id")
    return b"\0" + schema_id.to_bytes(4, "big")


def schema_id(value: bytes) -> int:
    """Id in a value of the payload form. Raises Undecodable."""
    name, _ = split(value, None)
    if isinstance(name, bytes):
        raise Undecodable("schema named by GUID, not by id")
    return name


def split(value: bytes | None, headers: Headers | None) -> tuple[SchemaName, int]:
    """The writer's schema and the offset of the datum in `value`. Raises Undecodable.

    A header takes precedence over the payload, as in Confluent's own deserializer.
    """
    if value is None:
        raise Undecodable("no value")
    if headers:
        for name, content in headers:
            if name == VALUE_SCHEMA_ID_HEADER:
                schema_name, end = _schema_name(content or b"", "schema id header")
                if content is None or end != len(content):
                    raise Undecodable("schema id header has another length than its form")
                return schema_name, 0
    return _schema_name(value, "value")


def _schema_name(content: bytes, what: str) -> tuple[SchemaName, int]:
    if len(content) < ID_FORM_BYTES:
        raise Undecodable(f"{what} too short")
    if content[0] == ID_MAGIC:
        return int.from_bytes(content[1:ID_FORM_BYTES], "big"), ID_FORM_BYTES
    if content[0] == GUID_MAGIC:
        if len(content) < GUID_FORM_BYTES:
            raise Undecodable(f"{what} too short")
        return content[1:GUID_FORM_BYTES], GUID_FORM_BYTES
    raise Undecodable(f"{what} begins with magic byte {content[0]}")
