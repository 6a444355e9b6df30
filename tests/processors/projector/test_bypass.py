"""MET-10: a payment under another id than its idempotency key gives is counted when it is seen."""

from __future__ import annotations

import msgspec
import pytest

from core.payment import events as e
from core.values import PaymentIntentId, payment_intent_id
from processors.projector.events import _bypasses
from schemas import topology as t
from tests.processors.payments.clean_history import Outside


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


def test_the_engines_own_payments_are_none(created: e.PaymentIntentCreated) -> None:
    assert not _bypasses(created)


@pytest.mark.parametrize("field", ["source", "idempotency_key"])
def test_another_key_or_source_under_this_id_is_one(
    created: e.PaymentIntentCreated, field: str
) -> None:
    assert _bypasses(msgspec.structs.replace(created, **{field: "other"}))


def test_this_key_under_another_id_is_one(created: e.PaymentIntentCreated) -> None:
    other = PaymentIntentId(payment_intent_id(created.source, "other"))
    header = msgspec.structs.replace(created.header, payment_intent_id=other)
    assert _bypasses(msgspec.structs.replace(created, header=header))
