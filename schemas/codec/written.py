"""The schemas that raw bytes were written with, by the id in the bytes.

An id's meaning is pinned by `ids.lock`. Schemas that ship with the code need no registry; one that
does not is asked for once, and taken only when it is the one that is pinned.
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
        self._asked: dict[int, Json] = {}

    def schema(self, schema_id: int) -> Json:
        """Raises Undecodable when nobody knows it, RegistryDown when it must be asked for."""
        fingerprint = self._fingerprints.get(schema_id)
        if fingerprint in self._known:
            return self._known[fingerprint]
        if schema_id not in self._asked:
            found = None if self._registry is None else self._registry.by_id(schema_id)
            if found is None or fingerprint not in (None, definitions.fingerprint(found)):
                raise Undecodable(f"schema {schema_id} is not known under that id")
            if len(self._asked) >= ASKED_COUNT_MAX:
                self._asked.clear()
            self._asked[schema_id] = found
        return self._asked[schema_id]
