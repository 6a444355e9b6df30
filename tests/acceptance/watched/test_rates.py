"""Rates, latencies and budgets beyond their limits: the alerts' own expressions become true over
the metrics of the running processes.
"""

from __future__ import annotations

import time

import pytest

from core.values import external_ref
from tests.acceptance.harness import ACCEPT, SETTLE, SILENT, rejects
from tests.acceptance.watched.product import Watched

pytestmark = [pytest.mark.broker, pytest.mark.slow]

LATE = [ACCEPT, rejects("AB05", 120)]  # acknowledged, then failed
ENDED, RETRIED, CANCELLED = 24, 5, 4  # 20 is the minimum count; 10 % and 5 % are the limits
IN_FUTURE_MS = 600_000
SLOW_SECONDS = 2.0  # the limit is 1 s
SLOW_REQUESTS = 8  # five in a row
DUPLICATES = 1_200  # the minimum count is 1,000
KEEPS_SECONDS = 1.0  # four times the 250 ms


def test_payments_that_fail_late_are_retried_or_cancelled_break_every_rate(
    watched: Watched,
) -> None:
    """MET-01, MET-03, MET-04, MET-05, and the month's error budget."""
    alerts = ("CancellationRateHigh", "LateFailureRateHigh", "RetryRateHigh")
    watched.holds(*alerts)
    later = int(time.time() * 1_000) + IN_FUTURE_MS
    waiting = [watched.create(SILENT, requestedExecutionTime=later) for _ in range(CANCELLED)]
    failed = [watched.create(LATE) for _ in range(ENDED)]
    for payment in failed:
        watched.until(payment, state="FAILED", funds="RELEASED")
    for payment in failed[:RETRIED]:
        watched.script(external_ref(payment, 2), LATE)
        watched.approved("ops_1", payment, "RETRY")
        watched.done("ops_1", payment, "retry", {"attemptId": "att_002", "reason": "again"})
    for payment in waiting:
        watched.until(payment, state="AUTHORISED")
        watched.approved("ops_1", payment, "CANCEL")
        watched.done("ops_1", payment, "cancel", {"reason": "Customer requested cancellation"})

    watched.breaks(*alerts)
    watched.breaks("PaymentSuccessRateLow", "SuccessBudgetBurnsFast", "SuccessBudgetBurnsSlowly")


def test_a_slow_rail_raises_an_alert(watched: Watched) -> None:
    """MET-02: five requests in a row."""
    watched.holds("RailLatencyHigh")
    watched.stage.supervisor.pause("rail")
    try:
        slow = [watched.create() for _ in range(SLOW_REQUESTS)]
        for payment in slow:
            watched.until(payment, state="SENT")
        time.sleep(SLOW_SECONDS)
    finally:
        watched.stage.supervisor.unpause("rail")
    watched.breaks("RailLatencyHigh")
    for payment in slow:
        watched.until(payment, state="SETTLED")


def test_late_decisions_use_up_their_budget(watched: Watched) -> None:
    """The processor is paused while one payment is published again and again."""
    watched.holds("DecisionBudgetBurnsFast", "DecisionBudgetBurnsSlowly")
    payment = watched.create([ACCEPT, SETTLE])
    watched.stage.supervisor.pause("payments")
    try:
        watched.publish_again(payment, DUPLICATES)
        time.sleep(KEEPS_SECONDS)
    finally:
        watched.stage.supervisor.unpause("payments")
    watched.breaks("DecisionBudgetBurnsFast", "DecisionBudgetBurnsSlowly")
