"""The local issuer, and what production refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api.auth.keys import KeySource, from_file
from api.auth.local import LocalIssuer
from app.config import api_settings, settings
from app.exits import Problem
from tests.api.auth.issuer import AUDIENCE, ISSUER, NOW_MS
from tests.clock import HeldClock

pytestmark = pytest.mark.slow


def test_the_local_issuers_key_is_kept_and_readable_by_its_owner_only(tmp_path: Path) -> None:
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
            api_settings.tokens(production(**wrong), clock)
    source = KeySource(from_file(jwks), clock, local_keys=False)
    assert source.find(LocalIssuer(tmp_path, clock).key_id) is None
    api_settings.tokens(production(**named, jwks="https://issuer.test/jwks"), clock)


def test_each_client_has_one_source() -> None:
    assert api_settings.clients(production(api_clients="till-7=shop, kiosk = web")) == {
        "till-7": "shop",
        "kiosk": "web",
    }
    for wrong in ("till-7", "=shop", "till-7=", "a=b,a=c"):
        with pytest.raises(Problem):
            api_settings.clients(production(api_clients=wrong))
