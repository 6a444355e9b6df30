"""The payments processor's work on one input, without Kafka: decode, decide, encode, store.

The load of `make bench` through the real codec, application, batch and RocksDB store. Two builds,
or two versions, do the same when the SHA-256 over all that they write is the same.
"""

from __future__ import annotations

import gc
import hashlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from app.config.memory import GC_THRESHOLDS
from bench.rig.answer import give, options_of
from bench.rig.load import STAGES, payment_ids, stage
from engine.loop.batch import BatchRun, in_decision_order
from engine.ports import InputRecord, TopicPartition
from engine.store.states import PartitionStates
from engine.store.store import Store
from tests.processors.payments.clean_history import PARTITIONS, Outside

PAYMENTS: Final = 10_000
BATCH: Final = 1_000
RUNS: Final = 3
RUN_SECONDS_MAX: Final = 900
STARTED_MS: Final = 1_767_225_600_000  # a fixed time: the bytes of two runs are the same
STAGE_MS: Final = 3_000
BATCH_MS: Final = 40
APPENDED_BEFORE_POLLED_MS: Final = 37


def measure(payments: int, batch: int, folder: Path) -> dict[str, Any]:
    """CPU microseconds per input of all stages, of each stage, and the digest of all output."""
    outside = Outside()
    app = outside.driver.app
    store = Store(folder, "bench")
    states = {n: PartitionStates(app, n, store.partition(n)) for n in range(PARTITIONS)}
    ids = payment_ids("hot", payments)
    digest = hashlib.sha256()
    offsets: dict[TopicPartition, int] = {}
    micros: dict[str, float] = {}
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    for number, name in enumerate(STAGES):
        at = STARTED_MS + number * STAGE_MS
        records = []
        for topic, partition, key, value in stage(outside.codec, name, "hot", ids, PARTITIONS, at):
            offset = offsets[topic, partition] = offsets.get((topic, partition), -1) + 1
            records.append(InputRecord(topic, partition, offset, at, key, value, [], at))
        seconds = 0.0
        for begin in range(0, payments, batch):
            part = records[begin : begin + batch]
            for record in part:
                record.polled_at_ms = at + APPENDED_BEFORE_POLLED_MS + BATCH_MS * (begin // batch)
            started = time.process_time()
            run = BatchRun(app, states)
            run.decide(in_decision_order(part, app.topology.inputs))
            run.overlay.find_last_kept()
            run.applied(dict.fromkeys(run.overlay.last_kept, 0), at)
            seconds += time.process_time() - started
            for topic, output, _, partition, _ in run.overlay.outputs:
                digest.update(b"%s %d %s" % (topic.encode(), partition, output or b""))
        micros[name] = seconds / payments * 1e6
    store.close()
    return {
        "microsPerInput": round(sum(micros.values()) / len(micros), 2),
        "stages": {name: round(value, 2) for name, value in micros.items()},
        "sha256": digest.hexdigest(),
    }


def main() -> int:
    parser = options_of("bench.hot_path", __doc__)
    parser.add_argument("--payments", type=int, default=PAYMENTS)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--beside", type=Path, help="another tree: its runs alternate with ours")
    parser.add_argument("--once", action="store_true", help="one run, in this process")
    options = parser.parse_args()
    if options.once:
        with TemporaryDirectory(prefix="npp-bench-") as folder:
            found = measure(options.payments, options.batch, Path(folder) / "states")
        give(found, as_json=options.json)
        return 0
    trees = [Path.cwd(), *([options.beside] if options.beside else [])]
    by_tree: dict[Path, list[dict[str, Any]]] = {tree: [] for tree in trees}
    for number in range(RUNS):
        for tree in trees if number % 2 == 0 else reversed(trees):
            by_tree[tree].append(_run_in(tree, options.payments, options.batch))
    figures = {}
    for tree, runs in by_tree.items():
        micros = [run["microsPerInput"] for run in runs]
        median, least, most = statistics.median(micros), min(micros), max(micros)
        figures[str(tree)] = {**runs[-1], "microsPerInput": median, "range": [least, most]}
    give(figures, as_json=options.json)
    if len({run["sha256"] for runs in by_tree.values() for run in runs}) != 1:
        print("the outputs differ", file=sys.stderr)
        return 1
    return 0


def _run_in(tree: Path, payments: int, batch: int) -> dict[str, Any]:
    """One run in a fresh process whose product is the one in `tree`."""
    command = [sys.executable, "-m", "bench.hot_path", "--once", "--json"]
    done = subprocess.run(
        [*command, "--payments", str(payments), "--batch", str(batch)],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS_MAX,
        check=True,
        env={"PYTHONPATH": f"{tree}:{Path.cwd()}", "PATH": ""},
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    sys.exit(main())
