"""Control that cannot be read counts as STOP."""

from __future__ import annotations

from engine.clients.control_reader import UNREADABLE, ControlReader
from engine.clock import HeldClock
from tests.engine.toy import ToyControl


def test_control_that_can_not_be_read_counts_as_stop() -> None:
    """Domain §10: nobody serves on an old word; here no broker answers at all."""
    nowhere = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    reader = ControlReader(nowhere, "control", HeldClock(0))
    assert reader.stopped(ToyControl()) == UNREADABLE
