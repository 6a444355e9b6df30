"""Schema registries: the real one over HTTP, and one in the process for tests without a broker."""

from __future__ import annotations

import json
import uuid
from typing import Any, Final, Protocol
from urllib.parse import quote

import httpx

from schemas import definitions
from schemas.codec.shape import Json
from schemas.errors import RegistryDown, Undecodable
from schemas.strict_json import UnreadableJson, read_json

REQUEST_TIMEOUT_SECONDS: Final = 3.0
REGISTER_TIMEOUT_SECONDS: Final = 15.0  # a registry that has just started is slow
TRIES_MAX: Final = 2  # the first may use a connection that was closed while it was idle
CONNECTIONS_MAX: Final = 8
MEDIA_TYPE: Final = "application/vnd.schemaregistry.v1+json"
CONFLICT: Final = 409
ERROR_CHARACTERS_MAX: Final = 1_000
# What a registry answers about an id that it does not have, or a kind of id that it does not know.
NOT_FOUND: Final = (400, 404, 405)
REGISTRY_ID_MAX: Final = 2**31 - 1  # registries keep ids as signed 32-bit numbers


class Incompatible(Exception):
    """The registry refuses a schema: it breaks the compatibility of its subject."""


class Registry(Protocol):
    """Numbers schemas. The same schema has the same id under every subject.

    Every method may be called from several threads, and raises RegistryDown when the registry does
    not answer.
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
    """A registry that speaks Confluent's API (its REST reference, v1), over kept connections."""

    def __init__(
        self,
        url: str,
        *,
        user_info: str | None = None,
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
        tries: int = TRIES_MAX,
    ) -> None:
        """`user_info` is `user:password` for HTTP basic authentication."""
        user, _, password = (user_info or "").partition(":")
        self._tries = tries
        self._timeout_seconds = timeout_seconds
        self._client = httpx.Client(
            base_url=url,
            headers={"accept": MEDIA_TYPE, "content-type": MEDIA_TYPE},
            auth=(user, password) if user_info else None,
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
            verify=url.startswith("https:"),  # loading the CA certificates takes 0.1 s
        )

    def register(self, subject: str, schema: Json) -> int:
        path = f"/subjects/{_quoted(subject)}/versions"
        try:
            answer = self._must("POST", path, _avro(schema), REGISTER_TIMEOUT_SECONDS)
        except Incompatible:
            # Also said when the same schema is registered at the same time, by another process or
            # by our first request, which was slow.
            known = self.lookup(subject, schema)
            if known is None:
                raise
            return known
        return self._id(answer)

    def lookup(self, subject: str, schema: Json) -> int | None:
        found = self._ask("POST", f"/subjects/{_quoted(subject)}", _avro(schema))
        return None if found is None else self._id(found)

    def by_id(self, schema_id: int) -> Json | None:
        if schema_id > REGISTRY_ID_MAX:
            return None
        return _parsed(self._ask("GET", f"/schemas/ids/{schema_id}"))

    def by_guid(self, guid: bytes) -> Json | None:
        return _parsed(self._ask("GET", f"/schemas/guids/{uuid.UUID(bytes=guid)}"))

    def set_compatibility(self, subject: str, level: str) -> None:
        path, body = f"/config/{_quoted(subject)}", {"compatibility": level}
        try:
            self._must("PUT", path, body, REGISTER_TIMEOUT_SECONDS)
        except Incompatible:  # another request created the level meanwhile: now it can be changed
            self._must("PUT", path, body, REGISTER_TIMEOUT_SECONDS)

    def compatible(self, subject: str, schema: Json) -> bool:
        path = f"/compatibility/subjects/{_quoted(subject)}/versions"
        try:
            return self._must("POST", path, _avro(schema)).get("is_compatible") is True
        except Incompatible:
            return False

    @staticmethod
    def _id(found: dict[str, Any]) -> int:
        schema_id = found.get("id")
        if type(schema_id) is not int:
            raise RegistryDown("registry answers without an id: is the URL right?")
        return schema_id

    def _must(
        self, method: str, path: str, body: Json = None, timeout_seconds: float | None = None
    ) -> dict[str, Any]:
        answer = self._ask(method, path, body, timeout_seconds)
        if answer is None:
            raise RegistryDown("registry does not know this request: is the URL right?")
        return answer

    def _ask(
        self, method: str, path: str, body: Json = None, timeout_seconds: float | None = None
    ) -> dict[str, Any] | None:
        """The answer's object, or None for "not found". Raises Incompatible, RegistryDown."""
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        response = self._sent(method, path, content, timeout_seconds or self._timeout_seconds)
        status = response.status_code
        if status in NOT_FOUND:
            return None
        if status == CONFLICT:
            raise Incompatible(response.text[:ERROR_CHARACTERS_MAX])
        if status >= 300:
            raise RegistryDown(f"registry answers {status}")
        try:
            answer = read_json(response.content)
        except UnreadableJson as error:
            raise RegistryDown(
                f"registry's answer cannot be read, {error}: is the URL right?"
            ) from error
        if not isinstance(answer, dict):
            raise RegistryDown("registry's answer is not a JSON object: is the URL right?")
        return answer

    def _sent(
        self, method: str, path: str, content: bytes | None, timeout_seconds: float
    ) -> httpx.Response:
        """Every request may be sent twice: registering what is registered changes nothing."""
        tries = self._tries
        while True:
            tries -= 1
            try:
                response = self._client.request(
                    method, path, content=content, timeout=timeout_seconds
                )
            except (httpx.HTTPError, OSError) as error:
                if tries <= 0:
                    raise RegistryDown(f"registry: {type(error).__name__}") from error
                continue
            if response.status_code < 500 or tries <= 0:
                return response


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
        from schemas.registry.compatibility import problems

        level = self._levels.get(subject, "NONE")
        return not any(problems(level, schema, self._subjects.get(subject, [])))


def guid_of(schema: Json) -> bytes:
    """The GUID the in-process registry gives a schema: 16 bytes of its fingerprint."""
    return bytes.fromhex(definitions.fingerprint(schema))[:16]


def _quoted(subject: str) -> str:
    return quote(subject, safe="")


def _avro(schema: Json) -> Json:
    return {"schema": json.dumps(schema, ensure_ascii=False), "schemaType": "AVRO"}


def _parsed(found: dict[str, Any] | None) -> Json | None:
    if found is None:
        return None
    text = found.get("schema")
    if not isinstance(text, str):
        raise RegistryDown("registry answers without a schema: is the URL right?")
    try:
        return read_json(text.encode())
    except UnreadableJson as error:  # permanent: waiting would block at this record forever
        raise Undecodable(f"a schema that cannot be read: {error}") from None
