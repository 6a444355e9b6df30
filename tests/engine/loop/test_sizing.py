"""The size of a batch, and which inputs wait while answers are unread."""

from __future__ import annotations

import pytest

from engine.loop.priority import PriorityPause
from engine.loop.sizing import COUNT_MAX, COUNT_MIN, FEW, GATHERED_FROM, BatchSizer
from tests.engine.loop.partition_ends import PartitionEnds
from tests.engine.toy import ADD, ANSWERS, topology


def test_batches_grow_with_a_backlog_and_shrink_when_they_are_slow() -> None:
    """From 500 to 10,000: 50 % more while full and fast, halved when slow or large."""
    sizer = BatchSizer()
    for _ in range(10):
        sizer.note(sizer.count, 1, 0.0, 10.0)
    assert sizer.count == COUNT_MAX
    sizer.note(10, 1, 0.0, 10.0)
    assert sizer.count == COUNT_MAX
    sizer.note(10, 1, 0.0, 101.0)
    assert sizer.count == COUNT_MAX // 2
    for _ in range(10):
        sizer.note(10, 64 * 1024 * 1024, 0.0, 1.0)
    assert sizer.count == COUNT_MIN


def test_a_low_rate_is_polled_at_once_and_a_backlog_is_gathered() -> None:
    """At a low rate no batch waits; a first record and a backlog do, whatever the interval."""
    sizer = BatchSizer(interval_s=0.02)
    waits = []
    for polled in (0, 1, GATHERED_FROM - 1, FEW, COUNT_MIN, 0):
        sizer.note(polled, 1, 1.0, 1.0)
        waits.append(sizer.wait_s(0.005, 1.001))
    assert waits == [0.005, 0.0, 0.0, 0.005, 0.005, 0.005]


def test_at_a_steady_rate_transactions_start_one_interval_apart() -> None:
    """Counted from poll to poll: a batch that took longer is followed at once, so a busy machine
    adds no waiting time.
    """
    sizer = BatchSizer(interval_s=0.02)
    sizer.note(GATHERED_FROM, 1, 1.0, 8.0)
    assert sizer.wait_s(0.005, 1.008) == pytest.approx(0.012)
    assert sizer.wait_s(0.005, 1.02) == pytest.approx(0.0)
    assert sizer.wait_s(0.005, 1.5) == 0.0
    sizer = BatchSizer()
    sizer.note(FEW - 1, 1, 1.0, 8.0)
    assert sizer.wait_s(0.005, 1.008) == 0.0


def test_commands_are_paused_while_answers_are_unread_and_resumed_after() -> None:
    """Row 29's rule: the ends are requested only in a backlog, and commands resume as soon as the
    answers are read.
    """
    requested = PartitionEnds()
    pause = PriorityPause(topology(1), requested.ask)
    positions = {(ADD, 0): 5, (ANSWERS, 0): 2}
    assert pause.decide(False, positions, 0.0) is None
    assert requested.questions == []
    assert pause.decide(True, positions, 0.0) is None
    assert requested.questions == [[(ANSWERS, 0)]]
    requested.ends = {(ANSWERS, 0): 3}
    assert pause.decide(True, positions, 0.1) is True
    assert [pause.decide(True, positions, 0.1) for _ in range(4)] == [None] * 4
    positions[ANSWERS, 0] = 3
    pause.decide(False, positions, 0.2)
    assert pause.decide(False, positions, 0.3) is False
    assert pause.low_names(positions) == [(ADD, 0)]
