"""A private key in its file: Ed25519, PEM, readable by its owner only. A person's is encrypted with
a passphrase, a process's is not. Public keys are in the operators file or in the keyring.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from control.acts.act_signature import key_id_of
from engine.private_file import write_private

FILE_BYTES_MAX: Final = 10_000
PASSPHRASE_BYTES_MIN: Final = 12
_ENCRYPTED: Final = b"ENCRYPTED PRIVATE KEY"


class KeyFileError(ValueError):
    """A key file that cannot be used; the message says why."""


class SigningKey:
    """An Ed25519 private key; `public` is its raw public key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = key_id_of(self.public)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature (RFC 8032); the same message gives the same bytes."""
        return self._private.sign(message)

    def write(self, path: Path, passphrase: bytes | None) -> None:
        """Write it to a new file, encrypted if there is a passphrase. Raises OSError, also when
        the file exists.
        """
        encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        pem = self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        write_private(path, pem)


def new() -> SigningKey:
    """A new random key."""
    return SigningKey(Ed25519PrivateKey.generate())


def is_encrypted(path: Path) -> bool:
    """Whether a passphrase is needed to read it. Raises KeyFileError when it cannot be read."""
    return _ENCRYPTED in _content(path)


def read(path: Path, passphrase: bytes | None) -> SigningKey:
    """The key in the file; `passphrase` None for an unencrypted one. Raises KeyFileError."""
    content = _content(path)
    try:
        private = load_pem_private_key(content, password=passphrase)
    except (ValueError, TypeError) as error:
        what = "cannot be opened: wrong passphrase, or no PEM key"
        if passphrase is None:
            what = "is not an unencrypted PEM private key"
        raise KeyFileError(f"{path} {what}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(f"{path} is not an Ed25519 key")
    return SigningKey(private)


def _content(path: Path) -> bytes:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise KeyFileError(f"{path} can be read by others: chmod 600 it, or make a new key")
        if path.stat().st_size > FILE_BYTES_MAX:
            raise KeyFileError(f"{path} is too large for a key")
        return path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
