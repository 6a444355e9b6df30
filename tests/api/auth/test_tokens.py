"""SEC-01: a token is valid only if everything about it is."""

from __future__ import annotations

import hashlib
import hmac
import json
import warnings
from typing import Any

import pytest
from joserfc import jws

from api.auth.sign_in import NotSignedIn
from api.auth.tokens import LEEWAY_S, LIFETIME_S_MAX
from tests.api.auth.issuer import (
    AUDIENCE,
    CLAIMS,
    EC,
    HEADER,
    ISSUER,
    KEY,
    NOW,
    NOW_MS,
    OK,
    OTHER,
    RSA,
    WEAK,
    b64,
    good,
    signed,
    tokens,
)
from tests.clock import HeldClock

pytestmark = pytest.mark.slow

SECRET = b"secret-secret-secret-secret-32b"


def hmac_token(secret: bytes, alg: str = "HS256", kid: str = "k1") -> str:
    text = ".".join(
        b64(json.dumps(part).encode()) for part in ({**HEADER, "alg": alg, "kid": kid}, CLAIMS)
    )
    return f"{text}.{b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def unsigned(alg: str) -> str:
    return f"{b64(json.dumps({**HEADER, 'alg': alg}).encode())}.{b64(json.dumps(CLAIMS).encode())}."


def by(key: Any, kid: str, alg: str) -> str:
    """A token by a key of another kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = {**HEADER, "alg": alg, "kid": kid}
        return jws.serialize_compact(header, json.dumps(CLAIMS), key, algorithms=[alg])


def changed(token: str, claims: Any) -> str:
    head, _, signature = token.split(".")
    return f"{head}.{b64(json.dumps(claims).encode())}.{signature}"


HOSTILE: dict[str, str] = {
    "alg none": unsigned("none"),
    "alg NONE with a signature": signed({**HEADER, "alg": "NONE"}, CLAIMS),
    "alg missing": signed({"kid": "k1", "typ": "at+jwt"}, CLAIMS),
    "alg a list": signed({**HEADER, "alg": ["Ed25519"]}, CLAIMS),
    "HS256 with the public key's bytes": hmac_token(KEY.as_pem(private=False)),
    "HS256 with the listed symmetric key": hmac_token(SECRET, "HS256", "oct"),
    "HS256 with x": hmac_token(str(KEY.as_dict(private=False)["x"]).encode()),
    "another algorithm than the key's": signed({**HEADER, "alg": "ES256"}, CLAIMS),
    "RS384": signed({**HEADER, "alg": "RS384", "kid": "rsa"}, CLAIMS),
    "unknown kid": signed({**HEADER, "kid": "k2"}, CLAIMS),
    "no kid": signed({"alg": "Ed25519", "typ": "at+jwt"}, CLAIMS),
    "empty kid": signed({**HEADER, "kid": ""}, CLAIMS),
    "kid a path": signed({**HEADER, "kid": "../../dev/null"}, CLAIMS),
    "kid a number": signed({**HEADER, "kid": 1}, CLAIMS),
    "a key listed for encryption": signed({**HEADER, "kid": "enc"}, CLAIMS, OTHER),
    "a key listed for another algorithm": signed({**HEADER, "kid": "es"}, CLAIMS, OTHER),
    "a weak RSA key": by(WEAK, "weak", "RS256"),
    "signed by another key": signed(HEADER, CLAIMS, OTHER),
    "its own key in jwk": signed({**HEADER, "jwk": OTHER.as_dict(private=False)}, CLAIMS, OTHER),
    "jku": signed({**HEADER, "jku": "https://evil.test/jwks"}, CLAIMS),
    "x5u": signed({**HEADER, "x5u": "https://evil.test/cert"}, CLAIMS),
    "x5c": signed({**HEADER, "x5c": ["MII"]}, CLAIMS),
    "crit": signed({**HEADER, "crit": ["exp"]}, CLAIMS),
    "b64 false": signed({**HEADER, "b64": False, "crit": ["b64"]}, CLAIMS),
    "zip": signed({**HEADER, "zip": "DEF"}, CLAIMS),
    "typ JWT": signed({**HEADER, "typ": "JWT"}, CLAIMS),
    "typ missing": signed({"alg": "Ed25519", "kid": "k1"}, CLAIMS),
    "an id token": signed({**HEADER, "typ": "id+jwt"}, CLAIMS),
    "alg twice": signed(b'{"alg":"none","alg":"Ed25519","kid":"k1","typ":"at+jwt"}', CLAIMS),
    "expired": signed(HEADER, good(iat=NOW - 700, nbf=NOW - 700, exp=NOW - LEEWAY_S)),
    "not yet": signed(HEADER, good(nbf=NOW + LEEWAY_S + 1)),
    "issued in the future": signed(HEADER, good(iat=NOW + LEEWAY_S + 1, nbf=...)),
    "exp missing": signed(HEADER, good(exp=...)),
    "iat missing": signed(HEADER, good(iat=...)),
    "exp a text": signed(HEADER, good(exp=str(NOW + 600))),
    "exp true": signed(HEADER, good(exp=True)),
    "exp NaN": signed(HEADER, json.dumps(good(exp=float("nan"))).encode()),
    "exp beyond all times": signed(HEADER, good(exp=10**30)),
    "lives too long": signed(HEADER, good(exp=NOW + LIFETIME_S_MAX + 60)),
    "another issuer": signed(HEADER, good(iss="https://evil.test")),
    "issuer a list": signed(HEADER, good(iss=[ISSUER])),
    "issuer with a slash": signed(HEADER, good(iss=ISSUER + "/")),
    "another audience": signed(HEADER, good(aud="other-api")),
    "audience missing": signed(HEADER, good(aud=...)),
    "audience a part": signed(HEADER, good(aud=AUDIENCE + "-2")),
    "audience an object": signed(HEADER, good(aud={AUDIENCE: True})),
    "sub missing": signed(HEADER, good(sub=...)),
    "sub empty": signed(HEADER, good(sub="")),
    "sub blank": signed(HEADER, good(sub="   ")),
    "sub with a space before it": signed(HEADER, good(sub=" ops_001")),
    "sub with a line break": signed(HEADER, good(sub="ops_001\nadmin")),
    "sub turned by bidi": signed(HEADER, good(sub="ops\u202e100")),
    "sub with a NUL": signed(HEADER, good(sub="ops\x00")),
    "sub half a surrogate": signed(HEADER, good(sub="ops\ud800")),
    "sub full width": signed(HEADER, good(sub="ｏps_001")),
    "sub too long": signed(HEADER, good(sub="a" * 129)),
    "sub a number": signed(HEADER, good(sub=7)),
    "jti missing": signed(HEADER, good(jti=...)),
    "roles a text": signed(HEADER, good(roles="admin operator")),
    "roles missing": signed(HEADER, good(roles=...)),
    "roles an object": signed(HEADER, good(roles={"admin": True})),
    "roles with a number": signed(HEADER, good(roles=["operator", 1])),
    "too many roles": signed(HEADER, good(roles=["operator"] * 33)),
    "client_id a list": signed(HEADER, good(client_id=["till-7"])),
    "sub twice": signed(HEADER, json.dumps(CLAIMS)[:-1].encode() + b',"sub":"admin"}'),
    "claims a list": signed(HEADER, [CLAIMS]),
    "claims nested too deeply": signed(HEADER, b'{"a":' * 50 + b"1" + b"}" * 50),
    "claims no JSON": signed(HEADER, b"\xff\xfe"),
    "claims changed": changed(OK, good(roles=["admin"])),
    "signature cut off": OK[:-4],
    "signature missing": OK.rsplit(".", 1)[0] + ".",
    "padding": OK + "==",
    "another encoding of the same bytes": OK[:-1] + chr(ord(OK[-1]) + 1),
    "two parts": OK.rsplit(".", 1)[0],
    "five parts": OK + ".a.b",
    "a token inside a token": signed({**HEADER, "cty": "JWT"}, OK.encode()),
    "huge": signed(HEADER, good(more="a" * 9_000)),
    "a space after it": OK + " ",
    "an unknown letter": OK[:5] + "é" + OK[6:],
    "empty": "",
}  # fmt: skip


def test_a_token_with_all_required_claims_identifies_the_caller() -> None:
    found = tokens().verify(OK)
    assert (found.id, set(found.roles), found.token_id) == ("ops_001", {"operator"}, "t-1")
    assert found.expires_at == (NOW + 600 + LEEWAY_S) * 1_000


@pytest.mark.parametrize(
    ("key", "kid", "alg"),
    [(EC, "ec", "ES256"), (RSA, "rsa", "RS256"), (RSA, "rsa", "PS256"), (KEY, "k1", "EdDSA")],
)
def test_each_allowed_algorithm_works_with_a_key_of_its_kind(key: Any, kid: str, alg: str) -> None:
    assert tokens().verify(by(key, kid, alg)).id == "ops_001"


@pytest.mark.parametrize("token", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_token_is_refused_and_never_cached(token: str) -> None:
    sign_in = tokens()
    with pytest.raises(NotSignedIn) as refused:
        sign_in.verify(token)
    assert sign_in.known(token) is None
    assert len(token) < 20 or token not in str(refused.value)


def test_unknown_roles_are_ignored() -> None:
    found = tokens().verify(signed(HEADER, good(roles=["root", "operator", "ADMIN"])))
    assert found.roles == {"operator"}


def test_a_verified_token_is_cached_until_it_expires() -> None:
    clock = HeldClock(NOW_MS)
    sign_in = tokens(clock=clock)
    assert sign_in.known(OK) is None
    principal = sign_in.verify(OK)
    assert sign_in.known(OK) == principal
    clock.advance((600 + LEEWAY_S) * 1_000)
    assert sign_in.known(OK) is None
    with pytest.raises(NotSignedIn):
        sign_in.verify(OK)
