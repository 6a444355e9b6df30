"""A measured process: its output is distinguished from an earlier process's."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.peer import Streams


def printing(word: str, log: Path) -> Streams:
    """A process that prints a word and exits."""
    return Streams([sys.executable, "-c", f"print('{word}')"], {}, log, "group")


def test_a_state_written_by_an_earlier_process_does_not_count(tmp_path: Path) -> None:
    """Both Streams processes of a round write to one file; the second one is not running yet."""
    log = tmp_path / "streams.log"
    with printing("RUNNING", log) as first:
        first.child.wait(60)
        assert first.phase() == "running"
    with printing("REBALANCING", log) as second:
        second.child.wait(60)
        assert second.phase() == ""
        assert second.log_tail() == "REBALANCING\n"
