"""`python -m tests.model --sequences N --seed S --json`: runs the model alone.

Prints `{"sequences", "inputs", "violations", "seed"}`. On a violation it exits 1 and prints the
shrunk sequence and the command that repeats it on standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from tests.model.play import Play
from tests.model.runner import PROCESSES, Tally, description, replay, run, run_one, seeds_of
from tests.model.vocabulary import load


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--sequences", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="one sequence of the seed, by its number")
    parser.add_argument("--moves", help="moves as JSON, as a violation prints them")
    parser.add_argument("--quiet", action="store_true", help="with --moves: then come to rest")
    parser.add_argument("--honest", action="store_true", help="with --quiet: judge the ledgers")
    parser.add_argument("--without", action="append", default=[], help="a law that is left out")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    without = frozenset(options.without)
    if options.moves is not None:
        moves = load(options.moves)
        play = replay(moves, quiet=options.quiet, honest=options.honest, without=without)
        return _describe_moves(play)
    began = time.monotonic()
    if options.only is not None:
        own_seed = seeds_of(options.seed, options.only, 1)[0]
        inputs, found = run_one(options.seed, options.only, own_seed, without)
        tally = Tally(1, inputs, [] if found is None else [found])
    else:
        tally = run(options.sequences, options.seed, processes=options.processes, without=without)
    for each in tally.found:
        print(description(each), file=sys.stderr)
    numbers = {
        "sequences": tally.sequences,
        "inputs": tally.inputs,
        "violations": len(tally.found),
        "seed": options.seed,
    }
    if options.json:
        print(json.dumps(numbers))
    else:
        seconds = time.monotonic() - began
        print(" ".join(f"{k}={v}" for k, v in numbers.items()), f"in {seconds:.1f} s")
    return 1 if tally.found else 0


def _describe_moves(play: Play) -> int:
    """Every input with its result, then the broken laws."""
    for step in play.steps:
        made = [type(event).__name__ for event in step.events] or step.decision
        print(step.name, getattr(step.command, "kind", ""), "→", made)
    for violation in play.violations:
        print(f"{violation.law}: {violation.detail}", file=sys.stderr)
    return 1 if play.violations else 0


if __name__ == "__main__":
    sys.exit(main())
