"""Keys of the verifier: its private key (`control.acts.key_file`), and the keyring of public keys.

The keyring only grows: a checkpoint is checked with the key that signed it, however old. It also
has each key's signed statements about which schema an id means. Without them, signed bytes could be
shown as another event of the same layout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from control.acts import key_file
from control.acts.act_signature import PUBLIC_KEY_BYTES, key_id_of
from control.acts.key_file import KeyFileError, SigningKey
from schemas.strict_json import json_reader

SIGNATURE_BYTES: Final = 64
KEYRING_BYTES_MAX: Final = 1_048_576
SCHEMA_STATEMENT_PREFIX: Final = b"npp-schema-id.v1\x00"


class KeyMissing(KeyFileError):
    """The verifier's key or keyring is missing, or its key no longer counts; the message says
    which, and what to do.
    """


class ListedKey(msgspec.Struct, frozen=True, rename="camel"):
    """A public key (hex) as it is in the keyring. Times in epoch ms; `added_at` is information.

    A signature counts from `valid_from` (inclusive) to `valid_until` and `revoked_at` (exclusive);
    None is no limit.
    """

    key_id: str
    algorithm: str
    public_key: str
    added_at: int
    valid_from: int | None = None
    valid_until: int | None = None
    revoked_at: int | None = None

    def problem(self, signed_at: int) -> str | None:
        """Why a signature of that time does not count, or None."""
        if self.revoked_at is not None and signed_at >= self.revoked_at:
            return f"key {self.key_id} was revoked before it signed this"
        if self.valid_from is not None and signed_at < self.valid_from:
            return f"key {self.key_id} was not yet valid when it signed this"
        if self.valid_until is not None and signed_at >= self.valid_until:
            return f"key {self.key_id} was no longer valid when it signed this"
        return None


class SchemaStatement(msgspec.Struct, frozen=True, rename="camel"):
    """Key `key_id` states that `schema_id` is the schema with this SHA-256 (hex) of its canonical
    text. `signature` (hex) is over `schema_message`.
    """

    schema_id: int
    sha256: str
    key_id: str
    signature: str


class KeyringFile(msgspec.Struct, frozen=True):
    """The keyring's file. JSON, so that others can read it without this product."""

    version: int
    keys: tuple[ListedKey, ...]
    schemas: tuple[SchemaStatement, ...] = ()


_read_file: Final = json_reader(KeyringFile)


class Keyring:
    """Public keys by id. None is ever removed. Raises KeyFileError for a listed key that is not an
    Ed25519 key, or not that of its id.
    """

    def __init__(
        self, keys: tuple[ListedKey, ...] = (), schemas: tuple[SchemaStatement, ...] = ()
    ) -> None:
        self._listed: dict[str, ListedKey] = {}
        self._public: dict[str, Ed25519PublicKey] = {}
        self._schemas: dict[tuple[int, str], SchemaStatement] = {}
        for each in keys:
            self._list(each)
        for statement in schemas:
            self._schemas[statement.schema_id, statement.key_id] = statement

    def _list(self, key: ListedKey) -> None:
        raw = bytes.fromhex(key.public_key)
        if key.algorithm != "Ed25519" or len(raw) != PUBLIC_KEY_BYTES:
            raise KeyFileError(f"key {key.key_id} is not an Ed25519 public key")
        if key.key_id != key_id_of(raw):
            raise KeyFileError(f"key {key.key_id} is listed under an id that is not its own")
        self._listed.setdefault(key.key_id, key)
        self._public[key.key_id] = Ed25519PublicKey.from_public_bytes(raw)

    def add(self, public: bytes, added_at: int) -> bool:
        """List a raw public key from `added_at` (epoch ms) on; False when it is listed already."""
        name = key_id_of(public)
        if name in self._listed:
            return False
        self._list(ListedKey(name, "Ed25519", public.hex(), added_at))
        return True

    def limit(
        self,
        name: str,
        *,
        valid_from: int | None = None,
        valid_until: int | None = None,
        revoked_at: int | None = None,
    ) -> None:
        """Set the given limits of a listed key (epoch ms). A revocation can only be moved to an
        earlier time. Raises KeyFileError for a key that is not listed.
        """
        known = self._listed.get(name)
        if known is None:
            raise KeyFileError(f"{name} is not listed: {', '.join(self._listed) or 'no key is'}")
        if known.revoked_at is not None and revoked_at is not None:
            revoked_at = min(known.revoked_at, revoked_at)
        given = {"valid_from": valid_from, "valid_until": valid_until, "revoked_at": revoked_at}
        changed = {field: value for field, value in given.items() if value is not None}
        self._listed[name] = msgspec.structs.replace(known, **changed)

    def problem(self, name: str, signed_at: int) -> str | None:
        """Why a signature of this listed key and time (epoch ms) does not count, or None."""
        return self._listed[name].problem(signed_at)

    def __contains__(self, name: str) -> bool:
        return name in self._public

    def listed(self) -> tuple[ListedKey, ...]:
        """All keys, in the order in which they were listed."""
        return tuple(self._listed.values())

    def state_schemas(self, key: SigningKey, fingerprints: Mapping[int, str]) -> bool:
        """Sign which schema (SHA-256, hex) each id means; False when all of it is listed already.

        Raises KeyFileError when the key has stated another schema for an id before.
        """
        new = False
        for schema_id, fingerprint in sorted(fingerprints.items()):
            known = self._schemas.get((schema_id, key.key_id))
            if known is not None and known.sha256 != fingerprint:
                raise KeyFileError(f"schema id {schema_id} was stated to be another schema")
            if known is None:
                signature = key.sign(schema_message(schema_id, fingerprint)).hex()
                self._schemas[schema_id, key.key_id] = SchemaStatement(
                    schema_id, fingerprint, key.key_id, signature
                )
                new = True
        return new

    def schema_statement(self, schema_id: int, key_id: str | None) -> SchemaStatement | None:
        """The statement about a schema id: that key's, else that of the first listed key that has
        one; None if there is none.
        """
        names = [*([key_id] if key_id else []), *self._listed]
        return next((s for n in names if (s := self._schemas.get((schema_id, n)))), None)

    def schemas(self) -> tuple[SchemaStatement, ...]:
        """All statements, in the order in which they were made."""
        return tuple(self._schemas.values())

    def verifies(self, name: str, signature: bytes, message: bytes) -> bool:
        """True when the listed key `name` made this signature. KeyError when it is not listed."""
        try:
            self._public[name].verify(signature, message)
        except InvalidSignature:
            return False
        return True


def fingerprint(public: bytes) -> str:
    """SHA-256 (hex) of the raw public key, for people to compare with a published one."""
    return hashlib.sha256(public).hexdigest()


def schema_message(schema_id: int, fingerprint: str) -> bytes:
    """What a schema statement's signature covers: prefix, id as u32 big-endian, SHA-256."""
    return SCHEMA_STATEMENT_PREFIX + schema_id.to_bytes(4, "big") + bytes.fromhex(fingerprint)


def pem_of(key: ListedKey) -> str:
    """A public key as PEM (SubjectPublicKeyInfo): what `verify_evidence.py` takes."""
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public_key))
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def read_keyring(path: Path) -> Keyring:
    """The keyring in a file; a missing file is an empty keyring. Raises KeyFileError."""
    if not path.exists():
        return Keyring()
    if path.stat().st_size > KEYRING_BYTES_MAX:
        raise KeyFileError(f"{path.name} is larger than {KEYRING_BYTES_MAX} bytes")
    try:
        file = _read_file(path.read_bytes())
        return Keyring(file.keys, file.schemas)
    except ValueError as error:
        raise KeyFileError(f"{path.name}: {error}") from error


def write_keyring(path: Path, keyring: Keyring) -> None:
    """Replace the file in one step. Raises KeyFileError if a key or statement that the file lists
    now would be dropped.
    """
    before = read_keyring(path)
    for old in before.listed():
        if old.key_id not in keyring:
            raise KeyFileError(f"{old.key_id} would be dropped: old keys stay listed")
    for stated in before.schemas():
        if stated not in keyring.schemas():
            raise KeyFileError(f"what was stated of schema id {stated.schema_id} would be dropped")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = KeyringFile(1, keyring.listed(), keyring.schemas())
    text = msgspec.json.format(msgspec.json.encode(file), indent=2)
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(text + b"\n")
    fresh.replace(path)


def key_and_keyring(
    key_path: Path, keyring_path: Path, now_ms: int, *, has_signed: bool, may_make: bool
) -> tuple[SigningKey, Keyring]:
    """The verifier's key, and the keyring with that key listed.

    `has_signed`: checkpoints are on the log. Then no key and no keyring is created: if the keys
    that signed were not listed, every checkpoint would look forged. `may_make`: a first key may be
    generated here; in production the operator provides it. Raises KeyMissing, KeyFileError.
    """
    if not key_path.exists():
        if has_signed:
            raise KeyMissing(
                f"checkpoints are on the log and the key is not here ({key_path}): restore it from "
                "its backup, or give a new key beside the restored keyring"
            )
        if not may_make:
            raise KeyMissing(
                f"there is no key at {key_path}; production is given one: openssl genpkey "
                "-algorithm ed25519 -out FILE, mode 600, named by NPP_SIGNING_KEY"
            )
        key_file.new().write(key_path, None)
    key = key_file.read(key_path, None)
    if has_signed and not keyring_path.exists():
        raise KeyMissing(
            f"checkpoints are on the log and the keyring is not here ({keyring_path}): restore it "
            "from its backup, or from what `npp evidence keys --out` has written"
        )
    keyring = read_keyring(keyring_path)
    if keyring.add(key.public, now_ms):
        write_keyring(keyring_path, keyring)
    problem = keyring.problem(key.key_id, now_ms)
    if problem is not None:
        raise KeyMissing(f"{problem}: give the verifier a new key (NPP_SIGNING_KEY)")
    return key, keyring
