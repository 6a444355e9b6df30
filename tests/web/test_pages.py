"""Every page opens for its roles, with the API's data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from markupsafe import escape

from engine.tracing import trace_id
from tests.web.browser.hostile import MARK, hostile
from tests.web.harness import PagesHarness

pytestmark = pytest.mark.slow

PAGES = (
    *("/", "/payments", "/payments?state=FAILED&attention=false", "/approvals"),
    *("/approvals?status=USED", "/conflicts", "/conflicts?show=all", "/quarantine", "/proof"),
    *("/incidents", "/incidents/summary.json", "/control", "/search", "/search?q=nothing"),
)
BYTES_MAX = 300_000  # of a page with everything that it loads


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


def test_the_audit_page_is_for_roles_that_may_read_the_audit_log(shared: PagesHarness) -> None:
    assert shared.browser("audra").get("/audit").status_code == 200
    refused = shared.browser("vera").get("/audit")
    assert refused.status_code == 403
    assert "MISSING_ROLE" in refused.text


@pytest.mark.parametrize(
    "path",
    ["/payments/none", "/payments/pi_" + "a" * 26, "/approvals/x/apr_001", "/quarantine/9/9"],
)
def test_an_unknown_payment_is_reported(shared: PagesHarness, path: str) -> None:
    assert shared.browser("olga").get(path).status_code == 404


def test_an_invalid_filter_is_reported(shared: PagesHarness) -> None:
    assert shared.browser("olga").get("/payments?state=NONSENSE").status_code == 400


def test_a_payments_stream_cannot_begin_at_nonsense(shared: PagesHarness) -> None:
    olga = shared.browser("olga")
    found = olga.get("/payments").text.partition("/payments/pi_")[2][:26]
    path = f"/payments/pi_{found}/live"
    assert olga.get(f"{path}?since=nonsense").status_code == 400
    assert olga.get(f"{path}?since=999999-1").status_code == 400


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


def test_an_outcomes_url_redirects_nowhere_else(shared: PagesHarness) -> None:
    olga = shared.browser("olga")
    payment = shared.get("vera", "/api/payments").json()["items"][0]["paymentIntentId"]
    for reported in ("../audit", "..", "x/../../audit", "no-such-command"):
        page = olga.get(f"/payments/{payment}?outcome={reported}")
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


def test_the_payment_page_links_to_its_trace_if_configured(tmp_path: Path) -> None:
    """Only the trace id without a configured URL."""
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


def test_the_timeline_marks_an_event_taken_as_recorded(tmp_path: Path) -> None:
    """Decision 18: not decided by the rules, and shown at the event."""
    harness = PagesHarness(tmp_path)
    try:
        payment = harness.sent("ruled")
        (row,) = harness._services.reader.events(payment, 1, 1)
        request = SimpleNamespace(
            partition=row.partition, offset=row.offset, event_hash=row.hash, sequence=2,
            actor="ann", event_type="FundsRequested", reason="a defect of ours", requested_at=1,
        )  # fmt: skip
        other = SimpleNamespace(**vars(request) | {"event_hash": bytes(32)})
        found: list[Any] = []
        harness.build()
        evidence: Any = harness._services.evidence
        evidence.rulings = lambda payment_intent_id: found
        pages = []
        for each in (None, other, request):
            found[:] = [] if each is None else [_taken(each)]
            pages.append(harness.browser("olga").get(f"/payments/{payment}").text)
    finally:
        harness.close()
    marks = [page.count('<span class="badge warn">taken as recorded</span>') for page in pages]
    assert marks == [0, 0, 1], "by place and bytes, as every reader obeys it"


def _taken(request: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(
        ruling="TAKEN_AS_RECORDED", request=request, confirmed_by="bob", confirmed_at=2
    )


def test_the_payment_page_shows_the_rulings_on_its_records(tmp_path: Path) -> None:
    """Partition and offset, reason and both people; operators' text stays text."""
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
    assert "Rulings of two people" not in before
    assert "Rulings of two people" in after
    for words in ("FOREIGN", "PaymentSettled", "partition 3 offset 77", "ann", "bob"):
        assert words in after
    assert "&lt;b&gt;not ours&lt;/b&gt;" in after


def test_markup_from_customers_and_the_rail_is_text(tmp_path: Path) -> None:
    """DSH-06."""
    harness = PagesHarness(tmp_path)
    try:
        found = hostile(harness)
        sue = harness.browser("sue")
        payment, as_text = f"/payments/{found.failed}", str(escape(MARK))
        pages = (payment, f"/payments/{found.conflict}", "/conflicts", "/payments", "/audit")
        for address in pages:
            html = sue.get(address).text
            assert MARK not in html, address
            assert as_text in html, address
        shown = sue.post(f"{payment}/reveal", {"reason": "the customer calls"}).text
        assert MARK not in shown
        for each in ("debtor", "creditor", "remittance", "customer", "details"):
            assert f"{as_text} {each}" in shown
        assert f"SETTLED {as_text} of AUD" in sue.get("/conflicts").text
    finally:
        harness.close()
