"""Customer notifications: each request to the service once, its confirmation to the payment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from core.header import InputHeader
from core.payment.commands import NotificationResult
from core.payment.instructions import CustomerNotification
from engine.clock import Clock
from gateways import ports
from gateways.ports import Notifier
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Publisher, Work
from schemas import topology
from schemas.codec import Codec

log = structlog.get_logger("processors.notifications.handler")

TRIES_MAX: Final = 10
PAUSE_S_FIRST: Final = 0.5
PAUSE_S_MAX: Final = 30.0
STOPPED_S: Final = 0.25


class NotificationsAdapter:
    """A service that stays silent for all tries counts as UNDELIVERABLE: a person is to call."""

    def __init__(
        self,
        *,
        notifier: Notifier,
        publisher: Publisher,
        codec: Codec,
        clock: Clock,
        stopped: Callable[[], str | None],
        metrics: AdapterMetrics,
    ) -> None:
        self._notifier = notifier
        self._publisher = publisher
        self._codec = codec
        self._clock = clock
        self._stopped = stopped
        self._metrics = metrics

    def handle(self, work: Work) -> float | None:
        """One try. Raises NotConfirmed when Kafka does not take the confirmation."""
        if self._stopped() is not None:
            return STOPPED_S
        notification: CustomerNotification = work.instruction
        answer = self._notifier.notify(notification)
        millis = answer.answered_at - answer.asked_at
        self._metrics.called("notifications", "notify", answer.outcome, millis)
        result = answer.outcome
        if result == ports.SILENT:
            work.tries += 1
            if work.tries < TRIES_MAX:
                return min(PAUSE_S_MAX, PAUSE_S_FIRST * float(2**work.tries))
            result = ports.UNDELIVERABLE
        payment_id = notification.header.payment_intent_id
        report = NotificationResult(
            header=InputHeader(
                payment_intent_id=payment_id,
                sent_at=self._clock.now_ms(),
                traceparent=notification.header.traceparent,
            ),
            notification_id=notification.notification_id,
            kind=notification.kind,
            result=result,
            delivered_at=answer.delivered_at,
            channel=answer.channel,
        )
        key = payment_id.encode()
        topic = topology.CUSTOMER_NOTIFIED
        self._publisher.publish(topic, key, self._codec.encode(topic, report))
        self._metrics.reports.labels("notifications", result).inc()
        log.info("customer notified", payment_intent_id=payment_id, result=result)
        return None
