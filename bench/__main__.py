"""`make bench`: the figures of docs/performance.md, measured on a real Kafka in one run.

Figures of shared machines are noisy: compare with `clientLoop` of the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from app.config import build
from bench import measures, peer
from bench.cluster import Bench, running
from bench.load import payment_ids

PAYMENTS: Final = 50_000
PAYMENTS_QUICK: Final = 15_000
KNOWN: Final = 1_000_000
WARM_SECONDS: Final = 40.0  # until the broker's compilers are done with the paths of this load
WARM_RATE: Final = 600  # inputs a second: as many transactions as at 2,000, and a cold broker copes
LATENCY_SECONDS: Final = 30.0
LATENCY_SECONDS_QUICK: Final = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller counts; under 8 minutes")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--peer", action="store_true", help="beside Kafka Streams; needs Maven")
    parser.add_argument("--known", type=int, default=KNOWN, help="payments known beforehand")
    options = parser.parse_args()
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="npp-bench-") as folder,
        running(Path(folder)) as bench,
    ):
        say(f"Kafka and registry up in {time.monotonic() - started:.1f} s")
        result = measure(bench, options.quick, options.known)
    if options.peer:
        result |= peer.compare(quick=options.quick, rounds=peer.ROUNDS, say=say)
    result["build"] = build.running()
    result["seconds"] = round(time.monotonic() - started, 1)
    python = platform.python_version()
    optimised = "with" if build.python_is_optimised() else "without"
    result["machine"] = (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {python} {optimised} profile-guided "
        f"optimisation, load average {os.getloadavg()[0]:.1f}"
    )
    for name, value in result.items():
        say(f"{name:28} {value}")
    if options.json:
        print(json.dumps(result))
    return 0


def measure(bench: Bench, quick: bool, known: int) -> dict[str, Any]:
    """Every figure, in an order in which none spoils the next."""
    payments = PAYMENTS_QUICK if quick else PAYMENTS
    with bench.processor() as process:
        process.wait_ready()
        say("warm-up of broker and processor")
        measures.throughput(bench, process, "warm", payments // 10, say)
        measures.warm_up(bench, process, "warm-paced", WARM_SECONDS, WARM_RATE)
        say(f"throughput, {payments:,} payments through 6 inputs each")
        few = measures.throughput(bench, process, "few", payments, say)
        say("latency at 2,000 inputs a second")
        seconds = LATENCY_SECONDS_QUICK if quick else LATENCY_SECONDS
        late = measures.latency(bench, process, "paced", seconds)
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
        many = measures.throughput(bench, process, "many", payments, say)
    return {
        "inputsPerSecond": few["inputsPerSecond"],
        "cpuSecondsPerMillionInputs": few["cpuSecondsPerMillionInputs"],
        **late,
        "bytesPerOpenPayment": few["bytesPerOpenPayment"],
        "restorePaymentsPerSecond": round(known / restoring),
        "diskRestoreSeconds1M": round(from_disk, 2),
        "replayEventsPerSecond": replayed["replayEventsPerSecond"],
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


def say(line: str) -> None:
    """Progress goes to standard error: standard output ends with the JSON line."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
