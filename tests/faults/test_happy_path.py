"""From command to SETTLED through real processes, and the correct result of every faulty record."""

from __future__ import annotations

from tests.broker.harness import Harness

PAYMENTS = 150
RATE = 8.0  # per second: the demo's rules give a payment 20 s, also on a slow machine


def test_a_load_with_every_faulty_record_reconciles(harness: Harness) -> None:
    """SM-07, ERR-04, ERR-05, EV-06, IDM-01..03: each published record has exactly one result."""
    process = harness.start_payments()
    harness.ready(process)
    report = harness.publish(PAYMENTS, RATE)
    expected = report["expected"]
    found, moved = harness.outcome_of_run()
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


def test_the_processor_ends_cleanly_on_sigterm(harness: Harness) -> None:
    """Engine rules: on SIGTERM it finishes or aborts the open batch, leaves the group
    and exits 0.
    """
    process = harness.start_payments()
    harness.ready(process)
    harness.publish(20, happy_path=True)
    assert process.stop() == 0
    again = harness.start_payments()
    harness.ready(again)
    harness.outcome_of_run()
    assert again.stop() == 0
