"""Empty pages, pages with a million payments, and pages with the longest texts, served for `make
screenshots`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page

from core.values import Parties, Party
from schemas.codec.parties import seal
from tests.web.browser.people import Visits
from tests.web.browser.site import Site
from tests.web.crowd import crowded

MILLION: Final = 1_000_000
LONG: Final = Parties(
    debtor=Party(name="Wolfeschlegelsteinhausenbergerdorff" * 4, bsb="062000", account="1" * 9),
    creditor=Party(
        name="Llanfairpwllgwyngyllgogerychwyrndrobwll" * 3, bsb="082001", account="8" * 9
    ),
    remittance="Invoice 4711, delivered in March and paid as agreed; " * 5,
)
Keep = Callable[[Page, str, str, str], None]  # page, the site's URL, path, the picture's name


def take(browser: Browser, keep: Keep) -> None:
    """One picture of each extreme."""
    with tempfile.TemporaryDirectory(prefix="npp-extremes-") as folder:
        site = Site(Path(folder))
        visits = Visits(browser, site.url)
        try:
            keep(visits("sue"), site.url, "/", "dashboard-empty")
            harness = site.harness
            payment = harness.sent(
                "long", parties=seal(LONG), end_to_end_id="E" * 35, customer_id="c" * 64
            )
            keep(visits("sue", phone=True), site.url, f"/payments/{payment}", "payment-long-texts")
            crowded(harness, MILLION)
            keep(visits("sue"), site.url, "/", "dashboard-million")
            keep(visits("sue"), site.url, "/payments", "payments-million")
        finally:
            site.close()
