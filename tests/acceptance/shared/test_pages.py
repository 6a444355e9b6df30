"""The pages over the whole product: Kafka, processors, read model, and the API's own process."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from tests.acceptance.harness import ACCEPT, SETTLE, Harness
from tests.acceptance.shared.test_api_reading import settled

pytestmark = pytest.mark.broker

FIGURE = re.compile(r'data-series="(\w+)">.*?data-value="([0-9]+)"', re.DOTALL | re.ASCII)


def test_the_dashboard_shows_the_api_s_numbers_and_its_payments(harness: Harness) -> None:
    """DSH-01, DSH-07, ESC-01."""
    payment = settled(harness)
    with httpx.Client(base_url=harness.url, follow_redirects=True, trust_env=False) as browser:
        page = browser.post("/sign-in", data={"person": "vera", "next": "/"}).text
        shown = page.partition('id="states-table"')[2].partition("</table>")[0]
        figures = {name: int(n) for name, n in FIGURE.findall(shown.partition("<tbody>")[2])}
        assert figures == harness.get("/api/summary")["states"]
        assert figures["SETTLED"] >= 1

        found = browser.get("/search", params={"q": payment}).text
        reported = harness.get(f"/api/payments/{payment}")
        for each in (payment, "SETTLED", "PAID", reported["externalRef"], reported["amountText"]):
            assert each in found


def test_a_proofs_result_reaches_the_summary_and_npp_top(harness: Harness) -> None:
    """The figures are the report's own."""
    payment = harness.create([ACCEPT, SETTLE])
    harness.until(payment, state="SETTLED", funds="CAPTURED")
    report = harness.npp_json("replay", "verify", "--tell")

    def notified() -> dict[str, Any] | None:
        found = harness.get("/api/summary")["proof"]
        return found if found and found["endedAt"] and not found["running"] else None

    proof = dict(harness.soon(notified, what="the summary has the proof"))
    assert (proof["verdict"], proof["difference"]) == ("PASSED", None)
    assert proof["events"] == report["fold"]["events"] > 0
    shown = harness.npp("top", "--once", check=False).stdout
    assert f"{proof['events']:,} events, passed" in shown
    assert "NPP rail:" in shown
