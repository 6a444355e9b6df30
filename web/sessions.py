"""Sessions: the access token, encrypted in a cookie. Nothing is kept on the server.

A session ends with its token. Signing out deletes the cookie; the token stays valid until it
expires.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

import msgspec
from cryptography.fernet import Fernet, InvalidToken
from starlette.requests import Request
from starlette.responses import Response

from engine.clock import MS_PER_S, Clock

SESSION: Final = "npp_session"
COOKIE_CHARACTERS_MAX: Final = 4_000  # browsers drop what is longer than 4,096
CSRF_BYTES: Final = 24
PREFIX: Final = "__Host-"  # browsers accept such a cookie from this very host over TLS only


class Session(msgspec.Struct, frozen=True):
    """The token, the anti-forgery token that every form carries, and the expiry (epoch ms)."""

    token: str
    csrf: str
    expires_at: int


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Session).decode


class TooLong(Exception):
    """The issuer's token does not fit into a cookie."""


class Sessions:
    """Encrypts and reads sessions. `secure`: cookies over TLS only, as in production."""

    def __init__(self, key: bytes, clock: Clock, *, secure: bool) -> None:
        self._seal = Fernet(key)
        self._clock = clock
        self._secure = secure
        self.cookie = (PREFIX if secure else "") + SESSION

    def open(self, request: Request) -> Session | None:
        """The session of a request; None without one, or when it has ended."""
        return self.unseal(request.cookies.get(self.cookie, ""))

    def unseal(self, sealed: str) -> Session | None:
        """As `open`, of the cookie's value."""
        try:
            session = _decode(self._seal.decrypt(sealed))
        except (InvalidToken, ValueError):
            return None
        return session if session.expires_at > self._clock.now_ms() else None

    def begin(self, response: Response, token: str, expires_at: int) -> None:
        """Sign in. Raises TooLong."""
        session = Session(token, secrets.token_urlsafe(CSRF_BYTES), expires_at)
        sealed = self._seal.encrypt(_encode(session)).decode("ascii")
        if len(sealed) > COOKIE_CHARACTERS_MAX:
            raise TooLong(f"sealed, the token has {len(sealed)} characters")
        life_s = max(1, (expires_at - self._clock.now_ms()) // MS_PER_S)
        response.set_cookie(self.cookie, sealed, max_age=life_s, **self.flags())

    def end(self, response: Response) -> None:
        """Sign out."""
        response.delete_cookie(self.cookie, **self.flags())

    def flags(self) -> dict[str, Any]:
        return {"path": "/", "httponly": True, "secure": self._secure, "samesite": "strict"}


def same_word(session: Session, given: str) -> bool:
    """Whether this is the session's anti-forgery token."""
    return secrets.compare_digest(session.csrf.encode(), given.encode())
