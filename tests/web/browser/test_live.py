"""Pages update without a reload, and say so when they do not."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.web.browser.people import Visits
from tests.web.browser.site import Site

pytestmark = pytest.mark.browser

LOOK_MS, LOOKS_MAX = 100, 300


def shown(page: Page, state: str) -> str:
    """The figure of a state in the chart's table."""
    found = page.locator(f"#states-table tr[data-series={state}] td").first
    return found.get_attribute("data-value") or ""


def drawn(page: Page) -> list[int]:
    """The figures from which the chart itself was drawn."""
    found: list[int] = page.evaluate(
        "Chart.getChart(document.querySelector('[data-chart=doughnut]')).data.datasets[0].data"
    )
    return found


def test_a_new_payment_is_on_the_dashboard_within_five_seconds(site: Site, people: Visits) -> None:
    """DSH-01: figure and chart change without a reload."""
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


def test_the_page_says_since_when_it_is_stale_and_recovers(site: Site, people: Visits) -> None:
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


def test_stale_data_or_data_of_unknown_age_is_not_called_live(site: Site, people: Visits) -> None:
    """The stream continues, but its data is not current."""
    vera = people("vera")
    label, state = vera.locator("#live-label"), vera.locator("#live")
    expect(label).to_contain_text("live,")
    site.harness.journal.away = True
    expect(label).to_contain_text("age unknown, Kafka does not answer; data from")
    expect(state).to_have_attribute("data-state", "stale")
    site.harness.journal.away = False
    expect(label).to_contain_text("live,")
    site.harness.journal.missing = 1
    vera.wait_for_timeout(3_000)  # seen to be missing
    site.harness.clock.advance(8_000)
    expect(label).to_have_text(re.compile(r"not live, [0-9]+ s behind"))
    expect(state).to_have_attribute("data-state", "stale")


def test_many_dashboards_cost_one_read_per_tick(site: Site, people: Visits) -> None:
    """Ten dashboards are drawn no more often than one."""
    pages = [people("vera") for _ in range(3)]
    for page in pages:
        expect(page.locator("#live-label")).to_contain_text("live,")
    live = site.harness.pages_state().live
    before = live.draws
    pages[0].wait_for_timeout(3_000)
    assert live.count == 3
    assert live.draws - before <= 4


def test_what_happened_while_a_payments_page_was_loading_is_shown(
    site: Site, people: Visits
) -> None:
    """DSH-01: the page's stream begins with what the page does not show, not when it connects."""
    payment = site.harness.failed("one")
    vera = people("vera")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    vera.route("**/live?*", hold)
    vera.goto(f"/payments/{payment}")
    vera.wait_for_function("document.readyState === 'complete'")
    site.harness.report(payment, "SETTLED")
    assert vera.get_by_text("cnf_001").count() == 0
    for _ in range(LOOKS_MAX):
        if held:
            break
        vera.wait_for_timeout(LOOK_MS)
    held[0].continue_()
    expect(vera.locator("#now").get_by_text("cnf_001").first).to_be_visible()


def test_what_follows_an_update_at_once_is_shown_too(site: Site, people: Visits) -> None:
    """DSH-01: two events within a moment; the second one came while the first was being shown."""
    payment = site.harness.failed("one")
    vera = people("vera")
    vera.goto(f"/payments/{payment}")
    with vera.expect_response(lambda each: each.url.endswith(f"/payments/{payment}")):
        asked = {"action": "RETRY", "reason": "x"}
        approval = site.harness.act("olga", payment, "approvals", asked).json()["approvalId"]
    site.harness.act("anna", payment, f"approvals/{approval}/approve", {"reason": "y"})
    expect(vera.locator("#now").get_by_text("OperatorActionApproved")).to_be_visible()
