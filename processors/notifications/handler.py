"""Customer notifications: each request to the service once, its confirmation to the payment."""

from __future__ import annotations

from typing import Final, Unpack, cast

import structlog

from core.payment.commands import NotificationResult
from core.payment.instructions import CustomerNotification
from core.words import MessageResult
from gateways import ports
from gateways.ports import Notifier
from processors.adapter.handler import Common, GatewayHandler
from processors.adapter.ports import Work
from schemas import topology

log = structlog.get_logger("processors.notifications.handler")

TRIES_MAX: Final = 10
PAUSE_S_FIRST: Final = 0.5
PAUSE_S_MAX: Final = 30.0


class NotificationsHandler(GatewayHandler):
    """A service that stays silent for all tries counts as UNDELIVERABLE: a person is to call."""

    name = "notifications"
    asked = topology.NOTIFICATIONS
    topic = topology.CUSTOMER_NOTIFIED

    def __init__(self, *, notifier: Notifier, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self._notifier = notifier

    def handle(self, work: Work) -> float | None:
        notification: CustomerNotification = work.instruction
        answer = self._notifier.notify(notification)
        millis = answer.answered_at - answer.asked_at
        self._metrics.called(self.name, "notify", answer.outcome, millis)
        result = answer.outcome
        if result == ports.SILENT:
            work.tries += 1
            if work.tries < TRIES_MAX:
                return min(PAUSE_S_MAX, PAUSE_S_FIRST * float(2**work.tries))
            result = ports.UNDELIVERABLE
        report = NotificationResult(
            header=self.header(notification.header),
            notification_id=notification.notification_id,
            kind=notification.kind,
            result=cast(MessageResult, result),  # all that is not SILENT
            delivered_at=answer.delivered_at,
            channel=answer.channel,
        )
        self.publish(report, result)
        payment_id = notification.header.payment_intent_id
        log.info("customer notified", payment_intent_id=payment_id, result=result)
        return None
