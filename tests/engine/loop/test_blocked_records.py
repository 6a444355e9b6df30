"""Records that wait for an outside dependency, and the records behind them."""

from __future__ import annotations

from engine.loop.blocked_records import DEPENDENCY_PAUSE_S, BlockedRecords
from engine.ports import InputRecord
from tests.clock import HeldClock


def _at(partition: int, offset: int) -> InputRecord:
    return InputRecord("add", partition, offset, 0, b"k", b"add", [], 0)


def test_records_behind_a_waiting_record_of_their_partition_wait_too() -> None:
    """When a batch is halved, its second half must not overtake what the first half blocks."""
    clock = HeldClock(0)
    held = BlockedRecords(clock)
    held.add({1: [_at(1, 4), _at(1, 5)]})
    assert held.let_pass([_at(0, 9), _at(1, 6), _at(1, 7)]) == [_at(0, 9)]
    assert held.take_due() == {}
    clock.sleep(DEPENDENCY_PAUSE_S)
    assert held.take_due() == {1: [_at(1, 4), _at(1, 5), _at(1, 6), _at(1, 7)]}
    assert held.let_pass([_at(1, 8)]) == [_at(1, 8)]


def test_a_new_assignment_forgets_blocked_records() -> None:
    """They are read again from the committed offset by the partition's new owner."""
    clock = HeldClock(0)
    held = BlockedRecords(clock)
    held.add({1: [_at(1, 4)]})
    held.forget()
    clock.sleep(DEPENDENCY_PAUSE_S)
    assert (held.take_due(), len(held), 1 in held) == ({}, 0, False)
