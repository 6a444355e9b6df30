"""A small OpenID provider over ASGI: code flow with PKCE, as strict as a real one."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from engine.clock import MS_PER_S, Clock

ISSUER = "https://provider.test"
CLIENT, SECRET = "npp-pages", "a secret of the pages"


class Provider:
    """`token` is the access token that it issues; `claims` change the ID token, `key` its key."""

    def __init__(self, token: str, clock: Clock) -> None:
        self.token = token
        self._clock = clock
        self.claims: dict[str, Any] = {}
        self.key = RSAKey.generate_key(2048, {"kid": "p1", "use": "sig"})
        self.listed = self.key
        self.requested: dict[str, str] = {}
        self.exchanges = 0
        self.away = False
        self.app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._document),
                Route("/keys", self._keys),
                Route("/authorize", self._authorize),
                Route("/token", self._exchange, methods=["POST"]),
            ]
        )

    async def _document(self, _: Request) -> Response:
        if self.away:
            return Response("no", 503)
        return JSONResponse(
            {
                "issuer": ISSUER,
                "authorization_endpoint": f"{ISSUER}/authorize",
                "token_endpoint": f"{ISSUER}/token",
                "jwks_uri": f"{ISSUER}/keys",
            }
        )

    async def _keys(self, _: Request) -> Response:
        return JSONResponse({"keys": [self.listed.as_dict(private=False)]})

    async def _authorize(self, request: Request) -> Response:
        return RedirectResponse(self.agree(str(request.url)))

    def agree(self, address: str) -> str:
        """The user signs in; returns the redirect URL."""
        query = urlsplit(address).query
        self.requested = {name: values[0] for name, values in parse_qs(query).items()}
        assert self.requested["client_id"] == CLIENT
        assert self.requested["response_type"] == "code"
        assert self.requested["code_challenge_method"] == "S256"
        back = {"code": "code-1", "state": self.requested["state"], "iss": ISSUER}
        return f"{self.requested['redirect_uri']}?{urlencode(back)}"

    async def _exchange(self, request: Request) -> Response:
        self.exchanges += 1
        form = {k: v[0] for k, v in parse_qs((await request.body()).decode()).items()}
        basic = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        good = (
            basic == f"{CLIENT}:{SECRET}"
            and form["code"] == "code-1"
            and form["redirect_uri"] == self.requested["redirect_uri"]
            and challenge == self.requested["code_challenge"]
        )
        if not good:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = self._clock.now_ms() // MS_PER_S
        claims = {
            "iss": ISSUER,
            "aud": CLIENT,
            "sub": "olga",
            "nonce": self.requested["nonce"],
            "exp": now + 300,
            "iat": now,
            **self.claims,
        }
        kept = json.loads(json.dumps({k: v for k, v in claims.items() if v is not None}))
        id_token = jwt.encode({"alg": "RS256", "kid": "p1"}, kept, self.key)
        return JSONResponse(
            {"access_token": self.token, "token_type": "Bearer", "id_token": id_token}
        )
