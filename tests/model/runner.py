"""Runs sequences in at most two processes, and reports the result.

Sequence n of a seed is always the same: its own seed is drawn from `random.Random(seed)`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.model.moves.generate import TEMPERS, Generator
from tests.model.outside.quiet import Quiet
from tests.model.play import Play, Stop
from tests.model.shrink import shrink
from tests.model.step import Violation
from tests.model.vocabulary import Move, dump

PROCESSES = 2
CHUNK = 50
NOTHING: Final[frozenset[str]] = frozenset()
FOUND_MAX = 20  # more violations add nothing; the run ends


@dataclass(frozen=True)
class Found:
    """A broken law with its shortest sequence. `number` is the sequence's number under the seed."""

    seed: int
    number: int
    temper: str
    violation: Violation
    moves: list[Move]
    quiet: bool
    honest: bool

    @property
    def command(self) -> str:
        return f"python -m tests.model --seed {self.seed} --only {self.number}"


@dataclass
class Tally:
    sequences: int = 0
    inputs: int = 0
    found: list[Found] = field(default_factory=list)


def seeds_of(seed: int, first: int, count: int) -> list[int]:
    """The seeds of sequences first … first + count - 1."""
    rng = Random(seed)
    return [rng.getrandbits(64) for _ in range(first + count)][first:]


def replay(
    moves: list[Move], *, quiet: bool, honest: bool, without: frozenset[str] = NOTHING
) -> Play:
    """Play the given moves, then the quiet phase if the sequence had one."""
    play = Play(without=without)
    play.run(moves)
    if quiet and not play.violations:
        _rest(play, honest=honest)
    return play


def _rest(play: Play, *, honest: bool) -> None:
    with contextlib.suppress(Stop):
        Quiet(play).run(honest=honest)


def one(
    own_seed: int, without: frozenset[str] = NOTHING
) -> tuple[Play, list[Move], Generator, bool]:
    """Draw and play one sequence."""
    rng = Random(own_seed)
    play = Play(without=without)
    generator = Generator(rng, play)
    quiet = rng.random() < 0.7
    moves: list[Move] = []
    try:
        while len(moves) < generator.temper.moves:
            for move in generator.next():
                moves.append(move)
                play.play(move)
    except Stop:
        return play, moves, generator, False
    if quiet:
        _rest(play, honest=generator.temper.honest)
    return play, moves, generator, quiet


def run_one(
    seed: int, number: int, own_seed: int, without: frozenset[str] = NOTHING
) -> tuple[int, Found | None]:
    """The number of inputs, and the shrunk violation if there is one."""
    play, moves, generator, quiet = one(own_seed, without)
    if not play.violations:
        return play.inputs, None
    violation = play.violations[0]
    honest = generator.temper.honest

    def breaks(shorter: list[Move]) -> bool:
        again = replay(shorter, quiet=quiet, honest=honest, without=without).violations
        return bool(again) and again[0].law == violation.law

    moves = shrink(moves, breaks)
    last = replay(moves, quiet=quiet, honest=honest, without=without).violations
    violation = last[0] if last else violation
    temper = generator.temper.name
    return play.inputs, Found(seed, number, temper, violation, moves, quiet, honest)


def _chunk(job: tuple[int, int, int, frozenset[str]]) -> Tally:
    seed, first, count, without = job
    tally = Tally()
    for number, own_seed in enumerate(seeds_of(seed, first, count), first):
        inputs, found = run_one(seed, number, own_seed, without)
        tally.sequences += 1
        tally.inputs += inputs
        if found is not None:
            tally.found.append(found)
            if len(tally.found) >= 3:
                break
    return tally


def run(
    sequences: int, seed: int, *, processes: int = PROCESSES, without: frozenset[str] = NOTHING
) -> Tally:
    """Run all sequences; ends early once `FOUND_MAX` are broken.

    Raises BrokenProcessPool if a process is killed.
    """
    jobs = [
        (seed, first, min(CHUNK, sequences - first), without)
        for first in range(0, sequences, CHUNK)
    ]
    total = Tally()
    if processes == 1 or len(jobs) == 1:
        for job in jobs:
            _add(total, _chunk(job))
            if len(total.found) >= FOUND_MAX:
                break
        return total
    # Not multiprocessing.Pool: it waits forever for the work of a killed process.
    pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
    try:
        for tally in pool.map(_chunk, jobs):
            _add(total, tally)
            if len(total.found) >= FOUND_MAX:
                break
    finally:
        pool.shutdown(cancel_futures=True)
    return total


def _add(total: Tally, part: Tally) -> None:
    total.sequences += part.sequences
    total.inputs += part.inputs
    total.found += part.found


def description(found: Found) -> str:
    """A violation as text: law, observation, moves, and the command that repeats it."""
    lines = [
        f"{found.violation.law}: {found.violation.detail}",
        f"  sequence {found.number} of seed {found.seed}, temper {found.temper}"
        + (", then quiet" if found.quiet else ""),
        *(f"    {n:3d} {move.name} {move.args}" for n, move in enumerate(found.moves, 1)),
        f"  again: {found.command}",
        f"  moves: {dump(found.moves)}",
    ]
    return "\n".join(lines)


def tempers() -> tuple[str, ...]:
    return tuple(temper.name for temper in TEMPERS)
