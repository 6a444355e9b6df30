"""Fault rows 1 and 2: the payments processor is killed, at random and at each named point."""

from __future__ import annotations

import os
import time

from tests.kafka.harness import House

RELEASE = bool(os.environ.get("NPP_TEST_RELEASE"))
KILLS = 300 if RELEASE else 10
ROUNDS = 30 if RELEASE else 1
SIGKILLED = -9
POINTS = (
    "after_poll", "after_decide", "after_produce", "after_send_offsets", "before_commit",
    "commit_sent", "after_commit", "during_restore",
)  # fmt: skip


def test_row_1_killed_at_random_instants_it_loses_and_repeats_nothing(house: House) -> None:
    """EV-07, JOB-03: SIGKILL under load, every second one before it is even ready."""
    process = house.start_payments()
    house.ready(process)
    join = house.in_background(KILLS * 30, 30.0)
    with_work = 0
    for number in range(KILLS):
        if number % 2:
            house.ready(process)
        time.sleep(house.random.uniform(0.0, 1.5))
        assert process.alive()
        assert process.kill() == SIGKILLED
        with_work += house.waiting() > 0
        process = house.start_payments()
    join()
    house.ready(process)
    report, moved = house.outcome_of_run()
    process.stop()
    assert with_work >= KILLS // 2, "NV: no inputs were waiting when it was killed"
    assert moved["PaymentIntentCreated"] >= KILLS * 20
    assert report.counters["settled twice"] == 0


def test_row_2_killed_at_each_named_point_it_loses_and_repeats_nothing(house: House) -> None:
    """EV-07: the process ends itself hard when it reaches the point, with inputs waiting."""
    for point in POINTS * ROUNDS:
        if point == "during_restore":
            house.lose_disk()
        house.publish(15, sunny=True)
        # The first two are reached in idle turns as well; later in the start there is work.
        number = house.random.randint(2, 30) if point in POINTS[:2] else 1
        process = house.start_payments(crash_at=f"{point}:{number}")
        assert process.exited() == SIGKILLED, f"NV: {point} was not reached"
        assert point in ("after_commit", "commit_sent") or house.waiting() > 0, f"NV: {point}"
    process = house.start_payments()
    house.ready(process)
    report, moved = house.outcome_of_run()
    process.stop()
    assert moved["PaymentIntentCreated"] == 15 * len(POINTS) * ROUNDS
    assert moved["aborted records"] > 0, "NV: nothing was in an open transaction"
    assert report.counters["settled twice"] == 0
