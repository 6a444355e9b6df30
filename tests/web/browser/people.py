"""Debian's Chromium, with one browser per user."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    sync_playwright,
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-dev-shm-usage",
]
WIDE = ViewportSize(width=1440, height=1000)
PHONE = ViewportSize(width=390, height=844)
# What the browser and htmx log about a stream that ended with its server.
OF_A_FALL = ("net::ERR_CONNECTION_REFUSED", "net::ERR_INCOMPLETE_CHUNKED_ENCODING", "Event")
NOWHERE = "/nothing"  # a page that does not exist
WAIT_MS = 30_000  # two cores may be busy


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Skips the test on a machine without Chromium; in CI the test fails."""
    if CHROMIUM is None:
        missing = "chromium is not on this machine: apt-get install chromium, or `make chromium`"
        if "CI" in os.environ:
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Visits:
    """`visits("olga")` is Olga's own browser, signed in, optionally as a phone or in dark mode."""

    def __init__(self, chromium: Browser, url: str) -> None:
        self._chromium = chromium
        self._url = url
        self._contexts: list[BrowserContext] = []
        self._wrong: list[str] = []

    def __call__(self, name: str, *, phone: bool = False, dark: bool = False) -> Page:
        context = self._chromium.new_context(
            viewport=PHONE if phone else WIDE,
            color_scheme="dark" if dark else "light",
            base_url=self._url,
            reduced_motion="reduce",
        )
        context.set_default_timeout(WAIT_MS)
        self._contexts.append(context)
        page = context.new_page()
        page.on("request", self._requested)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self._wrong.append(str(error)))
        page.goto("/sign-in")
        page.click(f"button[value={name}]")
        page.wait_for_url("**/")
        return page

    def _requested(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self._url).netloc:
            self._wrong.append(f"asked {request.url}")

    def _said(self, message: ConsoleMessage) -> None:
        known = message.location["url"].endswith(NOWHERE)
        known = known or any(word in message.text for word in OF_A_FALL)
        if message.type == "error" and not known:
            self._wrong.append(message.text)

    def close(self) -> None:
        """A page that contacted another host or logged a console error fails its test."""
        for context in self._contexts:
            context.close()
        assert self._wrong == []
