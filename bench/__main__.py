"""`make bench`: the figures of docs/performance.md, measured on a real Kafka in one run.

Figures of shared machines are noisy: compare with `clientLoop` of the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from app.platform.fetch import say_on_stderr as say
from bench import peer
from bench.rig import builds, measures, paced
from bench.rig.cluster import Bench, running
from bench.rig.load import payment_ids

PAYMENTS: Final = 50_000
PAYMENTS_QUICK: Final = 15_000
KNOWN: Final = 1_000_000
WARM_SECONDS: Final = 20.0  # until the broker's JIT compilers are done with this load
LATENCY_SECONDS: Final = 30.0
LATENCY_SECONDS_QUICK: Final = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller counts; under 8 minutes")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--peer", action="store_true", help="beside Kafka Streams; needs Maven")
    parser.add_argument("--native", action="store_true", help="the compiled build (make native)")
    parser.add_argument("--known", type=int, default=KNOWN, help="payments known beforehand")
    options = parser.parse_args()
    started, tree = time.monotonic(), builds.tree(native=options.native)
    before = builds.machine(tree)
    say(before)
    with (
        tempfile.TemporaryDirectory(prefix="npp-bench-") as folder,
        running(Path(folder), tree) as bench,
    ):
        say(f"Kafka and registry up in {time.monotonic() - started:.1f} s")
        result = measure(bench, options.quick, options.known)
    if options.peer:
        size = peer.QUICK if options.quick else peer.FULL
        result |= peer.compare(tree=tree, size=size, rounds=peer.ROUNDS, say=say)
    result["build"] = builds.running_in(tree)
    result["seconds"] = round(time.monotonic() - started, 1)
    result["machine"] = f"{before} before, {os.getloadavg()[0]:.1f} after"
    for name, value in result.items():
        say(f"{name:28} {value}")
    if options.json:
        print(json.dumps(result))
    return 0


def measure(bench: Bench, quick: bool, known: int) -> dict[str, Any]:
    """Every figure, in an order in which none distorts the next."""
    payments = PAYMENTS_QUICK if quick else PAYMENTS
    with bench.processor() as process:
        process.wait_ready()
        say("warm-up of broker and processor")
        warm = measures.throughput(bench, process, "warm", payments // 4, say, payments // 20)
        wave = measures.wave_for(warm, payments)
        paced.warm_up(bench, process, "warm-paced", WARM_SECONDS)
        say(f"throughput, {payments:,} payments through 6 inputs each, {wave:,} at a time")
        few = measures.throughput(bench, process, "few", payments, say, wave)
        say("latency at 2,000 inputs a second")
        seconds = LATENCY_SECONDS_QUICK if quick else LATENCY_SECONDS
        late = paced.latency(bench, process, "paced", seconds)
    say("the client loop over the same inputs")
    loop = measures.client_loop(bench, few["inputs"])
    say("replay")
    replayed = measures.replay(bench)
    with bench.processor() as process:
        ordinary, _ = process.wait_ready()
    say(f"an ordinary start: {ordinary:.1f} s; seeding {known:,} known payments")
    measures.seed(bench, payment_ids("few", 1)[0], known, say)
    with bench.processor() as process:
        from_kafka, restoring = process.wait_ready()
    say(
        f"start with {known:,} payments to restore from Kafka: {from_kafka:.1f} s, "
        f"{restoring:.1f} s of them restoring"
    )
    with bench.processor() as process:
        from_disk, _ = process.wait_ready()
        say(f"start with all of them on the own disk: {from_disk:.1f} s")
        many = measures.throughput(bench, process, "many", payments, say, wave)
    return {
        "inputsPerSecond": few["inputsPerSecond"],
        "cpuSecondsPerMillionInputs": few["cpuSecondsPerMillionInputs"],
        **late,
        "bytesPerOpenPayment": few["bytesPerOpenPayment"],
        "restorePaymentsPerSecond": round(known / restoring),
        "diskRestoreSeconds1M": round(from_disk, 2),
        **replayed,
        "clientLoop": {
            "recordsPerSecond": loop["recordsPerSecond"],
            "cpuSecondsPerMillion": loop["cpuSecondsPerMillion"],
        },
        "knownPayments": known,
        "inputsPerSecondAtKnown": many["inputsPerSecond"],
        "cpuSecondsPerMillionInputsAtKnown": many["cpuSecondsPerMillionInputs"],
        "ordinaryStartSeconds": round(ordinary, 2),
        "stages": few["stages"],
    }


if __name__ == "__main__":
    sys.exit(main())
