"""A user's choices on a page are in its URL: another user who opens it sees the same."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.web.browser.people import Visits
from tests.web.browser.site import Site

pytestmark = pytest.mark.browser

AXIS = "Chart.getChart(document.getElementById('throughput')).options.scales.x.title.text"


def test_span_and_zone_are_in_the_shared_url(site: Site, people: Visits) -> None:
    site.harness.failed("one")
    vera, olga = people("vera"), people("olga")
    vera.get_by_role("button", name="1 hour").click()
    vera.select_option("#zone", "utc")
    assert vera.evaluate(AXIS) == "start of each point, UTC"

    olga.goto(vera.url)
    pressed = olga.locator(".switch [aria-pressed=true]")
    expect(pressed).to_have_text("1 hour")
    expect(olga.locator("#zone")).to_have_value("utc")
    assert olga.evaluate(AXIS) == "start of each point, UTC"
    olga.goto("/")
    expect(olga.locator("#zone")).to_have_value("sydney")
    assert str(olga.evaluate(AXIS)).split()[-1] in ("AEDT", "AEST")
