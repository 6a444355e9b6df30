"""The simulators on loopback servers, their HTTP clients, and sample instructions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from starlette.applications import Starlette

from core.header import InstructionHeader
from core.payment.instructions import (
    ApprovalRequest,
    CustomerNotification,
    DepositsRequest,
    PolicyCheckRequest,
    RailInstruction,
)
from core.values import (
    ApprovalId,
    Cents,
    Parties,
    Party,
    PaymentIntentId,
    external_ref,
    funds_ref,
    payment_intent_id,
)
from engine.clock import SystemClock
from engine.serving.metrics import uncounted
from processors.rail.webhook import WebhookServer
from schemas.codec.parties import seal

CLOCK = SystemClock()
PARTIES = Parties(
    debtor=Party(name="Alice", bsb="062000", account="12345678"),
    creditor=Party(name="Bob", bsb="082001", account="87654321"),
    remittance="invoice 7",
)


@contextmanager
def serving(app: Starlette) -> Iterator[httpx.Client]:
    """The application on a free port, and a client for it."""
    server = WebhookServer(app, count=uncounted, host="127.0.0.1", port=0, clock=CLOCK)
    server.start()
    client = httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False)
    try:
        yield client
    finally:
        client.close()
        server.close()


def wait_for(condition: Callable[[], Any], seconds: float = 5.0) -> Any:
    """The first true result of `condition`; fails if there is none."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("it never came true")


def payment(number: int) -> PaymentIntentId:
    return payment_intent_id("mobile-app", f"contract-{number}")


def submit(number: int, *, before_ms: int = 60_000, amount: int = 12_345) -> RailInstruction:
    return RailInstruction(
        header=InstructionHeader(
            payment_intent_id=PaymentIntentId(payment(number)),
            sequence=5,
            decided_at=CLOCK.now_ms(),
        ),
        kind="SUBMIT",
        external_ref=external_ref(payment(number), 1),
        attempt=1,
        amount=Cents(amount),
        currency="AUD",
        service="sct",
        end_to_end_id="E2E-1",
        submit_before=CLOCK.now_ms() + before_ms,
        number=1,
        parties=seal(PARTIES),
    )


def funds(number: int, operation: Any, hold_ref: str | None = None) -> DepositsRequest:
    return DepositsRequest(
        header=InstructionHeader(
            payment_intent_id=PaymentIntentId(payment(number)),
            sequence=2,
            decided_at=CLOCK.now_ms(),
        ),
        operation=operation,
        funds_ref=funds_ref(payment(number), 1, operation),
        attempt=1,
        amount=Cents(12_345),
        currency="AUD",
        hold_ref=hold_ref,
        parties=seal(PARTIES) if operation == "HOLD" else None,
    )


def policy_check(amount: int = 12_345) -> PolicyCheckRequest:
    return PolicyCheckRequest(
        header=InstructionHeader(
            payment_intent_id=PaymentIntentId(payment(1)), sequence=1, decided_at=CLOCK.now_ms()
        ),
        policy_ref="pol-1",
        phase="CREATE",
        attempt=1,
        source="mobile-app",
        amount=Cents(amount),
        currency="AUD",
        service="sct",
        parties=seal(PARTIES),
    )


def approval(action: Any, phase: Any) -> ApprovalRequest:
    return ApprovalRequest(
        header=InstructionHeader(
            payment_intent_id=PaymentIntentId(payment(1)), sequence=9, decided_at=CLOCK.now_ms()
        ),
        approval_id=ApprovalId("apr_001"),
        action=action,
        phase=phase,
        attempt=1,
        requester="olga",
        roles=("operator",),
        reason="asked by the customer",
        state="SENT",
        amount=Cents(12_345),
        currency="AUD",
    )


def notification() -> CustomerNotification:
    return CustomerNotification(
        header=InstructionHeader(
            payment_intent_id=PaymentIntentId(payment(1)), sequence=9, decided_at=CLOCK.now_ms()
        ),
        notification_id="ntf_001",
        kind="failed",
        state="FAILED",
        money_outcome="NOT_PAID",
        amount=Cents(12_345),
        currency="AUD",
        customer_id="c-1",
    )
