"""Timers come in order, and only after the answers up to their deadline are read."""

from __future__ import annotations

from engine.loop.timer_gate import TimerGate
from engine.loop.timers import REPEAT_MS, Timers
from tests.engine.loop.asked import Asked


def test_timers_come_in_order_and_only_while_their_deadline_holds() -> None:
    """A changed or removed deadline makes the older entry void."""
    timers = Timers()
    timers.set("b", 20)
    timers.set("a", 10)
    timers.set("c", 15)
    timers.set("c", None)
    timers.set("b", 25)
    assert timers.next_due_ms() == 10
    assert timers.pop_due(30, 10) == [(10, "a"), (25, "b")]
    assert len(timers) == 2


def test_timers_of_an_aborted_transaction_are_due_at_once_again() -> None:
    """And those of a committed one only after REPEAT_MS."""
    timers = Timers()
    timers.set("a", 10)
    timers.give_back(timers.pop_due(10, 10))
    taken = timers.pop_due(10, 10)
    assert taken == [(10, "a")]
    timers.made(taken, 10)
    assert timers.pop_due(10 + REPEAT_MS - 1, 10) == []
    assert timers.pop_due(10 + REPEAT_MS, 10) == [(10, "a")]


def test_void_timers_do_not_pile_up() -> None:
    """A deadline moved a hundred thousand times is still one entry's worth of memory, or nearly."""
    timers = Timers()
    for at in range(100_000):
        timers.set("a", at)
    assert len(timers._heap) < 2_000


def test_timers_wait_until_the_answers_are_read_to_their_end_after_the_deadline() -> None:
    """Domain §8: the end is asked for after the deadline, and only a position past it opens the
    gate.
    """
    asked = Asked()
    gate = TimerGate(["answers"], asked.ask)
    assert gate.open_for({0: 100}, {("answers", 0): 0}, 99) == {}
    assert asked.questions == []
    assert gate.open_for({0: 100}, {("answers", 0): 0}, 105) == {}
    asked.ends = {("answers", 0): 7}
    assert gate.open_for({0: 100}, {("answers", 0): 6}, 110) == {}
    assert gate.open_for({0: 100}, {("answers", 0): 7}, 120) == {0: 105}
    assert asked.questions == [[("answers", 0)]]


def test_a_partition_that_waits_for_its_answers_does_not_hold_up_the_others() -> None:
    """A hanging transaction on one partition's input delays that partition's timers only."""
    asked = Asked()
    gate = TimerGate(["answers"], asked.ask)
    asked.ends = {("answers", 0): 7, ("answers", 1): 0}
    positions = {("answers", 0): 0, ("answers", 1): 0}
    assert gate.open_for({0: 100}, positions, 100) == {}
    assert gate.open_for({0: 100, 1: 101}, positions, 101) == {1: 101}


def test_timers_wait_for_every_input_that_may_answer_and_not_for_the_first() -> None:
    """Domain §8: decisions, operator commands, reports and results, each past its end as it stood
    at the deadline."""
    asked = Asked()
    topics = ("decisions", "reports", "results")
    gate = TimerGate(topics, asked.ask)
    asked.ends = {(topic, 0): 7 for topic in topics}
    for late in topics:
        positions = {(topic, 0): 6 if topic == late else 9 for topic in topics}
        assert gate.open_for({0: 100}, positions, 100) == {}, late
    assert gate.open_for({0: 100}, dict.fromkeys(asked.ends, 7), 101) == {0: 100}
