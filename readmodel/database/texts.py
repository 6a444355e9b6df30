"""Escapes text that a database cannot store, and restores it.

PostgreSQL refuses NUL, both databases refuse lone surrogates. Such text comes only in records from
outside (quarantine, audit). Each such character becomes SUB and its four hexadecimal digits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

SUB: Final = "\x1a"
_UNSAFE: Final = re.compile("[\x00\x1a\ud800-\udfff]")
_ESCAPED: Final = re.compile("\x1a([0-9a-f]{4})")


def to_stored(value: str) -> str:
    """The text as it is stored and searched for; unchanged for nearly every value."""
    if value.isprintable():  # then nothing needs an escape: fast for identifiers
        return value
    return _UNSAFE.sub(lambda found: f"{SUB}{ord(found[0]):04x}", value)


def from_stored(value: str) -> str:
    """The inverse of `to_stored`."""
    if SUB not in value:
        return value
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)


def stored(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a statement, their texts as they are stored."""
    return {
        name: to_stored(value) if isinstance(value, str) else value
        for name, value in parameters.items()
    }
