"""The simulated Deposits Core on a loopback server, and its client."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec

from core.payment.instructions import DepositsRequest
from core.values import funds_ref
from gateways import ports
from gateways.connections import Gateway
from gateways.deposits.http_client import HttpDepositsCore
from gateways.deposits.simulator import DepositsSimulator
from gateways.ports import FundsAnswer
from tests.clock import HeldClock
from tests.gateways.harness import PARTIES, funds, payment

NOW_MS = 1_780_000_000_000
NOT_AFTER = NOW_MS + 600_000
FINAL_AT = NOT_AFTER + ports.NEVER_HELD_MARGIN_MS
AMOUNT = 12_345


def hold(number: int, *, not_after: int | None = NOT_AFTER) -> DepositsRequest:
    return msgspec.structs.replace(funds(number, "HOLD"), not_after=not_after)


def end_hold(number: int, *, count: int = 1) -> DepositsRequest:
    """The RELEASE of an unanswered HOLD."""
    return msgspec.structs.replace(
        funds(number, "RELEASE"),
        funds_ref=funds_ref(payment(number), 1, "RELEASE", count),
        hold_funds_ref=funds_ref(payment(number), 1, "HOLD"),
        not_after=NOT_AFTER,
    )


class Harness:
    """A simulator with a held clock, and its HTTP client."""

    def __init__(self, client: httpx.Client, clock: HeldClock, simulator: DepositsSimulator):
        self.client, self.clock, self.simulator = client, clock, simulator
        self.core = HttpDepositsCore(gateway=Gateway(str(client.base_url)), clock=clock)

    def ask(self, request: DepositsRequest) -> FundsAnswer:
        return self.core.perform(request, PARTIES if request.operation == "HOLD" else None)

    def script(self, *steps: dict[str, Any], of: str = "*") -> None:
        answer = self.client.post("/scripts", json={"for": of, "steps": list(steps)})
        assert answer.status_code == 200, answer.text

    def left(self) -> int:
        """Cents that are held over all holds."""
        holds = self.client.get("/ledger").json()["holds"]
        return sum(each["left"] for each in holds.values())
