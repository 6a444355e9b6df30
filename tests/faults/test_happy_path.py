"""From command to SETTLED through real processes, and what must become of every mistake."""

from __future__ import annotations

from tests.broker.harness import House

PAYMENTS = 150
RATE = 30.0  # a second


def test_a_load_with_every_mistake_reconciles(house: House) -> None:
    """SM-07, ERR-04, ERR-05, EV-06, IDM-01..03: each record of the publisher has its one fate."""
    process = house.start_payments()
    house.ready(process)
    report = house.publish(PAYMENTS, RATE)
    expected = report["expected"]
    found, moved = house.outcome_of_run()
    process.stop()

    assert moved["PaymentIntentCreated"] == expected["accepted"] == PAYMENTS
    assert moved["state SETTLED"] >= PAYMENTS * 0.9, dict(moved)
    assert moved["quarantined"] == expected["quarantined"]
    duplicates, rejected = moved["CreatePayment DUPLICATE"], moved["outcome REJECTED"]
    assert duplicates == expected["duplicates"]
    assert expected["rejected"] <= rejected <= expected["rejected"] + expected["either"]
    assert moved["rule IDEMPOTENCY_KEY_REUSED"] > 0
    assert moved["rail settled"] == moved["state SETTLED"]
    assert found.counters["settled twice"] == 0


def test_the_processor_ends_cleanly_on_sigterm(house: House) -> None:
    """Engine rules: SIGTERM finishes or aborts the open batch, leaves the group, exits 0."""
    process = house.start_payments()
    house.ready(process)
    house.publish(20, happy_path=True)
    assert process.stop() == 0
    again = house.start_payments()
    house.ready(again)
    house.outcome_of_run()
    assert again.stop() == 0
