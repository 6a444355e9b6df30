"""How large a batch is, and which inputs wait while answers are unread."""

from __future__ import annotations

from engine.loop.priority import PriorityPause
from engine.loop.sizing import COUNT_MAX, COUNT_MIN, FEW, BatchSizer
from tests.engine.loop.asked import Asked
from tests.engine.toy import ADD, ANSWERS, topology


def test_batches_grow_with_a_backlog_and_shrink_when_they_are_slow() -> None:
    """From 500 to 10,000: half as many more while full and quick, halved when slow or heavy."""
    sizer = BatchSizer()
    for _ in range(10):
        sizer.note(sizer.count, 1, 10.0)
    assert sizer.count == COUNT_MAX
    sizer.note(10, 1, 10.0)
    assert sizer.count == COUNT_MAX
    sizer.note(10, 1, 101.0)
    assert sizer.count == COUNT_MAX // 2
    for _ in range(10):
        sizer.note(10, 64 * 1024 * 1024, 1.0)
    assert sizer.count == COUNT_MIN


def test_a_trickle_is_taken_at_once_and_everything_else_is_gathered() -> None:
    """No batch of a steady trickle waits; a first record and a backlog do."""
    sizer = BatchSizer()
    waits = []
    for polled in (0, 1, FEW - 1, FEW, COUNT_MIN, 0):
        sizer.note(polled, 1, 1.0)
        waits.append(sizer.wait_s(0.005))
    assert waits == [0.005, 0.0, 0.0, 0.005, 0.005, 0.005]


def test_commands_are_paused_while_answers_are_unread_and_resumed_after() -> None:
    """Row 29's rule: asked only in a backlog, resumed as soon as the answers are read."""
    asked = Asked()
    pause = PriorityPause(topology(1), asked.ask)
    positions = {(ADD, 0): 5, (ANSWERS, 0): 2}
    assert pause.decide(False, positions, 0.0) is None
    assert asked.questions == []
    assert pause.decide(True, positions, 0.0) is None
    assert asked.questions == [[(ANSWERS, 0)]]
    asked.ends = {(ANSWERS, 0): 3}
    assert pause.decide(True, positions, 0.1) is True
    assert [pause.decide(True, positions, 0.1) for _ in range(4)] == [None] * 4
    positions[ANSWERS, 0] = 3
    pause.decide(False, positions, 0.2)
    assert pause.decide(False, positions, 0.3) is False
    assert pause.low_names(positions) == [(ADD, 0)]
