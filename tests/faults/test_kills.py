"""Fault rows 1 and 2: the payments processor is killed, at random and at each named point."""

from __future__ import annotations

import re
import signal
import time

from app.platform.broker import Cluster
from tests.broker.harness import Harness, rounds
from tests.broker.processes import CRASH_SECONDS_MAX, Process
from tests.broker.rest import POLL_SECONDS, committed_offsets

KILLS = len(rounds(300, ci=10))
ROUNDS = len(rounds(30))
ANSWERS_SECONDS_MAX = 30.0
SIGKILLED = -9
END_TXN = re.compile(r"(Sent EndTxnRequest|Received EndTxnResponse)")
POINTS = (
    "after_poll", "after_decide", "after_send_offsets", "after_produce", "before_commit",
    "commit_sent", "after_commit", "during_restore",
)  # fmt: skip


def test_row_1_killed_at_random_it_loses_and_repeats_nothing(harness: Harness) -> None:
    """EV-07, JOB-03: SIGKILL under load, every second time before it is ready."""
    process = harness.start_payments()
    harness.ready(process)
    join = harness.in_background(KILLS * 30, 30.0)
    with_work = 0
    for number in range(KILLS):
        if number % 2:
            harness.ready(process)
        time.sleep(harness.random.uniform(0.0, 1.5))
        assert process.alive()
        assert process.kill() == SIGKILLED
        with_work += harness.waiting() > 0
        process = harness.start_payments()
    join()
    harness.ready(process)
    report, moved = harness.outcome_of_run()
    process.stop()
    assert with_work >= KILLS // 2, "NV: no inputs were waiting when it was killed"
    assert moved["PaymentIntentCreated"] >= KILLS * 20
    assert report.counters["checkpointed events"] > 0, "NV: the verifier signed nothing"
    assert report.counters["settled twice"] == 0


def test_row_2_killed_at_each_named_point_it_loses_and_repeats_nothing(harness: Harness) -> None:
    """EV-07: the process kills itself when it reaches the point, with inputs waiting."""
    for point in POINTS * ROUNDS:
        if point == "during_restore":
            harness.lose_disk()
        harness.publish(15, happy_path=True)
        # The first two are also reached on idle turns; later in the start there is work.
        number = harness.random.randint(2, 30) if point in POINTS[:2] else 1
        process = harness.start_payments(crash_at=f"{point}:{number}")
        output = process.log.stat().st_size if process.log.exists() else 0
        assert process.exited() == SIGKILLED, f"NV: {point} was not reached"
        if point == "commit_sent":
            assert_unanswered(process, output)
        if point not in ("after_commit", "commit_sent"):
            assert answers_wait(harness), f"NV: {point}"
    process = harness.start_payments()
    harness.ready(process)
    report, moved = harness.outcome_of_run()
    process.stop()
    assert moved["PaymentIntentCreated"] == 15 * len(POINTS) * ROUNDS
    assert moved["aborted records"] > 0, "NV: nothing was in an open transaction"
    assert report.counters["settled twice"] == 0


def answers_wait(harness: Harness) -> bool:
    """Whether inputs wait; those of the adapters come a moment after the instructions
    they answer.
    """
    deadline = time.monotonic() + ANSWERS_SECONDS_MAX
    while not harness.waiting():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def assert_unanswered(process: Process, start: int = 0) -> None:
    """The client's own log ends with an EndTxn that was sent and not answered."""
    with process.log.open("rb") as log:
        log.seek(start)
        words = END_TXN.findall(log.read().decode(errors="replace"))
    assert words, "NV: no EndTxn was sent"
    assert words[-1] == "Sent EndTxnRequest", "NV: the answer was read before it died"


def test_row_2_an_unanswered_end_txn_is_handled_whichever_way_it_ended(
    own: tuple[Cluster, Harness],
) -> None:
    """EV-07: an EndTxn that arrives late commits; one lost with its broker aborts."""
    cluster, harness = own
    process = harness.start_payments()
    harness.ready(process)
    harness.publish(10, happy_path=True)
    harness.at_rest()
    assert process.stop() == 0
    for lost in (False, True):
        before = committed_offsets(harness.bootstrap)
        harness.publish(10, happy_path=True)
        process = harness.start_payments(crash_at="commit_held:1")
        process.held()
        assert committed_offsets(harness.bootstrap) == before, "NV: it is committed already"
        cluster.pause()
        process.child.send_signal(signal.SIGCONT)
        assert process.exited() == SIGKILLED, "NV: EndTxn was not sent"
        assert_unanswered(process)
        if lost:
            cluster.kill()
            cluster.restart()
            time.sleep(1.0)
        else:
            cluster.unpause()
            wait_for_commit(harness, before)
        moved_on = committed_offsets(harness.bootstrap) != before
        assert moved_on is not lost, "NV: it ended the other way"
        process = harness.start_payments()
        harness.ready(process)
        _, moved = harness.outcome_of_run()
        assert process.stop() == 0
        assert moved["PaymentIntentCreated"] == (20 if not lost else 10)
        assert moved["CreatePayment DUPLICATE"] == 0
        assert moved["settled twice"] == 0
        assert not lost or moved["aborted records"] > 0, "NV: nothing was aborted"


def wait_for_commit(harness: Harness, before: dict[tuple[str, int], int]) -> None:
    """The broker processes what it received while it was paused."""
    deadline = time.monotonic() + CRASH_SECONDS_MAX
    while committed_offsets(harness.bootstrap) == before:
        assert time.monotonic() < deadline, "NV: the broker did not carry EndTxn out"
        time.sleep(0.2)
