"""Signs control acts and checks their signatures (docs/decisions/0017).

The signed text is JSON, so that the signer can read it. Only `text_of` makes it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from core.control_records import Signature
from core.declared import camel_case

PREFIX: Final = b"npp-control-act.v1\n"
KEY_ID_PREFIX: Final = "ed25519-"
KEY_ID_HEX_CHARACTERS: Final = 16
PUBLIC_KEY_BYTES: Final = 32


class Signer(Protocol):
    """A private Ed25519 key, wherever it is kept; `key_id` is that of its public key."""

    key_id: str

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature."""


def key_id_of(public: bytes) -> str:
    """A key's id, computed from the raw public key, so that no other key can have it."""
    return KEY_ID_PREFIX + hashlib.sha256(public).hexdigest()[:KEY_ID_HEX_CHARACTERS]


def text_of(cluster_id: str, record: Any) -> bytes:
    """What the signature of this record covers. Fields that equal their default are left out, so
    adding a field later does not change the text of older acts."""
    given: Signature = record.signature
    fields = {
        camel_case(each.name): getattr(record, each.name)
        for each in msgspec.structs.fields(type(record))
        if each.name != "signature" and getattr(record, each.name) != each.default
    }
    text = {
        "act": type(record).__name__,
        "cluster": cluster_id,
        "fields": fields,
        "keyId": given.key_id,
        "number": given.number,
        "request": given.request_hash.hex(),
        "signedAt": given.signed_at,
    }
    return PREFIX + msgspec.json.encode(text, order="deterministic")


def hash_of(cluster_id: str, record: Any) -> bytes:
    """The SHA-256 of a signed act: the `request_hash` in the signature that confirms it."""
    return hashlib.sha256(text_of(cluster_id, record) + record.signature.signature).digest()


def signed(
    record: Any,
    *,
    key: Signer,
    cluster_id: str,
    number: int,
    signed_at: int,
    request: Any | None = None,
) -> Any:
    """The record with its signature. `request` is the signed act that it confirms, `number` one
    that the person has not used yet, `signed_at` epoch ms (domain §4).
    """
    draft = msgspec.structs.replace(
        record,
        signature=Signature(
            key_id=key.key_id,
            number=number,
            signed_at=signed_at,
            request_hash=b"" if request is None else hash_of(cluster_id, request),
        ),
    )
    whole = msgspec.structs.replace(draft.signature, signature=key.sign(text_of(cluster_id, draft)))
    return msgspec.structs.replace(draft, signature=whole)


def verifies(public: bytes, cluster_id: str, record: Any) -> bool:
    """Whether the key made this record's signature."""
    try:
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(record.signature.signature, text_of(cluster_id, record))
    except (InvalidSignature, ValueError):
        return False
    return True
