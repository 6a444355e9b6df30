"""A worker's view of its partitions: how far their records are done, and its lanes' questions
whether a partition is still assigned to it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from engine.ports import TopicPartition


class Progress:
    """Which records of one partition are done; commits reach up to the first that is not."""

    __slots__ = ("committed", "done", "highest", "next")

    def __init__(self) -> None:
        self.next: dict[int, None] = {}  # offsets in progress, in order
        self.highest = -1  # everything below has been read
        self.done = -1  # everything below may be committed; -1: nothing yet
        self.committed = -1

    def started(self, offset: int) -> None:
        self.next[offset] = None
        self.highest = offset + 1
        if self.done < 0:
            self.done = offset

    def finished(self, offset: int) -> None:
        if offset in self.next:
            del self.next[offset]
            self.done = next(iter(self.next), self.highest)

    def read_to(self, end: int) -> None:
        """No record is left before `end`, only transaction markers."""
        self.highest = max(self.highest, end)
        if not self.next:
            self.done = self.highest


class PartitionProgress:
    """The assigned partitions and their progress; shared by lanes and the polling thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress: dict[TopicPartition, Progress] = {}

    def assign(self, names: Iterable[TopicPartition]) -> None:
        """Set the assignment; nothing is known about it yet."""
        with self._lock:
            self._progress = {name: Progress() for name in names}

    def begin(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Start these at their committed offsets: everything before is done."""
        with self._lock:
            for name in offsets.keys() & self._progress.keys():
                progress = self._progress[name]
                progress.highest = progress.done = progress.committed = offsets[name]

    def names(self) -> list[TopicPartition]:
        return list(self._progress)

    def started(self, name: TopicPartition, offset: int) -> bool:
        """A record was polled; False if its partition was revoked meanwhile."""
        with self._lock:
            progress = self._progress.get(name)
            if progress is not None:
                progress.started(offset)
            return progress is not None

    def finished(self, name: TopicPartition, offset: int) -> None:
        with self._lock:
            if name in self._progress:
                self._progress[name].finished(offset)

    def read_to(self, ends: Mapping[TopicPartition, int]) -> None:
        """Partitions that were read to these ends."""
        with self._lock:
            for name in ends.keys() & self._progress.keys():
                self._progress[name].read_to(ends[name])

    def done(self) -> dict[TopicPartition, int]:
        """The offset below which everything is done; -1 if nothing arrived yet."""
        with self._lock:
            return {name: progress.done for name, progress in self._progress.items()}

    def idle(self) -> set[TopicPartition]:
        """Partitions without work in progress."""
        with self._lock:
            return {name for name, progress in self._progress.items() if not progress.next}

    def uncommitted(self) -> dict[TopicPartition, int]:
        """What a commit would move."""
        with self._lock:
            return {
                name: p.done
                for name, p in self._progress.items()
                if p.done >= 0 and p.done != p.committed
            }

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        with self._lock:
            for name in offsets.keys() & self._progress.keys():
                self._progress[name].committed = offsets[name]


class Question:
    """A lane's pending question whether a partition is still ours."""

    __slots__ = ("answer", "answered", "generation", "name")

    def __init__(self, name: TopicPartition, generation: int) -> None:
        self.name = name
        self.generation = generation
        self.answered = threading.Event()
        self.answer = False


class Questions:
    """Questions of lanes for the polling thread; no lane waits during a revocation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = False
        self._waiting: list[Question] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def ask(self, name: TopicPartition, generation: int, wait_s: float) -> bool:
        """Called by a lane's thread: the answer, or False if there is none within `wait_s`
        seconds.
        """
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
        """Partitions are assigned: questions are accepted."""
        with self._lock:
            self._open = True

    def refuse(self) -> None:
        """During a revocation every question is answered with False."""
        with self._lock:
            self._open = False
            refused, self._waiting = self._waiting, []
        for question in refused:
            question.answered.set()
