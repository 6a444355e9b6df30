"""The in-memory form of a payment between two records, compared with its lifecycle record."""

from __future__ import annotations

from schemas import topology
from tests.processors.payments.world import World


def test_memory_returns_the_payment_that_a_restart_would_read() -> None:
    """Decisions must not depend on whether the payment was in memory: after every step of every
    payment, short form and lifecycle record unpack to the same.
    """
    world = World()
    for name in ("a", "b", "c"):
        world.create(name)
    world.settle_all()
    app = world._application()
    records = [r.value or b"" for r in world.driver.committed(topology.LIFECYCLE)]
    assert len(records) > 10
    shorter = 0
    for packed in records:
        known = app.unpack(packed)
        short = app.pack_short(known)
        again = app.unpack_short(short)
        assert again == known
        assert app.pack_short(again) == short
        assert (app.at_rest(again), app.deadline_ms(again)) == app.packed_hints(packed)
        shorter += len(short) < len(packed)
    assert shorter == len(records)
    assert {app.at_rest(app.unpack(packed)) for packed in records} == {False, True}
