"""`python -m bench.low_rate`: what a transaction costs at 2,000 inputs/s, for several intervals.

Latency, CPU per input of processor and broker, and inputs per transaction, in alternating rounds;
the value `streams` is the Streams program with a commit interval of 20 ms, on its own cluster,
warmed up equally.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from app.platform.fetch import say_on_stderr as say
from bench import peer
from bench.rig import builds, paced
from bench.rig.answer import give, options_of
from bench.rig.cluster import Bench, running

SETTING: Final = "NPP_TRANSACTION_INTERVAL_MS"
COMMITTED: Final = 'npp_engine_transactions_total{outcome="commit"}'
STREAMS: Final = "streams"
WARM_SECONDS: Final = 5.0
Figures = dict[str, Any]


def measured(bench: Bench, value: str, program: Path | None, seconds: float) -> Figures:
    """One value in one round. The load's ramps are in the CPU, and not in the latency."""
    ours = value != STREAMS
    if ours:
        process = bench.processor(more={SETTING: value})
    elif program is None:
        raise RuntimeError("there is no Streams program: leave `streams` out, or install Maven")
    else:
        process = peer.streams(bench, program, *peer.LATENCY_SETTINGS)
    with process:
        process.wait_ready()
        paced.warm_up(bench, process, f"warm-{process.child.pid}", WARM_SECONDS)
        used, broker = process.cpu_seconds(), bench.broker_cpu_seconds()
        count = process.metric(COMMITTED) if ours else 0.0
        load, found = paced.measured(bench, process, f"low-{process.child.pid}", seconds)
        inputs = len(load.sent)
        figures = {
            "interval": value,
            **found,
            "cpuMicrosPerInput": round((process.cpu_seconds() - used) / inputs * 1e6),
            "brokerMicrosPerInput": round((bench.broker_cpu_seconds() - broker) / inputs * 1e6),
        }
        if ours:
            figures["inputsPerTransaction"] = round(inputs / (process.metric(COMMITTED) - count), 1)
    return {**figures, "loadAverage": round(os.getloadavg()[0], 1)}


def main() -> int:
    parser = options_of("bench.low_rate", __doc__)
    parser.add_argument("--native", action="store_true", help="the compiled build (make native)")
    parser.add_argument("--values", default="0,10,20,streams", help="intervals in ms")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    tree, values = builds.tree(native=options.native), options.values.split(",")
    say(builds.machine(tree))
    program = peer.built(peer.BUILT, say) if STREAMS in values else None
    found: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="npp-bench-") as name, ExitStack() as stack:
        # Two clusters: the Streams program's records are not ours, and would stop the
        # processor.
        clusters = {
            each: stack.enter_context(running(Path(name, each), tree))
            for each in ("ours", STREAMS)
            if each != STREAMS or program is not None
        }
        for each, bench in clusters.items():  # warms up the brokers; not measured
            measured(bench, STREAMS if each == STREAMS else "0", program, WARM_SECONDS)
        for number in range(options.rounds):
            for value in values if number % 2 == 0 else values[::-1]:
                bench = clusters[STREAMS if value == STREAMS else "ours"]
                found.append(measured(bench, value, program, options.seconds))
                say(json.dumps(found[-1]))
    give({"measured": found}, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
