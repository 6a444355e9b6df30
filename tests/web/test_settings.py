"""Which pages exist, by the settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from app.config.api_settings import pages
from app.config.settings import Profile, Settings
from app.exits import Problem
from engine.clock import SystemClock
from tests.web.harness import PagesHarness
from web.app import Pages, PagesOff

pytestmark = pytest.mark.slow

OIDC = {
    "oidc_issuer": "https://provider.test",
    "oidc_client_id": "npp",
    "oidc_client_secret": SecretStr("s"),
    "web_url": "https://npp.test",
    "web_key": SecretStr("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
}


def settings(folder: Path, profile: Profile, **more: object) -> Settings:
    return Settings.model_validate({"profile": profile, "data_dir": folder, **more})


def test_production_without_a_provider_has_no_pages_and_says_so(
    harness: PagesHarness, tmp_path: Path
) -> None:
    made = pages(harness.app, settings(tmp_path, Profile.PRODUCTION), SystemClock())
    assert isinstance(made, PagesOff)
    http = TestClient(made)
    assert http.get("/").status_code == 404
    assert "NPP_OIDC_ISSUER" in http.get("/").text
    assert http.get("/sign-in").status_code == 404
    assert http.get("/api/summary").json()["rule"] == "TOKEN_MISSING"


def test_production_with_a_provider_has_its_pages_and_no_personas(
    harness: PagesHarness, tmp_path: Path
) -> None:
    made = pages(harness.app, settings(tmp_path, Profile.PRODUCTION, **OIDC), SystemClock())
    assert isinstance(made, Pages)
    assert made.site.personas is None
    assert made.site.oidc is not None
    assert made.site.sessions.cookie == "__Host-npp_session"


def test_a_demo_has_its_personas_and_keeps_its_sessions_across_a_restart(
    harness: PagesHarness, tmp_path: Path
) -> None:
    first = pages(harness.app, settings(tmp_path, Profile.DEMO), SystemClock())
    again = pages(harness.app, settings(tmp_path, Profile.DEMO), SystemClock())
    assert isinstance(first, Pages)
    assert isinstance(again, Pages)
    assert first.site.personas is not None
    key = tmp_path / "web-session.key"
    assert key.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("missing", ["oidc_client_id", "oidc_client_secret", "web_url", "web_key"])
def test_an_incomplete_sign_in_configuration_does_not_start(
    harness: PagesHarness, tmp_path: Path, missing: str
) -> None:
    given = {name: value for name, value in OIDC.items() if name != missing}
    with pytest.raises(Problem, match=f"NPP_{missing.upper()}"):
        pages(harness.app, settings(tmp_path, Profile.PRODUCTION, **given), SystemClock())


@pytest.mark.parametrize("name", ["oidc_issuer", "web_url"])
def test_production_signs_in_over_tls_only(
    harness: PagesHarness, tmp_path: Path, name: str
) -> None:
    given = {**OIDC, name: "http://provider.test"}
    with pytest.raises(Problem, match="https"):
        pages(harness.app, settings(tmp_path, Profile.PRODUCTION, **given), SystemClock())
