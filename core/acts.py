"""Control acts that are signed by whoever acts (domain §4): the signature's envelope, and the acts
that serve any kind of request.

Times are epoch milliseconds. Core carries signatures and never judges them: `control.acts` does.
"""

from __future__ import annotations

import msgspec


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts is the record's `actor`; this proves it. See docs/decisions/0017.

    `number` rises with each act of the person and is used once. `request_hash` is the SHA-256 of
    the request that the act confirms, empty for an act that confirms none.
    """

    key_id: str
    number: int
    signed_at: int
    request_hash: bytes = b""
    signature: bytes = b""


class OperatorsActivated(msgspec.Struct, frozen=True, kw_only=True):
    """The operators file in force from its confirmation on: persons, roles and public keys.

    `content` is the whole file, `sha256` its hash. The first one is unsigned.
    """

    number: int
    sha256: bytes
    content: bytes
    activated_at: int
    actor: str
    signature: Signature | None = None


class ActConfirmed(msgspec.Struct, frozen=True, kw_only=True):
    """A second person agrees to the act at this control offset that waits for one."""

    request_offset: int
    confirmed_at: int
    actor: str
    signature: Signature | None = None
