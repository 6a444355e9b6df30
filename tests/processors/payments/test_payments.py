"""The payments processor over the driver: chain, crashes, duplicates, rule sets, parking."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from control import quarantine
from core import control_records as records
from core.header import InputHeader
from core.payment import commands
from core.rules import Rules
from core.values import (
    ZERO_HASH,
    Cents,
    PaymentIntentId,
    State,
    external_ref,
)
from engine.ports import ForeignRecord
from schemas import topology
from tests.engine.driver import Crashed, Driver
from tests.processors.payments.world import AMOUNT, CODEC, World

POINTS = (
    "after_poll",
    "after_decide",
    "after_send_offsets",
    "after_produce",
    "before_commit",
    "commit_sent",
    "after_commit",
)
SUNNY = [
    "PaymentIntentCreated",
    "FundsRequested",
    "PolicyChecked",
    "FundsHeld",
    "PaymentAuthorised",
    "PaymentAttemptCreated",
    "PaymentSentToRail",
    "PaymentAcknowledged",
    "PaymentSettled",
    "FundsRequested",
    "FundsCaptured",
]


@pytest.fixture
def world() -> World:
    return World()


def test_a_payment_goes_from_command_to_settled_and_captured(world: World) -> None:
    """SM-07..SM-10, INT-05: the happy path's events are in the journal in this order."""
    payment_id = world.create("happy_path")

    world.settle_all()

    assert world.event_names(payment_id) == SUNNY
    assert world.known(payment_id).payment.state == State.SETTLED


def test_each_event_holds_the_hash_of_the_one_before(world: World) -> None:
    """EV-05: previousHash is SHA-256 over the whole raw value of the payment's previous event."""
    payment_id = world.create("chain")

    world.settle_all()

    head = ZERO_HASH
    for sequence, record in enumerate(world.driver.committed(topology.EVENTS), 1):
        event = CODEC.decode(topology.EVENTS, record.value)
        assert (event.header.sequence, event.header.previous_hash) == (sequence, head)
        assert record.value is not None
        head = hashlib.sha256(record.value).digest()
    assert world.known(payment_id).head == head


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("nth", range(1, 5))
def test_a_crash_between_any_two_steps_leaves_the_same_journal(point: str, nth: int) -> None:
    """EV-07: with the clock held, the journal after a crash equals the journal without one, byte
    for byte.
    """
    undisturbed, crashed = World(), World()
    for world in (undisturbed, crashed):
        for number in range(4):
            world.create(f"crash-{number}")
    undisturbed.settle_all()

    crashed.driver.crash_at(point, nth)
    happened = settle_over_crashes(crashed)

    assert happened == 1
    assert journal(crashed.driver) == journal(undisturbed.driver)
    assert lifecycle(crashed.driver) == lifecycle(undisturbed.driver)


def test_the_state_restored_from_the_lifecycle_topic_is_the_state_before(world: World) -> None:
    """JOB-03: a processor that lost its disk continues as if it had not."""
    payment_id = world.create("restore")
    world.driver.run()
    before = world.known(payment_id)

    world.driver.lose_disk()
    world.driver.restart()

    assert world.known(payment_id) == before
    world.settle_all()
    assert world.known(payment_id).payment.state == State.SETTLED


def test_a_payment_folded_from_its_history_equals_its_lifecycle_record(
    world: World,
) -> None:
    """JOB-01: the fold of the journal gives the lifecycle record byte for byte, at every step."""
    payment_id = world.create("rebuild")
    for _ in range(4):
        world.driver.run()
        history = [r.value for r in world.driver.committed(topology.EVENTS) if r.value is not None]
        number = world.driver.committed(topology.EVENTS)[0].partition

        rebuilt = world.driver.app.rebuild(number, payment_id, history, b"differs")

        assert rebuilt == lifecycle(world.driver)[payment_id.encode()]
        world.answer_once()


def test_the_same_command_again_is_a_duplicate_with_the_first_result(world: World) -> None:
    """IDM-02: no event; one outcome with the sequences of the first result."""
    payment_id = world.create("twice")
    world.driver.run()
    world.create("twice")
    world.driver.run()

    (outcome,) = world.outcomes()
    assert (outcome.result, outcome.from_sequence, outcome.to_sequence) == ("DUPLICATE", 1, 2)
    assert len(world.history(payment_id)) == 2


def test_other_content_under_the_same_key_is_refused_naming_the_field(world: World) -> None:
    """IDM-03: INVARIANT_VIOLATION, IDEMPOTENCY_KEY_REUSED, first differing field."""
    world.create("reused")
    world.driver.run()
    world.create("reused", amount=1)
    world.driver.run()

    (outcome,) = world.outcomes()
    assert (outcome.code, outcome.rule) == ("INVARIANT_VIOLATION", "IDEMPOTENCY_KEY_REUSED")
    assert outcome.first_difference == "amount"


def activate(world: World, number: int) -> None:
    """Activate a rule set, as seen by an instance that has read control this far."""
    world.control._in_force.rule_set = records.RuleSetActivated(
        number=number,
        sha256=bytes(32),
        state_version=1,
        event_schema_version=1,
        activated_at=0,
        actor="test",
    )


@pytest.mark.parametrize(
    ("begun", "seen", "used"),
    [(2, 1, 2), (1, 2, 2), (2, 2, 2)],
    ids=["an instance that has not read the new one", "a new one", "the same"],
)
def test_the_rule_set_of_a_payment_never_decreases(
    world: World, begun: int, seen: int, used: int
) -> None:
    """Domain §8: the number used is max(in force, the payment's last). After a rebalance, a
    processor that has not yet read control to its end does not use older rules.
    """
    requested: list[int] = []

    def rules_of(number: int) -> Rules:
        requested.append(number)
        return msgspec.structs.replace(world.rules, number=number)

    world.rules_of = rules_of
    activate(world, begun)
    payment_id = world.create("rules")
    world.driver.run()
    first = len(world.history(payment_id))
    assert {event.header.rule_set for event in world.history(payment_id)} == {begun}

    activate(world, seen)
    requested.clear()
    world.settle_all()
    world.create("rules", amount=1)
    world.create("rules")
    world.driver.run()
    assert world.known(payment_id).payment.state == State.SETTLED
    assert {e.header.rule_set for e in world.history(payment_id)[first:]} == {used}
    assert set(requested) == {used}
    assert [outcome.rule_set for outcome in world.outcomes()] == [used, used]


def test_a_defect_parks_only_the_payments_it_affects(world: World) -> None:
    """Domain §5: ProcessingSuspended once; then every input of the payment goes to quarantine in
    order.
    """
    parked, other = world.create("parked"), world.create("other")
    world.driver.run()
    good = world.rules_of
    world.answer_once()
    world.rules_of = lambda number: broken_rules(world)
    world.driver.run()
    world.rules_of = good
    world.settle_all()

    for payment_id in (parked, other):
        assert world.event_names(payment_id)[-1] == "ProcessingSuspended"
        assert world.known(payment_id).payment.parked
    reasons = {dict(r.headers)["npp-reason"] for r in world.driver.committed(topology.QUARANTINE)}
    assert reasons == {quarantine.PARKED.encode()}
    third = world.create("third")
    world.settle_all()
    assert world.known(third).payment.state == State.SETTLED


def broken_rules(world: World) -> Rules:
    """Rules whose windows and tables cannot be read: whatever needs them raises."""
    return msgspec.structs.replace(world.rules, windows=None)


def settle_over_crashes(world: World) -> int:
    """Settle, restarting after each crash; return the number of crashes."""
    for crashes in range(20):
        try:
            world.settle_all()
        except Crashed:
            world.driver.restart()
        else:
            return crashes
    raise AssertionError("it crashes for ever")


def journal(driver: Driver) -> list[tuple[int, bytes | None, bytes | None]]:
    return [(r.partition, r.key, r.value) for r in driver.committed(topology.EVENTS)]


def lifecycle(driver: Driver) -> dict[bytes | None, bytes | None]:
    return {r.key: r.value for r in driver.committed(topology.LIFECYCLE)}


def test_an_unreadable_state_affects_only_its_payment() -> None:
    """Domain §5, SEC-03: its inputs wait in quarantine as PARKED, each with its bytes; others
    continue.
    """
    world = World()
    forged, other = world.create("forged"), world.create("other")
    world.settle_all()
    for payment in (forged, other):
        reference = external_ref(payment, 1)
        report = commands.RailReport(
            header=InputHeader(payment_intent_id=PaymentIntentId(payment)),
            external_ref=reference,
            kind="RETURNED",
            adapter="default",
            code="FOCR",
            amount=Cents(AMOUNT),
            currency="AUD",
            rail_message_id=f"ret-{reference}",
        )
        if payment == forged:
            world.driver.pipe(topology.LIFECYCLE, payment.encode(), b"no state")
            world.driver.lose_disk()
            world.driver.restart()
        world.pipe(topology.RAIL_REPORTS, report)
    world.driver.run()
    parked = world.driver.committed(topology.QUARANTINE)
    assert [r.key for r in parked] == [forged.encode()]
    assert dict(parked[0].headers)[quarantine.REASON] == b"PARKED"
    assert world.known(other).payment.attempts[0].outcome == "RETURNED"


def test_an_unreadable_state_is_folded_from_its_history() -> None:
    """The journal is the truth: its fold equals the overwritten record. A history with a gap is not
    completed by guessing.
    """
    world = World()
    payment = world.create("folded")
    world.settle_all()
    app, raw = world._application(), payment.encode()
    states = [r.value or b"" for r in world.driver.committed(topology.LIFECYCLE) if r.key == raw]
    written = states[-1]
    history = [r.value or b"" for r in world.driver.committed(topology.EVENTS) if r.key == raw]
    assert app.rebuild(0, payment, history, b"no state") == written
    assert app.rebuild(0, payment, [], None) is None
    with pytest.raises(ValueError, match="sequence"):
        app.rebuild(0, payment, [*history[:3], *history[4:]], b"no state")
    with pytest.raises(ValueError, match="read"):
        app.packed_hints(b"no state")
    head = (0, raw, history[-1])
    assert app.check_tail(0, [head], lambda _: b"no state") == [payment]
    assert app.check_tail(0, [head], lambda _: written) == []


def test_an_event_without_its_lifecycle_record_is_never_folded_into_the_state() -> None:
    """SEC-03, domain §10: a foreign write; one transaction writes both records."""
    world = World()
    payment = world.create("foreign")
    world.settle_all()
    app, raw = world._application(), payment.encode()
    states = [r.value or b"" for r in world.driver.committed(topology.LIFECYCLE) if r.key == raw]
    history = [r.value or b"" for r in world.driver.committed(topology.EVENTS) if r.key == raw]
    assert app.check_tail(0, [(0, raw, history[-1])], lambda _: states[-2]) == [payment]
    with pytest.raises(ForeignRecord, match="without its lifecycle record"):
        app.rebuild(0, payment, history, states[-2])
    assert app.rebuild(0, payment, history, states[-1]) == states[-1]
    assert app.check_tail(0, [(0, raw, history[0])], lambda _: None) == [payment]
    for nothing in (None, b""):
        with pytest.raises(ForeignRecord, match="sequence 1 came without its lifecycle record"):
            app.rebuild(0, payment, history[:1], nothing)
    with pytest.raises(ValueError):
        app.unpack(b"")
