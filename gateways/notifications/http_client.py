"""Customer notifications over HTTP: POST /notifications, idempotent by notificationKey."""

from __future__ import annotations

import structlog

from core.payment.instructions import CustomerNotification
from core.payment.operator.checks import ID_CHARACTERS_MAX
from engine.clock import Clock
from gateways import ports
from gateways.connections import Gateway
from gateways.http_call import call, readable
from gateways.ports import NotifyAnswer

log = structlog.get_logger("gateways.notifications.http_client")


class HttpNotifier:
    """`Notifier` over HTTP. The service words the message from kind, state and moneyOutcome."""

    def __init__(self, *, gateway: Gateway, clock: Clock) -> None:
        self._gateway = gateway
        self._clock = clock

    def notify(self, notification: CustomerNotification) -> NotifyAnswer:
        """DELIVERED and UNDELIVERABLE are the service's words; all else is SILENT."""
        payment_id = notification.header.payment_intent_id
        key = f"{payment_id}:{notification.notification_id}"
        body = {
            "notificationKey": key,
            "paymentIntentId": payment_id,
            "kind": notification.kind,
            "state": notification.state,
            "moneyOutcome": notification.money_outcome,
            "amount": notification.amount,
            "currency": notification.currency,
            "customerId": notification.customer_id,
        }
        answer = call(self._gateway, self._clock, "POST", "/notifications", body)
        answer = readable(answer, {"channel": ID_CHARACTERS_MAX})
        result = answer.text("result")
        known = (
            answer.status in (200, 201)
            and answer.text("notificationKey") == key
            and result in (ports.DELIVERED, ports.UNDELIVERABLE)
        )
        outcome = result if known and result is not None else ports.SILENT
        log.info(
            "customer notification",
            payment_intent_id=payment_id,
            kind=notification.kind,
            latency_ms=answer.answered_at - answer.asked_at,
            result=outcome,
            technical_result=answer.technical_result,
        )
        return NotifyAnswer(
            outcome=outcome,
            asked_at=answer.asked_at,
            answered_at=answer.answered_at,
            technical_result=answer.technical_result,
            delivered_at=answer.whole("deliveredAt"),
            channel=answer.text("channel"),
        )
