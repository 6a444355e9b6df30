"""The pauses between two tries of one instruction."""

from __future__ import annotations

from typing import Any

import pytest

from processors.adapter.ports import Work


@pytest.mark.parametrize(
    ("tries", "pause_s"), [(0, 0.2), (1, 0.4), (2, 0.8), (4, 3.2), (5, 5.0), (2_000, 5.0)]
)
def test_a_pause_doubles_with_each_try_up_to_its_maximum(tries: int, pause_s: float) -> None:
    unread: Any = None
    work = Work(record=unread, instruction=unread, tries=tries)
    assert work.pause_s(0.2, 5.0) == pytest.approx(pause_s)
