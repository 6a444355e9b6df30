"""Verifies bearer tokens: JWT access tokens (RFC 9068, RFC 8725) of one issuer for one audience.

Nothing in a token chooses how it is verified: its key is found by id among the issuer's, and the
key says which algorithms it may verify.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from joserfc import jws
from joserfc.errors import JoseError

from api.auth.keys import KeySource, TrustedKey
from api.auth.revoked import NoneRevoked, Revoked
from api.auth.sign_in import Claimed, NotSignedIn
from api.edge import bodies
from api.edge.problems import Problem
from api.services import Principal
from control.acts.roles import ROLES
from engine.clock import MS_PER_S, Clock

log = structlog.get_logger("npp.api")

NOTHING_REVOKED: Final = NoneRevoked()
TOKEN_CHARACTERS_MAX: Final = 8_192
HEADER_CHARACTERS_MAX: Final = 1_024
LEEWAY_S: Final = 30
LIFETIME_S_MAX: Final = 86_400  # a token lives a day at most
ROLES_COUNT_MAX: Final = 32
ROLE_CHARACTERS_MAX: Final = 100
SUBJECT_CHARACTERS_MAX: Final = 128  # of an operator's id in a command
ID_CHARACTERS_MAX: Final = 128
SECONDS_MAX: Final = 10**11
VERIFIED_COUNT_MAX: Final = 10_000  # verified tokens remembered, about 10 MB

_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_SUBJECT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+|/=-]*", re.ASCII)
_HEADER_NAMES: Final = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})
_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})


class _Registry(jws.JWSRegistry):
    """Takes any algorithm that joserfc has: `_check_signature` has compared it with the key's."""

    max_header_length = HEADER_CHARACTERS_MAX
    max_payload_length = TOKEN_CHARACTERS_MAX

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """The issuer and audience that a token must have, and how its owner must have signed in: one of
    these `acr` values (OpenID Connect Core, section 2); empty allows any."""

    issuer: str
    audience: str
    acr: frozenset[str] = frozenset()


class _Verified(msgspec.Struct, frozen=True):
    principal: Principal
    key_id: str
    key: TrustedKey
    issued_ms: float


class Tokens:
    """The sign-in. Verified tokens are remembered by their SHA-256 until they expire or their key
    is withdrawn; reading the issuer's keys again forgets none of them."""

    def __init__(
        self,
        settings: TokenSettings,
        keys: KeySource,
        clock: Clock,
        revoked: Revoked = NOTHING_REVOKED,
    ) -> None:
        self._settings = settings
        self._revoked = revoked
        self._keys = keys
        self._clock = clock
        self._registry = _Registry(strict_check_header=False)
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._people: OrderedDict[str, None] = OrderedDict()  # the most recently signed-in users
        self._lock = threading.Lock()

    def known(self, token: str) -> Principal | None:
        """Who sent a token that was verified before, if it is still valid; else None."""
        if len(token) > TOKEN_CHARACTERS_MAX or not self._keys.current():
            return None
        return self._remembered(token)

    def claimed(self, token: str) -> Claimed:
        """What the token claims, not verified: it decides which limit and which threads apply.
        Never asks the key server."""
        if self._remembered(token) is not None:
            return Claimed(remembered=True)
        if len(token) > TOKEN_CHARACTERS_MAX or _SHAPE.fullmatch(token) is None:
            return Claimed()
        header, claims, _ = token.split(".")
        try:
            key_id = _part(header, "header").get("kid")
            subject = _part(claims, "claims").get("sub")
        except NotSignedIn:
            return Claimed()
        if not isinstance(key_id, str) or not self._keys.lists(key_id):
            return Claimed()
        known = isinstance(subject, str) and subject in self._people
        return Claimed(key_id=key_id, person=subject if known else None)

    def verify(self, token: str) -> Principal:
        """Who sent the token. Raises NotSignedIn with the reason, KeysDown."""
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise NotSignedIn("it is too long")
        if _SHAPE.fullmatch(token) is None:
            raise NotSignedIn("it is not three parts of base64url")
        header = _part(token.split(".", 1)[0], "header")
        key_id, key = self._check_signature(token, header)
        claims = _part(token.split(".")[1], "claims")
        principal = self._principal(claims)
        issued_ms = _seconds(claims, "iat") * MS_PER_S
        if self._revoked.holds(principal.token_id, principal.id, issued_ms):
            raise NotSignedIn("it was revoked")
        log.info(
            "signed_in", principal=principal.id, roles=sorted(principal.roles),
            token_id=principal.token_id, client_id=principal.client_id,
        )  # fmt: skip
        with self._lock:
            self._verified[_name(token)] = _Verified(principal, key_id, key, issued_ms)
            if len(self._verified) > VERIFIED_COUNT_MAX:
                self._verified.popitem(last=False)
            self._people[principal.id] = None
            self._people.move_to_end(principal.id)
            if len(self._people) > VERIFIED_COUNT_MAX:
                self._people.popitem(last=False)
        return principal

    def _remembered(self, token: str) -> Principal | None:
        found = self._verified.get(_name(token))
        if found is None or not self._keys.holds(found.key_id, found.key):
            return None
        if found.principal.expires_at <= self._clock.now_ms() or self._is_revoked(found):
            return None
        return found.principal

    def _is_revoked(self, found: _Verified) -> bool:
        who = found.principal
        return self._revoked.holds(who.token_id, who.id, found.issued_ms)

    def revoked(self, token: str) -> bool:
        """Whether a token that was verified here has been revoked since; for open streams."""
        found = self._verified.get(_name(token))
        return found is not None and self._is_revoked(found)

    def malformed_keys(self) -> int:
        """Members of the issuer's key set that cannot be read and are ignored."""
        return self._keys.malformed

    def ready(self) -> str | None:
        """Why sign-in is unavailable, or None."""
        return self._keys.state() or self._revoked.state()

    def _check_signature(self, token: str, header: dict[str, Any]) -> tuple[str, TrustedKey]:
        """The id and the key that verify the token. Raises NotSignedIn, KeysDown."""
        algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ")
        if header.keys() - _HEADER_NAMES:
            raise NotSignedIn("its header has unsupported members")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise NotSignedIn("it is not an access token (typ)")
        if not isinstance(algorithm, str) or not isinstance(key_id, str) or not key_id:
            raise NotSignedIn("its header names no key or algorithm")
        found = self._keys.find(key_id)
        if found is None:
            raise NotSignedIn("its key is not known")
        if algorithm not in found.algorithms:
            raise NotSignedIn("its algorithm is not allowed")
        try:
            jws.deserialize_compact(token, found.key, registry=self._registry)
        except (JoseError, ValueError):
            raise NotSignedIn("its signature is invalid") from None
        return key_id, found

    def _principal(self, claims: dict[str, Any]) -> Principal:
        if claims.get("iss") != self._settings.issuer:
            raise NotSignedIn("its issuer is not the expected one")
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        if self._settings.audience not in named:
            raise NotSignedIn("it was issued for another audience")
        acr = claims.get("acr")
        if self._settings.acr and not (isinstance(acr, str) and acr in self._settings.acr):
            raise NotSignedIn("its owner has not signed in strongly enough (acr)")
        expires_at = self._times(claims)
        subject = _text(claims, "sub", SUBJECT_CHARACTERS_MAX)
        if _SUBJECT.fullmatch(subject) is None:
            raise NotSignedIn("its sub is not an id")
        client = claims.get("client_id")
        return Principal(
            id=subject,
            roles=_roles(claims),
            token_id=_text(claims, "jti", ID_CHARACTERS_MAX),
            expires_at=expires_at,
            client_id=None if client is None else _text(claims, "client_id", ID_CHARACTERS_MAX),
        )

    def _times(self, claims: dict[str, Any]) -> int:
        """When the token expires (epoch ms), with leeway. Raises NotSignedIn."""
        now = self._clock.now_ms() / MS_PER_S
        issued, expires = _seconds(claims, "iat"), _seconds(claims, "exp")
        begins = _seconds(claims, "nbf") if "nbf" in claims else issued
        if expires + LEEWAY_S <= now:
            raise NotSignedIn("it has expired")
        if begins - LEEWAY_S > now or issued - LEEWAY_S > now:
            raise NotSignedIn("it is not valid yet")
        if not issued < expires <= issued + LIFETIME_S_MAX:
            raise NotSignedIn("its lifetime is too long")
        return int((expires + LEEWAY_S) * MS_PER_S)


def _name(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _part(segment: str, what: str) -> dict[str, Any]:
    """A part's JSON object, read as strictly as a request body."""
    try:
        found = bodies.read_json(_decode(segment))
    except (Problem, ValueError):
        raise NotSignedIn(f"its {what} cannot be read") from None
    if not isinstance(found, dict):
        raise NotSignedIn(f"its {what} cannot be read")
    return found


def _decode(segment: str) -> bytes:
    """The bytes of canonical base64url without padding. Raises ValueError."""
    if len(segment) % 4 == 1:
        raise ValueError("no base64url")
    content = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii") != segment:
        raise ValueError("no canonical base64url")
    return content


def _text(claims: dict[str, Any], name: str, characters_max: int) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= characters_max:
        raise NotSignedIn(f"its {name} is missing or not a text of its size")
    if not value.isprintable() or value != value.strip():
        raise NotSignedIn(f"its {name} is missing or not a text of its size")
    return value


def _seconds(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotSignedIn(f"its {name} is missing or not a time")
    if not 0 < value < SECONDS_MAX:
        raise NotSignedIn(f"its {name} is missing or not a time")
    return float(value)


def _roles(claims: dict[str, Any]) -> frozenset[str]:
    """The roles known here; others belong to other systems."""
    listed = claims.get("roles")
    if not isinstance(listed, list) or len(listed) > ROLES_COUNT_MAX:
        raise NotSignedIn("its roles are not a list")
    if not all(isinstance(r, str) and len(r) <= ROLE_CHARACTERS_MAX for r in listed):
        raise NotSignedIn("its roles are not a list")
    return ROLES & frozenset(listed)
