"""The schema registry of a recorded history: its schemas under the ids in its bytes."""

from __future__ import annotations

from collections.abc import Sequence

from schemas import catalogue, definitions
from schemas.codec import Codec
from schemas.codec.shape import Json
from schemas.registry import setup
from schemas.registry.client import guid_of
from tests.histories.file import Schema


class RecordedRegistry:
    """A Registry over recorded ids. Today's further schemas get the next numbers."""

    def __init__(self, schemas: Sequence[Schema]) -> None:
        self._schemas = {each.id: each.schema for each in schemas}
        self._ids = {definitions.canonical(each.schema): each.id for each in schemas}

    def register(self, subject: str, schema: Json) -> int:
        text = definitions.canonical(schema)
        if text not in self._ids:
            self._ids[text] = max(self._schemas, default=0) + 1
            self._schemas[self._ids[text]] = schema
        return self._ids[text]

    def lookup(self, subject: str, schema: Json) -> int | None:
        return self._ids.get(definitions.canonical(schema))

    def by_id(self, schema_id: int) -> Json | None:
        return self._schemas.get(schema_id)

    def by_guid(self, guid: bytes) -> Json | None:
        return next((each for each in self._schemas.values() if guid_of(each) == guid), None)

    def set_compatibility(self, subject: str, level: str) -> None:
        """Nothing is refused here."""

    def compatible(self, subject: str, schema: Json) -> bool:
        return True


def codec_of(schemas: Sequence[Schema]) -> Codec:
    """Today's codec over the recorded ids."""
    registry, topics = RecordedRegistry(schemas), catalogue.load()
    return setup.build(registry, topics, setup.register_all(registry, topics), lambda: 0.0)
