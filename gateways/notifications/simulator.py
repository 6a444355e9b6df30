"""The simulated notification service: confirms every message, and notifies each customer once.

python -m gateways.notifications.simulator --port 8084
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.clock import Clock, SystemClock
from gateways import ports
from gateways import simulator as base
from gateways.simulator import BadRequestError, Journal, Simulator, json_body


class Delivery(msgspec.Struct):
    """One notification. `requests` counts its requests; the customer is notified once."""

    key: str
    kind: str
    result: str
    at: int
    requests: int = 0


class NotificationsSimulator(Simulator):
    """Confirms by key. Scripts: UNDELIVERABLE, or HTTP with a status, by payment id or `*`."""

    def __init__(self, *, clock: Clock, journal: Journal | None = None) -> None:
        super().__init__()
        self.deliveries: dict[str, Delivery] = {}
        self._clock = clock
        self._journal = journal or Journal(None)
        for key, raw in self._journal.load().items():
            self.deliveries[key] = msgspec.convert(raw, Delivery)

    def routes(self) -> list[Route]:
        return [
            Route("/notifications", self._notify, methods=["POST"]),
            Route("/ledger", self._ledger, methods=["GET"]),
        ]

    async def _notify(self, request: Request) -> Response:
        body = await json_body(request)
        key, payment_id, kind = (
            body.get(n) for n in ("notificationKey", "paymentIntentId", "kind")
        )
        if not (isinstance(key, str) and isinstance(payment_id, str) and isinstance(kind, str)):
            raise BadRequestError("notificationKey, paymentIntentId and kind are texts")
        step = (self.scripts.find(payment_id) or [{"kind": "DELIVERED"}])[0]
        delivered = self.deliveries.get(key)
        if delivered is None:
            if step["kind"] == "HTTP":
                return Response("upstream trouble", status_code=int(step.get("status", 503)))
            undeliverable = step["kind"] == ports.UNDELIVERABLE
            result = ports.UNDELIVERABLE if undeliverable else ports.DELIVERED
            delivered = self.deliveries[key] = Delivery(
                key=key, kind=kind, result=result, at=self._clock.now_ms()
            )
        delivered.requests += 1
        self._journal.append(key, msgspec.to_builtins(delivered))
        answer: dict[str, Any] = {
            "notificationKey": key,
            "result": delivered.result,
            "channel": "sim",
        }
        if delivered.result == ports.DELIVERED:
            answer["deliveredAt"] = delivered.at
        return JSONResponse(answer, status_code=201 if delivered.requests == 1 else 200)

    async def _ledger(self, _: Request) -> Response:
        return JSONResponse(
            {"notifications": [msgspec.to_builtins(t) for t in self.deliveries.values()]}
        )


def main() -> None:
    """Run the simulator; refuses the production profile."""
    options = base.arguments("notifications").parse_args()
    base.refuse_and_exit("notifications", options.profile)
    simulator = NotificationsSimulator(clock=SystemClock(), journal=Journal(options.journal))
    base.serve(simulator.app(), host=options.host, port=options.port)


if __name__ == "__main__":
    main()
