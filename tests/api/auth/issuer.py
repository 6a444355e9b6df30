"""Keys, a key set, and tokens signed with them."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Callable
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey

from api.auth.keys import KeySource
from api.auth.tokens import Tokens, TokenSettings
from tests.clock import HeldClock

NOW_MS = 1_790_000_000_000
NOW = NOW_MS // 1_000
ISSUER, AUDIENCE = "https://issuer.test", "npp-api"
KEY = OKPKey.generate_key("Ed25519")
OTHER = OKPKey.generate_key("Ed25519")
EC = ECKey.generate_key("P-256")
RSA = RSAKey.generate_key(2048)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    WEAK = RSAKey.generate_key(1024)


HEADER = {"alg": "Ed25519", "kid": "k1", "typ": "at+jwt"}

CLAIMS: dict[str, Any] = {
    "iss": ISSUER, "aud": AUDIENCE, "sub": "ops_001", "roles": ["operator"],
    "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 600, "jti": "t-1",
}  # fmt: skip


def listed(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": kid, **more}


JWKS = {
    "keys": [
        listed(KEY, "k1"), listed(EC, "ec"), listed(RSA, "rsa"), listed(WEAK, "weak"),
        {"kty": "oct", "kid": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMyYg"},
        listed(OTHER, "enc", use="enc"), listed(OTHER, "es", alg="ES256"),
    ]
}  # fmt: skip


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def signed(header: Any, claims: Any, key: Any = KEY) -> str:
    """A token over exactly these texts or values, valid or not."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    text = f"{b64(head)}.{b64(body)}"
    return f"{text}.{b64(key.get_op_key('sign').sign(text.encode()))}"


def good(**claims: Any) -> dict[str, Any]:
    return {name: value for name, value in {**CLAIMS, **claims}.items() if value is not ...}


OK = signed(HEADER, CLAIMS)


def tokens(read: Callable[[], Any] = lambda: JWKS, clock: HeldClock | None = None) -> Tokens:
    clock = clock or HeldClock(NOW_MS)
    keys = KeySource(read, clock, local_keys=False)
    return Tokens(TokenSettings(ISSUER, AUDIENCE), keys, clock)
