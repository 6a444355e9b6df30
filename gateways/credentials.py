"""How we authenticate to a gateway: a client certificate (mutual TLS), an access token for client
credentials (OAuth 2.0, RFC 6749 section 4.4), or both.
"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import msgspec

from engine.clock import Clock
from gateways.connections import BrokenError, ConnectError, Gateway, TooLongError
from schemas.strict_json import UnreadableJson, json_reader

EARLY_S: Final = 30.0  # a token is not used in its last seconds
LIFETIME_S: Final = 300.0  # if the issuer states none
LIFETIME_S_MAX: Final = 86_400.0
TOKEN_CHARACTERS_MAX: Final = 8_192
HTTP_OK: Final = 200
FORM: Final = "application/x-www-form-urlencoded"


def tls(certificate: Path | None, key: Path | None, authorities: Path | None) -> ssl.SSLContext:
    """A context that checks the peer's certificate and name, by these authorities or the system's,
    and presents our certificate (PEM; the key in the same file or in `key`). Raises OSError for
    files that cannot be used.
    """
    context = ssl.create_default_context(cafile=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


class _Granted(msgspec.Struct, frozen=True):
    access_token: str
    token_type: str = "Bearer"  # noqa: S105 the kind of token
    expires_in: float = LIFETIME_S


_decode: Final = json_reader(_Granted)


class ClientCredentials:
    """Requests tokens and keeps the current one. Thread-safe: one caller asks, the others wait."""

    def __init__(self, gateway: Gateway, client_id: str, secret: str, scope: str = "") -> None:
        """`gateway` is the token endpoint's address."""
        self._gateway = gateway
        requested = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": secret,
        }
        self._form = urlencode(requested | ({"scope": scope} if scope else {})).encode()
        self._lock = threading.Lock()
        self._token = ""
        self._until_s = 0.0

    def token(self, clock: Clock) -> str:
        """A valid token. Raises ConnectError: without one nothing is sent."""
        with self._lock:
            if not self._token or clock.monotonic_s() >= self._until_s:
                self._request(clock)
            return self._token

    def refused(self, token: str) -> None:
        """The gateway rejects it: the next call requests another."""
        with self._lock:
            if token == self._token:
                self._token = ""

    def _request(self, clock: Clock) -> None:
        self._token = ""
        try:
            status, content = self._gateway.exchange(
                "POST", "", self._form, clock, content_type=FORM
            )
        except (TimeoutError, TooLongError, BrokenError) as error:
            raise ConnectError(f"no token: {type(error).__name__}") from error
        if status != HTTP_OK:
            raise ConnectError(f"no token: its issuer answers {status}")
        try:
            granted = _decode(content)
        except UnreadableJson:
            raise ConnectError("no token: its issuer's answer cannot be read") from None
        token = granted.access_token
        if (
            granted.token_type.lower() != "bearer"
            or not 0 < len(token) <= TOKEN_CHARACTERS_MAX
            or not (token.isascii() and token.isprintable())
            or " " in token
        ):
            raise ConnectError("no token: its issuer's token is not a bearer token")
        self._token = token
        lifetime_s = min(max(granted.expires_in, 0.0), LIFETIME_S_MAX)
        self._until_s = clock.monotonic_s() + max(lifetime_s - EARLY_S, lifetime_s / 2)
