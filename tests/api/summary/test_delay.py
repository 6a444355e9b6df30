"""How long the read model has lacked records of the journal."""

from __future__ import annotations

from api.summary.figures import Delay


def test_a_delay_is_counted_from_when_something_was_seen_to_be_missing() -> None:
    delay = Delay()
    assert delay.look({0: 5}, {0: 5}, 1_000) == 0
    assert delay.look({0: 5}, {0: 7}, 2_000) == 0
    assert delay.look({0: 6}, {0: 9}, 4_000) == 2_000
    assert delay.look({0: 7}, {0: 12}, 5_000) == 0  # what was missing has come
    assert delay.look({0: 12}, {0: 12}, 6_000) == 0
