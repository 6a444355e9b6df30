"""The notifications adapter: what it reports, and how long it retries (INT-09)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from prometheus_client import CollectorRegistry

from core.payment.commands import NotificationResult
from core.payment.instructions import CustomerNotification
from engine.ports import InputRecord
from gateways import ports
from gateways.ports import NotifyAnswer, NotifyOutcome
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Work
from processors.notifications.handler import (
    PAUSE_S_FIRST,
    PAUSE_S_MAX,
    TRIES_MAX,
    NotificationsHandler,
)
from schemas import topology
from schemas.registry.setup import static_codec
from tests.clock import HeldClock
from tests.gateways.harness import notification
from tests.processors.rail.harness import MemoryLog

NOW_MS = 1_780_000_000_000
CODEC = static_codec()
RECORD = InputRecord(topology.NOTIFICATIONS, 0, 0, NOW_MS, b"", b"", [], NOW_MS)


class ScriptedNotifier:
    """Gives these answers in turn and repeats the last one."""

    def __init__(self, clock: HeldClock, *outcomes: NotifyOutcome) -> None:
        self._clock = clock
        self._outcomes = outcomes
        self.requested_at_ms: list[int] = []

    def notify(self, notification: CustomerNotification) -> NotifyAnswer:
        now_ms = self._clock.now_ms()
        self.requested_at_ms.append(now_ms)
        outcome = self._outcomes[min(len(self.requested_at_ms), len(self._outcomes)) - 1]
        return NotifyAnswer(
            outcome=outcome,
            requested_at=now_ms,
            answered_at=now_ms,
            technical_result="HTTP_200",
            delivered_at=now_ms if outcome == ports.DELIVERED else None,
        )


def handled(*outcomes: NotifyOutcome) -> tuple[list[NotificationResult], list[int]]:
    """The reports to the payment, and when the service was called (epoch ms)."""
    clock = HeldClock(NOW_MS)
    service, written = ScriptedNotifier(clock, *outcomes), MemoryLog(clock)
    handler = NotificationsHandler(
        notifier=service,
        publisher=written,
        codec=CODEC,
        clock=clock,
        metrics=AdapterMetrics(CollectorRegistry()),
    )
    work = Work(record=RECORD, instruction=notification())
    for _ in range(2 * TRIES_MAX):
        again_s = handler.handle(work)
        if again_s is None:
            break
        assert not written.of(topology.CUSTOMER_NOTIFIED), "nothing is reported before the last try"
        clock.sleep(again_s)
    topic = topology.CUSTOMER_NOTIFIED
    results = [CODEC.decode(topic, each.value, each.headers) for each in written.of(topic)]
    return results, service.requested_at_ms


@pytest.mark.parametrize("outcome", [ports.DELIVERED, ports.UNDELIVERABLE])
def test_an_answer_ends_the_request_at_the_first_try(outcome: NotifyOutcome) -> None:
    (results,), requested = handled(outcome)
    assert (results.result, len(requested)) == (outcome, 1)
    assert results.notification_id == notification().notification_id


def test_a_service_that_does_not_answer_is_retried_until_it_does() -> None:
    (results,), requested = handled(ports.SILENT, ports.SILENT, ports.DELIVERED)
    assert (results.result, len(requested), results.delivered_at) == (
        ports.DELIVERED,
        3,
        requested[-1],
    )


def test_a_service_that_never_answers_counts_as_undeliverable() -> None:
    """Ten tries with growing, bounded pauses; then an operator must call the customer."""
    (results,), requested = handled(ports.SILENT)
    assert (results.result, len(requested)) == (ports.UNDELIVERABLE, TRIES_MAX)
    pauses_s = [(after - before) / 1000 for before, after in pairwise(requested)]
    assert pauses_s == sorted(pauses_s)
    assert (pauses_s[0], pauses_s[-1]) == (2 * PAUSE_S_FIRST, PAUSE_S_MAX)
