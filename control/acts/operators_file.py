"""The operators file: who may act, with which roles and keys (domain §4). YAML, the same for every
process that obeys the control topic.

It contains public keys only. A person's rights end at `validUntil`; nobody is removed.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec
import yaml

from control.acts.act_signature import PUBLIC_KEY_BYTES, key_id_of
from control.acts.roles import ADMIN, ROLES
from core.values import same_person
from engine.clock import MS_PER_S
from schemas.strict_json import json_reader

FILE_BYTES_MAX: Final = 65_536
PERSONS_MAX: Final = 500
KEYS_MAX: Final = 5  # of one person
ID_CHARACTERS_MAX: Final = 100


class OperatorsFileError(ValueError):
    """The file cannot be used; the message says why."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A person, or a process that signs. `public_keys` are raw Ed25519 keys in hex."""

    id: str
    public_keys: tuple[str, ...]
    roles: tuple[str, ...] = ()
    valid_until: datetime | None = None

    def is_valid(self, at_ms: int) -> bool:
        """Whether they may act at this time (epoch ms)."""
        return self.valid_until is None or at_ms < self.valid_until.timestamp() * MS_PER_S


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int
    persons: tuple[Entry, ...]
    processes: tuple[Entry, ...] = ()
    previous: str = ""  # SHA-256 (hex) of the file before, "" for the first


_read: Final = json_reader(_File)


class Operators(msgspec.Struct, frozen=True):
    """A file that was read: `content` is its bytes, `sha256` their hash."""

    number: int
    sha256: bytes
    previous: bytes
    persons: tuple[Entry, ...]
    processes: tuple[Entry, ...]
    content: bytes

    def person(self, name: str) -> Entry | None:
        """The person of exactly this id."""
        return next((each for each in self.persons if each.id == name), None)

    def process(self, name: str) -> Entry | None:
        """The process of exactly this name."""
        return next((each for each in self.processes if each.id == name), None)

    def owner(self, key_id: str) -> Entry | None:
        """The person or process whose key it is."""
        for each in (*self.persons, *self.processes):
            if public_key(each, key_id) is not None:
                return each
        return None

    def usable(self, at_ms: int) -> int:
        """How many people can sign control acts at this time (epoch ms)."""
        return sum(
            ADMIN in each.roles and bool(each.public_keys) and each.is_valid(at_ms)
            for each in self.persons
        )


def public_key(entry: Entry, key_id: str) -> bytes | None:
    """The entry's raw public key of this id, or None."""
    for each in entry.public_keys:
        raw = bytes.fromhex(each)
        if key_id_of(raw) == key_id:
            return raw
    return None


@functools.lru_cache(maxsize=4)  # every fold of the control topic reads the same few files
def parse(content: bytes) -> Operators:
    """The file's content. Raises OperatorsFileError naming what is wrong."""
    if len(content) > FILE_BYTES_MAX:
        raise OperatorsFileError(f"it is larger than {FILE_BYTES_MAX} bytes")
    try:
        file = _read(msgspec.json.encode(yaml.safe_load(content.decode())))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise OperatorsFileError(" ".join(str(error).split())) from error
    for sentence in _contradictions(file):
        raise OperatorsFileError(sentence)
    return Operators(
        number=file.number,
        sha256=hashlib.sha256(content).digest(),
        previous=bytes.fromhex(file.previous),
        persons=file.persons,
        processes=file.processes,
        content=content,
    )


def vanished(before: Operators, after: Operators) -> str | None:
    """A person of `before` who is missing from `after`, or None."""
    known = {each.id for each in after.persons}
    return next((each.id for each in before.persons if each.id not in known), None)


def _contradictions(file: _File) -> Iterator[str]:
    if not 1 <= file.number < 2**31:
        yield f"number {file.number} is out of range: files are numbered from 1"
    if not _is_hex(file.previous, 32) and not (file.number == 1 and not file.previous):
        yield "previous is not the SHA-256 of the file before, in hex"
    if len(file.persons) > PERSONS_MAX or len(file.processes) > PERSONS_MAX:
        yield f"more than {PERSONS_MAX} persons or processes"
    seen: list[str] = []
    keys: set[str] = set()
    for each in (*file.persons, *file.processes):
        if not each.id.strip() or len(each.id) > ID_CHARACTERS_MAX:
            yield f"an id is empty or longer than {ID_CHARACTERS_MAX} characters"
        if any(same_person(each.id, other) for other in seen):
            yield f"{each.id} is there twice (ids are compared without case)"
        seen.append(each.id)
        if len(each.public_keys) > KEYS_MAX:
            yield f"{each.id} has more than {KEYS_MAX} keys"
        for key in each.public_keys:
            if not _is_hex(key, PUBLIC_KEY_BYTES):
                yield f"{each.id}: a public key is {PUBLIC_KEY_BYTES} bytes in hex"
            elif key.lower() in keys:
                yield f"{each.id}: the key is another's, or there twice"
            keys.add(key.lower())
        if unknown := set(each.roles) - ROLES:
            yield f"{each.id}: there is no role {min(unknown)}"
        if each.valid_until is not None and each.valid_until.tzinfo is None:
            yield f"{each.id}: validUntil has no time zone"


def _is_hex(text: str, length: int) -> bool:
    try:
        return len(bytes.fromhex(text)) == length and len(text) == 2 * length
    except ValueError:
        return False
