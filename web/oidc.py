"""Sign-in with an OpenID provider: authorization code with PKCE, state and nonce (RFC 9700).

What the provider gives is an access token for the API, which the API itself checks; the ID token
only ties that token to this browser's own sign-in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import msgspec
from authlib.common.errors import AuthlibBaseError
from authlib.common.security import generate_token
from authlib.integrations.httpx_client import AsyncOAuth2Client
from cryptography.fernet import Fernet, InvalidToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from starlette.requests import Request
from starlette.responses import Response

from api.edge.problems import Problem, unavailable
from engine.clock import MS_PER_S, Clock

STARTED: Final = "npp_sign_in"
CALLBACK: Final = "/sign-in/callback"
TIMEOUT_S: Final = 5.0
LIFE_S: Final = 600  # from the start of a sign-in to its end
LEEWAY_S: Final = 30
FRESH_S: Final = 300.0  # how long the provider's document and keys are cached
WORD_CHARACTERS: Final = 48
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "Ed25519", "EdDSA")
ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """`site_url` is the address of these pages, to which the provider sends people back."""

    issuer: str
    client_id: str
    client_secret: str
    site_url: str
    scope: str = "openid"


class Started(msgspec.Struct, frozen=True):
    """A sign-in that has begun in this browser."""

    state: str
    nonce: str
    verifier: str
    back: str


class _Known(msgspec.Struct, frozen=True):
    document: dict[str, Any]
    keys: Any
    at_s: float


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Started).decode


class Oidc:
    """One provider. `key` encrypts the cookie of a started sign-in; `transport` replaces the
    network in tests.
    """

    def __init__(
        self,
        settings: OidcSettings,
        key: bytes,
        clock: Clock,
        *,
        secure: bool,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._seal = Fernet(key)
        self._clock = clock
        self._secure = secure
        self._transport = transport
        self._known: _Known | None = None

    async def begin(self, response: Response, back: str) -> str:
        """Start a sign-in: returns the provider's address for the browser. A cookie ties the
        provider's answer to this browser. Raises Problem (503).
        """
        state, nonce, verifier = (generate_token(WORD_CHARACTERS) for _ in range(3))
        started = Started(state, nonce, verifier, back)
        document = (await self._provider()).document
        async with self._client() as client:
            address, _ = client.create_authorization_url(
                document["authorization_endpoint"],
                state=started.state,
                nonce=started.nonce,
                code_verifier=started.verifier,
            )
        sealed = self._seal.encrypt(_encode(started)).decode("ascii")
        # Lax: the provider's redirect comes from another site.
        response.set_cookie(STARTED, sealed, max_age=LIFE_S, **self._flags())
        return str(address)

    async def end(self, request: Request) -> tuple[str, str]:
        """The access token, and the page to go to. Raises Problem when the answer does not belong
        to a sign-in of this browser, or the provider refuses or does not answer.
        """
        given = request.query_params
        started = self._started(request)
        if started is None or given.get("state") != started.state:
            raise _refused("This sign-in was not started in this browser, or it took too long.")
        if given.get("iss", self._settings.issuer) != self._settings.issuer:
            raise _refused("Another issuer answered.")
        if "error" in given or not given.get("code"):
            raise _refused("The provider did not sign you in.")
        provider = await self._provider()
        try:
            async with self._client() as client:
                token: Mapping[str, Any] = await client.fetch_token(
                    provider.document["token_endpoint"],
                    code=given["code"],
                    code_verifier=started.verifier,
                )
        except AuthlibBaseError:
            raise _refused("The provider refused the code.") from None
        except (httpx2.HTTPError, ValueError):
            raise _down() from None
        self._check(str(token.get("id_token") or ""), provider, started)
        access = token.get("access_token")
        if not isinstance(access, str) or not access:
            raise _refused("The provider gave no access token.")
        return access, started.back

    def forget(self, response: Response) -> None:
        """Delete the cookie of a sign-in that has ended."""
        response.delete_cookie(STARTED, **self._flags())

    def _started(self, request: Request) -> Started | None:
        try:
            return _decode(self._seal.decrypt(request.cookies.get(STARTED, ""), ttl=LIFE_S))
        except (InvalidToken, ValueError):
            return None

    def _check(self, id_token: str, provider: _Known, started: Started) -> None:
        registry = jwt.JWTClaimsRegistry(
            now=self._clock.now_ms() // MS_PER_S,
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": self._settings.client_id},
            nonce={"essential": True, "value": started.nonce},
            exp={"essential": True},
            sub={"essential": True},
        )
        try:
            keys = KeySet.import_key_set(provider.keys)
            found = jwt.decode(id_token, keys, algorithms=list(ALGORITHMS))
            registry.validate(found.claims)
        except (JoseError, ValueError, KeyError, TypeError):
            raise _refused("The provider's ID token is invalid.") from None

    async def _provider(self) -> _Known:
        """Its document and keys, at most FRESH_S old. Raises Problem (503)."""
        now = self._clock.monotonic_s()
        if self._known is not None and now - self._known.at_s < FRESH_S:
            return self._known
        place = self._settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
        try:
            async with self._plain() as client:
                document = (await client.get(place)).raise_for_status().json()
                if document["issuer"] != self._settings.issuer:
                    raise _down()
                missing = [each for each in ENDPOINTS if not isinstance(document.get(each), str)]
                if missing:
                    raise _down()
                found = await client.get(document["jwks_uri"])
                keys = found.raise_for_status().json()
        except (httpx2.HTTPError, ValueError, KeyError, TypeError):
            raise _down() from None
        self._known = _Known(document, keys, now)
        return self._known

    def _plain(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(timeout=TIMEOUT_S, transport=self._transport, trust_env=False)

    def _client(self) -> AsyncOAuth2Client:
        settings = self._settings
        return AsyncOAuth2Client(
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            scope=settings.scope,
            redirect_uri=settings.site_url.rstrip("/") + CALLBACK,
            code_challenge_method="S256",
            timeout=TIMEOUT_S,
            transport=self._transport,
            follow_redirects=False,
            trust_env=False,
        )

    def _flags(self) -> dict[str, Any]:
        return {
            "path": "/sign-in",
            "httponly": True,
            "secure": self._secure,
            "samesite": "lax",
        }


def _refused(sentence: str) -> Problem:
    return Problem(403, "POLICY_REJECTED", "SIGN_IN_REFUSED", f"{sentence} Sign in again.")


def _down() -> Problem:
    return unavailable("PROVIDER_DOWN", "The sign-in provider does not answer as it should.")
