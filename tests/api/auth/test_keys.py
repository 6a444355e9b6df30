"""The keys that verify tokens: fetched rarely, and the key server may be unavailable."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.auth.keys import ASK_S_MIN, REFRESH_S, STALE_S_MAX, from_address, from_file, trusted
from api.auth.sign_in import KeysDown, NotSignedIn
from tests.api.auth.issuer import (
    CLAIMS,
    HEADER,
    JWKS,
    KEY,
    NOW_MS,
    OK,
    OTHER,
    good,
    listed,
    signed,
    tokens,
)
from tests.clock import HeldClock

pytestmark = pytest.mark.slow


class Issuer:
    """A key server that can be unavailable; counts its requests."""

    def __init__(self) -> None:
        self.requested = 0
        self.keys: Any = JWKS

    def __call__(self) -> Any:
        self.requested += 1
        return self.keys


def test_unknown_keys_are_fetched_rarely_however_many_tokens_come() -> None:
    issuer, clock = Issuer(), HeldClock(NOW_MS)
    sign_in = tokens(issuer, clock)
    for number in range(100):
        with pytest.raises(NotSignedIn):
            sign_in.verify(signed({**HEADER, "kid": f"x{number}"}, CLAIMS))
    assert issuer.requested == 1
    clock.advance(int(ASK_S_MIN * 1_000))
    issuer.keys = {"keys": [*JWKS["keys"], listed(OTHER, "new")]}
    assert sign_in.verify(signed({**HEADER, "kid": "new"}, CLAIMS, OTHER)).id == "ops_001"
    assert issuer.requested == 2


def test_fault_18_while_the_key_server_is_down_known_keys_stay_valid_for_a_bounded_time() -> None:
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


def test_fault_18_with_a_key_server_that_never_answered_every_token_is_refused() -> None:
    with pytest.raises(KeysDown):
        tokens(lambda: None).verify(OK)


def test_a_withdrawn_key_is_valid_no_longer_than_the_refresh_interval() -> None:
    issuer, clock = Issuer(), HeldClock(NOW_MS)
    sign_in = tokens(issuer, clock)
    sign_in.verify(OK)
    issuer.keys = {"keys": [listed(OTHER, "k9")]}
    clock.advance(int(REFRESH_S * 1_000))
    assert sign_in.known(OK) is None
    with pytest.raises(NotSignedIn):
        sign_in.verify(OK)


@pytest.mark.parametrize("found", [{}, {"keys": {}}, {"keys": [{}] * 101}])
def test_an_invalid_key_set_changes_nothing(found: Any) -> None:
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
def test_one_invalid_member_of_a_key_set_does_not_hide_the_others(
    tmp_path: Path, odd: list[Any], malformed: int
) -> None:
    """RFC 7517 section 5: it is ignored, logged and counted."""
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
def test_bytes_that_are_not_utf_8_affect_at_most_their_own_member(
    tmp_path: Path, content: bytes, malformed: int
) -> None:
    """A key set file that is not UTF-8 throughout."""
    file = tmp_path / "jwks.json"
    file.write_bytes(content % json.dumps(GOOD).encode())
    sign_in = tokens(from_file(file))
    assert sign_in.verify(OK).id == "ops_001"
    assert sign_in.malformed_keys() == malformed


@pytest.mark.parametrize("content", [b"\xff", b"{", b"[" * 100_000, b'{"keys": 1}', b""])
def test_a_file_without_a_key_set_changes_nothing(tmp_path: Path, content: bytes) -> None:
    """Known keys stay valid, and no request gets a 500."""
    file, clock = tmp_path / "jwks.json", HeldClock(NOW_MS)
    file.write_text(json.dumps(JWKS))
    sign_in = tokens(from_file(file), clock)
    sign_in.verify(OK)
    file.write_bytes(content)
    clock.advance(int(REFRESH_S * 1_000) + 1)
    assert sign_in.verify(signed(HEADER, good(jti="t-2"))).id == "ops_001"


def test_a_private_or_symmetric_key_in_the_set_is_ignored() -> None:
    assert trusted(KEY.as_dict(private=True)) is None
    assert trusted({"kty": "oct", "k": "c2VjcmV0"}) is None
    assert trusted({"kty": "OKP", "crv": "X25519", "x": KEY.as_dict(private=False)["x"]}) is None


@pytest.fixture
def key_server() -> Iterator[tuple[str, dict[str, Any]]]:
    """A real HTTP server and its response."""
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
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/jwks", says
    server.shutdown()
    server.server_close()


def test_keys_come_over_http_and_redirects_and_oversized_answers_are_not_followed(
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
