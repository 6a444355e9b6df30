"""Sends customer notifications to the notification service, and its confirmations to the payment.
Delivery is at least once: an unanswered request is repeated with the same notification id.
"""

from __future__ import annotations

from typing import Final, Unpack

import structlog

from core.payment.commands import NotificationResult
from core.payment.instructions import CustomerNotification
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
    """If the service answers none of TRIES_MAX tries, the result is UNDELIVERABLE: a person must
    tell the customer.
    """

    name = "notifications"
    requests = topology.NOTIFICATIONS
    topic = topology.CUSTOMER_NOTIFIED

    def __init__(self, *, notifier: Notifier, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self._notifier = notifier

    def handle(self, work: Work) -> float | None:
        notification: CustomerNotification = work.instruction
        answer = self._notifier.notify(notification)
        millis = answer.answered_at - answer.requested_at
        self._metrics.called(self.name, "notify", answer.outcome, millis)
        result = answer.outcome
        if result == ports.SILENT:
            work.tries += 1
            if work.tries < TRIES_MAX:
                return work.pause_s(PAUSE_S_FIRST, PAUSE_S_MAX)
            result = ports.UNDELIVERABLE
        report = NotificationResult(
            header=self.header(notification.header),
            notification_id=notification.notification_id,
            kind=notification.kind,
            result=result,
            delivered_at=answer.delivered_at,
            channel=answer.channel,
        )
        self.publish(report, result)
        payment_id = notification.header.payment_intent_id
        log.info("customer notified", payment_intent_id=payment_id, result=result)
        return None
