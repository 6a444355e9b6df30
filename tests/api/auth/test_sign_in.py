"""SEC-01: a token counts only when everything about it is right; the key server may be away."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from api.auth.keys import (
    ASK_S_MIN,
    REFRESH_S,
    STALE_S_MAX,
    KeySource,
    from_address,
    from_file,
    trusted,
)
from api.auth.local import LocalIssuer
from api.auth.sign_in import KeysDown, NotSignedIn
from api.auth.tokens import LEEWAY_S, LIFETIME_S_MAX, Tokens, TokenSettings
from app import settings
from app.exits import Problem
from app.wiring import api as wiring_api
from engine.clock import HeldClock

pytestmark = pytest.mark.slow

NOW_MS = 1_790_000_000_000
NOW = NOW_MS // 1_000
ISSUER, AUDIENCE = "https://issuer.test", "npp-api"
KEY = OKPKey.generate_key("Ed25519")
OTHER = OKPKey.generate_key("Ed25519")
EC = ECKey.generate_key("P-256")
SECRET = b"secret-secret-secret-secret-32b"
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
    """A token over exactly these texts or values, whatever they are."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    text = f"{b64(head)}.{b64(body)}"
    return f"{text}.{b64(key.get_op_key('sign').sign(text.encode()))}"


def good(**claims: Any) -> dict[str, Any]:
    return {name: value for name, value in {**CLAIMS, **claims}.items() if value is not ...}


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


OK = signed(HEADER, CLAIMS)
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


def tokens(read: Callable[[], Any] = lambda: JWKS, clock: HeldClock | None = None) -> Tokens:
    clock = clock or HeldClock(NOW_MS)
    keys = KeySource(read, clock, local_keys=False)
    return Tokens(TokenSettings(ISSUER, AUDIENCE), keys, clock)


def test_a_token_with_all_that_is_needed_says_who_calls() -> None:
    found = tokens().verify(OK)
    assert (found.id, set(found.roles), found.token_id) == ("ops_001", {"operator"}, "t-1")
    assert found.expires_at == (NOW + 600 + LEEWAY_S) * 1_000


@pytest.mark.parametrize(
    ("key", "kid", "alg"),
    [(EC, "ec", "ES256"), (RSA, "rsa", "RS256"), (RSA, "rsa", "PS256"), (KEY, "k1", "EdDSA")],
)
def test_each_allowed_algorithm_counts_with_a_key_of_its_kind(key: Any, kid: str, alg: str) -> None:
    assert tokens().verify(by(key, kid, alg)).id == "ops_001"


@pytest.mark.parametrize("token", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_token_is_refused_and_never_remembered(token: str) -> None:
    sign_in = tokens()
    with pytest.raises(NotSignedIn) as refused:
        sign_in.verify(token)
    assert sign_in.known(token) is None
    assert len(token) < 20 or token not in str(refused.value)


def test_roles_that_are_not_ours_count_for_nothing() -> None:
    found = tokens().verify(signed(HEADER, good(roles=["root", "operator", "ADMIN"])))
    assert found.roles == {"operator"}


def test_a_verified_token_is_remembered_until_it_ends() -> None:
    clock = HeldClock(NOW_MS)
    sign_in = tokens(clock=clock)
    assert sign_in.known(OK) is None
    principal = sign_in.verify(OK)
    assert sign_in.known(OK) == principal
    clock.advance((600 + LEEWAY_S) * 1_000)
    assert sign_in.known(OK) is None
    with pytest.raises(NotSignedIn):
        sign_in.verify(OK)


class Issuer:
    """A key server that can be away; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.keys: Any = JWKS

    def __call__(self) -> Any:
        self.asked += 1
        return self.keys


def test_unknown_keys_are_asked_for_seldom_however_many_tokens_come() -> None:
    issuer, clock = Issuer(), HeldClock(NOW_MS)
    sign_in = tokens(issuer, clock)
    for number in range(100):
        with pytest.raises(NotSignedIn):
            sign_in.verify(signed({**HEADER, "kid": f"x{number}"}, CLAIMS))
    assert issuer.asked == 1
    clock.advance(int(ASK_S_MIN * 1_000))
    issuer.keys = {"keys": [*JWKS["keys"], listed(OTHER, "new")]}
    assert sign_in.verify(signed({**HEADER, "kid": "new"}, CLAIMS, OTHER)).id == "ops_001"
    assert issuer.asked == 2


def test_fault_18_while_the_key_server_is_down_known_keys_go_on_for_a_bounded_time() -> None:
    issuer, clock = Issuer(), HeldClock(NOW_MS)
    sign_in = tokens(issuer, clock)
    sign_in.verify(OK)
    issuer.keys = None
    clock.advance(int(REFRESH_S * 1_000) + 1)
    assert sign_in.verify(signed(HEADER, good(jti="t-2"))).id == "ops_001"
    with pytest.raises(KeysDown):
        sign_in.verify(signed({**HEADER, "kid": "new"}, CLAIMS, OTHER))
    assert sign_in.ready() is None
    clock.advance(int(STALE_S_MAX * 1_000))
    later = clock.now_ms() // 1_000
    with pytest.raises(KeysDown):
        sign_in.verify(signed(HEADER, good(iat=later, nbf=later, exp=later + 60)))
    assert sign_in.ready() is not None
    issuer.keys = JWKS
    clock.advance(int(ASK_S_MIN * 1_000))
    assert sign_in.verify(signed(HEADER, good(iat=later, nbf=later, exp=later + 60)))


def test_fault_18_a_key_server_that_never_answered_lets_nobody_in() -> None:
    with pytest.raises(KeysDown):
        tokens(lambda: None).verify(OK)


def test_a_key_that_was_withdrawn_counts_no_longer_than_the_refresh() -> None:
    issuer, clock = Issuer(), HeldClock(NOW_MS)
    sign_in = tokens(issuer, clock)
    sign_in.verify(OK)
    issuer.keys = {"keys": [listed(OTHER, "k9")]}
    clock.advance(int(REFRESH_S * 1_000))
    assert sign_in.known(OK) is None
    with pytest.raises(NotSignedIn):
        sign_in.verify(OK)


@pytest.mark.parametrize("found", [{}, {"keys": {}}, {"keys": [{}] * 101}])
def test_what_is_no_key_set_changes_nothing(found: Any) -> None:
    issuer, clock = Issuer(), HeldClock(NOW_MS)
    sign_in = tokens(issuer, clock)
    sign_in.verify(OK)
    issuer.keys = found
    clock.advance(int(REFRESH_S * 1_000) + 1)
    assert sign_in.verify(signed(HEADER, good(jti="t-2"))).id == "ops_001"


GOOD = listed(KEY, "k1")
ODD: dict[str, tuple[list[Any], int]] = {
    "another kind": ([{"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA", "kid": "pq"}], 0),
    "no kid": ([{"kty": "RSA", "n": "AQAB", "e": "AQAB"}], 0),
    "for encryption": ([{**GOOD, "use": "enc"}], 0),
    "short": ([{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r"}], 0),
    "nulls": ([{**GOOD, "kid": "z", "alg": None, "use": None}], 0),
    "odd members that are not used": ([{**GOOD, "x5c": ["junk"], "key_ops": 5}], 0),
    "no objects": (["x", None, 5, []], 4),
    "n is null": ([{"kty": "RSA", "n": None, "e": "AQAB", "kid": "r"}], 1),
    "n is a number": ([{"kty": "RSA", "n": 65537, "e": "AQAB", "kid": "r"}], 1),
    "n is a list": ([{"kty": "RSA", "n": ["A"] * 600, "e": "AQAB", "kid": "r"}], 1),
    "alg is a list": ([{**GOOD, "kid": "z", "alg": ["EdDSA"]}], 1),
    "alg is an object": ([{**GOOD, "kid": "z", "alg": {}}], 1),
    "kid is a number": ([{**GOOD, "kid": 7}], 1),
    "kty is a list": ([{**GOOD, "kid": "z", "kty": ["OKP"]}], 1),
    "no point": ([{"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "e"}], 1),
    "x is a number": ([{"kty": "EC", "crv": "P-256", "x": 1, "y": 2, "kid": "e"}], 1),
    "x is no base64": ([{**GOOD, "kid": "b", "x": "***"}], 1),
}


@pytest.mark.parametrize(("odd", "malformed"), ODD.values(), ids=ODD)
def test_one_member_of_a_key_set_never_hides_the_good_ones(
    tmp_path: Path, odd: list[Any], malformed: int
) -> None:
    """Finding 19, RFC 7517 section 5: it is left out, logged and counted."""
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [*odd, GOOD]}))
    sign_in = tokens(from_file(file))
    assert sign_in.verify(OK).id == "ops_001"
    assert sign_in.malformed_keys() == malformed


@pytest.mark.parametrize(
    ("content", "malformed"),
    [
        (b'{"keys": [%s], "org": "B\xe4nk"}', 0),
        (b'{"org": "B\xe4nk", "keys": [{"kid": "\xe4"}, %s]}', 1),
        (b'{"keys": [{"kid": "a", "kid": "b"}, %s]}', 1),
        (b'{"keys": [' + b"[" * 500 + b"]" * 500 + b", %s]}", 1),
    ],
)
def test_bytes_that_are_no_text_cost_at_most_their_own_member(
    tmp_path: Path, content: bytes, malformed: int
) -> None:
    """Finding 19: a key set file that is not UTF-8 throughout."""
    file = tmp_path / "jwks.json"
    file.write_bytes(content % json.dumps(GOOD).encode())
    sign_in = tokens(from_file(file))
    assert sign_in.verify(OK).id == "ops_001"
    assert sign_in.malformed_keys() == malformed


@pytest.mark.parametrize("content", [b"\xff", b"{", b"[" * 100_000, b'{"keys": 1}', b""])
def test_a_file_that_is_no_key_set_changes_nothing(tmp_path: Path, content: bytes) -> None:
    """Finding 19: known keys go on; nobody gets a 500."""
    file, clock = tmp_path / "jwks.json", HeldClock(NOW_MS)
    file.write_text(json.dumps(JWKS))
    sign_in = tokens(from_file(file), clock)
    sign_in.verify(OK)
    file.write_bytes(content)
    clock.advance(int(REFRESH_S * 1_000) + 1)
    assert sign_in.verify(signed(HEADER, good(jti="t-2"))).id == "ops_001"


def test_a_private_or_symmetric_key_in_the_set_is_not_taken() -> None:
    assert trusted(KEY.as_dict(private=True)) is None
    assert trusted({"kty": "oct", "k": "c2VjcmV0"}) is None
    assert trusted({"kty": "OKP", "crv": "X25519", "x": KEY.as_dict(private=False)["x"]}) is None


@pytest.fixture
def key_server() -> Iterator[tuple[str, dict[str, Any]]]:
    """A real HTTP server with what it answers."""
    says: dict[str, Any] = {"status": 200, "body": json.dumps(JWKS).encode()}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(says["status"])
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", str(len(says["body"])))
            self.end_headers()
            self.wfile.write(says["body"])

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/jwks", says
    server.shutdown()
    server.server_close()


def test_keys_come_over_http_and_neither_redirects_nor_floods_are_followed(
    key_server: tuple[str, dict[str, Any]],
) -> None:
    url, says = key_server
    read = from_address(url, HeldClock(NOW_MS))
    assert read() == JWKS
    says["status"] = 302
    assert read() is None
    says.update(status=200, body=b"[" + b" " * 1_000_000 + b"]")
    assert read() is None
    says["body"] = b"no JSON"
    assert read() is None


def test_the_local_issuers_key_is_its_owners_alone_and_kept(tmp_path: Path) -> None:
    first = LocalIssuer(tmp_path, HeldClock(NOW_MS))
    again = LocalIssuer(tmp_path, HeldClock(NOW_MS))
    assert first.key_id == again.key_id
    assert (tmp_path / "api-token-key.json").stat().st_mode & 0o777 == 0o600
    assert "d" not in json.loads(first.jwks.read_text())["keys"][0]
    with pytest.raises(ValueError):
        first.issue("x", ["root"])


def production(**values: str) -> settings.Environment:
    named = {f"NPP_{name.upper()}": value for name, value in values.items()}
    return settings.load({"NPP_BOOTSTRAP_SERVERS": "x:1", "NPP_PROFILE": "production", **named})


def test_production_refuses_the_local_issuer_and_keys_over_plain_http(tmp_path: Path) -> None:
    clock = HeldClock(NOW_MS)
    jwks = LocalIssuer(tmp_path, clock).jwks
    named = {"token_issuer": ISSUER, "token_audience": AUDIENCE}
    for wrong in (
        {},
        named,
        {**named, "jwks": "http://127.0.0.1:1/jwks"},
        {**named, "jwks": "http://issuer.test/jwks"},
        {**named, "jwks": str(jwks)},
        {**named, "jwks": "https://issuer.test/jwks", "token_issuer": "npp-local"},
    ):
        with pytest.raises(Problem):
            wiring_api.tokens(production(**wrong), clock)
    source = KeySource(from_file(jwks), clock, local_keys=False)
    assert source.find(LocalIssuer(tmp_path, clock).key_id) is None
    wiring_api.tokens(production(**named, jwks="https://issuer.test/jwks"), clock)


def test_each_client_has_one_source() -> None:
    assert wiring_api.clients(production(api_clients="till-7=shop, kiosk = web")) == {
        "till-7": "shop",
        "kiosk": "web",
    }
    for wrong in ("till-7", "=shop", "till-7=", "a=b,a=c"):
        with pytest.raises(Problem):
            wiring_api.clients(production(api_clients=wrong))
