"""Signing keys with known seeds for tests."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from control.acts.key_file import SigningKey


def key_from_seed(seed: bytes) -> SigningKey:
    """The key of a 32-byte seed."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(seed))
