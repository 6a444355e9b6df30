"""An attacker uses one operator's, viewer's or admin's token as often as possible: no other user is
delayed.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api.actions import threads
from api.audit.writer import SINGLE_OF_ONE_COUNT_MAX
from api.control.actions import STOPS_OF_ONE_MAX
from tests.api.command_harness import ApiHarness

pytestmark = pytest.mark.slow

IN_TIME_S = 1.0


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ApiHarness]:
    made = ApiHarness(tmp_path)
    seen = SimpleNamespace(delay_ms=None)
    made.app.state.summary = SimpleNamespace(observe=lambda: seen)  # this harness has no journal
    with made.http:  # one event loop for all requests, as the server has
        yield made
    made.close()


def test_unanswered_cancels_delay_no_stop_and_no_decision(harness: ApiHarness) -> None:
    """SEC-08: 208 cancels whose outcomes never come occupy every thread for commands."""
    payment = harness.sent("k")
    harness.commands._wait_s = 10.0
    harness.log.stalled = True
    found: Counter[int] = Counter()

    def cancel(number: int) -> None:
        who = ("olga", "oskar", "sue", "both")[number % 4]
        answer = harness.act(who, payment, "cancel", {"reason": f"r{number}"})
        found[answer.status_code] += 1

    flood = [threading.Thread(target=cancel, args=(n,), daemon=True) for n in range(208)]
    for thread in flood:
        thread.start()
    busy = threads.COMMANDS._busy
    until = time.monotonic() + 60
    while busy.total() + found.total() < len(flood) and time.monotonic() < until:
        time.sleep(0.05)
    assert busy.total() == threads.COMMANDS_MAX, "NV: all of them are taken"
    assert found == {429: len(flood) - threads.COMMANDS_MAX}
    begun = time.monotonic()
    assert harness.post("ada", "/api/control/stop", {"reason": "now"}).status_code == 200
    assert time.monotonic() - begun < IN_TIME_S
    (stop,) = harness.world.control.stops()
    path = f"/api/control/stops/{stop.stop_id}/resume-requests"
    unsigned: dict[str, Any] = {"type": "ResumeRequested", "fields": {}, "signature": None}
    assert harness.post("ada", path, unsigned).json()["rule"] == "ACT_NOT_SIGNED"
    reject = f"/api/payments/{payment}/approvals/apr_001/reject"
    assert harness.post("anna", reject, {"reason": "no"}).json()["rule"] == "PROCESSING_STOPPED"
    for thread in flood:
        thread.join()
    assert found[202] == threads.COMMANDS_MAX


def test_each_kind_of_action_has_capacity_for_more_than_one_person() -> None:
    for kind in (threads.COMMANDS, threads.DECISIONS, threads.CONTROL):
        assert kind._of_one * 4 <= kind._count


def test_refused_actions_of_one_person_cannot_flood_the_audit_log(harness: ApiHarness) -> None:
    """AUD-02: counted under that name; another person's are still written individually."""
    for _ in range(2 * SINGLE_OF_ONE_COUNT_MAX):
        assert harness.post("vera", "/api/control/stop", {"reason": "x"}).status_code == 403
    assert harness.post("olga", "/api/control/stop", {"reason": "x"}).status_code == 403
    *single, other = harness.audited()
    assert len(single) == SINGLE_OF_ONE_COUNT_MAX
    assert other.operator_id == "olga"
    harness.audit.start()
    harness.audit.close()
    summary = harness.audited()[-1]
    assert (summary.operator_id, summary.roles, summary.rule) == (
        "vera",
        ("viewer",),
        "MISSING_ROLE",
    )
    assert json.loads(summary.detail or "")["times"] == SINGLE_OF_ONE_COUNT_MAX


def test_stops_of_one_admin_are_bounded_and_another_can_still_stop(harness: ApiHarness) -> None:
    """Each has to be ended under dual control."""
    found = [
        harness.post("ada", "/api/control/stop", {"reason": "x"}).status_code for _ in range(12)
    ]
    assert found == [200] * STOPS_OF_ONE_MAX + [429] * (12 - STOPS_OF_ONE_MAX)
    assert harness.world.control.stops_of("ada") == STOPS_OF_ONE_MAX
    assert harness.post("adam", "/api/control/stop", {"reason": "x"}).status_code == 200


def test_a_stop_after_a_request_to_resume_is_not_over_the_limit(
    harness: ApiHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request will not end it, so it does not duplicate an open one."""
    for _ in range(STOPS_OF_ONE_MAX):
        harness.post("ada", "/api/control/stop", {"reason": "x"})
    assert harness.post("ada", "/api/control/stop", {"reason": "x"}).status_code == 429
    monkeypatch.setattr(harness.world.control, "resume_request", lambda _: 7)
    assert harness.post("ada", "/api/control/stop", {"reason": "not yet!"}).status_code == 200


def test_a_stop_is_written_even_if_the_control_topic_cannot_be_read(harness: ApiHarness) -> None:
    harness.control.gone = True
    assert harness.post("ada", "/api/control/stop", {"reason": "x"}).status_code == 200
