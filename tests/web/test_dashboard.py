"""The dashboard shows the API's figures."""

from __future__ import annotations

import dataclasses
import re

import msgspec
import pytest
from markupsafe import escape

from api.summary.figures import PROOF_SILENT_MS
from core.monitoring import ProofState
from core.values import PaymentIntentId, payment_intent_id
from processors.monitor.rules import LIMITS
from schemas import topology
from tests.api.acting import TEXT
from tests.processors.payments.world import CODEC
from tests.web.harness import PagesHarness
from web.words import say

pytestmark = pytest.mark.slow

FIGURE = re.compile(r'data-series="(\w+)">.*?data-value="(\d+)"', re.DOTALL)


def table(html: str, name: str) -> dict[str, int]:
    found = html.partition(f'id="{name}"')[2].partition("</table>")[0]
    return {series: int(value) for series, value in FIGURE.findall(found.partition("<tbody>")[2])}


def test_the_charts_tables_equal_the_apis_summary(harness: PagesHarness) -> None:
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
    requested = {"action": "RETRY", "reason": "rail timeout"}
    approval = harness.act("olga", payment, "approvals", requested).json()["approvalId"]
    harness.work()
    html = harness.browser("vera").get("/").text
    assert f'href="/approvals/{payment}/{approval}"' in html
    assert "an approval waits" in html
    assert "<strong>olga</strong> REQUEST APPROVAL" in html


def test_free_text_is_shown_as_text(harness: PagesHarness) -> None:
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


class Proofs:
    """`api.services.Proofs` with a fixed result."""

    def __init__(self, state: ProofState) -> None:
        self.state = state

    def now(self) -> ProofState:
        return self.state


def line(harness: PagesHarness, state: ProofState) -> str:
    """The dashboard's text about the proof, without markup."""
    harness._services = dataclasses.replace(harness._services, proofs=Proofs(state))
    harness.build()
    html = harness.browser("vera").get("/").text
    found = html.partition('class="fine proof-line">')[2].partition("</p>")[0]
    return " ".join(re.sub("<[^>]+>", "", found).split())


def test_the_last_full_proof_and_the_running_one_are_shown(harness: PagesHarness) -> None:
    """When it ended, over how many events, with which verdict, and the next one's progress."""
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
    assert "has reported nothing for a minute" in line(harness, silent)
    failed = msgspec.structs.replace(passed, verdict="FAILED", difference="<i>hash</i> differs")
    assert line(harness, failed).endswith("failed &lt;i&gt;hash&lt;/i&gt; differs")


def test_without_a_proof_the_dashboard_says_so(harness: PagesHarness) -> None:
    assert "No full proof has run" in harness.browser("vera").get("/").text
    assert harness.get("vera", "/api/summary").json()["proof"] is None


def test_parked_and_stuck_payments_are_active_incidents(harness: PagesHarness) -> None:
    """MET-08, and a parked payment: with the same counts on panel, incidents page and API."""
    harness.park(harness.failed("parked"))
    for key in ("one", "two"):
        harness.sent(key)
    harness.clock.advance(6 * 60_000)
    harness.work()
    summary = harness.get("vera", "/api/summary").json()
    assert (summary["parked"], summary["overdue"]["SENT"], summary["overdueEscalated"]) == (1, 2, 0)
    for page in ("/", "/incidents"):
        html = harness.browser("vera").get(page).text
        assert "1 payment is parked after a defect" in html
        assert "2 payments are stuck in SENT" in html
        assert 'href="/runbooks/PaymentsStuck"' in html


def test_what_came_in_wrong_lately_is_an_active_incident(harness: PagesHarness) -> None:
    """ERR-02, ERR-05: an upstream's violation and a quarantine that grows, until they are over."""
    harness.failed("one")
    harness.world.create("one", amount=99_999)
    for number in range(11):
        harness.world.driver.pipe(topology.COMMANDS, b"pi_x", b"rubbish %d" % number)
    harness.work()
    summary = harness.get("vera", "/api/summary").json()
    assert (summary["violatedLately"], summary["quarantinedLately"]) == (1, 11)
    said = (
        "1 input was refused for an invariant in the last 5 minutes",
        "11 records went into quarantine in the last 10 minutes",
    )
    for page in ("/", "/incidents"):
        html = harness.browser("vera").get(page).text
        assert [each in html for each in said] == [True, True], page
    harness.clock.advance(11 * 60_000)
    harness.build()
    html = harness.browser("vera").get("/").text
    assert [each in html for each in said] == [False, False]


def test_a_payment_under_another_id_than_its_key_gives_is_an_active_incident(
    harness: PagesHarness,
) -> None:
    """MET-10."""
    payment, log = harness.failed("one"), harness.world.driver
    first = next(each for each in log.committed(topology.EVENTS) if each.key == payment.encode())
    event = CODEC.decode(topology.EVENTS, first.value)
    other = PaymentIntentId(payment_intent_id("another", "key"))
    header = msgspec.structs.replace(event.header, payment_intent_id=other)
    forged = CODEC.encode(topology.EVENTS, msgspec.structs.replace(event, header=header))
    log._append(topology.EVENTS, first.partition, other.encode(), forged, [], None)
    harness.work()
    assert harness.get("vera", "/api/summary").json()["bypassed"] == 1
    assert "1 payment has another id" in harness.browser("vera").get("/").text


def test_a_payment_with_several_reasons_says_what_to_do_for_each(harness: PagesHarness) -> None:
    """DSH-04."""
    payment = harness.sent("one")
    requested = {"action": "CANCEL", "reason": "the customer asks"}
    assert harness.act("olga", payment, "approvals", requested).status_code == 200
    harness.clock.advance(6 * 60_000)
    harness.work()
    why = harness.get("vera", f"/api/payments/{payment}").json()["attention"]["why"]
    assert len(why) > 1
    for page in ("/", f"/payments/{payment}"):
        text = harness.browser("vera").get(page).text
        for each in why:
            assert str(escape(say(each, "do"))) in text, (page, each)


def test_the_approval_queue_shows_count_and_waiting_time(harness: PagesHarness) -> None:
    """DSH-03: count and age."""
    payment = harness.failed("one")
    requested = {"action": "RETRY", "reason": "rail timeout"}
    assert harness.act("olga", payment, "approvals", requested).status_code == 200
    harness.work()
    vera = harness.browser("vera")
    assert "the oldest for less than a minute" in vera.get("/").text
    harness.clock.advance(3 * 60_000)
    harness.build()
    page = harness.browser("vera").get("/").text
    assert "1 waiting, the oldest for 3 min, since" in page
    assert "3 min ago, expires" in page


def test_each_figure_has_its_meaning_and_its_limit(harness: PagesHarness) -> None:
    """The limits are the monitor's."""
    page = harness.browser("vera").get("/").text
    for rule, limit in LIMITS.items():
        side = "below" if limit.below else "above"
        assert f"incident {side} {limit.limit / 10:g} %." in page, rule
    for meaning in ("by the reason that was recorded", "no target for it", "Every payment so far"):
        assert meaning in page


@pytest.mark.parametrize(
    ("address", "drawn"),
    [
        ("/", "throughput-table"),
        ("/?span=hour", "hour-table"),
        ("/?span=%22x", "throughput-table"),
    ],
)
def test_the_chosen_time_is_in_the_url(harness: PagesHarness, address: str, drawn: str) -> None:
    """DSH-01: every view is a URL."""
    page = harness.browser("vera").get(address).text
    assert f'id="throughput" data-chart="line" data-table="{drawn}"' in page
    pressed = re.findall(r'data-table="([\w-]+)" aria-pressed="true"', page, re.ASCII)
    assert pressed == [drawn]
