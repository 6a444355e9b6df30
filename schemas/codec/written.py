"""The schemas that raw bytes were written with, by the id in the bytes.

`ids.lock` pins the schema of an id. Schemas that ship with the code need no registry. Any other is
fetched once, and refused if `ids.lock` pins another one for its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas import definitions
from schemas.catalogue import RECORD_BY_NAME
from schemas.codec.shape import Json
from schemas.errors import Undecodable
from schemas.registry.client import Registry

ASKED_COUNT_MAX: Final = 1_024


class WrittenSchemas:
    """Schema by id. `fingerprints` as in `ids.lock`: id → SHA-256 of the canonical text."""

    def __init__(self, fingerprints: Mapping[int, str], registry: Registry | None = None) -> None:
        self._fingerprints = dict(fingerprints)
        self._registry = registry
        shipped = (each for name in RECORD_BY_NAME for each in definitions.all_versions(name))
        self._known = {definitions.fingerprint(each): each for each in shipped}
        self._requested: dict[int, Json] = {}

    def schema(self, schema_id: int) -> Json:
        """Raises Undecodable if it is unknown, RegistryDown if it must be fetched."""
        fingerprint = self._fingerprints.get(schema_id)
        if fingerprint in self._known:
            return self._known[fingerprint]
        if schema_id not in self._requested:
            found = None if self._registry is None else self._registry.by_id(schema_id)
            if found is None or fingerprint not in (None, definitions.fingerprint(found)):
                raise Undecodable(f"schema {schema_id} is not known under that id")
            if len(self._requested) >= ASKED_COUNT_MAX:
                self._requested.clear()
            self._requested[schema_id] = found
        return self._requested[schema_id]
