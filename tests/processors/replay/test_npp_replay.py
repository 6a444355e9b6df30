"""The runbook's seven replay tests, under its own names (RP-01 to RP-07).

Each makes a history by giving inputs to the real processor, and replays the raw bytes it wrote.
"""

from __future__ import annotations

import random

import pytest

from core.payment.state import Payment, pack
from evidence.chain import MissingSequence
from processors.payments.packing import Known
from processors.replay import Limit, rebuild
from schemas import topology as t
from tests.processors.replay.world import World, place, replay, rules_of

pytestmark = pytest.mark.slow


def _rebuilt(world: World, payment: str) -> Payment:
    return rebuild(world.codec, world.values(payment), rules_of)


def _live(world: World, payment: str) -> Payment:
    """The state that the processor itself holds."""
    known = world.driver.state(payment)
    assert isinstance(known, Known)
    return known.payment


def _proven(world: World) -> None:
    report = replay(world, world.log())
    assert report.passed, report.first_failure and report.first_failure.sentence()
    assert {each.name: each.verdict for each in report.strengths()} == dict.fromkeys(
        ("fold", "chain", "redecide", "identity", "money"), "passed"
    )
    assert report.inputs.unaccounted == report.inputs.pending == 0


def test_should_deterministically_rebuild_SETTLED_state_from_events() -> None:  # noqa: N802
    """RP-01."""
    world = World()
    payment = world.settled("key-1")
    state = _rebuilt(world, payment)
    assert (state.state, state.attempt.funds, state.attempt.captured) == (
        "SETTLED", "CAPTURED", state.amount,
    )  # fmt: skip
    assert pack(state) == pack(_live(world, payment))
    _proven(world)


def test_should_replay_multiple_times_with_identical_results() -> None:
    """RP-02."""
    world = World()
    names = world.mixed()
    for payment in names.values():
        packed = {pack(_rebuilt(world, payment)) for _ in range(10)}
        assert packed == {pack(_live(world, payment))}
    log = world.log()
    reports = [replay(world, log).to_dict() for _ in range(3)]
    for report in reports:
        report.pop("seconds")
        for name in ("fold", "chain", "redecide", "identity", "money"):
            report[name].pop("seconds")
    assert reports[0] == reports[1] == reports[2]
    assert reports[0]["passed"]


def test_should_deterministically_rebuild_FAILED_state_from_events() -> None:  # noqa: N802
    """RP-03."""
    world = World()
    payment = world.failed("key-1", "AC01")
    state = _rebuilt(world, payment)
    assert (state.state, state.reason, state.attempt.certain) == ("FAILED", "INVALID_ACCOUNT", True)
    assert pack(state) == pack(_live(world, payment))
    _proven(world)


def test_should_deterministically_rebuild_state_after_retry() -> None:
    """RP-04."""
    world = World()
    payment = world.retried("key-1")
    state = _rebuilt(world, payment)
    assert [attempt.state for attempt in state.attempts] == ["FAILED", "SETTLED"]
    assert state.state == "SETTLED"
    assert pack(state) == pack(_live(world, payment))
    _proven(world)


def test_should_deterministically_rebuild_state_after_cancellation() -> None:
    """RP-05."""
    world = World()
    payment = world.cancelled("key-1")
    state = _rebuilt(world, payment)
    assert (state.state, state.reason) == ("FAILED", "CANCELLED")
    assert (state.attempt.certain, state.attempt.funds) == (True, "RELEASED")
    assert pack(state) == pack(_live(world, payment))
    _proven(world)


def test_should_produce_same_state_regardless_of_replay_order() -> None:
    """RP-06."""
    world = World()
    names = world.mixed()
    for seed in range(20):
        draw = random.Random(seed)
        for payment in names.values():
            values = world.values(payment)
            draw.shuffle(values)
            assert pack(rebuild(world.codec, values, rules_of)) == pack(_live(world, payment))
    # Any interleaving of the partitions is the same log.
    whole, mixed = world.log(), world.log()
    mixed.records = dict(random.Random(1).sample(list(mixed.records.items()), len(mixed.records)))
    assert replay(world, mixed).states == replay(world, whole).states


def test_should_rebuild_intermediate_state_from_partial_event_log() -> None:
    """RP-07."""
    world = World()
    payment = world.settled("key-1")
    values = world.values(payment)
    names = [type(world.codec.decode(t.EVENTS, value)).__name__ for value in values]
    # A partial log is a prefix: each prefix gives the state at that time.
    for event, state in (
        ("PaymentIntentCreated", "CREATED"), ("PaymentAuthorised", "AUTHORISED"),
        ("PaymentSentToRail", "SENT"), ("PaymentAcknowledged", "ACKNOWLEDGED"),
        ("PaymentSettled", "SETTLED"),
    ):  # fmt: skip
        sequence = names.index(event) + 1
        assert rebuild(world.codec, values[:sequence], rules_of).state == state
        view = replay(world, world.log(), payment=payment, limit=Limit(sequence=sequence)).view
        assert view is not None
        assert (view.state, view.sequence, view.last_event) == (state, sequence, event)
    # A gap is an error that names the missing sequence, never a guess (OP-14).
    with pytest.raises(MissingSequence, match="sequence 3 is missing"):
        rebuild(world.codec, values[:2] + values[3:], rules_of)
    log = world.log()
    records, own = place(log, payment)
    del records[own[2]]
    report = replay(world, log)
    assert [f.first_difference for f in report.fold.failures] == ["sequence 3 is missing"]
