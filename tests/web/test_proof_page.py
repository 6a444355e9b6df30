"""The page of replay and proof agrees with the dashboard, which links to it."""

from __future__ import annotations

import dataclasses
import re

import msgspec
import pytest

from api.summary.figures import PROOF_SILENT_MS
from core.monitoring import ProofState
from tests.web.harness import PagesHarness

pytestmark = pytest.mark.slow


class Proofs:
    """`api.services.Proofs` with a fixed result."""

    def __init__(self, state: ProofState) -> None:
        self.state = state

    def now(self) -> ProofState:
        return self.state


def scheduled(harness: PagesHarness, state: ProofState) -> str:
    """The page's text about the scheduled proof, without markup."""
    harness._services = dataclasses.replace(harness._services, proofs=Proofs(state))
    harness.build()
    html = harness.browser("vera").get("/proof").text
    found = html.partition('id="run">')[2].partition("</section>")[0]
    return " ".join(re.sub("<[^>]+>", "", found).split())


def test_the_scheduled_proof_is_shown_with_verdict_progress_and_difference(
    harness: PagesHarness,
) -> None:
    now = harness.clock.now_ms()
    passed = ProofState(
        at=now, running=False, began_at=now - 9_000, done=9, total=9,
        ended_at=now - 1_000, verdict="PASSED", events=41_233_120,
    )  # fmt: skip
    said = scheduled(harness, passed)
    assert "passed Ended" in said
    assert "over 41,233,120 events." in said
    runs = msgspec.structs.replace(passed, running=True, done=1_500, total=6_000)
    assert ": 1,500 of 6,000 records." in scheduled(harness, runs)
    silent = msgspec.structs.replace(runs, at=now - PROOF_SILENT_MS - 1)
    assert "has reported nothing for a minute" in scheduled(harness, silent)
    failed = msgspec.structs.replace(passed, verdict="FAILED", difference="<i>hash</i> differs")
    said = scheduled(harness, failed)
    assert said.startswith("Scheduled proof of the whole log failed Ended")
    assert "First difference: &lt;i&gt;hash&lt;/i&gt; differs" in said


def test_without_a_proof_the_page_says_so(harness: PagesHarness) -> None:
    html = harness.browser("vera").get("/proof").text
    assert "None has run." in html
