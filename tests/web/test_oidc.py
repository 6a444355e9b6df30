"""Sign-in with an OpenID provider: code flow, PKCE, state, nonce, and invalid responses."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc.jwk import RSAKey

from tests.deploy.exported import MATCHER, SELECTOR, alert
from tests.web.harness import Browser, PagesHarness
from tests.web.provider import CLIENT, ISSUER, SECRET, Provider
from web.oidc import OidcSettings

pytestmark = pytest.mark.slow

SITE = "https://testserver"


class SignIn:
    """The pages with the provider, and a browser."""

    def __init__(self, folder: Path) -> None:
        self.harness = PagesHarness(folder, https=True, personas=False)
        self.provider = Provider(self.harness.token("olga"), self.harness.clock)
        self.harness.settings = dataclasses.replace(
            self.harness.settings,
            oidc=OidcSettings(ISSUER, CLIENT, SECRET, SITE),
            transport=httpx2.ASGITransport(app=self.provider.app),
        )
        self.harness.build()
        self.browser = self.another()

    def another(self) -> Browser:
        return self.harness.browser()

    def begin(self, back: str = "/approvals") -> str:
        """The provider's redirect URL."""
        started = self.browser.get(f"/sign-in/start?next={back}")
        assert started.status_code == 303, started.text
        return self.provider.agree(started.headers["location"]).removeprefix(SITE)


@pytest.fixture
def sign_in(tmp_path: Path) -> Iterator[SignIn]:
    made = SignIn(tmp_path)
    yield made
    made.harness.close()


def test_a_user_signs_in_and_continues(sign_in: SignIn) -> None:
    assert (
        'href="/sign-in/start?next=/approvals"'
        in sign_in.browser.get("/sign-in?next=/approvals").text
    )
    answer = sign_in.browser.get(sign_in.begin())
    assert answer.status_code == 200, answer.text
    assert 'content="0; url=/approvals"' in answer.text
    page = sign_in.browser.get("/approvals")
    assert page.status_code == 200
    assert "olga" in page.text


def test_each_authorization_request_has_new_values(sign_in: SignIn) -> None:
    requested = []
    for _ in range(2):
        sign_in.begin()
        requested.append(sign_in.provider.requested)
    for name in ("state", "nonce", "code_challenge"):
        assert len(requested[0][name]) >= 40
        assert requested[0][name] != requested[1][name]
    assert requested[0]["redirect_uri"] == f"{SITE}/sign-in/callback"
    cookie = sign_in.browser.get("/sign-in/start").headers["set-cookie"]
    for flag in ("HttpOnly", "Secure", "SameSite=lax", "Path=/sign-in"):
        assert flag in cookie


def refused(answer: Any) -> bool:
    """Whether the sign-in was refused."""
    assert "__Host-npp_session" not in answer.headers.get("set-cookie", "")
    return bool(answer.status_code == 403 and "SIGN_IN_REFUSED" in answer.text)


def test_a_code_from_another_browser_is_refused(sign_in: SignIn) -> None:
    """Login CSRF: the victim's browser did not start this sign-in."""
    back = sign_in.begin()
    assert refused(sign_in.another().get(back))
    assert sign_in.provider.exchanges == 0


@pytest.mark.parametrize(
    "change",
    [{"state": "guessed"}, {"code": ""}, {"iss": "https://evil.test"}, {"error": "access_denied"}],
)
def test_a_response_that_is_not_the_providers_is_refused(
    sign_in: SignIn, change: dict[str, str]
) -> None:
    given = parse_qs(urlsplit(sign_in.begin()).query)
    query = {**{k: v[0] for k, v in given.items()}, **change}
    address = str(httpx2.URL("/sign-in/callback", params=query))
    assert refused(sign_in.browser.get(address))
    assert sign_in.provider.exchanges == 0


def test_a_response_can_be_used_once(sign_in: SignIn) -> None:
    back = sign_in.begin()
    assert sign_in.browser.get(back).status_code == 200
    assert refused(sign_in.browser.get(back))


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"iss": "https://evil.test"},
        {"exp": 1_000},
        {"sub": None},
    ],
)
def test_an_id_token_for_another_purpose_is_refused(
    sign_in: SignIn, claims: dict[str, Any]
) -> None:
    sign_in.provider.claims = claims
    assert refused(sign_in.browser.get(sign_in.begin()))


def test_an_id_token_signed_by_another_key_is_refused(sign_in: SignIn) -> None:
    sign_in.provider.listed = RSAKey.generate_key(2048, {"kid": "p1"})
    assert refused(sign_in.browser.get(sign_in.begin()))


def test_a_token_that_the_api_rejects_is_refused(sign_in: SignIn) -> None:
    sign_in.provider.token = "opaque"
    answer = sign_in.browser.get(sign_in.begin())
    assert answer.status_code == 401
    assert "__Host-npp_session" not in answer.headers.get("set-cookie", "")


def test_an_unavailable_provider_is_reported(sign_in: SignIn) -> None:
    sign_in.provider.away = True
    answer = sign_in.browser.get("/sign-in/start")
    assert answer.status_code == 503
    assert "PROVIDER_DOWN" in answer.text


def test_personas_are_unavailable_with_a_provider(sign_in: SignIn) -> None:
    answer = sign_in.browser.http.post("/sign-in", data={"person": "olga"})
    assert answer.status_code == 403


def test_a_refused_response_counts_as_a_refused_sign_in(sign_in: SignIn) -> None:
    """SEC-07: with the labels that the alert SignInsRefused selects; a successful one has none of
    them.
    """
    assert sign_in.browser.get(sign_in.begin()).status_code == 200
    refusals = [counted(sign_in)]
    back = sign_in.begin()
    assert refused(sign_in.another().get(back))
    assert refused(sign_in.browser.get("/sign-in/callback?code=guessed&state=guessed"))
    posted = sign_in.browser.http.post("/sign-in", data={"person": "nobody", "next": "/"})
    assert posted.status_code == 403
    refusals.append(counted(sign_in))
    assert refusals == [0, 3]


def counted(sign_in: SignIn) -> float:
    """The value of the alert's own selectors on this API's counter."""
    api: Any = sign_in.harness.pages_state().api
    (counter,) = api.state.metrics._requests.collect()
    selected = [
        {name: (how, re.compile(text)) for name, how, text in MATCHER.findall(found)}
        for metric, found in SELECTOR.findall(alert("SignInsRefused")["expr"])
        if metric == counter.name + "_total"
    ]
    assert selected
    return sum(
        float(sample.value)
        for sample in counter.samples
        if sample.name.endswith("_total")
        if any(
            all(wanted.fullmatch(sample.labels[name]) for name, (_, wanted) in each.items())
            for each in selected
        )
    )
