"""Fault row 10: the broker hangs for longer than sessions and transactions last, and comes back."""

from __future__ import annotations

import json
import time
import warnings
from collections import Counter
from collections.abc import Callable

import pytest

from app.exits import ExitCode
from app.platform.broker import Cluster
from examples import upstream_publisher
from tests.broker.harness import House, rounds
from tests.broker.processes import Process

PAUSES = rounds(30)
SECONDS_MIN, SECONDS_MAX = 20.0, 90.0
PATIENCE_SECONDS = 60.0  # so long a process waits for Kafka before it ends, to be started again
LAST_CALL_SECONDS = 6.0  # a call that is under way then ends
PAYMENTS = 150
RATE = 30.0
BACK_SECONDS_MAX = 90.0
AGAIN_MAX = 3  # pauses that meet no transaction
LOOKS_MAX = 20  # between two inputs none may wait


@pytest.mark.timeout(2 * (120 + (len(PAUSES) + AGAIN_MAX) * (SECONDS_MAX + 2 * BACK_SECONDS_MAX)))
def test_row_10_a_broker_that_hangs_and_comes_back_costs_no_payment(
    make_own: Callable[[], tuple[Cluster, House]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """EV-07, JOB-03: its connections stay open and nothing answers, for longer than the group's
    session and the open transaction; everybody finds back by himself. Only an outage of a minute
    may end a process, with the code that says why.

    Kafka itself leaves a transaction hanging after one such pause in sixty (decision 13). Then
    nothing may be decided, `npp doctor` has to name it, and another Kafka has to go through.
    """
    monkeypatch.setattr(upstream_publisher, "FLUSH_SECONDS_MAX", SECONDS_MAX + BACK_SECONDS_MAX)
    cluster, house = make_own()
    try:
        ride_out(cluster, house)
    except AssertionError as error:
        if not (hanging := named_as_hanging(house)):
            raise
        warnings.warn(f"Kafka left transactions hanging: {hanging} ({error})"[:300], stacklevel=1)
        # What stands behind it cannot be read, so nothing is judged but the rail's own book.
        settled = Counter(
            e["externalRef"][:27] for e in house.ledger()["payments"] if e["settledAmount"]
        )
        assert max(settled.values(), default=0) <= 1
        house.close()
        ride_out(*make_own())


def ride_out(cluster: Cluster, house: House) -> None:
    """Load, pauses, rest, judgement."""
    house.ready(house.start_payments(), house.start_verifier())
    doubtful, pauses, again = 0.0, list(PAUSES), 0
    for number in pauses:
        seconds = house.random.uniform(SECONDS_MIN, SECONDS_MAX) if number else SECONDS_MIN
        join = house.in_background(PAYMENTS, RATE)
        time.sleep(house.random.uniform(1.0, 3.0))
        assert any(house.waiting() for _ in range(LOOKS_MAX)), "NV: no inputs were ever waiting"
        before = rebuilt(house)
        cluster.pause()
        try:
            time.sleep(seconds)
        finally:
            cluster.unpause()
        join()
        if seconds >= PATIENCE_SECONDS:
            before = 0.0
            start_again(house)
        house.at_rest(BACK_SECONDS_MAX)
        met = rebuilt(house) - before
        doubtful += met
        if not met and again < AGAIN_MAX:  # between two batches: no transaction was under way
            again += 1
            pauses.append(number)
    house.signed(running(house, "verifier-1"), BACK_SECONDS_MAX)
    report, moved = house.outcome_of_run()
    assert doubtful >= len(PAUSES) // 2 + 1, "NV: no transaction was under way"
    assert moved["PaymentIntentCreated"] >= PAYMENTS // 2 * len(PAUSES)
    assert report.counters["checkpointed events"] > 0, "NV: the verifier signed nothing"
    assert report.counters["settled twice"] == 0


def named_as_hanging(house: House) -> list[str]:
    """What the product says of transactions that nobody ends."""
    findings = json.loads(house.npp("doctor", "--json", check=False).stdout)["findings"]
    return [f["says"] for f in findings if f["check"] == "transactions" and f["level"] == "failed"]


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
