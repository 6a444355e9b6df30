"""A session ends before its token does: by the token's id, or all sessions of a person
(ASVS 7.4).
"""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from api.auth.keys import KeySource
from api.auth.revoked import RevokedFile
from api.auth.sign_in import NotSignedIn
from api.auth.tokens import Tokens, TokenSettings
from app.config import api_settings
from app.config.settings import load
from app.exits import Problem
from tests.api.auth.issuer import AUDIENCE, CLAIMS, HEADER, ISSUER, JWKS, NOW, NOW_MS, good, signed
from tests.api.harness import ApiHarness
from tests.api.stream.test_stream import FOREVER, streams_of, take
from tests.clock import HeldClock

pytestmark = pytest.mark.slow


class SignIn:
    """Tokens with a list of revoked ones that a test writes."""

    def __init__(self, folder: Path, acr: str = "") -> None:
        self.file = folder / "revoked.json"
        self.clock = HeldClock(NOW_MS)
        self._writes = 0
        self.write({})
        self.revoked = RevokedFile(self.file, self.clock)
        keys = KeySource(lambda: JWKS, self.clock, local_keys=False)
        settings = TokenSettings(ISSUER, AUDIENCE, frozenset(filter(None, [acr])))
        self.tokens = Tokens(settings, keys, self.clock, self.revoked)

    def write(self, listed: Any) -> None:
        text = listed if isinstance(listed, str) else json.dumps(listed)
        self.file.write_text(text)
        self._writes += 1
        os.utime(self.file, (self._writes, self._writes))
        self.clock.advance(1_000)


@pytest.fixture
def sign_in(tmp_path: Path) -> SignIn:
    return SignIn(tmp_path)


def until(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat()


@pytest.mark.parametrize(
    "listed",
    [
        {"tokens": [CLAIMS["jti"]]},
        {"persons": {CLAIMS["sub"]: until(0)}},
        {"persons": {CLAIMS["sub"].upper(): until(0)}},
    ],
)
def test_a_revoked_session_is_refused_within_a_second(sign_in: SignIn, listed: Any) -> None:
    """Cached or not; a later token of the same person is valid."""
    token = signed(HEADER, good())
    assert sign_in.tokens.verify(token).id == CLAIMS["sub"]
    assert sign_in.tokens.known(token) is not None
    assert not sign_in.tokens.revoked(token)
    sign_in.write(listed)
    assert sign_in.tokens.known(token) is None
    assert sign_in.tokens.revoked(token)
    with pytest.raises(NotSignedIn, match="it was revoked"):
        sign_in.tokens.verify(token)
    later = signed(HEADER, {**good(), "jti": "t-2", "iat": NOW + 1, "nbf": NOW + 1})
    assert sign_in.tokens.verify(later).token_id == "t-2"
    assert sign_in.tokens.known(signed(HEADER, {**good(), "sub": "other"})) is None


@pytest.mark.parametrize("broken", ["{", "[]", '{"tokens": 7}', '{"person": {}}', "x" * 2_000_000])
def test_an_unreadable_list_keeps_the_last_one_and_is_reported(
    sign_in: SignIn, broken: str
) -> None:
    """It does not fail open: revoked sessions stay revoked."""
    token = signed(HEADER, good())
    sign_in.tokens.verify(token)
    sign_in.write({"tokens": [CLAIMS["jti"]]})
    assert sign_in.tokens.known(token) is None
    sign_in.write(broken)
    assert sign_in.tokens.known(token) is None
    assert "cannot be read" in (sign_in.tokens.ready() or "")
    sign_in.write({})
    assert sign_in.tokens.known(token) is not None
    assert sign_in.tokens.ready() is None


def test_open_streams_of_a_revoked_session_end_too(tmp_path: Path) -> None:
    """A live stream ends with the reason."""
    harness = ApiHarness(tmp_path)

    async def run() -> None:
        streams = streams_of(harness)
        found = await take(streams.watch(streams.admit("v", None), None, FOREVER, lambda: True), 2)
        assert [each["event"] for each in found] == ["ready", "signed-out"]
        assert "revoked" in found[1]["data"]["reason"]

    asyncio.run(run())
    harness.close()


def test_a_configured_list_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    environment = load(
        {
            "NPP_PROFILE": "test",
            "NPP_DATA_DIR": str(tmp_path),
            "NPP_TOKENS_REVOKED": str(tmp_path / "none.json"),
        }
    )
    with pytest.raises(Problem, match="NPP_TOKENS_REVOKED: the list of revoked tokens"):
        api_settings.tokens(environment, HeldClock(NOW_MS))


def test_the_sign_in_method_counts_where_it_is_required(tmp_path: Path) -> None:
    """ASVS 6.8.4, 10.3.4: the issuer's statement about multiple factors, by configuration."""
    sign_in = SignIn(tmp_path, acr="mfa")
    strong = signed(HEADER, {**good(), "acr": "mfa"})
    assert sign_in.tokens.verify(strong).id == CLAIMS["sub"]
    for weak in ({}, {"acr": "pwd"}, {"acr": None}, {"acr": ["mfa"]}, {"acr": "MFA"}):
        with pytest.raises(NotSignedIn, match="strongly enough"):
            sign_in.tokens.verify(signed(HEADER, {**good(), **weak}))


def test_a_sign_in_is_logged_once_without_the_token(sign_in: SignIn) -> None:
    """ASVS 16.3.1."""
    token = signed(HEADER, good())
    with structlog.testing.capture_logs() as lines:
        sign_in.tokens.verify(token)
        sign_in.tokens.known(token)
    (line,) = (each for each in lines if each["event"] == "signed_in")
    assert (line["principal"], line["token_id"]) == ("ops_001", "t-1")
    assert token not in json.dumps(line)
