"""Removes from recorded values what no packer can shrink: the SHA-256 of other recorded values.

Events name the previous event and their input by hash, outcomes their input, lifecycle records
their last event. Such 32 bytes are cut out and replaced by the number of the hashed record;
`restore` computes them again. Other bytes stay, so nothing is lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

HASH_BYTES: Final = 32

Cut = tuple[int, int]
"""The position in the value, and the number of the record whose hash was there."""


class Hashes:
    """Values in one fixed order, numbered from 0: a cut refers to an earlier one only."""

    def __init__(self) -> None:
        self._number: dict[bytes, int] = {}
        self._hashes: list[bytes] = []

    def cut(self, value: bytes) -> tuple[bytes, list[Cut]]:
        """The value without the hashes of earlier values, and their positions."""
        rest, cuts, start = bytearray(), [], 0
        for at, number in self._found(value):
            rest += value[start:at]
            cuts.append((at, number))
            start = at + HASH_BYTES
        rest += value[start:]
        self._add(value)
        return bytes(rest), cuts

    def restore(self, rest: bytes, cuts: Sequence[Cut]) -> bytes:
        """The original value."""
        value, start = bytearray(), 0
        for at, number in cuts:
            more = at - len(value)
            value += rest[start : start + more] + self._hashes[number]
            start += more
        value += rest[start:]
        whole = bytes(value)
        self._add(whole)
        return whole

    def skip(self) -> None:
        """A record without a value uses up its number."""
        self._hashes.append(b"")

    def _found(self, value: bytes) -> Iterator[Cut]:
        at = 0
        while at <= len(value) - HASH_BYTES:
            number = self._number.get(value[at : at + HASH_BYTES])
            if number is None:
                at += 1
            else:
                yield at, number
                at += HASH_BYTES

    def _add(self, value: bytes) -> None:
        digest = hashlib.sha256(value).digest()
        self._number.setdefault(digest, len(self._hashes))
        self._hashes.append(digest)
