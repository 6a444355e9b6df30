"""A payment is retried by mouse: one user requests, another decides, each in a separate browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.web.browser.people import Visits
from tests.web.browser.site import Site

pytestmark = pytest.mark.browser


def test_a_retry_is_requested_approved_and_done_by_mouse(site: Site, people: Visits) -> None:
    """DSH-03, DSH-05: the other user's dashboard shows the request without a reload."""
    payment = site.harness.failed("one")
    olga, anna = people("olga"), people("anna")
    expect(anna.get_by_text("No request waits for a decision.")).to_be_visible()

    olga.goto(f"/payments/{payment}")
    olga.get_by_text("Request approval").first.click()
    olga.locator("#RETRY-reason").fill("the rail timed out")
    olga.get_by_role("button", name="Request approval").first.click()
    expect(olga.locator(".banner.good")).to_contain_text("Done.")

    anna.get_by_role("link", name="RETRY").first.click()
    expect(anna.locator(".consequence")).to_contain_text("Will send AUD")
    anna.locator("#reason").fill("looks right")
    anna.get_by_role("button", name="Approve").click()
    expect(anna.locator(".banner.good")).to_contain_text("Done.")

    expect(olga.get_by_text("Approved by anna")).to_be_visible()
    olga.locator("#RETRY-reason").fill("approved by anna")
    olga.get_by_role("button", name="Retry").click()
    expect(olga.locator(".banner.good")).to_contain_text("Done.")
    expect(olga.get_by_role("heading", name="att_002")).to_be_visible()
    assert site.harness.get("vera", f"/api/payments/{payment}").json()["attemptId"] == "att_002"


def test_nobody_approves_what_he_asked_for(site: Site, people: Visits) -> None:
    payment = site.harness.failed("one")
    requested = {"action": "RETRY", "reason": "x"}
    approval = site.harness.act("both", payment, "approvals", requested).json()["approvalId"]
    both = people("both")
    both.goto(f"/approvals/{payment}/{approval}")
    expect(both.get_by_text("You cannot approve it yourself")).to_be_visible()
    expect(both.get_by_role("button", name="Approve")).to_have_count(0)
