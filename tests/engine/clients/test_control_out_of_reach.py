"""A control topic that cannot be read counts as STOP."""

from __future__ import annotations

from engine.clients.control_reader import UNREADABLE, ControlReader
from tests.clock import HeldClock
from tests.engine.toy import ToyControl


def test_an_unreadable_control_topic_counts_as_stop() -> None:
    """Domain §10: no process works on stale control state; here no broker answers."""
    nowhere = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    reader = ControlReader(nowhere, "control", HeldClock(0))
    assert reader.stopped(ToyControl()) == UNREADABLE
