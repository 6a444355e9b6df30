"""A user's own browser over the whole product: every page, its figures, and the API's failure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from app.demo.programs import API
from schemas import topology
from tests.acceptance.harness import ACCEPT, SETTLE, rejects
from tests.acceptance.own_stack.test_same_figures import QUEUES
from tests.acceptance.watched.product import NOTIFIED_SECONDS_MAX, Watched
from tests.acceptance.watched.test_monitoring import contradicted
from tests.web.browser.people import WAIT_MS, Visits, running_chromium

pytestmark = [pytest.mark.broker, pytest.mark.slow]

STATES = """() => Object.fromEntries([...document.querySelectorAll('#states-table tr[data-series]')]
  .map(row => [row.dataset.series, Number(row.querySelector('td').dataset.value)]))"""
RETRIES = """() => [...document.querySelectorAll('#retries-table td')]
  .map(each => Number(each.dataset.value))"""
UNDRAWN = """() => [...document.querySelectorAll('canvas[data-chart]')]
  .filter(each => !Chart.getChart(each)?.data.datasets[0].data.length)
  .map(each => each.outerHTML)"""
KINDS = {"success": "success", "retry": "retry", "cancellation": "cancellation"}
KINDS |= {"lateFailure": "late_failure"}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def sue(watched: Watched, chromium: Browser) -> Iterator[Page]:
    """A senior operator on her dashboard."""
    expect.set_options(timeout=WAIT_MS)
    visits = Visits(chromium, watched.url)
    yield visits("sue")
    visits.close()


def test_every_page_shows_what_the_product_has(watched: Watched, sue: Page) -> None:
    """DSH-01 to DSH-05."""
    settled, failed = watched.create([ACCEPT, SETTLE]), watched.create([rejects("AB05")])
    reference = watched.until(settled, state="SETTLED")["externalRef"]
    watched.until(failed, state="FAILED", funds="RELEASED")
    conflict = contradicted(watched)
    approval = watched.requested("ops_1", failed, "RETRY")
    watched.put(topology.COMMANDS, b"no record of ours")
    found = watched.soon(lambda: watched.get("/api/quarantine")["items"], what="a quarantined one")
    record = f"/quarantine/{found[0]['partition']}/{found[0]['offset']}"
    asked_for = f"/approvals/{failed}/{approval}"
    shown = {
        "/": f'a[href="{asked_for}"]',
        "/payments?state=FAILED": f'a[href="/payments/{failed}"]',
        f"/payments/{settled}": ".verdict >> text=PAID",
        f"/payments/{conflict}": "input[name=verdict]",
        "/approvals": f'a[href="{asked_for}"]',
        asked_for: ".consequence >> text=Will send AUD",
        "/conflicts": f'a[href="/payments/{conflict}"]',
        "/quarantine": f'a[href="{record}"]',
        record: f"dd >> text={topology.COMMANDS}",
        "/proof": "h1",
        "/audit": f'a[href="/payments/{failed}"]',
        "/incidents": "h1",
        "/control": "h1",
        f"/search?q={reference}": f"h1 >> text={settled}",
        "/runbooks": "h1",
        "/runbooks/ConflictOpen": "h1",
    }
    for address, selector in shown.items():
        answer = sue.goto(address)
        assert answer is not None
        assert answer.status == 200, address
        expect(sue.locator("main").locator(selector).first).to_be_visible()
    sue.goto("/")
    expect(sue.locator("#live-label")).to_contain_text("live,")
    assert sue.evaluate(UNDRAWN) == []


def test_page_api_and_prometheus_have_the_same_numbers(watched: Watched, sue: Page) -> None:
    """DSH-07: what a user sees, what a program reads, and what the alerts are computed from."""
    before = sue.evaluate(STATES)["SETTLED"]
    watched.until(watched.create([ACCEPT, SETTLE]), state="SETTLED")
    differing: dict[str, Any] = {}

    def same() -> bool:
        summary, page = watched.get("/api/summary"), sue.evaluate(STATES)
        rates = {KINDS[name]: rate for name, rate in summary["rates"].items()}
        retries = rates["retry_success"] = summary["retrySuccess"]
        queues = {kind: summary[name] for name, kind in QUEUES.items()}
        pairs = {
            "states, page": (summary["states"], page),
            "states, Prometheus": (summary["states"], _by(watched, "npp_read_model_payments")),
            "counts": (
                {kind: rate["whole"] for kind, rate in rates.items()},
                _by(watched, "npp_business_rate_count"),
            ),
            "rates": (
                {kind: rate["value"] for kind, rate in rates.items()},
                {
                    kind: None if v != v else v
                    for kind, v in _by(watched, "npp_business_rate").items()
                },
            ),
            "rail": (
                {"": summary["rail"]["slowInARow"]},
                _by(watched, "npp_business_rail_slow_in_a_row"),
            ),
            "queues": (queues, _by(watched, "npp_read_model_queue")),
            "failures": (summary["failures"], _by(watched, "npp_business_failed_last_day")),
            "retries, page": (
                [retries["part"], retries["whole"] - retries["part"]],
                sue.evaluate(RETRIES),
            ),
        }
        differing.clear()
        differing.update({name: pair for name, pair in pairs.items() if pair[0] != pair[1]})
        return not differing and page["SETTLED"] > before

    try:
        watched.soon(same, NOTIFIED_SECONDS_MAX)
    except AssertionError:
        raise AssertionError(differing) from None


def _by(watched: Watched, metric: str) -> dict[str, float]:
    """A metric's values by its one label of ours."""
    found = {}
    for each in watched.samples(metric):
        labels = each["metric"]
        name = labels.get("state") or labels.get("kind") or labels.get("reason") or ""
        found[name] = float(each["value"][1])
    return found


def test_a_dashboard_survives_the_killing_of_the_api(watched: Watched, sue: Page) -> None:
    """SIGKILL: the page says since when its data is stale, and continues without a reload."""
    label = sue.locator("#live-label")
    expect(label).to_contain_text("live,")
    sue.evaluate("window.mark = 1")
    before = sue.evaluate(STATES)["SETTLED"]
    watched.stage.supervisor.kill(API)
    expect(label).to_contain_text("reconnecting, data from")
    watched.soon(lambda: (label.text_content() or "").startswith("live,"), what="it is live again")
    watched.until(watched.create([ACCEPT, SETTLE]), state="SETTLED")
    watched.soon(lambda: sue.evaluate(STATES)["SETTLED"] > before, what="the new payment")
    assert sue.evaluate("window.mark") == 1
