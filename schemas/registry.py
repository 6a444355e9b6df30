"""Schema registries: the real one over HTTP, and one in the process for tests without a broker."""

from __future__ import annotations

import json
import uuid
from typing import Any, Final, Protocol, cast

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.common._httpx_compat import httpx  # the client's own HTTP
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas import definitions
from schemas.errors import RegistryDown
from schemas.shape import Json

REQUEST_TIMEOUT_SECONDS: Final = 3
RETRIES_MAX: Final = 1
CONFLICT: Final = 409
UNPROCESSABLE: Final = 422
# What a registry answers about an id that it does not have, or a kind of id that it does not know.
NOT_FOUND: Final = (400, 404, 405)
REGISTRY_ID_MAX: Final = 2**31 - 1  # registries keep ids as signed 32-bit numbers


class Incompatible(Exception):
    """The registry refuses a schema: it breaks the compatibility of its subject."""


class Registry(Protocol):
    """Numbers schemas. The same schema has the same id under every subject.

    Every method raises RegistryDown when the registry does not answer.
    """

    def register(self, subject: str, schema: Json) -> int:
        """Id of the schema, registered under `subject` when it was not. Raises Incompatible."""

    def lookup(self, subject: str, schema: Json) -> int | None:
        """Id of the schema under `subject`, or None when it is not registered there."""

    def by_id(self, schema_id: int) -> Json | None:
        """The schema of that id, or None when there is none."""

    def by_guid(self, guid: bytes) -> Json | None:
        """The schema of that GUID, or None when there is none (or the registry has no GUIDs)."""

    def set_compatibility(self, subject: str, level: str) -> None:
        """Compatibility level of the subject, e.g. FULL_TRANSITIVE."""

    def compatible(self, subject: str, schema: Json) -> bool:
        """Whether the schema could be registered under `subject` now."""


class HttpRegistry:
    """A Confluent-compatible registry. `options`: further client settings (TLS, sign-in)."""

    def __init__(self, url: str, options: dict[str, Any] | None = None) -> None:
        settings = {
            "url": url,
            "timeout": REQUEST_TIMEOUT_SECONDS,
            "max.retries": RETRIES_MAX,
            **(options or {}),
        }
        self._client = SchemaRegistryClient(settings)

    def register(self, subject: str, schema: Json) -> int:
        return int(self._must(self._client.register_schema, subject, _avro(schema)))

    def lookup(self, subject: str, schema: Json) -> int | None:
        found = self._find(self._client.lookup_schema, subject, _avro(schema))
        return None if found is None else int(found.schema_id)

    def by_id(self, schema_id: int) -> Json | None:
        if schema_id > REGISTRY_ID_MAX:
            return None
        return _parsed(self._find(self._client.get_schema, schema_id))

    def by_guid(self, guid: bytes) -> Json | None:
        return _parsed(self._find(self._client.get_schema_by_guid, str(uuid.UUID(bytes=guid))))

    def set_compatibility(self, subject: str, level: str) -> None:
        self._must(self._client.set_compatibility, subject, level)

    def compatible(self, subject: str, schema: Json) -> bool:
        try:
            return bool(
                self._must(self._client.test_compatibility_all_versions, subject, _avro(schema))
            )
        except Incompatible:
            return False

    def _must(self, call: Any, *arguments: Any) -> Any:
        try:
            return self._ask(call, *arguments)
        except _NotFoundError as error:
            raise RegistryDown("registry does not know this request: is the URL right?") from error

    def _find(self, call: Any, *arguments: Any) -> Any | None:
        try:
            return self._ask(call, *arguments)
        except _NotFoundError:
            return None

    def _ask(self, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except SchemaRegistryError as error:
            status = int(error.http_status_code)
            if status in NOT_FOUND:
                raise _NotFoundError from error
            if status == CONFLICT:
                raise Incompatible(str(error.error_message)) from error
            if status == UNPROCESSABLE:
                raise
            raise RegistryDown(f"registry answers {status}") from error
        except (httpx.HTTPError, OSError, ValueError) as error:
            raise RegistryDown(f"registry: {type(error).__name__}") from error


class _NotFoundError(Exception):
    pass


class StaticRegistry:
    """A registry in memory: ids from 1 in the order of registration."""

    def __init__(self) -> None:
        self._schemas: dict[int, Json] = {}
        self._ids: dict[str, int] = {}
        self._subjects: dict[str, list[Json]] = {}
        self._levels: dict[str, str] = {}

    def register(self, subject: str, schema: Json) -> int:
        known = self._ids.get(definitions.canonical(schema))
        versions = self._subjects.get(subject, [])
        if known is None or schema not in versions:
            if not self.compatible(subject, schema):
                raise Incompatible(f"{subject}: breaks {self._levels[subject]}")
            self._subjects.setdefault(subject, []).append(schema)
        if known is None:
            known = len(self._schemas) + 1
            self._schemas[known] = schema
            self._ids[definitions.canonical(schema)] = known
        return known

    def lookup(self, subject: str, schema: Json) -> int | None:
        if schema not in self._subjects.get(subject, []):
            return None
        return self._ids[definitions.canonical(schema)]

    def by_id(self, schema_id: int) -> Json | None:
        return self._schemas.get(schema_id)

    def by_guid(self, guid: bytes) -> Json | None:
        return next((each for each in self._schemas.values() if guid_of(each) == guid), None)

    def set_compatibility(self, subject: str, level: str) -> None:
        self._levels[subject] = level

    def compatible(self, subject: str, schema: Json) -> bool:
        from schemas.compatibility import problems

        level = self._levels.get(subject, "NONE")
        return not any(problems(level, schema, self._subjects.get(subject, [])))


def guid_of(schema: Json) -> bytes:
    """The GUID the in-process registry gives a schema: 16 bytes of its fingerprint."""
    return bytes.fromhex(definitions.fingerprint(schema))[:16]


def _avro(schema: Json) -> Schema:
    return Schema(json.dumps(schema, ensure_ascii=False), "AVRO")


def _parsed(found: Any | None) -> Json | None:
    return None if found is None else json.loads(cast(str, found.schema_str))
