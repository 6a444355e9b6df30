"""Cursors of lists: the key of a page's last row, opaque to clients."""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from readmodel.database.texts import from_stored, to_stored

CHARACTERS_MAX: Final = 2_000  # three ids of 256 characters, escaped and in base64
_INTEGER_LIMIT: Final = 2**63

Key = tuple[int | str, ...]


def to_cursor(list_name: str, key: Key) -> str:
    parts = [to_stored(part) if isinstance(part, str) else part for part in key]
    packed = msgspec.json.encode([list_name, *parts])
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def from_cursor(list_name: str, kinds: tuple[type, ...], cursor: str) -> Key:
    """The key of a cursor that `to_cursor` made for the same list, its texts as they are stored.
    Raises ValueError for anything else.
    """
    if len(cursor) > CHARACTERS_MAX:
        raise ValueError("the cursor is broken")
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        name, *key = msgspec.json.decode(packed, type=list[int | str])
    except (binascii.Error, UnicodeError, ValueError, msgspec.DecodeError) as broken:
        raise ValueError("the cursor is broken") from broken
    if name != list_name:
        raise ValueError("the cursor belongs to another list")
    if [type(part) for part in key] != list(kinds):
        raise ValueError("the cursor is broken")
    if any(isinstance(part, int) and not -_INTEGER_LIMIT <= part < _INTEGER_LIMIT for part in key):
        raise ValueError("the cursor is broken")
    return tuple(to_stored(from_stored(part)) if isinstance(part, str) else part for part in key)
