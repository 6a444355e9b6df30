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


class Questions:
    """What lanes ask and the polling thread answers; nobody waits while partitions are given
    away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = False
        self._waiting: list[Question] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def ask(self, name: Name, generation: int, wait_s: float) -> bool:
        """In a lane's thread: the answer, or False when there is none within `wait_s` seconds."""
        question = Question(name, generation)
        with self._lock:
            if not self._open:
                return False
            self._waiting.append(question)
        question.answered.wait(wait_s)
        return question.answer

    def take(self) -> list[Question]:
        """All that wait, to be answered by the caller."""
        with self._lock:
            taken, self._waiting = self._waiting, []
        return taken

    def open(self) -> None:
        """Partitions are ours: questions are taken."""
        with self._lock:
            self._open = True

    def refuse(self) -> None:
        """Nobody is told that a partition is ours while it is being given away."""
        with self._lock:
            self._open = False
            refused, self._waiting = self._waiting, []
        for question in refused:
            question.answered.set()
