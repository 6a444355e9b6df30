"""`python -m bench.rig.restore`: how fast a payments processor restores known payments from Kafka.

The same as in `make bench`, alone: each round has an empty store. `--beside` takes turns with
another tree, such as `build/native`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from app.platform.fetch import say_on_stderr as say
from bench.rig import builds, measures
from bench.rig.answer import give, options_of
from bench.rig.cluster import Bench, running
from bench.rig.load import payment_ids

KNOWN: Final = 1_000_000
RUNS: Final = 3
EXAMPLES: Final = 200


def main() -> int:
    parser = options_of("bench.rig.restore", __doc__)
    parser.add_argument("--known", type=int, default=KNOWN, help="payments to restore")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--beside", type=Path, help="another tree: its runs alternate with ours")
    options = parser.parse_args()
    trees = [builds.tree(native=False)]
    trees += [options.beside.resolve()] if options.beside else []
    with (
        tempfile.TemporaryDirectory(prefix="npp-bench-") as folder,
        running(Path(folder), trees[0]) as bench,
    ):
        with bench.processor() as process:
            process.wait_ready()
            measures.throughput(bench, process, "few", EXAMPLES, say)
        measures.seed(bench, payment_ids("few", 1)[0], options.known, say)
        found: dict[Path, list[dict[str, Any]]] = {tree: [] for tree in trees}
        for number in range(options.runs):
            for tree in trees if number % 2 == 0 else reversed(trees):
                instance = f"restore-{number}-{trees.index(tree)}"
                found[tree].append(measure(bench, tree, instance, options.known))
                say(f"{tree}: {found[tree][-1]}")
    result = {
        str(tree): {name: statistics.median(each[name] for each in runs) for name in runs[0]}
        for tree, runs in found.items()
    }
    say(f"medians of {options.runs}:")
    give(result, as_json=options.json)
    return 0


def measure(bench: Bench, tree: Path, instance: str, known: int) -> dict[str, Any]:
    """One start of a processor of that tree, of an instance that has no store yet."""
    bench.tree = tree
    with bench.processor(instance) as process:
        _, restoring = process.wait_ready()
        cpu = process.cpu_seconds()
        memory = process.memory_bytes()
    return {
        "restorePaymentsPerSecond": round(known / restoring),
        "cpuSeconds": round(cpu, 2),
        "memoryMb": round(memory / 1e6),
    }


if __name__ == "__main__":
    sys.exit(main())
