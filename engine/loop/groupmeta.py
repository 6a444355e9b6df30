"""Reads the generation and the member id from the client's group metadata.

The client provides them only as an opaque string in its own format: `CGMDv2:`, generation as int32
little-endian, then group id and member id, each ended by NUL. Any other format is refused; a test
pins it to the client's version.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

MAGIC: Final = b"CGMDv2:"
_HEADER: Final = struct.Struct("<7si")


class GroupMetadata(NamedTuple):
    """Membership when the metadata was read."""

    generation: int
    member_id: str

    @property
    def is_member(self) -> bool:
        """False: a broker would accept a commit with this unfenced, so it must never be used."""
        return self.generation >= 0 and bool(self.member_id)


class UnknownFormat(Exception):
    """The client's format has changed; a commit might be unfenced."""


def parse(raw: object) -> GroupMetadata:
    """Raises UnknownFormat for anything but exactly the pinned format."""
    if not isinstance(raw, bytes) or len(raw) < _HEADER.size or not raw.startswith(MAGIC):
        raise UnknownFormat(f"group metadata is not {MAGIC!r}")
    generation = _HEADER.unpack_from(raw)[1]
    parts = raw[_HEADER.size :].split(b"\x00", 2)
    if len(parts) != 3:
        raise UnknownFormat("group metadata has no member id")
    return GroupMetadata(generation, parts[1].decode())
