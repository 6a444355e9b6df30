"""Debian's Chromium, and people with a browser each. A page that asks another host, or whose
console shows an error, fails its test.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)

from tests.web.browser.site import Site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-dev-shm-usage",
]
WIDE = ViewportSize(width=1440, height=1000)
PHONE = ViewportSize(width=390, height=844)
# What the browser and htmx say of a stream that fell with its server, which one test brings about.
OF_A_FALL = ("net::ERR_CONNECTION_REFUSED", "net::ERR_INCOMPLETE_CHUNKED_ENCODING", "Event")
WAIT_MS = 30_000  # two cores may be busy

People = Callable[..., Page]


expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser; each person has a context of their own in it."""
    if CHROMIUM is None:
        missing = "chromium is not on this machine: apt-get install chromium, or `make chromium`"
        if "CI" in os.environ:
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.close()


@pytest.fixture
def people(chromium: Browser, site: Site) -> Iterator[People]:
    """`people("olga")` is Olga's own browser, signed in; `phone` and `dark` as people have it."""
    contexts, wrong = [], []

    def sign_in(name: str, *, phone: bool = False, dark: bool = False) -> Page:
        context = chromium.new_context(
            viewport=PHONE if phone else WIDE,
            color_scheme="dark" if dark else "light",
            base_url=site.url,
            reduced_motion="reduce",
        )
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = context.new_page()

        def asked(request: Request) -> None:
            if urlsplit(request.url).netloc != urlsplit(site.url).netloc:
                wrong.append(f"asked {request.url}")

        def said(message: ConsoleMessage) -> None:
            if message.type == "error" and not any(word in message.text for word in OF_A_FALL):
                wrong.append(message.text)

        page.on("request", asked)
        page.on("console", said)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto("/sign-in")
        page.click(f"button[value={name}]")
        page.wait_for_url("**/")
        return page

    yield sign_in
    for context in contexts:
        context.close()
    assert wrong == []
