"""Sign-in, sessions, forms, headers: what applies to every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.web.harness import Browser, PagesHarness

pytestmark = pytest.mark.slow


def test_a_page_redirects_to_sign_in_and_back(
    harness: PagesHarness,
) -> None:
    browser = harness.browser()
    sent = browser.get("/approvals?status=REFERRED")
    assert sent.status_code == 303
    assert sent.headers["location"] == "/sign-in?next=%2Fapprovals%3Fstatus%3DREFERRED"
    picker = browser.get(sent.headers["location"])
    assert 'value="/approvals?status=REFERRED"' in picker.text
    answer = browser.http.post("/sign-in", data={"person": "olga", "next": "/approvals"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/approvals")


@pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example", "/\\evil", "x"])
def test_a_sign_in_never_leads_to_another_site(harness: PagesHarness, elsewhere: str) -> None:
    browser = harness.browser()
    answer = browser.http.post("/sign-in", data={"person": "olga", "next": elsewhere})
    assert answer.headers["location"] == "/"


def test_a_link_from_another_site_is_reloaded_with_its_cookie(
    harness: PagesHarness,
) -> None:
    """A SameSite=Strict cookie is not sent with it; the page then reloads itself."""
    answer = harness.browser().get("/?a=1", **{"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0; url=/?a=1">' in answer.text


def test_every_response_forbids_foreign_and_inline_scripts(harness: PagesHarness) -> None:
    browser = harness.browser("vera")
    for path in ("/", "/sign-in", "/nothing-here", "/static/x/npp.js"):
        answer = browser.get(path)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';"), path
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "<style" not in answer.text
        assert re.search(r"<script(?![^>]* src=)", answer.text) is None, path
        assert re.search(r'\s(style|on\w+)="', answer.text) is None, path


def test_the_session_cookie_is_for_this_site_and_not_for_scripts(tmp_path: Path) -> None:
    harness = PagesHarness(tmp_path, https=True)
    try:
        cookie = harness.browser().sign_in("olga").headers["set-cookie"]
        assert cookie.startswith("__Host-npp_session=")
        for flag in ("HttpOnly", "SameSite=strict", "Secure", "Path=/"):
            assert flag in cookie
        assert harness.token("olga").split(".")[2][:10] not in cookie
    finally:
        harness.close()


def test_a_session_ends_with_its_token(harness: PagesHarness) -> None:
    browser = harness.browser("olga")
    assert browser.get("/").status_code == 200
    harness.clock.advance(9 * 3_600_000)
    assert browser.get("/").status_code == 303


def test_a_modified_cookie_signs_nobody_in(harness: PagesHarness) -> None:
    browser = harness.browser("olga")
    sealed = browser.http.cookies["npp_session"]
    browser.http.cookies.clear()
    browser.http.cookies.set("npp_session", sealed[:-4] + "AAAA")
    assert browser.get("/").status_code == 303


def test_signing_out_ends_the_session(harness: PagesHarness) -> None:
    browser = harness.browser("olga")
    assert browser.post("/sign-out", {}).headers["location"] == "/sign-in"
    assert browser.get("/").status_code == 303


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({"csrf": ""}, {}),
        ({"csrf": "guessed"}, {}),
        ({}, {"origin": "https://evil.example"}),
        ({}, {"sec-fetch-site": "cross-site"}),
        ({}, {"sec-fetch-site": "same-site"}),
    ],
)
def test_a_form_without_our_token_does_nothing(
    harness: PagesHarness, fields: dict[str, str], headers: dict[str, str]
) -> None:
    browser = harness.browser("olga")
    answer = browser.post("/sign-out", fields, **headers)
    assert answer.status_code == 403
    assert "Nothing was done" in answer.text
    assert browser.get("/").status_code == 200


def test_a_form_token_is_valid_in_its_own_session_only(harness: PagesHarness) -> None:
    olga, sue = harness.browser("olga"), harness.browser("sue")
    assert olga.post("/sign-out", {"csrf": sue.word()}).status_code == 403


def test_personas_are_available_on_this_machine_only(harness: PagesHarness) -> None:
    far = TestClient(harness.pages, client=("192.0.2.7", 50_000), follow_redirects=False)
    assert "Sign-in is not available here" in far.get("/sign-in").text
    assert far.post("/sign-in", data={"person": "olga"}).status_code == 403


def test_the_api_still_answers_as_the_api(harness: PagesHarness) -> None:
    browser = Browser(harness.pages)
    assert browser.get("/api/summary").json()["rule"] == "TOKEN_MISSING"
    assert browser.get("/livez").status_code == 200
    signed = harness.browser("olga")
    assert signed.get("/api/summary").status_code == 401, "a cookie is no token for the API"


def test_an_unknown_path_is_a_page(harness: PagesHarness) -> None:
    answer = harness.browser("vera").get("/nothing-here")
    assert answer.status_code == 404
    assert "There is nothing at this address." in answer.text
