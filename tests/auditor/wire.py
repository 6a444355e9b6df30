"""The auditor's own decoding: prefix, Avro, ids. Uses fastavro and the schemas only."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

import fastavro

PREFIX_BYTES = 5


class Unreadable(ValueError):
    """These bytes are no record of a known schema."""


class Decoder:
    """Magic byte 0, schema id as big-endian 32-bit number, Avro binary, and nothing after it."""

    def __init__(self, schemas: dict[int, dict[str, Any]]) -> None:
        self._schemas = schemas
        self._parsed: dict[int, Any] = {}
        self._known: dict[bytes, tuple[str, dict[str, Any]]] = {}

    def decode(self, value: bytes | None) -> tuple[str, dict[str, Any]]:
        """(record name, fields); the fields must not be changed. Raises Unreadable."""
        if value in self._known:
            return self._known[value]
        if value is None or len(value) < PREFIX_BYTES or value[0] != 0:
            raise Unreadable("no wire prefix")
        number = int.from_bytes(value[1:PREFIX_BYTES], "big")
        if number not in self._schemas:
            raise Unreadable(f"unknown schema id {number}")
        stream = io.BytesIO(value[PREFIX_BYTES:])
        try:
            fields: Any = fastavro.schemaless_reader(stream, self._schema(number), None)
        except Exception as error:
            raise Unreadable(f"not Avro of schema {number}: {error!r}") from error
        if stream.read(1):
            raise Unreadable("bytes behind the record")
        name = self._schemas[number]["name"].rpartition(".")[2]
        self._known[value] = (name, fields)
        return name, fields

    def encode_again(self, value: bytes, changes: dict[str, Any]) -> bytes:
        """The Avro bytes (no prefix) of the record with some fields changed."""
        number = int.from_bytes(value[1:PREFIX_BYTES], "big")
        _, fields = self.decode(value)
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._schema(number), fields | changes)
        return out.getvalue()

    def _schema(self, number: int) -> Any:
        if number not in self._parsed:
            self._parsed[number] = fastavro.parse_schema(self._schemas[number], named_schemas={})
        return self._parsed[number]


def sha256(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


def payment_of(source: str, key: str) -> str:
    """The payment id that `source` and `key` must give."""
    digest = hashlib.sha256(f"{source}\x00{key}".encode()).digest()[:16]
    return f"pi_{base64.b32encode(digest).decode().lower().replace('=', '')}"


def reference_of(payment: str, attempt: int) -> str:
    return f"N{payment.removeprefix('pi_').upper()}{attempt:03d}"


def payment_of_reference(reference: str) -> str:
    return "pi_" + reference[1:27].lower()


def merkle_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as written there: split at the largest power of two below n."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\x01" + merkle_root(leaves[:split]) + merkle_root(leaves[split:]))


def murmur2_partition(key: bytes, partitions: int) -> int:
    """The partition of a key as Kafka's Java client computes it."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(key)) & mask
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    tail = key[whole:]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return ((h ^ (h >> 15)) & 0x7FFFFFFF) % partitions
