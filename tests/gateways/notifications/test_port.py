"""The notification service's port: its contract (INT-09)."""

from __future__ import annotations

from gateways import ports
from gateways.connections import Gateway
from gateways.notifications.http_client import HttpNotifier
from gateways.notifications.simulator import NotificationsSimulator
from tests.gateways.harness import CLOCK, notification, serving


def test_a_customer_is_notified_once_however_often_it_is_requested() -> None:
    simulator = NotificationsSimulator(clock=CLOCK)
    with serving(simulator.app()) as client:
        notifier = HttpNotifier(gateway=Gateway(str(client.base_url)), clock=CLOCK)
        first, second = notifier.notify(notification()), notifier.notify(notification())
        assert first.outcome == ports.DELIVERED
        assert first.delivered_at == second.delivered_at
        assert len(client.get("/ledger").json()["notifications"]) == 1
