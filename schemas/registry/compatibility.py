"""Which schema can read what another wrote, by Avro's own resolution rules."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final

from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.errors import AvroException
from avro.schema import parse

from schemas.codec.shape import Json

COMPATIBLE: Final = SchemaCompatibilityType.compatible


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


def unreadable(reader: Json, writer: Json) -> list[str]:
    """Why data of schema `writer` cannot be read with schema `reader`; nothing when it can."""
    try:
        reads, writes = parse(json.dumps(reader)), parse(json.dumps(writer))
    except (AvroException, RecursionError) as error:
        return [f"not a schema: {error}"]
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # it takes nothing
    result = checker.get_compatibility(reads, writes)
    if result.compatibility is COMPATIBLE:
        return []
    kinds = ", ".join(sorted({each.value for each in result.incompatibilities}))
    where = ", ".join(sorted(result.locations))
    return [f"{kinds} at {where}: {'; '.join(sorted(result.messages))}"]
