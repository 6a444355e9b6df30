"""Records that wait for something outside, and what comes behind them."""

from __future__ import annotations

from engine.clock import HeldClock
from engine.loop.blocked_records import DEPENDENCY_PAUSE_S, BlockedRecords
from engine.ports import InputRecord


def _at(partition: int, offset: int) -> InputRecord:
    return InputRecord("add", partition, offset, 0, b"k", b"add", [], 0)


def test_what_comes_after_a_waiting_record_of_its_partition_waits_behind_it() -> None:
    """A batch that was halved must not decide its second half around what its first half holds."""
    clock = HeldClock(0)
    held = BlockedRecords(clock)
    held.add({1: [_at(1, 4), _at(1, 5)]})
    assert held.let_pass([_at(0, 9), _at(1, 6), _at(1, 7)]) == [_at(0, 9)]
    assert held.take_due() == {}
    clock.sleep(DEPENDENCY_PAUSE_S)
    assert held.take_due() == {1: [_at(1, 4), _at(1, 5), _at(1, 6), _at(1, 7)]}
    assert held.let_pass([_at(1, 8)]) == [_at(1, 8)]


def test_a_new_assignment_forgets_what_waited() -> None:
    """It is read again from what is committed, by whoever owns the partition then."""
    clock = HeldClock(0)
    held = BlockedRecords(clock)
    held.add({1: [_at(1, 4)]})
    held.forget()
    clock.sleep(DEPENDENCY_PAUSE_S)
    assert (held.take_due(), len(held), 1 in held) == ({}, 0, False)
