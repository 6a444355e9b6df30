"""A keyboard user can act like others, sees the focus, and is not moved by a live update."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.web.browser.people import Visits
from tests.web.browser.site import Site

pytestmark = pytest.mark.browser

TABS_MAX = 150
HAS_FOCUS = "each => each === document.activeElement"
OUTLINE = """() => {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
}"""


def tab_to(page: Page, wanted: Locator) -> None:
    """Use the Tab key only; each stop on the way has a visible outline."""
    expect(wanted).to_be_visible()
    for _ in range(TABS_MAX):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            continue  # wrapped around the end of the page
        assert page.evaluate(OUTLINE) >= 2, page.evaluate("document.activeElement.outerHTML")
        if wanted.evaluate(HAS_FOCUS):
            return
    raise AssertionError(f"no Tab reaches {wanted}")


def test_a_retry_is_requested_approved_and_done_by_keyboard(site: Site, people: Visits) -> None:
    payment = site.harness.failed("one")
    olga, anna = people("olga"), people("anna")

    olga.goto(f"/payments/{payment}")
    tab_to(olga, olga.get_by_text("Request approval").first)
    olga.keyboard.press("Enter")
    tab_to(olga, olga.locator("#RETRY-reason"))
    olga.keyboard.type("the rail timed out")
    tab_to(olga, olga.get_by_role("button", name="Request approval").first)
    olga.keyboard.press("Enter")
    expect(olga.locator(".banner.good")).to_contain_text("Done.")

    tab_to(anna, anna.get_by_role("link", name="RETRY").first)
    anna.keyboard.press("Enter")
    tab_to(anna, anna.locator("#reason"))
    anna.keyboard.type("looks right")
    tab_to(anna, anna.get_by_role("button", name="Approve"))
    anna.keyboard.press("Enter")
    expect(anna.locator(".banner.good")).to_contain_text("Done.")

    expect(olga.get_by_text("Approved by anna")).to_be_visible()
    tab_to(olga, olga.locator("#RETRY-reason"))
    olga.keyboard.type("approved by anna")
    tab_to(olga, olga.get_by_role("button", name="Retry"))
    olga.keyboard.press("Enter")
    expect(olga.get_by_role("heading", name="att_002")).to_be_visible()


def test_a_live_update_keeps_the_focus(site: Site, people: Visits) -> None:
    """The list is drawn again with one more row; the same link has the focus."""
    harness = site.harness
    requested = {"action": "RETRY", "reason": "x"}
    first, second = harness.failed("one"), harness.failed("two")
    assert harness.act("olga", first, "approvals", requested).status_code == 200
    harness.work()
    vera = people("vera")
    links = vera.get_by_role("link", name="RETRY")
    tab_to(vera, links.first)
    before = links.first.element_handle()
    assert harness.act("olga", second, "approvals", requested).status_code == 200
    harness.work()
    expect(links).to_have_count(2)
    assert before is not None
    assert not before.evaluate("each => each.isConnected")  # it was drawn again
    assert vera.evaluate("document.activeElement.getAttribute('href')").startswith(
        f"/approvals/{first}/"
    )


def test_a_live_update_keeps_text_being_typed(site: Site, people: Visits) -> None:
    """The reason of a verdict, above the timeline, which the same update draws."""
    harness = site.harness
    payment = harness.failed("one")
    harness.report(payment, "SETTLED")
    sue = people("sue")
    sue.goto(f"/payments/{payment}")
    why = sue.locator("#r-cnf_001")
    why.fill("the rail was asked")
    requested = {"action": "RESOLVE_RECONCILIATION", "reason": "x", "conflictId": "cnf_001"}
    requested |= {"attemptId": "att_001", "verdict": "SETTLED_AFTER_ALL"}
    assert harness.act("sue", payment, "approvals", requested).status_code == 200
    harness.work()
    expect(sue.locator(".changed")).to_be_visible()
    expect(why).to_have_value("the rail was asked")
