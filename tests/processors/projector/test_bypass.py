"""MET-10: a payment whose id does not match its idempotency key is counted when it is seen."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from core.payment import events as e
from core.values import PaymentIntentId, payment_intent_id
from engine.records import LogRecord
from processors.projector.events import _bypasses
from schemas import topology as t
from tests.processors.payments.clean_history import Outside
from tests.processors.projector.foreign import last_of, rule
from tests.processors.projector.test_figures_shown import Shown


@pytest.fixture(scope="module")
def created() -> e.PaymentIntentCreated:
    world = Outside()
    world.create("key-1")
    world.driver.run()
    for record in world.driver.committed(t.EVENTS):
        event = world.codec.decode(t.EVENTS, record.value)
        if isinstance(event, e.PaymentIntentCreated):
            return event
    raise AssertionError("nothing was created")


def test_the_engines_own_payments_do_not_count(created: e.PaymentIntentCreated) -> None:
    assert not _bypasses(created)


@pytest.mark.parametrize("field", ["source", "idempotency_key"])
def test_another_key_or_source_under_this_id_counts(
    created: e.PaymentIntentCreated, field: str
) -> None:
    assert _bypasses(msgspec.structs.replace(created, **{field: "other"}))


def test_this_key_under_another_id_counts(created: e.PaymentIntentCreated) -> None:
    other = PaymentIntentId(payment_intent_id(created.source, "other"))
    header = msgspec.structs.replace(created.header, payment_intent_id=other)
    assert _bypasses(msgspec.structs.replace(created, header=header))


def test_the_count_survives_a_restart_and_ends_with_a_ruling(
    tmp_path: Path,
) -> None:
    """MET-10: the alert uses the read model's count, not that of one process."""
    world = Outside()
    payment = world.create("key-1")
    shown = [bypassed(world, tmp_path)]
    record = other_id(world, payment)
    shown += [bypassed(world, tmp_path), bypassed(world, tmp_path)]
    rule(world, record)
    shown += [bypassed(world, tmp_path), bypassed(world, tmp_path)]
    assert shown == [0, 1, 1, 0, 0]


def bypassed(world: Outside, folder: Path) -> float:
    """What a newly started projector exports once it has read the log."""
    value = Shown(world, folder).value("npp_idempotency_bypassed")
    assert value is not None
    return value


def other_id(world: Outside, payment: str) -> LogRecord:
    """The payment's creation again, written by a foreign writer under another key's id."""
    first = next(r for r in world.driver.committed(t.EVENTS) if r.key == payment.encode())
    event = world.codec.decode(t.EVENTS, first.value)
    other = PaymentIntentId(payment_intent_id("mobile-app", "of-another-key"))
    header = msgspec.structs.replace(event.header, payment_intent_id=other)
    raw = world.codec.encode(t.EVENTS, msgspec.structs.replace(event, header=header))
    world.driver._append(t.EVENTS, first.partition, other.encode(), raw, [], None)
    return last_of(world, other)
