"""Who may speak before a timer: its partition's answers, up to their ends as they stood after the
deadline.

So an answer that waits in its topic is decided before the timeout, and load cannot starve it
(domain §8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

Ends = Mapping[tuple[str, int], int]
# Asks for the ends of some partitions; gives a function that answers None until they are known.
AskEnds = Callable[[Sequence[tuple[str, int]]], Callable[[], Ends | None]]


class TimerGate:
    """One question at a time; a partition whose inputs are not read yet does not hold up the
    others."""

    def __init__(self, topics: Sequence[str], ask: AskEnds) -> None:
        self._topics = topics
        self._ask = ask
        self._asked: list[int] = []
        self._asked_ms = 0
        self._answer: Callable[[], Ends | None] | None = None
        self._waiting: dict[int, tuple[int, Ends]] = {}

    def reset(self) -> None:
        """The assignment has changed: forget every question and answer."""
        self._answer = None
        self._waiting.clear()

    def open_for(
        self, due: Mapping[int, int], positions: Mapping[tuple[str, int], int], now_ms: int
    ) -> dict[int, int]:
        """Partitions whose inputs have been read, with the time up to which their timers may be
        made.

        `due`: earliest due time by partition; `positions`: next offset to decide by input
        partition.
        """
        if self._answer is None:
            self._asked = [n for n, at in due.items() if at <= now_ms and n not in self._waiting]
            if self._asked:
                self._asked_ms = now_ms
                self._answer = self._ask([(t, n) for n in self._asked for t in self._topics])
        if self._answer is not None:
            ends = self._answer()
            if ends is not None:
                self._answer = None
                for number in self._asked:
                    self._waiting[number] = (self._asked_ms, ends)
        read = {
            number: asked_ms
            for number, (asked_ms, ends) in self._waiting.items()
            if all(positions.get((t, number), -1) >= ends[t, number] for t in self._topics)
        }
        for number in read:
            del self._waiting[number]
        return read
