"""Tokens revoked before they expire: a list in a file, deployed with every API (NPP_TOKENS_REVOKED)
and read again when it changes.

    {"tokens": ["<jti>"], "persons": {"olga": "2026-11-29T22:00:00Z"}}

A person's entry revokes all tokens issued to that person before this time. A person who may sign in
again gets a new token. The issuer must end its own session too.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog

from engine.clock import MS_PER_S, Clock
from schemas.strict_json import UnreadableJson, json_reader

log = structlog.get_logger("npp.api")

LOOK_S: Final = 1.0  # between two looks at the file
FILE_BYTES_MAX: Final = 1_048_576  # some 20,000 entries


class Revoked(Protocol):
    """Which tokens are revoked."""

    def holds(self, token_id: str, person: str, issued_ms: float) -> bool:
        """Whether this token is revoked; `issued_ms`: its iat, epoch ms."""

    def state(self) -> str | None:
        """Why the current list is not known, or None."""


class NoneRevoked:
    """No list is configured: no token is revoked."""

    def holds(self, token_id: str, person: str, issued_ms: float) -> bool:
        return False

    def state(self) -> str | None:
        return None


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tokens: frozenset[str] = frozenset()
    persons: Mapping[str, datetime] = {}


_read: Final = json_reader(_List)


class RevokedFile:
    """The list in a file. While the file cannot be read, the last one that could counts, and the
    API is not ready.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Raises ValueError if it cannot be read, because revocations would then be unknown."""
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._problem: str | None = None
        self._tokens: frozenset[str] = frozenset()
        self._persons: dict[str, float] = {}
        self._stamp: tuple[int, int] | None = None
        self._looked_s = clock.monotonic_s()
        self._load()
        if self._problem is not None:
            raise ValueError(self._problem)

    def holds(self, token_id: str, person: str, issued_ms: float) -> bool:
        if self._clock.monotonic_s() - self._looked_s >= LOOK_S:
            with self._lock:
                self._looked_s = self._clock.monotonic_s()
                self._load()
        return token_id in self._tokens or issued_ms < self._persons.get(person.casefold(), 0.0)

    def state(self) -> str | None:
        return self._problem

    def _load(self) -> None:
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            if stamp == self._stamp and self._problem is None:
                return
            if found.st_size > FILE_BYTES_MAX:
                raise UnreadableJson(f"it has more than {FILE_BYTES_MAX} bytes")
            listed = _read(self._path.read_bytes())
            if any(until.tzinfo is None for until in listed.persons.values()):
                raise UnreadableJson("a time has no time zone")
        except (OSError, UnreadableJson) as error:
            if self._problem is None:
                log.exception("revoked_tokens_unreadable", file=str(self._path))
            self._problem = f"the list of revoked tokens cannot be read: {error}"
            return
        self._tokens = listed.tokens
        self._persons = {
            person.casefold(): until.timestamp() * MS_PER_S
            for person, until in listed.persons.items()
        }
        self._stamp, self._problem = stamp, None
