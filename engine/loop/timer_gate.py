"""Holds a timer back until its partition's answers have been read up to their ends as of the
deadline.

So an answer that waits in its topic is decided before the timeout, and load cannot starve it
(domain §8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from engine.ports import TopicPartition

Ends = Mapping[TopicPartition, int]
# Requests the ends of some partitions; the returned function returns None until they are known.
AskEnds = Callable[[Sequence[TopicPartition]], Callable[[], Ends | None]]


class TimerGate:
    """One request at a time; a partition with unread inputs does not delay the others."""

    def __init__(self, topics: Sequence[str], ask: AskEnds) -> None:
        self._topics = topics
        self._ask = ask
        self._due: list[int] = []
        self._requested_ms = 0
        self._answer: Callable[[], Ends | None] | None = None
        self._waiting: dict[int, tuple[int, Ends]] = {}

    def reset(self) -> None:
        """The assignment has changed: drop requests and responses."""
        self._answer = None
        self._waiting.clear()

    def open_for(
        self, due: Mapping[int, int], positions: Mapping[TopicPartition, int], now_ms: int
    ) -> dict[int, int]:
        """Partitions whose inputs have been read, with the time up to which their timers may be
        made.

        `due`: earliest due time by partition; `positions`: next offset to decide by input
        partition.
        """
        if self._answer is None:
            self._due = [n for n, at in due.items() if at <= now_ms and n not in self._waiting]
            if self._due:
                self._requested_ms = now_ms
                self._answer = self._ask([(t, n) for n in self._due for t in self._topics])
        if self._answer is not None:
            ends = self._answer()
            if ends is not None:
                self._answer = None
                for number in self._due:
                    self._waiting[number] = (self._requested_ms, ends)
        read = {
            number: requested_ms
            for number, (requested_ms, ends) in self._waiting.items()
            if all(positions.get((t, number), -1) >= ends[t, number] for t in self._topics)
        }
        for number in read:
            del self._waiting[number]
        return read
