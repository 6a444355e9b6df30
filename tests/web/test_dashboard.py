"""The dashboard shows the API's numbers."""

from __future__ import annotations

import re

import pytest

from tests.api.acting import TEXT
from tests.web.harness import PagesHarness

pytestmark = pytest.mark.slow

FIGURE = re.compile(r'data-series="(\w+)">.*?data-value="(\d+)"', re.DOTALL)


def table(html: str, name: str) -> dict[str, int]:
    found = html.partition(f'id="{name}"')[2].partition("</table>")[0]
    return {series: int(value) for series, value in FIGURE.findall(found.partition("<tbody>")[2])}


def test_the_charts_tables_are_the_api_s_summary(harness: PagesHarness) -> None:
    """DSH-01, DSH-02, DSH-07."""
    harness.failed("one")
    harness.failed("two")
    harness.sent("three")
    harness.work()
    html = harness.browser("vera").get("/").text
    summary = harness.get("vera", "/api/summary").json()
    assert table(html, "states-table") == summary["states"]
    assert summary["states"]["FAILED"] == 2
    assert table(html, "failures-table") == summary["failures"]


def test_the_alert_panel_lists_approvals_attention_and_actions(harness: PagesHarness) -> None:
    """DSH-03, DSH-04, DSH-05: for a viewer, too."""
    payment = harness.failed("one")
    asked = {"action": "RETRY", "reason": "rail timeout"}
    approval = harness.act("olga", payment, "approvals", asked).json()["approvalId"]
    harness.work()
    html = harness.browser("vera").get("/").text
    assert f'href="/approvals/{payment}/{approval}"' in html
    assert "an approval waits" in html
    assert "<strong>olga</strong> REQUEST APPROVAL" in html


def test_text_of_people_is_text(harness: PagesHarness) -> None:
    """DSH-06."""
    payment = harness.failed("one")
    harness.act("olga", payment, "approvals", {"action": "RETRY", "reason": TEXT})
    harness.work()
    html = harness.browser("vera").get("/").text
    assert "<b>x</b>" not in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html


def test_throughput_is_shown_by_quarter_of_an_hour_and_by_minute(harness: PagesHarness) -> None:
    """DSH-01: both tables count what the summary counts."""
    harness.failed("one")
    harness.sent("two")
    html = harness.browser("vera").get("/").text
    summary = harness.get("vera", "/api/summary").json()
    created = sum(each["created"] for each in summary["throughput"])
    for name, rows in (("throughput-table", 96), ("hour-table", 60)):
        body = html.partition(f'id="{name}"')[2].partition("</table>")[0].partition("<tbody>")[2]
        figures = [int(value) for value in re.findall(r'data-value="(\d+)"', body, re.ASCII)]
        assert len(figures) == 3 * rows
        assert sum(figures[::3]) == created == 2
        assert sum(figures[2::3]) == 1
