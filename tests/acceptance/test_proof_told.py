"""A proof of the whole log is told on the dashboard and in a terminal, by the real processes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.harness import ACCEPT, SETTLE, Harness

pytestmark = pytest.mark.broker


def test_a_proof_s_result_reaches_the_summary_and_npp_top(harness: Harness) -> None:
    """The numbers are the report's own."""
    payment = harness.create([ACCEPT, SETTLE])
    harness.until(payment, state="SETTLED", funds="CAPTURED")
    report = harness.npp_json("replay", "verify", "--tell")

    def told() -> dict[str, Any] | None:
        found = harness.get("/api/summary")["proof"]
        return found if found and found["endedAt"] and not found["running"] else None

    proof = dict(harness.soon(told, what="the summary has the proof"))
    assert (proof["verdict"], proof["difference"]) == ("PASSED", None)
    assert proof["events"] == report["fold"]["events"] > 0
    shown = harness.npp("top", "--once", check=False).stdout
    assert f"{proof['events']:,} events, passed" in shown
    assert "NPP rail:" in shown
