"""Live without loading again, and honest when it is not."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.web.browser.conftest import People
from tests.web.browser.site import Site

pytestmark = pytest.mark.browser


def shown(page: Page, state: str) -> str:
    """The figure of a state, as the chart's table has it."""
    found = page.locator(f"#states-table tr[data-series={state}] td").first
    return found.get_attribute("data-value") or ""


def drawn(page: Page) -> list[int]:
    """The figures that the chart itself was drawn from."""
    found: list[int] = page.evaluate(
        "Chart.getChart(document.querySelector('[data-chart=doughnut]')).data.datasets[0].data"
    )
    return found


def test_a_new_payment_is_on_the_dashboard_within_five_seconds(site: Site, people: People) -> None:
    """DSH-01: figure and chart move without a reload."""
    site.harness.failed("one")
    vera = people("vera")
    expect(vera.locator("#live-label")).to_contain_text("live,")
    assert shown(vera, "FAILED") == "1"
    vera.evaluate("window.mark = 1")
    site.harness.failed("two")
    row = vera.locator("#states-table tr[data-series=FAILED] td").first
    expect(row).to_have_attribute("data-value", "2", timeout=5_000)
    assert sum(drawn(vera)) == 2
    assert vera.evaluate("window.mark") == 1


def test_the_page_says_since_when_it_is_not_live_and_comes_back(site: Site, people: People) -> None:
    site.harness.failed("one")
    vera = people("vera")
    label = vera.locator("#live-label")
    expect(label).to_contain_text("live,")
    site.fall()
    expect(label).to_contain_text("reconnecting, data from")
    site.harness.failed("two")
    site.start()
    expect(label).to_contain_text("live,")
    expect(vera.locator("#states-table tr[data-series=FAILED] td").first).to_have_text("2")


def test_many_dashboards_cost_one_read_a_tick(site: Site, people: People) -> None:
    """Ten dashboards draw no more often than one."""
    pages = [people("vera") for _ in range(3)]
    for page in pages:
        expect(page.locator("#live-label")).to_contain_text("live,")
    live = site.harness.pages_state().live
    before = live.draws
    pages[0].wait_for_timeout(3_000)
    assert live.count == 3
    assert live.draws - before <= 4
