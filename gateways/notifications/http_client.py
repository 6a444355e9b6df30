"""Customer notifications over HTTP: POST /notifications, idempotent by notificationKey."""

from __future__ import annotations

from typing import Final

import structlog

from core.payment.instructions import CustomerNotification
from core.payment.operator.checks import ID_CHARACTERS_MAX
from engine.clock import Clock
from gateways import ports
from gateways.connections import Gateway
from gateways.http_call import call, readable
from gateways.ports import NotifyAnswer, NotifyOutcome

log = structlog.get_logger("gateways.notifications.http_client")

RESULTS: Final[dict[str, NotifyOutcome]] = {
    each: each for each in (ports.DELIVERED, ports.UNDELIVERABLE)
}


class HttpNotifier:
    """`Notifier` over HTTP. The service writes the text from kind, state and moneyOutcome."""

    def __init__(self, *, gateway: Gateway, clock: Clock) -> None:
        self._gateway = gateway
        self._clock = clock

    def notify(self, notification: CustomerNotification) -> NotifyAnswer:
        """DELIVERED and UNDELIVERABLE are the service's results; anything else is SILENT."""
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
        outcome: NotifyOutcome = ports.SILENT
        if answer.status in (200, 201) and answer.text("notificationKey") == key:
            outcome = RESULTS.get(result or "", ports.SILENT)
        log.info(
            "customer notification",
            payment_intent_id=payment_id,
            kind=notification.kind,
            latency_ms=answer.answered_at - answer.requested_at,
            result=outcome,
            technical_result=answer.technical_result,
        )
        return NotifyAnswer(
            outcome=outcome,
            requested_at=answer.requested_at,
            answered_at=answer.answered_at,
            technical_result=answer.technical_result,
            delivered_at=answer.whole("deliveredAt"),
            channel=answer.text("channel"),
        )
