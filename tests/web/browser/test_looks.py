"""Every page for everybody: accessible by axe's rules, light and dark, on a phone, by keyboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.platform.fetch import ensure_web
from tests.api.acting import TEXT
from tests.web.browser.conftest import People
from tests.web.browser.site import Site

pytestmark = pytest.mark.browser

AXE = Path(ensure_web() / "axe-core" / "axe.min.js")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
CANARY = "<img src=x onerror=window.hit=1><script>window.hit=1</script>" + TEXT


def broken(page: Page) -> list[str]:
    """What axe finds wrong, in its words."""
    # Evaluated by the browser's own debugger: the pages' policy lets no foreign script in.
    if not page.evaluate("typeof window.axe === 'object'"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate(
        "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})", RULES
    )
    return [
        f"{each['id']}: {each['help']}: {node['html'][:160]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


def addresses(site: Site) -> list[str]:
    """One of each page, with something on it."""
    harness = site.harness
    failed, sent = harness.failed("one"), harness.sent("two")
    asked = {"action": "RETRY", "reason": CANARY}
    approval = harness.act("olga", failed, "approvals", asked).json()["approvalId"]
    return [
        *("/", "/payments", f"/payments/{failed}", f"/payments/{sent}", "/approvals"),
        *(f"/approvals/{failed}/{approval}", "/conflicts", "/quarantine", "/proof", "/audit"),
        *("/incidents", "/control", "/search?q=nothing"),
    ]


@pytest.mark.parametrize(("phone", "dark"), [(False, False), (False, True), (True, False)])
def test_every_page_is_accessible_and_fits(
    site: Site, people: People, phone: bool, dark: bool
) -> None:
    sue = people("sue", phone=phone, dark=dark)
    wrong = []
    for address in addresses(site):
        sue.goto(address)
        sue.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        wrong += [f"{address} {each}" for each in broken(sue)]
        wide = sue.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if wide > 0:
            wrong.append(f"{address} is {wide} px too wide")
    assert wrong == []


def test_what_people_wrote_runs_nowhere(site: Site, people: People) -> None:
    """DSH-06: the DOM is asked."""
    sue = people("sue")
    for address in addresses(site):
        sue.goto(address)
        assert sue.evaluate("window.hit === undefined"), address
        assert sue.locator("main b, main img, main script").count() == 0, address
    sue.goto("/audit")
    expect(sue.get_by_text("<img src=x onerror=window.hit=1>").first).to_be_visible()


def test_the_sign_in_is_accessible(site: Site, people: People) -> None:
    vera = people("vera")
    vera.get_by_role("button", name="Sign out").click()
    vera.wait_for_url("**/sign-in")
    assert broken(vera) == []


def test_slash_finds_a_payment_by_keyboard(site: Site, people: People) -> None:
    payment = site.harness.failed("one")
    vera = people("vera")
    vera.keyboard.press("/")
    vera.keyboard.type(payment)
    vera.keyboard.press("Enter")
    vera.wait_for_url(f"**/payments/{payment}")


def test_times_are_of_the_zone_that_was_chosen(site: Site, people: People) -> None:
    payment = site.harness.failed("one")
    vera = people("vera")
    vera.goto(f"/payments/{payment}")
    at = vera.locator("dl time").first
    expect(at).to_have_text("1 Jan 2026 11:00:00.000 AEDT")
    vera.select_option("#zone", "utc")
    expect(at).to_have_text("1 Jan 2026 00:00:00.000 UTC")
    vera.reload()
    expect(at).to_have_text("1 Jan 2026 00:00:00.000 UTC")


def test_colours_are_kept(site: Site, people: People) -> None:
    vera = people("vera")
    vera.click("#theme")
    vera.click("#theme")
    assert vera.evaluate("document.documentElement.dataset.theme") == "dark"
    vera.reload()
    assert vera.evaluate("document.documentElement.dataset.theme") == "dark"


def test_an_identifier_is_copied(site: Site, people: People) -> None:
    payment = site.harness.failed("one")
    vera = people("vera")
    vera.context.grant_permissions(["clipboard-read", "clipboard-write"])
    vera.goto(f"/payments/{payment}")
    vera.get_by_role("button", name="Copy as npp").click()
    expect(vera.locator("#said")).to_have_text("Copied.")
    assert vera.evaluate("navigator.clipboard.readText()") == f"npp payment show {payment}"
