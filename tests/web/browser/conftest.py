"""Chromium, with one browser per user. A page that contacts another host or logs a console error
fails its test.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.web.browser.people import WAIT_MS, Visits, running_chromium
from tests.web.browser.site import Site

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser; each user has a separate context in it."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.close()


@pytest.fixture
def people(chromium: Browser, site: Site) -> Iterator[Visits]:
    made = Visits(chromium, site.url)
    yield made
    made.close()
