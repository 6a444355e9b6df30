"""Which partitions are served, and from which offsets: never guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from engine.errors import (
    Exit,
)
from engine.loop.assignment import (
    Committed,
    check_partition_counts,
    starting_offsets,
    whole_partitions,
)
from engine.ports import TopicPartition

INPUTS = ("answers", "add")


def test_a_partition_is_served_only_with_all_its_inputs() -> None:
    """Row 28: all inputs of a payment must reach one process."""
    both = [("add", 1), ("answers", 1), ("add", 0), ("answers", 0)]
    assert whole_partitions(both, INPUTS) == [0, 1]
    with pytest.raises(Exit, match=r"ASSIGNMENT_SPLIT.*partition 1 of answers"):
        whole_partitions([("add", 0), ("answers", 0), ("add", 1)], INPUTS)


def starts(
    committed: Mapping[TopicPartition, int], journal_high: int, added: Sequence[str] = ()
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """First offsets of partition 0, and the offsets to commit first."""
    known = {(t, 0): Committed(committed.get((t, 0), -1001), "") for t in INPUTS}
    start = starting_offsets([0], INPUTS, known, {0: journal_high}, added)
    return start.offsets, start.to_initialise


def test_an_untouched_partition_starts_at_zero_and_commits_so_at_once() -> None:
    """No offsets, empty journal."""
    zero = {("answers", 0): 0, ("add", 0): 0}
    assert starts({}, 0) == (zero, zero)


def test_it_continues_at_the_committed_offsets() -> None:
    """Nothing to commit first."""
    committed = {("answers", 0): 3, ("add", 0): 9}
    assert starts(committed, 5) == (committed, {})


def test_missing_offsets_with_a_non_empty_journal_are_never_guessed() -> None:
    """Row 16: OFFSETS_LOST, whether all or one of them are missing."""
    for committed in ({}, {("add", 0): 9}):
        with pytest.raises(Exit, match="OFFSETS_LOST"):
            starts(committed, 5)


def test_an_input_added_by_control_starts_at_zero() -> None:
    """Its partition's other inputs have commits."""
    assert starts({("add", 0): 9}, 5, ["answers"]) == (
        {("answers", 0): 0, ("add", 0): 9},
        {("answers", 0): 0},
    )
    with pytest.raises(Exit, match="OFFSETS_LOST"):
        starts({}, 5, ["answers"])


def test_another_partition_count_stops_the_start() -> None:
    """Row 19, OP-33."""
    check_partition_counts({"add": 6}, 6)
    with pytest.raises(Exit, match="PARTITION_COUNT"):
        check_partition_counts({"add": 6, "answers": 7}, 6)
