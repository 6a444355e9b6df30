"""Every page opens for whom it is for, with the API's data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.tracing import trace_id
from tests.web.harness import PagesHarness

pytestmark = pytest.mark.slow

PAGES = (
    *("/", "/payments", "/payments?state=FAILED&attention=false", "/approvals"),
    *("/approvals?status=USED", "/conflicts", "/conflicts?show=all", "/quarantine", "/proof"),
    *("/incidents", "/incidents/summary.json", "/control", "/search", "/search?q=nothing"),
)
BYTES_MAX = 300_000  # of a page with all that it loads


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesHarness]:
    made = PagesHarness(tmp_path_factory.mktemp("pages"))
    made.failed("one")
    made.sent("two")
    yield made
    made.close()


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("person", ["vera", "olga", "audra", "ada"])
def test_a_reader_may_open_every_page(shared: PagesHarness, person: str, path: str) -> None:
    answer = shared.browser(person).get(path)
    assert answer.status_code == 200, answer.text


def test_the_audit_page_is_for_those_who_may_read_the_audit_log(shared: PagesHarness) -> None:
    assert shared.browser("audra").get("/audit").status_code == 200
    refused = shared.browser("vera").get("/audit")
    assert refused.status_code == 403
    assert "MISSING_ROLE" in refused.text


@pytest.mark.parametrize(
    "path",
    ["/payments/none", "/payments/pi_" + "a" * 26, "/approvals/x/apr_001", "/quarantine/9/9"],
)
def test_what_is_not_there_is_said(shared: PagesHarness, path: str) -> None:
    assert shared.browser("olga").get(path).status_code == 404


def test_a_filter_that_is_wrong_is_said(shared: PagesHarness) -> None:
    assert shared.browser("olga").get("/payments?state=NONSENSE").status_code == 400


def test_a_payment_is_found_by_its_reference_and_shown_at_once(shared: PagesHarness) -> None:
    """ESC-01: from the payment's page alone."""
    olga = shared.browser("olga")
    payment = shared.get("vera", "/api/payments?state=FAILED").json()["items"][0]
    answer = olga.get(f"/search?q={payment['externalRef']}")
    assert answer.headers["location"] == f"/payments/{payment['paymentIntentId']}"
    page = olga.get(answer.headers["location"]).text
    for each in (payment["externalRef"], "FAILED", "NOT PAID", payment["funds"]):
        assert each in page
    assert f'<time datetime="{payment["lastEventAt"]}">' in page


def test_an_outcome_s_address_leads_nowhere_else(shared: PagesHarness) -> None:
    olga = shared.browser("olga")
    payment = shared.get("vera", "/api/payments").json()["items"][0]["paymentIntentId"]
    for told in ("../audit", "..", "x/../../audit", "no-such-command"):
        page = olga.get(f"/payments/{payment}?told={told}")
        assert page.status_code == 200
        assert 'class="banner good"' not in page.text


def test_a_dashboard_weighs_less_than_300_kb(shared: PagesHarness) -> None:
    browser = shared.browser("vera")
    page = browser.get("/")
    weight = len(page.content)
    for address in page.text.split('"'):
        if address.startswith("/static/"):
            answer = browser.http.get(address, headers={"accept-encoding": "gzip"})
            assert answer.status_code == 200
            weight += int(answer.headers["content-length"])
            assert "immutable" in answer.headers["cache-control"]
    assert weight < BYTES_MAX, weight


def test_the_payment_page_links_to_the_trace_where_traces_are_shown(tmp_path: Path) -> None:
    """Its id alone where nobody said where."""
    harness = PagesHarness(tmp_path)
    try:
        payment = harness.sent("traced")
        trace = trace_id(None, payment)
        plain = harness.browser("olga").get(f"/payments/{payment}").text
        address = "https://traces.test/{trace_id}?a=1&b=2"
        harness.settings = replace(harness.settings, trace_url=address)
        harness.build()
        linked = harness.browser("olga").get(f"/payments/{payment}").text
    finally:
        harness.close()
    assert trace in plain
    assert "traces.test" not in plain
    assert f'href="https://traces.test/{trace}?a=1&amp;b=2"' in linked


def test_the_payment_page_says_what_two_persons_ruled_on_its_records(tmp_path: Path) -> None:
    """Place, reason and both persons; text of persons stays text."""
    harness = PagesHarness(tmp_path)
    try:
        payment = harness.sent("ruled")
        before = harness.browser("olga").get(f"/payments/{payment}").text
        request = SimpleNamespace(
            partition=3, offset=77, event_hash=bytes(32), sequence=9, actor="ann",
            event_type="PaymentSettled", reason="<b>not ours</b>", requested_at=1,
        )  # fmt: skip
        ruled = SimpleNamespace(
            ruling="FOREIGN", request=request, confirmed_by="bob", confirmed_at=2
        )
        harness.build()
        evidence: Any = harness._services.evidence
        evidence.rulings = lambda payment_intent_id: (ruled,)
        after = harness.browser("olga").get(f"/payments/{payment}").text
    finally:
        harness.close()
    assert "Rulings of two persons" not in before
    assert "Rulings of two persons" in after
    for words in ("FOREIGN", "PaymentSettled", "partition 3 offset 77", "ann", "bob"):
        assert words in after
    assert "&lt;b&gt;not ours&lt;/b&gt;" in after
