"""What a worker knows of its partitions: records done in order, and lanes that ask whose one is."""

from __future__ import annotations

import threading

Name = tuple[str, int]  # topic and partition


class Progress:
    """Which records of one partition are done; commits reach up to the first that is not."""

    __slots__ = ("committed", "done", "next")

    def __init__(self) -> None:
        self.next: dict[int, None] = {}  # offsets under way, in order
        self.done = -1  # everything below may be committed; -1: nothing yet
        self.committed = -1

    def started(self, offset: int) -> None:
        self.next[offset] = None
        if self.done < 0:
            self.done = offset

    def finished(self, offset: int, highest: int) -> None:
        self.next.pop(offset, None)
        self.done = next(iter(self.next), highest)


class Question:
    """A lane that waits to be told whether a partition is still its own."""

    __slots__ = ("answer", "answered", "generation", "name")

    def __init__(self, name: Name, generation: int) -> None:
        self.name = name
        self.generation = generation
        self.answered = threading.Event()
        self.answer = False
