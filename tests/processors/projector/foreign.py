"""A foreign event in a world's journal, and the ruling on it under dual control."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from core.control_records import FOREIGN, ActConfirmed, DispositionRequested
from core.payment import events as e
from core.values import external_ref
from core.words import Ruling
from engine.records import LogRecord
from schemas import topology as t
from tests.processors.payments.clean_history import Outside

REASON = "written with the engine's credential"


def last_of(world: Outside, payment: str) -> LogRecord:
    """The payment's last record in the journal."""
    return [r for r in world.driver.committed(t.EVENTS) if r.key == payment.encode()][-1]


def forged(world: Outside, payment: str, make: Any = None) -> LogRecord:
    """A foreign write with the right sequence and previousHash: an acknowledgement, or what
    `make(header)` returns.
    """
    last = last_of(world, payment)
    before = world.codec.decode(t.EVENTS, last.value).header
    header = msgspec.structs.replace(
        before,
        sequence=before.sequence + 1,
        previous_hash=hashlib.sha256(last.value or b"").digest(),
        decided_at=before.decided_at + 1,
        state_after="ACKNOWLEDGED",
        attempt=1,
        approval_id=None,
    )
    event = (make or acknowledged)(header)
    world.driver._append(
        t.EVENTS, last.partition, last.key, world.codec.encode(t.EVENTS, event), [], None
    )
    return last_of(world, payment)


def acknowledged(header: Any) -> e.Event:
    """An acknowledgement without any report from the rail."""
    return e.PaymentAcknowledged(
        header=header,
        attempt_id="att_001",
        external_ref=external_ref(header.payment_intent_id, 1),
        implied=False,
        transaction_id="TX-FORGED",
    )


def ask(world: Outside, record: LogRecord, ruling: Ruling = FOREIGN) -> int:
    """One person's request; its offset on the control topic."""
    event = world.codec.decode(t.EVENTS, record.value)
    world._control(
        DispositionRequested(
            ruling=ruling,
            partition=record.partition,
            offset=record.offset,
            event_hash=hashlib.sha256(record.value or b"").digest(),
            payment_intent_id=event.header.payment_intent_id,
            sequence=event.header.sequence,
            event_type=type(event).__name__,
            reason=REASON,
            requested_at=world.driver.clock.now_ms(),
            actor="ann",
        )
    )
    return world.driver.committed(t.CONTROL)[-1].offset


def confirm(world: Outside, request_offset: int) -> None:
    """The other person's confirmation."""
    now = world.driver.clock.now_ms()
    world._control(ActConfirmed(request_offset=request_offset, confirmed_at=now, actor="bob"))


def rule(world: Outside, record: LogRecord, ruling: Ruling = FOREIGN) -> None:
    """Both people's records of the ruling."""
    confirm(world, ask(world, record, ruling))
