"""What people and programs are shown: records as JSON without party details, times, tables."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import orjson
from rich.console import Console

from core.values import Sealed

HIDDEN_FIELDS: Final = frozenset({"customer_id", "snapshot"})
PIPE_COLUMNS: Final = 220


def console() -> Console:
    """Standard output for people; wide where it goes into a file or a pipe."""
    width = None if sys.stdout.isatty() else PIPE_COLUMNS
    return Console(highlight=False, soft_wrap=True, width=width)


def print_json(value: Any, *, indent: bool = True) -> None:
    """One JSON document on standard output."""
    option = orjson.OPT_INDENT_2 if indent else 0
    sys.stdout.write(orjson.dumps(value, option=option | orjson.OPT_NON_STR_KEYS).decode() + "\n")
    sys.stdout.flush()


def as_json(record: Any) -> Any:
    """A record as plain values, fields in camelCase. Party details and customers are left out."""
    if isinstance(record, Sealed):
        return {"scheme": record.scheme, "hidden": f"{len(record.bytes)} bytes"}
    if isinstance(record, msgspec.Struct):
        return {
            camel(name): as_json(getattr(record, name))
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


def camel(name: str) -> str:
    """snake_case to camelCase: the names of the Avro schemas."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def time_of(epoch_ms: int | None) -> str:
    """Epoch milliseconds as UTC, to the millisecond."""
    if epoch_ms is None:
        return ""
    stamp = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return stamp.strftime("%Y-%m-%d %H:%M:%S.") + f"{epoch_ms % 1000:03d}Z"
