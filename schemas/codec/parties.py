"""Sealing of party details: scheme avro.1 is the Avro binary of Parties version 1 without a prefix.

The bytes are in records that are hashed forever. They are personal data: never log them.
"""

from __future__ import annotations

from typing import Final

from core.values import Parties, Sealed
from schemas import definitions
from schemas.codec.compiled_backend import own_backend
from schemas.codec.shape import shape_of
from schemas.errors import Undecodable

SCHEME: Final = "avro.1"

_SHAPE: Final = shape_of(Parties, definitions.current("Parties"))
_encode: Final = own_backend().encoder(_SHAPE, b"")
_decode: Final = own_backend().decoder(_SHAPE)


def seal(parties: Parties) -> Sealed:
    """`parties` as they are transmitted. Raises ValueError for a text that is not valid Unicode.
    Core checks the lengths.
    """
    return Sealed(scheme=SCHEME, key_id=None, bytes=_encode(parties))


def open_parties(sealed: Sealed) -> Parties:
    """The details in `sealed`. Raises ValueError, without content, when they cannot be read."""
    if sealed.scheme != SCHEME or sealed.key_id is not None:
        raise ValueError("party details sealed by an unknown scheme")
    try:
        parties: Parties = _decode(sealed.bytes, 0)
    except (Undecodable, IndexError, UnicodeDecodeError):
        raise ValueError("party details that are no Parties record") from None
    return parties
