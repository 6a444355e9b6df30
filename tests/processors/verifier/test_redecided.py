"""Correct histories are signed completely by a verifier that follows, restarts, or has lost its
store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from control.named import SourceMap, in_force
from core.control_records import ActConfirmed, RuleSetActivated, UnparkRequested
from core.header import OperatorHeader
from core.payment import commands as c
from core.values import PaymentIntentId
from engine.errors import Exit
from processors.payments import handler
from processors.verifier.store import DiskStore
from schemas import topology as t
from tests.processors.payments.clean_history import PARTITIONS
from tests.processors.verifier.memory_store import MemoryStore
from tests.processors.verifier.world_rig import WorldRig

pytestmark = pytest.mark.slow


def test_a_mixed_history_is_signed_completely_and_stops_nothing() -> None:
    """EP-12: it includes duplicates, refusals, conflicts and garbage."""
    rig = WorldRig()
    rig.world.mixed()
    rig.work()
    assert rig.stops() == []
    assert rig.whole()


def test_it_continues_from_its_own_states_after_a_restart(tmp_path: Path) -> None:
    rig = WorldRig()
    rig.store = DiskStore(tmp_path / "states")
    rig.start()
    payment = rig.world.create("k")
    rig.work()
    rig.store.close()
    rig.store = DiskStore(tmp_path / "states")
    rig.start()
    rig.world.report(payment, "ACCEPTED", code="ACSP")
    rig.world.report(payment, "SETTLED", code="ACSC")
    rig.work()
    assert rig.stops() == []
    assert rig.whole()
    rig.store.close()


def test_a_lost_store_is_folded_up_to_the_last_checkpoint_and_needs_no_input_below_it() -> None:
    """Inputs before it may be gone; after it everything is decided again."""
    rig = WorldRig()
    payment = rig.world.create("k")
    rig.world.mixed()
    rig.work()
    rig.store = MemoryStore()
    looked_for: list[object] = []
    inputs = rig.log.inputs
    rig.log.inputs = lambda places: looked_for.extend(places) or inputs(places)  # type: ignore[method-assign, func-returns-value]
    rig.start()
    rig.work()
    assert looked_for == []
    rig.world.report(payment, "ACCEPTED", code="ACSP")
    rig.work()
    assert looked_for
    assert rig.stops() == []
    assert rig.whole()


def test_a_lifecycle_record_that_arrives_after_its_event_is_waited_for() -> None:
    """Transaction markers reach the partitions one after the other: no problem, but no checkpoint
    yet.
    """
    rig = WorldRig()
    payment = rig.world.create("k")
    partition = rig.partition(payment)
    rig.log.hidden.add((t.LIFECYCLE, partition))
    rig.work(1)
    assert rig.signed_to(partition) == -1
    rig.log.hidden.clear()
    rig.work(1)
    assert rig.stops() == []
    assert rig.whole()


def test_a_reader_that_gets_nothing_for_long_proves_nothing() -> None:
    """The broker of the lifecycle partition may be unavailable, so the broker's log end decides."""
    rig = WorldRig()
    partition = rig.partition(rig.world.create("k"))
    rig.log.hidden.add((t.LIFECYCLE, partition))
    rig.work(60)
    assert rig.stops() == []
    rig.log.hidden.clear()
    rig.log.hidden.add((t.EVENTS, partition))
    rig.world.settled("k2")
    rig.work(60)
    assert rig.stops() == []
    rig.log.hidden.clear()
    rig.work(1)
    assert rig.whole()


def test_a_recoverys_corrections_before_its_record_are_no_finding() -> None:
    """It first writes the lifecycle topic to match the journal, then its control record."""
    rig = WorldRig()
    payment = rig.world.settled("k")
    rig.work()
    partition = rig.partition(payment)
    journal = rig.log.log(t.EVENTS, partition)
    journal[:] = journal[: len(journal) // 2]
    rig.verifier.sign_round()
    assert [each.cause for each in rig.stops()] == ["LOG_TAIL_LOST"]
    rig.log.put(t.LIFECYCLE, partition, payment.encode(), None)
    for _ in range(20):
        rig.verifier.step(0)
        rig.clock.advance(1_000)
    assert [each.cause for each in rig.stops()] == ["LOG_TAIL_LOST"]


def test_lifecycle_records_that_are_always_slightly_late_are_no_problem() -> None:
    """Under load some record is always awaited, but each arrives soon."""
    rig = WorldRig()
    for number in range(20):
        for name in range(PARTITIONS * 3):
            rig.world.create(f"k-{number}-{name}")
        rig.log.shown_to = {
            (t.LIFECYCLE, n): rig.log._end(t.LIFECYCLE, n) for n in range(PARTITIONS)
        }
        rig.copy()
        rig.verifier.step(0)
        assert sum(each.judge.outstanding for each in rig.verifier._partitions.values()) > 0
        rig.clock.advance(1_000)
    assert rig.stops() == []
    rig.log.shown_to.clear()
    rig.work(1)
    assert rig.whole()


def test_an_event_that_arrives_after_its_lifecycle_record_is_waited_for() -> None:
    rig = WorldRig()
    payment = rig.world.create("k")
    partition = rig.partition(payment)
    rig.log.hidden.add((t.EVENTS, partition))
    rig.work(3)
    rig.log.hidden.clear()
    rig.work(3)
    assert rig.stops() == []
    assert rig.whole()


def test_a_read_that_ends_within_a_decision_waits_for_its_other_events() -> None:
    """A read ends by its count, also within a new payment's first decision, whose lifecycle record
    is already there: the verifier stopped processing at 200 payments a second.
    """
    rig = WorldRig()
    partition = rig.partition(rig.world.create("k"))
    rig.copy()
    first, second, *_ = rig.log.log(t.EVENTS, partition)
    assert first.key == second.key
    rig.log.cut[t.EVENTS, partition] = second.offset
    for _ in range(3):
        rig.verifier.step(0)
    assert rig.stops() == []
    rig.log.cut.clear()
    rig.work(1)
    assert rig.stops() == []
    assert rig.whole()


def test_the_last_record_of_a_compacted_lifecycle_topic_is_enough() -> None:
    rig = WorldRig()
    rig.world.mixed()
    rig.copy()
    for number in range(PARTITIONS):
        log = rig.log.log(t.LIFECYCLE, number)
        last = {record.key: record for record in log}
        log[:] = [record for record in log if last[record.key] is record]
    rig.work()
    assert rig.stops() == []
    assert rig.whole()


def test_a_payment_parked_by_a_defect_and_resumed_is_signed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its input is in quarantine as PARKED; two people signed the resume on the control topic."""
    rig = WorldRig()
    world = rig.world
    payment = world.create("parked")

    def defect(*given: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(handler, "decide", defect)
        world.report(payment, "ACCEPTED", code="ACSP")
    rig.work()
    assert type(rig.last(payment)).__name__ == "ProcessingSuspended"
    assert rig.stops() == []
    assert rig.whole()

    now = world.driver.clock.now_ms()
    world._control(
        UnparkRequested(
            payment_intent_id=PaymentIntentId(payment),
            sequence=rig.last(payment).header.sequence,
            reason="fixed",
            requested_at=now,
            actor="ann",
        )
    )
    at = len(world.driver.committed(t.CONTROL)) - 1
    world._control(ActConfirmed(request_offset=at, confirmed_at=now, actor="bob"))
    operator = OperatorHeader(
        operator_id="bob", roles=("admin",), token_id="t", not_after=now + 60_000
    )
    world.give(
        t.OPERATOR_COMMANDS,
        c.ResumeProcessing(
            header=world.header(payment), operator=operator, requested_by="ann", reason="fixed"
        ),
    )
    world.report(payment, "SETTLED", code="ACSC")
    rig.work()
    names = [type(world.codec.decode(t.EVENTS, raw)).__name__ for raw in rig.values(payment)]
    assert "ProcessingResumed" in names
    assert rig.stops() == []
    assert rig.whole()


def test_a_release_without_a_rule_set_named_by_control_does_not_start() -> None:
    """It could not repeat the decisions made with it."""
    rig = WorldRig()
    record = RuleSetActivated(
        number=2,
        sha256=b"2" * 32,
        state_version=1,
        event_schema_version=1,
        activated_at=0,
        actor="ann",
    )
    world = rig.world
    world._control(record)
    at = len(world.driver.committed(t.CONTROL)) - 1
    world._control(ActConfirmed(request_offset=at, confirmed_at=0, actor="bob"))
    rig.copy()
    with pytest.raises(Exit, match="rule set 2"):
        rig.start()


def test_a_source_map_is_accepted_for_a_minute_before_and_after() -> None:
    """Domain §10: processors read a control record slightly after it was written."""
    first, second = frozenset({"a"}), frozenset({"a", "b"})
    maps = [SourceMap(0, {"commands": first}), SourceMap(1_000_000, {"commands": second})]
    requested = (900_000, 939_999, 940_000, 1_000_000, 1_060_000, 1_060_001)
    found = [set(in_force(maps, "commands", at)) for at in requested]
    both = {first, second}
    assert found == [{first}, {first}, both, both, both, {second}]


def test_two_verifiers_with_fixed_partitions_sign_everything_together() -> None:
    rig = WorldRig()
    rig.world.mixed()
    rig.start(range(3))
    rig.work()
    assert all(rig.signed_to(n) == -1 for n in range(3, PARTITIONS))
    assert not rig.whole()
    rig.store = MemoryStore()
    rig.start(range(3, PARTITIONS))
    rig.work()
    assert rig.whole()
    assert rig.stops() == []


def test_a_verifier_that_reads_nothing_reports_how_long_events_wait() -> None:
    """Its log has events, but its client returns none: no error and no record."""
    rig = WorldRig()
    name = "npp_verifier_delay_seconds"
    rig.world.create("k")
    rig.work(1)
    assert rig.registry.get_sample_value(name) == 0.0
    rig.log.hidden.update((t.EVENTS, n) for n in range(PARTITIONS))
    rig.world.create("waits")
    rig.work(90)
    waited = rig.registry.get_sample_value(name)
    assert waited is not None
    assert waited > 60
