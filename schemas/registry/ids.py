"""Schema ids are part of bytes that are hashed permanently: the registered ids, and their lock.

`ids.lock` is stored with the data of a set-up: id → fingerprint. It only grows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from core.values import ascii_digits
from schemas import definitions
from schemas.codec.shape import Json
from schemas.errors import IdsChanged
from schemas.registry.client import Registry
from schemas.strict_json import UnreadableJson, json_reader

LOOK_UPS_AT_ONCE: Final = 4  # more only wait for each other on the registry's side


class Version(msgspec.Struct, frozen=True):
    """One version of one record type on one topic."""

    topic: str
    record: str
    subject: str
    schema: Json


class Entry(Version, frozen=True):
    """A version, and the id it has."""

    schema_id: int


class Registered:
    """Everything that is registered, in the order of registration."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, topic: str, record: str, subject: str, schema_id: int, schema: Json) -> None:
        self.entries.append(Entry(topic, record, subject, schema, schema_id))

    def on_topic(self, topic: str) -> Iterable[Entry]:
        """Versions oldest first, record types in the topic's order."""
        return (entry for entry in self.entries if entry.topic == topic)

    def fingerprints(self) -> dict[int, str]:
        """Id → fingerprint."""
        return {each.schema_id: definitions.fingerprint(each.schema) for each in self.entries}


class _Locked(msgspec.Struct, frozen=True):
    fingerprint: str
    subjects: list[str]


class _LockFile(msgspec.Struct, frozen=True):
    version: int
    ids: dict[str, _Locked]


_read_file: Final = json_reader(_LockFile)


def pinned(path: Path, versions: Iterable[Version], registry: Registry) -> Registered | None:
    """The ids in the lock at `path`, if it has all `versions` and the registry still has every
    locked schema under its id. Otherwise None: looking everything up then names the difference.

    So an ordinary start costs one request per id, several at once, and no look-up by content.
    Raises IdsChanged (unreadable), RegistryDown.
    """
    locked = _read(path)
    id_of = {
        (subject, entry.fingerprint): int(text)
        for text, entry in locked.items()
        for subject in entry.subjects
    }
    registered = Registered()
    for each in versions:
        schema_id = id_of.get((each.subject, definitions.fingerprint(each.schema)))
        if schema_id is None:
            return None
        registered.add(each.topic, each.record, each.subject, schema_id, each.schema)
    with ThreadPoolExecutor(LOOK_UPS_AT_ONCE) as several:
        found = several.map(lambda text: _fingerprint_of(registry.by_id(int(text))), locked)
        same = [now == entry.fingerprint for now, entry in zip(found, locked.values(), strict=True)]
    return registered if all(same) else None


def check_lock(path: Path, registered: Registered, registry: Registry) -> None:
    """Compare with the lock at `path`; write what is new. Raises IdsChanged, RegistryDown."""
    now = registered.fingerprints()
    locked = _read(path)
    id_now = {fingerprint: schema_id for schema_id, fingerprint in now.items()}
    for text, entry in locked.items():
        schema_id = int(text)
        if id_now.get(entry.fingerprint, schema_id) != schema_id:
            raise IdsChanged(
                f"schema id {schema_id} of {entry.subjects[0]} is now {id_now[entry.fingerprint]}: "
                f"this registry is not the one the data of {path} was written with"
            )
        found = now.get(schema_id) or _fingerprint_of(registry.by_id(schema_id))
        if found != entry.fingerprint:
            raise IdsChanged(
                f"schema id {schema_id} was {entry.subjects[0]} and is now another schema or none: "
                f"this registry is not the one the data of {path} was written with"
            )
    subjects: dict[str, list[str]] = {}
    for each in registered.entries:
        subjects.setdefault(str(each.schema_id), []).append(each.subject)
    merged = dict(locked)
    for schema_id, fingerprint in now.items():
        known = locked[str(schema_id)].subjects if str(schema_id) in locked else []
        union = [*known, *(s for s in subjects[str(schema_id)] if s not in known)]
        merged[str(schema_id)] = _Locked(fingerprint, union)
    if merged != locked:
        _write(path, merged)


def locked_fingerprints(path: Path) -> dict[int, str]:
    """Schema id → SHA-256 (hex) of its canonical text, as the lock has it. Raises IdsChanged."""
    return {int(text): entry.fingerprint for text, entry in _read(path).items()}


def _fingerprint_of(schema: Json | None) -> str | None:
    return None if schema is None else definitions.fingerprint(schema)


def _read(path: Path) -> dict[str, _Locked]:
    if not path.exists():
        return {}
    try:
        file = _read_file(path.read_bytes())
    except UnreadableJson as error:
        raise IdsChanged(f"{path} cannot be read: {error}") from error
    for text in file.ids:
        if not ascii_digits(text):
            raise IdsChanged(f"{path} cannot be read: {text!a} is no schema id")
    return file.ids


def _write(path: Path, ids: dict[str, _Locked]) -> None:
    ordered = {key: msgspec.to_builtins(ids[key]) for key in sorted(ids, key=int)}
    text = json.dumps({"version": 1, "ids": ordered}, indent=1) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
