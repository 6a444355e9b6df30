"""Proves the parts of a log by processes: each has its own log, codec and memory.

A process gets one part after the other and answers with its report. One that ends early, or says
nothing for too long, makes the whole replay fail: a missing part is not proved.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Final

import msgspec

from engine.clock import Clock, SystemClock
from engine.errors import EngineError, Exit
from processors.replay.log import ReplayLog
from processors.replay.parts.part import proven
from processors.replay.parts.scope import Settings, scope_of
from processors.replay.reading import OnRead
from processors.replay.report import Report

WORKERS_MAX: Final = 64
SILENT_S_MAX: Final = 600.0  # a reader that gets nothing gives up after 60 s
LOOK_S: Final = 1.0
END_S: Final = 5.0
# Reference counts free almost everything here; a full collection visits every record in memory.
GC_THRESHOLDS: Final = (50_000, 50, 1_000)
WORKER_ENDED: Final = "REPLAY_WORKER_ENDED"
WORKER_SILENT: Final = "REPLAY_WORKER_SILENT"
WORKER_FAILED: Final = "REPLAY_WORKER_FAILED"
_DO: Final = (
    "Nothing is proven by this run: run it again, with fewer workers if the system ended it for "
    "want of memory."
)

Open = Callable[[], tuple[ReplayLog, Settings]]
"""What a process calls to get its own log and settings: a function of a module, and arguments that
can be pickled. It may raise EngineError."""


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Within it, Python's cyclic garbage collector runs rarely (GC_THRESHOLDS)."""
    before = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Workers(msgspec.Struct, frozen=True):
    """The maximum number of processes, about 200 MB each, and how each opens the log."""

    count: int
    open: Open


class _Part(msgspec.Struct, frozen=True):
    """To a process: prove these partitions."""

    control_end: int
    numbers: list[int]


class _Read(msgspec.Struct, frozen=True):
    """From a process: progress."""

    what: str
    records: int


class _Failed(msgspec.Struct, frozen=True):
    """From a process: it cannot continue."""

    code: str
    detail: str


class _Worker:
    """A process as its parent sees it."""

    def __init__(self, number: int, opens: Open, now_s: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.number = number
        self.numbers: list[int] = []  # the partitions that it proves
        self.heard_s = now_s
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=work, args=(theirs, opens), name=f"npp-replay-{number}", daemon=True
        )
        self.process.start()
        theirs.close()

    def give(self, control_end: int, numbers: list[int]) -> None:
        self.numbers = numbers
        with suppress(OSError):  # it has ended: the next look says how
            self.pipe.send(_Part(control_end, numbers))

    def named(self) -> str:
        return f"process {self.number} (partitions {', '.join(map(str, self.numbers))})"

    def end(self) -> None:
        """End it, whatever it does."""
        self.pipe.close()
        self.process.terminate()
        self.process.join(END_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(END_S)


def prove(
    workers: Workers,
    count: int,
    control_end: int,
    parts: Sequence[list[int]],
    join: Callable[[Report, Sequence[int]], None],
    on_read: OnRead,
    clock: Clock,
) -> None:
    """Prove every part in one of `count` processes; `join` gets each report, with its partitions.

    Raises Exit if a process fails, ends early, or is silent for SILENT_S_MAX.
    """
    waiting = deque(parts)
    running: dict[Any, _Worker] = {}
    try:
        for number in range(min(count, len(waiting))):
            worker = _Worker(number + 1, workers.open, clock.monotonic_s())
            running[worker.pipe] = worker
            worker.give(control_end, waiting.popleft())
        while running:
            for pipe in wait(list(running), LOOK_S):
                worker = running[pipe]
                worker.heard_s = clock.monotonic_s()
                message = _receive(worker)
                if isinstance(message, _Read):
                    on_read(message.what, message.records)
                    continue
                join(message, worker.numbers)
                if waiting:
                    worker.give(control_end, waiting.popleft())
                else:
                    running.pop(pipe).end()
            _refuse_silence(running.values(), clock.monotonic_s())
            on_read("proving", 0)
    finally:
        for worker in running.values():
            worker.end()


def _receive(worker: _Worker) -> _Read | Report:
    """What a process sent. Raises Exit when it has failed or ended."""
    try:
        message = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(END_S)
        code = worker.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        raise Exit(
            WORKER_ENDED, f"{worker.named()} of the replay ended with {how}. {_DO}"
        ) from None
    if isinstance(message, _Failed):
        raise Exit(message.code, f"{worker.named()}: {message.detail}")
    assert isinstance(message, (_Read, Report))
    return message


def _refuse_silence(workers: Any, now_s: float) -> None:
    for worker in workers:
        silent_s = now_s - worker.heard_s
        if silent_s > SILENT_S_MAX:
            why = f"{worker.named()} of the replay has said nothing for {silent_s:.0f} s"
            raise Exit(WORKER_SILENT, f"{why}. {_DO}")


def work(pipe: Connection, opens: Open) -> None:
    """The process's main function: prove each part that it receives, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's: it ends us
    gc.set_threshold(*GC_THRESHOLDS)
    clock = SystemClock()

    def on_read(what: str, records: int) -> None:
        pipe.send(_Read(what, records))

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        try:
            log, settings = opens()
            while True:
                part = pipe.recv()
                scope = scope_of(log, settings, part.control_end)
                pipe.send(proven(scope, part.numbers, clock, on_read))
        except EngineError as error:
            pipe.send(_Failed(error.code, error.detail))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # noqa: BLE001 a defect: the parent raises it
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} at {place.filename}:{place.lineno}"
            pipe.send(_Failed(WORKER_FAILED, f"{where}. {_DO}"))
