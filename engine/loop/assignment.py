"""The conditions on an assignment before a partition is served, and its starting offsets.
Pure rules.

One process must read all of a payment's inputs: only the range assignor keeps partition n of every
topic on one member.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from engine.errors import OFFSETS_LOST, Exit
from engine.ports import TopicPartition

# A process clock further from the broker's than this takes no partition (domain §8).
CLOCK_DIFFERENCE_MS_MAX: Final = 60_000
INIT_METADATA: Final = "init"


class Committed(NamedTuple):
    """A committed offset and its metadata; offset < 0 if there is none."""

    offset: int
    metadata: str


class Start(NamedTuple):
    """Where to read from, and what must be committed first (with metadata `init`)."""

    offsets: dict[TopicPartition, int]
    to_initialise: dict[TopicPartition, int]


def whole_partitions(assigned: Iterable[TopicPartition], inputs: Sequence[str]) -> list[int]:
    """The partition numbers assigned. Raises Exit ASSIGNMENT_SPLIT if one lacks an input topic."""
    by_number: dict[int, set[str]] = {}
    for topic, number in assigned:
        by_number.setdefault(number, set()).add(topic)
    for number, topics in sorted(by_number.items()):
        missing = [t for t in inputs if t not in topics]
        if missing:
            raise Exit(
                "ASSIGNMENT_SPLIT",
                f"partition {number} of {', '.join(missing)} is with another member; "
                "every member must use the range assignor and subscribe to the same topics",
            )
    return sorted(by_number)


def check_partition_counts(counts: Mapping[str, int], expected: int) -> None:
    """Raises Exit PARTITION_COUNT when a topic has another number of partitions than recorded."""
    wrong = {topic: count for topic, count in counts.items() if count != expected}
    if wrong:
        raise Exit(
            "PARTITION_COUNT", f"{expected} partitions are recorded, the cluster has {wrong}"
        )


def starting_offsets(
    numbers: Iterable[int],
    inputs: Sequence[str],
    committed: Mapping[TopicPartition, Committed],
    journal_high: Mapping[int, int],
    added_inputs: Collection[str],
) -> Start:
    """Committed offsets; zero for a partition that never wrote and for a topic newly added.

    Raises Exit OFFSETS_LOST when offsets are missing although the journal has records.
    """
    start = Start({}, {})
    for number in numbers:
        known = {t: committed[t, number] for t in inputs if committed[t, number].offset >= 0}
        for topic in inputs:
            name = (topic, number)
            if topic in known:
                start.offsets[name] = known[topic].offset
            elif (not known and journal_high[number] == 0) or (known and topic in added_inputs):
                start.offsets[name] = start.to_initialise[name] = 0
            else:
                raise Exit(
                    OFFSETS_LOST,
                    f"no committed offset for {topic}[{number}] though its journal has records; "
                    "see `npp control recover`",
                )
    return start
