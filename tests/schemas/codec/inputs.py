"""Commands, and codecs with a registry that counts requests."""

from __future__ import annotations

from typing import Any

from core.header import InputHeader, OperatorHeader
from core.payment.commands import CancelPayment, CreatePayment
from core.values import Cents, PaymentIntentId, Sealed
from schemas import catalogue, definitions
from schemas.codec import Codec
from schemas.errors import RegistryDown
from schemas.registry.client import StaticRegistry
from schemas.registry.setup import build, register_all, static_codec

COMMANDS = "npp.payment.commands.v1"
OPERATORS = "npp.payment.operator-commands.v1"
TOPICS = catalogue.load()
CODEC = static_codec(TOPICS)
NAMESPACE = "au.npp.orchestrator.v1"

CREATE = CreatePayment(
    header=InputHeader(
        payment_intent_id=PaymentIntentId("pi_pdkz22ub6ujnprx6nas575vbxy"),
        command_id="cmd-1",
        sent_at=1_790_000_000_000,
        traceparent=None,
    ),
    source="mobile-app",
    idempotency_key="key-0001",
    amount=Cents(12_345),
    currency="AUD",
    parties=Sealed(scheme="avro.1", key_id=None, bytes=b"\x02x"),
    end_to_end_id="E2E-1",
    service="x2p1",
)

CANCEL = CancelPayment(
    header=InputHeader(payment_intent_id=PaymentIntentId("pi_pdkz22ub6ujnprx6nas575vbxy")),
    operator=OperatorHeader(
        operator_id="ann", roles=("operator",), token_id="t-1", not_after=1_790_000_060_000
    ),
    reason="customer asked",
)


class Set:
    """A codec with its registry, a settable clock, and a count of the registry's requests."""

    def __init__(self) -> None:
        self.now = 0.0
        self.registry = CountingRegistry()
        registered = register_all(self.registry, TOPICS)
        self.codec: Codec = build(self.registry, TOPICS, registered, lambda: self.now)

    def foreign(self, schema: Any) -> int:
        """The id of a schema that this codec does not ship."""
        return self.registry.register("elsewhere", schema)


class CountingRegistry(StaticRegistry):
    """Counts look-ups; does not answer while `down`."""

    def __init__(self) -> None:
        super().__init__()
        self.requested = 0
        self.down = False
        self.answers: Any = None  # instead of what is registered

    def by_id(self, schema_id: int) -> Any:
        self.requested += 1
        if self.down:
            raise RegistryDown("registry: refused")
        return self.answers or super().by_id(schema_id)


def changed(record: str, /, **changes: Any) -> Any:
    """The current schema of `record` with changed top-level keys."""
    return {**definitions.current(record), **changes}


def fields_of(name: str) -> list[Any]:
    return list(definitions.current(name)["fields"])
