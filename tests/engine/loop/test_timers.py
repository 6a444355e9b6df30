"""Timers come in order, and only after the answers up to their deadline are read."""

from __future__ import annotations

import random

from engine.loop.timer_gate import TimerGate
from engine.loop.timers import REPEAT_MS, Timers
from tests.engine.loop.partition_ends import PartitionEnds


def test_timers_come_in_order_and_only_while_their_deadline_is_current() -> None:
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


def test_timers_of_an_aborted_transaction_are_due_again_at_once() -> None:
    """Those of a committed one are due again only after REPEAT_MS."""
    timers = Timers()
    timers.set("a", 10)
    timers.give_back(timers.pop_due(10, 10))
    taken = timers.pop_due(10, 10)
    assert taken == [(10, "a")]
    timers.made(taken, 10)
    assert timers.pop_due(10 + REPEAT_MS - 1, 10) == []
    assert timers.pop_due(10 + REPEAT_MS, 10) == [(10, "a")]


def test_a_deadline_that_comes_back_while_its_timer_is_made_is_due_once() -> None:
    """The key is in its slot again before the transaction with its record has ended."""
    for end in ("made", "give_back"):
        timers = Timers()
        timers.set("a", 10)
        taken = timers.pop_due(10, 10)
        timers.set("a", 500)
        timers.set("a", 10)
        timers.made(taken, 20) if end == "made" else timers.give_back(taken)
        assert timers.pop_due(1_000_000, 10) == [(10, "a")], end
        assert timers.next_due_ms() is None


def test_a_repeated_timer_whose_deadline_moves_is_due_at_the_new_one() -> None:
    timers = Timers()
    timers.set("a", 10)
    timers.made(timers.pop_due(10, 10), 10)
    assert timers.next_due_ms() == 10 + REPEAT_MS
    timers.set("a", 400)
    assert timers.next_due_ms() == 400
    timers.made(timers.pop_due(400, 10), 400)
    timers.set("a", None)
    assert timers.next_due_ms() is None
    assert len(timers) == 0


def test_timers_agree_with_a_plain_search_over_all_deadlines() -> None:
    """Random deadlines, repeats, aborts and limits, against one dict that is searched whole."""
    chance = random.Random(7)
    for _ in range(100):
        timers, due = Timers(), dict[str, tuple[int, int]]()
        now = 0
        for _ in range(200):
            now += chance.randrange(200)
            key = f"k{chance.randrange(8)}"
            if chance.random() < 0.7:
                deadline = None if chance.random() < 0.2 else now + chance.randrange(-50, 500)
                timers.set(key, deadline)
                if deadline is None:
                    due.pop(key, None)
                elif key not in due or due[key][1] != deadline:
                    due[key] = (deadline, deadline)
            else:
                limit = chance.randrange(1, 5)
                expected = sorted((*at, key) for key, at in due.items() if at[0] <= now)[:limit]
                taken = timers.pop_due(now, limit)
                assert taken == [(deadline, key) for _, deadline, key in expected]
                if chance.random() < 0.5:
                    timers.made(taken, now)
                    due |= {key: (now + REPEAT_MS, deadline) for deadline, key in taken}
                else:
                    timers.give_back(taken)
                    due |= {key: (deadline, deadline) for deadline, key in taken}
                if chance.random() < 0.3:
                    now += REPEAT_MS
            assert timers.next_due_ms() == min((at for at, _ in due.values()), default=None)
            assert len(timers) == len(due)


def test_void_timers_do_not_pile_up() -> None:
    """A deadline moved a hundred thousand times takes hardly more memory than one entry."""
    timers = Timers()
    for at in range(100_000):
        timers.set("a", at * 1_000)
    assert len(timers._slots) == 1
    assert len(timers._numbers) < 2_000


def test_timers_wait_until_all_answers_before_the_deadline_are_read() -> None:
    """Domain §8: the end is requested after the deadline, and the timer runs only once the position
    is past it.
    """
    requested = PartitionEnds()
    gate = TimerGate(["answers"], requested.ask)
    assert gate.open_for({0: 100}, {("answers", 0): 0}, 99) == {}
    assert requested.questions == []
    assert gate.open_for({0: 100}, {("answers", 0): 0}, 105) == {}
    requested.ends = {("answers", 0): 7}
    assert gate.open_for({0: 100}, {("answers", 0): 6}, 110) == {}
    assert gate.open_for({0: 100}, {("answers", 0): 7}, 120) == {0: 105}
    assert requested.questions == [[("answers", 0)]]


def test_a_partition_that_waits_for_its_answers_does_not_delay_the_others() -> None:
    """A hanging transaction in one partition delays that partition's timers only."""
    requested = PartitionEnds()
    gate = TimerGate(["answers"], requested.ask)
    requested.ends = {("answers", 0): 7, ("answers", 1): 0}
    positions = {("answers", 0): 0, ("answers", 1): 0}
    assert gate.open_for({0: 100}, positions, 100) == {}
    assert gate.open_for({0: 100, 1: 101}, positions, 101) == {1: 101}


def test_timers_wait_for_every_input_that_may_answer() -> None:
    """Domain §8: decisions, operator commands, reports and results, each past its end as of the
    deadline.
    """
    requested = PartitionEnds()
    topics = ("decisions", "reports", "results")
    gate = TimerGate(topics, requested.ask)
    requested.ends = {(topic, 0): 7 for topic in topics}
    for late in topics:
        positions = {(topic, 0): 6 if topic == late else 9 for topic in topics}
        assert gate.open_for({0: 100}, positions, 100) == {}, late
    assert gate.open_for({0: 100}, dict.fromkeys(requested.ends, 7), 101) == {0: 100}
