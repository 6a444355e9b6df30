"""Fault row 10: the broker hangs for longer than sessions and transactions last, and comes back."""

from __future__ import annotations

import time

from app.platform.broker import Cluster
from tests.kafka.harness import House, rounds

PAUSES = rounds(30)
PAUSE_SECONDS = (20.0, 90.0)  # in CI the shortest
PAYMENTS = 150
RATE = 30.0
BACK_SECONDS_MAX = 90.0


def test_row_10_a_broker_that_hangs_and_comes_back_costs_no_process_and_no_payment(
    own: tuple[Cluster, House],
) -> None:
    """EV-07, JOB-03: its connections stay open and nothing answers, for longer than the group's
    session and the open transaction; everybody finds back by himself.
    """
    cluster, house = own
    payments, verifier = house.start_payments(), house.start_verifier()
    house.ready(payments, verifier)
    for number in PAUSES:
        join = house.in_background(PAYMENTS, RATE)
        time.sleep(house.random.uniform(1.0, 3.0))
        assert house.waiting() > 0, "NV: no inputs were waiting when it was paused"
        shortest, longest = PAUSE_SECONDS
        cluster.pause()
        try:
            time.sleep(house.random.uniform(shortest, longest) if number else shortest)
        finally:
            cluster.unpause()
        join()
        house.at_rest(BACK_SECONDS_MAX)
    report, moved = house.outcome_of_run()
    broken = payments.metrics()['npp_engine_transactions_total{outcome="rebuild"}']
    assert broken >= 1, "NV: no transaction was under way"
    assert moved["PaymentIntentCreated"] >= PAYMENTS // 2 * len(PAUSES)
    assert report.counters["checkpointed events"] > 0, "NV: the verifier signed nothing"
    assert report.counters["settled twice"] == 0
