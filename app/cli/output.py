"""What people and programs are shown: records as JSON without party details, times, tables.

Text from outside stays text on a terminal: it moves no cursor, hides nothing and has no markup.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from rich.console import Console
from rich.text import Text

from core.declared import camel_case, is_record
from core.values import Sealed
from engine.clock import MS_PER_S

HIDDEN_FIELDS: Final = frozenset({"customer_id", "snapshot"})
PIPE_COLUMNS: Final = 220
TIME_FIELD: Final = re.compile(r"(_at|_after|_until|_time|^deadline)$")  # epoch ms in a record


# Cc: control characters; Cs: lone surrogates; Zl, Zp: further ends of lines.
_ACTIVE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Of these JSON escapes only the controls below 0x20 by itself.
_JSON_ACTIVE: Final = re.compile("[\\x7f-\\x9f\\u2028\\u2029" + "".join(sorted(_BIDI)) + "]")


def _json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def inert(text: str) -> str:
    """The text with what acts on a terminal written as its escape, such as `\\x1b` or `\\u202e`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each.encode("unicode_escape").decode()
        if each in _BIDI or unicodedata.category(each) in _ACTIVE
        else each
        for each in text
    )


class InertConsole(Console):
    """Prints strings, alone and in tables, as they are: one line each, without markup or emoji."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(inert(text), **{**options, "markup": False, "emoji": False})


def console() -> Console:
    """Standard output for people; wide where it goes into a file or a pipe."""
    width = None if sys.stdout.isatty() else PIPE_COLUMNS
    return InertConsole(highlight=False, soft_wrap=True, width=width)


def error_console() -> Console:
    """Standard error for people."""
    return InertConsole(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any, *, indent: bool = True) -> None:
    """One JSON document on standard output; what acts on a terminal is escaped in its texts."""
    option = orjson.OPT_INDENT_2 if indent else 0
    text = orjson.dumps(value, option=option | orjson.OPT_NON_STR_KEYS).decode()
    sys.stdout.write(_JSON_ACTIVE.sub(_json_escape, text) + "\n")
    sys.stdout.flush()


def as_json(record: Any) -> Any:
    """A record as plain values, fields in camelCase, times as ISO 8601. Party details and customers
    are left out.
    """
    if isinstance(record, Sealed):
        return {"scheme": record.scheme, "hidden": f"{len(record.bytes)} bytes"}
    if is_record(record):
        return {
            camel_case(name): _field_as_json(name, getattr(record, name))
            for name in record.__struct_fields__
            if name not in HIDDEN_FIELDS
        }
    if isinstance(record, bytes):
        return record.hex()
    if isinstance(record, Mapping):
        return {str(key): as_json(value) for key, value in record.items()}
    if isinstance(record, str):
        return str(record)
    if isinstance(record, Sequence):
        return [as_json(each) for each in record]
    return record


def _field_as_json(name: str, value: Any) -> Any:
    if isinstance(value, int) and TIME_FIELD.search(name):
        return time_of(value)
    return as_json(value)


def time_of(epoch_ms: int) -> str:
    """Epoch milliseconds as ISO 8601 in UTC, to the millisecond; the number where no calendar has
    such a day.
    """
    try:
        stamp = datetime.fromtimestamp(epoch_ms // MS_PER_S, UTC)
    except (ValueError, OverflowError, OSError):
        return str(epoch_ms)
    return f"{stamp:%Y-%m-%dT%H:%M:%S}.{epoch_ms % MS_PER_S:03d}Z"
