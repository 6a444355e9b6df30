"""Which schema can read what another wrote, by Avro's resolution rules.

Stricter than Avro in one thing: a type may only widen from int to long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from schemas.codec.shape import Json, full_name

NAMED: Final = ("record", "fixed", "enum")
DEPTH_MAX: Final = 16


def problems(level: str, newer: Json, older: Iterable[Json]) -> Iterator[str]:
    """Why `newer` breaks compatibility `level` with any of `older`; nothing when it does not."""
    if level == "NONE":
        return
    for each in older:
        yield from (f"cannot read what was written: {why}" for why in unreadable(newer, each))
        if level == "FULL_TRANSITIVE":
            yield from (
                f"cannot be read by older readers: {why}" for why in unreadable(each, newer)
            )


def unreadable(reader: Json, writer: Json) -> Iterator[str]:
    """Why data of schema `writer` cannot be read with schema `reader`; nothing when it can."""
    return _Pair(_named(reader), _named(writer)).differences(reader, writer, "", 0)


def _named(schema: Json) -> dict[str, Json]:
    found: dict[str, Json] = {}
    _collect(schema, found)
    return found


def _collect(schema: Json, found: dict[str, Json]) -> None:
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch, found)
    elif isinstance(schema, dict):
        if schema.get("type") in NAMED:
            found[_short(schema)] = schema
        for field in schema.get("fields", ()):
            _collect(field["type"], found)
        for key in ("items", "values"):
            _collect(schema.get(key), found)


def _short(schema: Json) -> str:
    return full_name(schema).rpartition(".")[2]


def _kind(schema: Json) -> Any:
    while isinstance(schema, dict):
        schema = schema["type"]
    return schema


class _Pair:
    """A reader's and a writer's schema, compared place by place."""

    def __init__(self, reader_names: dict[str, Json], writer_names: dict[str, Json]) -> None:
        self.reader_names = reader_names
        self.writer_names = writer_names

    def differences(self, reader: Json, writer: Json, place: str, depth: int) -> Iterator[str]:
        if depth > DEPTH_MAX:
            yield f"{place}: nested deeper than {DEPTH_MAX}"
            return
        reader = _resolved(reader, self.reader_names)
        writer = _resolved(writer, self.writer_names)
        if isinstance(writer, list):
            for branch in writer:
                yield from self.differences(reader, branch, place, depth + 1)
            return
        if isinstance(reader, list):
            for branch in reader:
                if not any(self.differences(branch, writer, place, depth + 1)):
                    return
            yield f"{place}: no branch for {_kind(writer)}"
            return
        kind = _kind(reader)
        if kind != _kind(writer):
            if (kind, _kind(writer)) != ("long", "int"):
                yield f"{place}: {_kind(writer)} is not {kind}"
            return
        yield from self._same_kind(kind, reader, writer, place, depth)

    def _same_kind(
        self, kind: str, reader: Json, writer: Json, place: str, depth: int
    ) -> Iterator[str]:
        if kind in NAMED and _short(reader) != _short(writer):
            yield f"{place}: {_short(writer)} is not {_short(reader)}"
        elif kind == "record":
            yield from self._records(reader, writer, f"{place}{_short(reader)}.", depth)
        elif kind == "array":
            yield from self.differences(reader["items"], writer["items"], f"{place}[]", depth + 1)
        elif kind == "map":
            yield from self.differences(
                reader["values"], writer["values"], f"{place}{{}}", depth + 1
            )
        elif kind == "fixed" and reader["size"] != writer["size"]:
            yield f"{place}: fixed of {writer['size']} bytes is not {reader['size']}"
        elif kind == "enum" and not set(writer["symbols"]) <= set(reader["symbols"]):
            yield f"{place}: symbols are missing"

    def _records(self, reader: Json, writer: Json, place: str, depth: int) -> Iterator[str]:
        written = {field["name"]: field["type"] for field in writer["fields"]}
        for field in reader["fields"]:
            name = field["name"]
            if name in written:
                yield from self.differences(
                    field["type"], written[name], f"{place}{name}", depth + 1
                )
            elif "default" not in field:
                yield f"{place}{name} has no default and was not written"


def _resolved(schema: Json, names: dict[str, Json]) -> Json:
    if isinstance(schema, str):
        return names.get(schema.rpartition(".")[2], schema)
    return schema
