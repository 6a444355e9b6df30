"""Readers of a topic with a batch passed over under dual control, apart from the replay (issue
10.14).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.recovery import _Seen
from control.fold import Control
from core.control_records import ClusterRecorded, RecoverConfirmed, RecoverRequested
from engine.clients.partition_errors import Passed
from processors.replay import accounts
from schemas import topology as t
from tests.clock import HeldClock
from tests.control.people import CLUSTER, Hands, activated
from tests.processors.payments.clean_history import Outside
from tests.processors.projector.harness import START_MS, feed_of, log_of, model_in, run, source_of

PART = 2
PLACE = (t.OPERATOR_COMMANDS, PART)
ASKED = RecoverRequested(
    request_id="rec_1",
    partitions=(PART,),
    reason="it cannot be unpacked",
    requested_at=1,
    actor="ann",
    topic=PLACE[0],
    first_offset=20,
    last_offset=22,
)
AGREED = RecoverConfirmed(request_id="rec_1", confirmed_at=50, actor="bob")
PASSED: Passed = {PLACE: ((20, 22),)}


def test_the_projector_continues_behind_it_at_once_and_after_a_restart(tmp_path: Path) -> None:
    """It reads operators' commands too, and would never get past the batch."""
    world, clock = Outside(), HeldClock(START_MS)
    source, model = source_of(log_of(world)), model_in(tmp_path)
    writer, reader = model.writer(), model.reader()
    feed = feed_of(source, writer, world.codec, clock)
    feed.open(reader)
    run(feed, clock)
    assert source.passed == {}
    known = len(world.driver.committed(t.CONTROL))
    world._control(ASKED)
    world._control(AGREED)
    for record in world.driver.committed(t.CONTROL)[known:]:
        source.append(record)
    run(feed, clock)
    assert source.passed == PASSED

    again = source_of(log_of(world))
    feed_of(again, writer, world.codec, clock).open(reader)
    assert again.passed == PASSED
    for each in (writer, reader, model):
        each.close()


class Ends:
    """A log with the offsets from 0 to 40."""

    def low(self, names: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(names, 0)

    def high(self, names: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(names, 40)


class Known:
    """A recovery's view of a cluster with one batch passed over."""

    ends = Ends()

    def control(self) -> tuple[Control, int]:
        control = Control(lambda topic, value: None)
        cluster = ClusterRecorded(cluster_id=CLUSTER, partitions=1, recorded_at=0, actor="test")
        hands = Hands()
        for offset, record in enumerate((cluster, activated(), ASKED, AGREED)):
            control.apply_record(offset, hands.in_turn(control, record))
        return control, 4

    def partitions(self, topic: str) -> int:
        return PART + 1


@pytest.mark.parametrize(
    ("recorded", "inputs", "begins"),
    [
        (range(20), range(20), 23),
        (range(20), [*range(20), *range(23, 30)], 23),
        ([*range(20), 23], [*range(20), *range(23, 30)], 24),
        (range(15), range(20), 15),
        ((), range(20), 0),
        ([*range(15), 23], [*range(20), *range(23, 30)], 15),
    ],
    ids=["nothing behind it", "behind it all is new", "behind it one is done",
         "the journal's tail is lost", "all of it is lost", "a gap before it"],
)  # fmt: skip
def test_a_recovery_leaves_out_the_batch_and_no_readable_input(
    recorded: Any, inputs: Any, begins: int
) -> None:
    """Starting at offsets after the batch would drop inputs that the journal lost before it."""
    cluster: Any = Known()
    seen = _Seen(cluster, [PART])
    for offset in inputs:
        seen._mark(*PLACE, offset, accounts.INPUT)
    for offset in recorded:
        seen._mark(*PLACE, offset, accounts.EVENTS)
    assert seen.offsets()[PLACE] == begins
