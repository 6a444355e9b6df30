"""Text that a database cannot hold, made into text that it can, and back: the same comes out.

PostgreSQL refuses NUL, both refuse lone surrogates. Such text reaches us only in records that came
from outside (quarantine, audit). Each such character becomes SUB and its four hexadecimal digits.
"""

from __future__ import annotations

import re
from typing import Final

SUB: Final = "\x1a"
_UNSAFE: Final = re.compile("[\x00\x1a\ud800-\udfff]")
_ESCAPED: Final = re.compile("\x1a([0-9a-f]{4})")


def to_stored(value: str) -> str:
    """What is stored and searched for; the same text for nearly every value."""
    if value.isprintable():  # none of ours is: the quick way for identifiers
        return value
    return _UNSAFE.sub(lambda found: f"{SUB}{ord(found[0]):04x}", value)


def from_stored(value: str) -> str:
    """The inverse of `to_stored`."""
    if SUB not in value:
        return value
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)
