"""Fault row 10: the broker hangs for longer than sessions and transactions last, and comes back."""

from __future__ import annotations

import time

import pytest

from app.exits import ExitCode
from app.platform.broker import Cluster
from examples import upstream_publisher
from tests.kafka.harness import House, rounds
from tests.kafka.processes import Process

PAUSES = rounds(30)
SECONDS_MIN, SECONDS_MAX = 20.0, 90.0
PATIENCE_SECONDS = 60.0  # so long a process waits for Kafka before it ends, to be started again
LAST_CALL_SECONDS = 6.0  # a call that is under way then ends
PAYMENTS = 150
RATE = 30.0
BACK_SECONDS_MAX = 90.0
LOOKS_MAX = 20  # between two inputs none may wait


@pytest.mark.timeout(120 + len(PAUSES) * (SECONDS_MAX + 2 * BACK_SECONDS_MAX))
def test_row_10_a_broker_that_hangs_and_comes_back_costs_no_payment(
    own: tuple[Cluster, House], monkeypatch: pytest.MonkeyPatch
) -> None:
    """EV-07, JOB-03: its connections stay open and nothing answers, for longer than the group's
    session and the open transaction; everybody finds back by himself. Only an outage of a minute
    may end a process, with the code that says why.
    """
    cluster, house = own
    monkeypatch.setattr(upstream_publisher, "FLUSH_SECONDS_MAX", SECONDS_MAX + BACK_SECONDS_MAX)
    house.ready(house.start_payments(), house.start_verifier())
    doubtful = 0.0
    for number in PAUSES:
        seconds = house.random.uniform(SECONDS_MIN, SECONDS_MAX) if number else SECONDS_MIN
        join = house.in_background(PAYMENTS, RATE)
        time.sleep(house.random.uniform(1.0, 3.0))
        assert any(house.waiting() for _ in range(LOOKS_MAX)), "NV: no inputs were ever waiting"
        cluster.pause()
        try:
            time.sleep(seconds)
        finally:
            cluster.unpause()
        join()
        if seconds >= PATIENCE_SECONDS:
            start_again(house)
        house.at_rest(BACK_SECONDS_MAX)
        doubtful += rebuilt(house)
    house.signed(running(house, "verifier-1"), BACK_SECONDS_MAX)
    report, moved = house.outcome_of_run()
    assert doubtful >= len(PAUSES) // 2 + 1, "NV: no transaction was under way"
    assert moved["PaymentIntentCreated"] >= PAYMENTS // 2 * len(PAUSES)
    assert report.counters["checkpointed events"] > 0, "NV: the verifier signed nothing"
    assert report.counters["settled twice"] == 0


def start_again(house: House) -> None:
    """What has given up is started again, as its supervisor does."""
    starts = {
        "payments-1": house.start_payments,
        "adapters-1": house.start_adapters,
        "verifier-1": house.start_verifier,
    }
    time.sleep(LAST_CALL_SECONDS)
    for process in list(house.processes):
        if not process.ended_by_us and not process.alive():
            assert process.exited() == ExitCode.UNREACHABLE, process.name
            starts[process.name]()


def rebuilt(house: House) -> float:
    """Transactions of the running payments processor whose end was doubtful."""
    return running(house, "payments-1").metrics()[
        'npp_engine_transactions_total{outcome="rebuild"}'
    ]


def running(house: House, name: str) -> Process:
    return next(p for p in house.processes if p.name == name and p.alive())
