"""Response bodies of evidence packs."""

from __future__ import annotations

from typing import Any

from api.edge.views import View


class PackView(View):
    """A pack that can be downloaded. `hash` is the SHA-256 of its JSON, which the PDF prints;
    `as_of` names its content: the same asOf, the same JSON bytes.
    """

    payment_intent_id: str
    as_of: str
    hash: str
    format: str
    include_replay_proof: bool
    file: str
    download: str
    statement: dict[str, Any]


class BrokenPlaceView(View):
    """Where verification first fails."""

    kind: str
    place: str
    sentence: str


class VerificationView(View):
    """`verified` is whether read model, chain, checkpoint and log agree, and the given pack with
    them. What is shown is signed up to sequence `through`; `unsigned` counts what follows and is
    not yet signed. `verdict` is VERIFIED, VERIFIED_THROUGH or BROKEN. `hash` is the SHA-256 of the
    given pack, else of the current one. `rulings` are those of two people on journal records that
    name the payment, as the pack has them. `log` says how far the journal was read after the last
    event; with `complete`, nothing came later.
    """

    payment_intent_id: str
    verdict: str
    verified: bool
    hash: str | None
    problem: BrokenPlaceView | None = None
    as_of: str | None = None
    events: int | None = None
    through: int | None = None
    unsigned: int | None = None
    checkpoint: int | None = None
    says: list[str] | None = None
    not_yet_signed: list[str] | None = None
    rulings: list[dict[str, Any]] | None = None
    key_note: str | None = None
    log: dict[str, Any] | None = None
    pack: dict[str, Any] | None = None


class PublicKeyView(View):
    """A public key of the verifier: raw bytes in hex, and as PEM. `fingerprint` is the SHA-256 of
    the raw bytes: compare it with the one that is published elsewhere. Times in epoch ms: a
    signature counts from `validFrom` on, and before `validUntil` and `revokedAt`.
    """

    key_id: str
    algorithm: str
    public_key: str
    fingerprint: str
    added_at: int
    valid_from: int | None
    valid_until: int | None
    revoked_at: int | None
    pem: str


class SchemaMeaningView(View):
    """What a key states of a schema id: SHA-256 of the schema's canonical text, signed (hex)."""

    schema_id: int
    sha256: str
    key_id: str
    signature: str


class KeysView(View):
    """The verifier's keyring, fit for a file that `verify_evidence.py` takes as its key."""

    version: int
    keys: list[PublicKeyView]
    schemas: list[SchemaMeaningView]
