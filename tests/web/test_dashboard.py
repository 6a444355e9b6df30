"""The dashboard shows the API's numbers."""

from __future__ import annotations

import dataclasses
import re

import msgspec
import pytest

from api.summary.figures import PROOF_SILENT_MS
from core.monitoring import ProofState
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


class Told:
    """`api.services.Proofs` with one word."""

    def __init__(self, state: ProofState) -> None:
        self.state = state

    def now(self) -> ProofState:
        return self.state


def line(harness: PagesHarness, state: ProofState) -> str:
    """What the dashboard says of the proof, without markup."""
    harness._services = dataclasses.replace(harness._services, proofs=Told(state))
    harness.build()
    html = harness.browser("vera").get("/").text
    found = html.partition('class="fine proof-line">')[2].partition("</p>")[0]
    return " ".join(re.sub("<[^>]+>", "", found).split())


def test_the_last_full_proof_and_the_one_that_runs_are_told(harness: PagesHarness) -> None:
    """When it ended, over how many events, with which verdict; and how far the next one is."""
    now = harness.clock.now_ms()
    passed = ProofState(
        at=now, running=False, began_at=now - 9_000, done=9, total=9,
        ended_at=now - 1_000, verdict="PASSED", events=41_233_120,
    )  # fmt: skip
    said = line(harness, passed)
    assert said.startswith("Last full proof")
    assert said.endswith("41,233,120 events, passed")
    runs = msgspec.structs.replace(passed, running=True, done=1_500, total=6_000)
    assert line(harness, runs).endswith(": 1,500 of 6,000 records")
    silent = msgspec.structs.replace(runs, at=now - PROOF_SILENT_MS - 1)
    assert "has told nothing for a minute" in line(harness, silent)
    failed = msgspec.structs.replace(passed, verdict="FAILED", difference="<i>hash</i> differs")
    assert line(harness, failed).endswith("failed &lt;i&gt;hash&lt;/i&gt; differs")


def test_where_nobody_told_of_a_proof_the_dashboard_says_so(harness: PagesHarness) -> None:
    assert "No full proof has run" in harness.browser("vera").get("/").text
    assert harness.get("vera", "/api/summary").json()["proof"] is None
