"""A replay whose limit is beyond the log would prove less than it claims: refused."""

from __future__ import annotations

import pytest

from app.cli.cluster.replay import require_offset
from app.exits import ExitCode, Problem
from processors.replay import Report


@pytest.mark.parametrize(("ends", "last"), [([9, 4], 8), ([0, 4], 3), ([0, 0], -1), ([], -1)])
def test_an_offset_beyond_the_end_is_refused(ends: list[int], last: int) -> None:
    """For one payment only its own partition is read; the others count as empty."""
    report = Report(None, None)
    report.offsets = ends
    for inside in (None, last):
        if inside != -1:
            require_offset(report, inside)
    for beyond in (last + 1, 2**62):
        with pytest.raises(Problem, match="There is no journal offset") as refused:
            require_offset(report, beyond)
        assert refused.value.code == ExitCode.NOT_FOUND
