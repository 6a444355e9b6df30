"""The ends of partitions, as the test sets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from engine.ports import TopicPartition


class PartitionEnds:
    """Answers with `ends`, once they are set."""

    def __init__(self) -> None:
        self.ends: dict[TopicPartition, int] | None = None
        self.questions: list[list[TopicPartition]] = []

    def ask(
        self, names: Sequence[TopicPartition]
    ) -> Callable[[], Mapping[TopicPartition, int] | None]:
        self.questions.append(list(names))
        return lambda: self.ends
