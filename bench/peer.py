"""The product beside a Kafka Streams program of equal record traffic, each on a fresh cluster, in
alternating rounds: ratios of ours to its, and the counts of records that make them comparable.

The program (bench/streams) decides nothing; it is built by Maven when that is there.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

from app.config import build
from app.platform.java import find_java
from bench import measures
from bench.cluster import Bench, running
from bench.load import STAGES, payment_ids, stage
from bench.process import Process
from engine.loop.batch import BatchRun
from engine.ports import InputRecord
from engine.store.states import PartitionStates
from schemas import definitions, topology
from schemas.codec import Codec
from schemas.codec.wire import ID_FORM_BYTES, schema_id
from tests.engine.store.memory import MemoryPartitionStore
from tests.processors.payments.clean_history import PARTITIONS, Outside

ROOT: Final = Path(__file__).resolve().parent
ROUNDS: Final = 3
APPLICATION: Final = "equal-traffic"
CHANGELOG: Final = f"{APPLICATION}-payments-changelog"
INPUTS: Final = (
    topology.COMMANDS, topology.RESOLVE_DECISIONS, topology.DEPOSITS_RESULTS, topology.RAIL_REPORTS,
)  # fmt: skip
OUTPUTS: Final = (
    topology.EVENTS, topology.RAIL_SUBMISSIONS, topology.DEPOSITS_REQUESTS,
    topology.RESOLVE_REQUESTS,
)  # fmt: skip
COMMIT_INTERVAL: Final = "commit.interval.ms=20"  # for latency; throughput is at the default
HEAP: Final = "-Xmx1g"
MAVEN_SECONDS_MAX: Final = 600
COUNT_SECONDS_MAX: Final = 120.0
WARM_SHARE: Final = 3  # of the payments: one in three is for warming up
PAYMENTS: Final = 50_000
PAYMENTS_QUICK: Final = 15_000
LATENCY_SECONDS: Final = 30.0
LATENCY_SECONDS_QUICK: Final = 10.0
Figures = dict[str, Any]


class Streams(Process):
    """The Streams program as a process under measurement."""

    def phase(self) -> str:
        """As the product's /startupz, from what the program prints."""
        return "running" if "RUNNING" in self.log_tail().split() else ""


def built(target: Path) -> Path | None:
    """The folder with the program and its libraries, or None where there is no Maven."""
    maven = shutil.which("mvn")
    if maven is None:
        return None
    command = [maven, "-q", "-B", f"-Dtarget={target}", "-f", str(ROOT / "streams"), "package"]
    subprocess.run(command, check=True, timeout=MAVEN_SECONDS_MAX, stdout=subprocess.DEVNULL)
    return target


class _Played(Outside):
    """The application over the codec of the running cluster: its schema ids."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec
        self.driver.restart()


def templates(codec: Codec, file: Path) -> None:
    """One payment through the real application: what each stage gives, and the schemas by id."""
    app = _Played(codec).driver.app
    states = {n: PartitionStates(app, n, MemoryPartitionStore()) for n in range(PARTITIONS)}
    lines, ids = [], dict[int, str]()
    for number, name in enumerate(STAGES):
        for topic, partition, key, value in stage(
            codec, name, "template", payment_ids("template", 1), PARTITIONS, number
        ):
            run = BatchRun(app, states)
            run.decide([InputRecord(topic, partition, number, 0, key, value, [], 1_000 + number)])
            run.applied({}, 0)
            outputs = [(where, content) for where, content, *_ in run.overlay.outputs if content]
            for where, content in outputs:
                text = base64.b64encode(content).decode()
                lines.append(f"{name}\t{where}\t{text}")
            for where, content in ((topic, value), *outputs):
                assert len(content) > ID_FORM_BYTES
                ids[schema_id(content)] = type(codec.decode(where, content)).__name__
    lines += [f"schema\t{n}\t{json.dumps(definitions.current(ids[n]))}" for n in sorted(ids)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def streams(bench: Bench, program: Path, *settings: str) -> Streams:
    """The program on this cluster, with further settings as name=value."""
    file = bench.folder / "templates.txt"
    templates(bench.codec, file)
    command = [
        *(find_java(), HEAP, "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"),
        *("-cp", f"{program}/classes:{program}/libs/*", "bench.EqualTraffic", bench.bootstrap),
        *(APPLICATION, str(bench.folder / "streams"), str(file)),
        *(",".join(INPUTS), ",".join(OUTPUTS), *settings),
    ]
    return Streams(command, {}, bench.folder / "streams.log", APPLICATION)


def counts(bench: Bench, state_topic: str) -> dict[str, int]:
    """Committed records of each output topic, the state's among them."""
    found = {topic: _count(bench, topic) for topic in OUTPUTS}
    return {**found, "state": _count(bench, state_topic)}


def _count(bench: Bench, topic: str) -> int:
    consumer = Consumer(
        {
            "bootstrap.servers": bench.bootstrap, "group.id": "count", "log_level": 2,
            "auto.offset.reset": "earliest", "isolation.level": "read_committed",
            "enable.auto.commit": False, "enable.partition.eof": True,
        }
    )  # fmt: skip
    open_partitions = set(bench.ends(topic))
    consumer.assign([TopicPartition(topic, number, 0) for number in open_partitions])
    total, deadline = 0, time.monotonic() + COUNT_SECONDS_MAX
    while open_partitions:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{topic} was not read to its end in {COUNT_SECONDS_MAX} s")
        for message in consumer.consume(10_000, 0.5):
            if message.error():
                open_partitions.discard(message.partition() or 0)
            else:
                total += 1
    consumer.close()
    return total


def measured(
    system: str, program: Path, payments: int, latency_seconds: float, say: measures.Say
) -> Figures:
    """Figures of one system in one round, on a cluster of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="npp-bench-") as folder,
        running(Path(folder)) as bench,
    ):
        ours = system == "product"
        with bench.processor() if ours else streams(bench, program) as process:
            process.wait_ready()
            measures.throughput(bench, process, "warm", payments // WARM_SHARE, _silent)
            figures = measures.throughput(bench, process, "few", payments, say)
            figures["memoryBytes"] = process.memory_bytes()
        figures["records"] = counts(bench, topology.LIFECYCLE if ours else CHANGELOG)
        figures |= _latency(bench, system, program, latency_seconds)
    say(f"  {system}: {json.dumps({k: v for k, v in figures.items() if k != 'stages'})}")
    return figures


def _latency(bench: Bench, system: str, program: Path, seconds: float) -> Figures:
    """At 2,000 inputs a second, or why there is no figure: an answer that overtakes its question on
    a machine that is too slow makes none.
    """
    ours = system == "product"
    with bench.processor() if ours else streams(bench, program, COMMIT_INTERVAL) as process:
        process.wait_ready()
        try:
            measures.warm_up(bench, process, "warm-paced", seconds, measures.RATE_PER_SECOND // 3)
            return measures.latency(bench, process, "paced", seconds)
        except RuntimeError as error:
            return {"latencyMissing": str(error)}


def _silent(line: str) -> None:
    """The warm-up's figures are nobody's."""


def ratios(rounds: list[tuple[Figures, Figures]]) -> dict[str, float | None]:
    """Medians of ours to its over the rounds. Raises RuntimeError where the records differ."""
    for ours, theirs in rounds:
        if ours["records"] != theirs["records"]:
            raise RuntimeError(f"not the same traffic: {ours['records']}, {theirs['records']}")

    def ratio(*path: str) -> float | None:
        pairs = [(_at(ours, path), _at(theirs, path)) for ours, theirs in rounds]
        found = [a / b for a, b in pairs if a is not None and b is not None]
        return round(statistics.median(found), 2) if found else None

    return {
        "cpuRatio": ratio("cpuSecondsPerMillionInputs"),
        "throughputRatio": ratio("inputsPerSecond"),
        "p99Ratio": ratio("endToEndMillisAt2000", "p99"),
        "coreShareRatio": ratio("cpuShareAt2000"),
        "memoryRatio": ratio("memoryBytes"),
    }


def _at(figures: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    found: Any = figures
    for name in path:
        found = None if found is None else found.get(name)
    return None if found is None else float(found)


def compare(*, quick: bool, rounds: int, say: measures.Say) -> Figures:
    """The ratios, and what they are of. Raises RuntimeError without Maven, or for other traffic."""
    program = built(Path(tempfile.gettempdir()) / "npp-bench-streams")
    if program is None:
        raise RuntimeError(
            "no Maven here, so no Streams program: docs/performance.md has the last figures"
        )
    payments = PAYMENTS_QUICK if quick else PAYMENTS
    seconds = LATENCY_SECONDS_QUICK if quick else LATENCY_SECONDS
    found: list[tuple[Figures, Figures]] = []
    for number in range(rounds):
        order = ("product", "streams") if number % 2 == 0 else ("streams", "product")
        say(f"round {number + 1} of {rounds}, load average {os.getloadavg()[0]:.1f}")
        round_ = {name: measured(name, program, payments, seconds, say) for name in order}
        found.append((round_["product"], round_["streams"]))
    records = found[0][0]["records"]
    return {"streams": ratios(found), "records": records}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peer", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller counts")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    result = compare(
        quick=options.quick,
        rounds=options.rounds,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(json.dumps({"build": build.running(), **result}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
