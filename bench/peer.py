"""The product beside a Kafka Streams program of equal record traffic, each on a fresh cluster, in
alternating rounds: ratios of ours to its, and the counts of records that make them comparable.

The program (bench/streams) decides nothing. Maven builds it; where it cannot, the figures are those
of the last published run, and say so.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from app.platform.fetch import say_on_stderr
from app.platform.java import find_java
from bench.rig import builds, measures, paced
from bench.rig.answer import give, options_of
from bench.rig.cluster import Bench, running
from bench.rig.load import STAGES, payment_ids, stage
from bench.rig.process import Process
from engine.loop.batch import BatchRun
from engine.ports import InputRecord
from engine.store.states import PartitionStates
from schemas import definitions, topology
from schemas.codec import Codec
from schemas.codec.wire import ID_FORM_BYTES, schema_id
from tests.engine.store.memory import MemoryPartitionStore
from tests.processors.payments.clean_history import PARTITIONS, Outside

PROGRAM: Final = Path(__file__).resolve().parent / "streams"
PUBLISHED: Final = PROGRAM / "published.json"
BUILT: Final = builds.ROOT / "build" / "streams"
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
# For latency; throughput is measured at the defaults.
LATENCY_SETTINGS: Final = ("commit.interval.ms=20", "producer.linger.ms=1")
HEAP: Final = "-Xmx1g"
MAVEN_SECONDS_MAX: Final = 600

WARM_UP: Final = (
    "each system, each round: {:,} payments through all stages before throughput; before latency, "
    "in a process of its own, {:.0f} s of the paced load and the 6 s in which not all stages run"
)
TRIES: Final = 2  # of a system's round: a paused machine causes different traffic
# Before throughput as many payments as this share of the measured ones, through all stages; before
# latency the paced load. The JVM's compilers are then done with nearly all of it.
WARM_SHARE: Final = 0.8
Figures = dict[str, Any]


class Size(NamedTuple):
    """How much of each load one round has."""

    payments: int
    warm_s: float
    latency_s: float


QUICK: Final = Size(15_000, 8.0, 10.0)
FULL: Final = Size(50_000, 30.0, 30.0)


class Streams(Process):
    """The Streams program as a process under measurement."""

    def phase(self) -> str:
        """As the product's /startupz, from what the program prints."""
        return "running" if "RUNNING" in self.log_tail().split() else ""


def built(target: Path, say: measures.Say) -> Path | None:
    """The folder with the program and its libraries, or None where Maven is missing or fails."""
    maven = shutil.which("mvn")
    if maven is None:
        say("no Maven here")
        return None
    command = [maven, "-q", "-B", f"-Dtarget={target}", "-f", str(PROGRAM), "package"]
    try:
        done = subprocess.run(
            command, timeout=MAVEN_SECONDS_MAX, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        say(f"Maven did not end in {MAVEN_SECONDS_MAX} s")
        return None
    if done.returncode:
        say(f"Maven failed: {done.stdout[-1_000:]}")
        return None
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
    found = {topic: measures.count_records(bench, topic) for topic in OUTPUTS}
    return {**found, "state": measures.count_records(bench, state_topic)}


def measured(
    system: str, tree: Path, program: Path, size: Size, say: measures.Say, wave: int = 0
) -> Figures:
    """Figures of one system in one round, on its own cluster; `wave` as `throughput`'s, 0: as
    this machine takes them.
    """
    with (
        tempfile.TemporaryDirectory(prefix="npp-bench-") as folder,
        running(Path(folder), tree) as bench,
    ):
        ours = system == "product"
        with bench.processor() if ours else streams(bench, program) as process:
            process.wait_ready()
            count = int(size.payments * WARM_SHARE)
            warm = measures.throughput(bench, process, "warm", count, _silent, wave or count // 4)
            wave = wave or measures.wave_for(warm, size.payments)
            figures = measures.throughput(bench, process, "few", size.payments, _silent, wave)
            figures |= {"memoryBytes": process.memory_bytes(), "wave": wave}
            figures["warmCpuSecondsPerMillionInputs"] = warm["cpuSecondsPerMillionInputs"]
        figures["records"] = counts(bench, topology.LIFECYCLE if ours else CHANGELOG)
        with bench.processor() if ours else streams(bench, program, *LATENCY_SETTINGS) as process:
            process.wait_ready()
            if size.warm_s:
                paced.warm_up(bench, process, "warm-paced", size.warm_s)
            figures |= paced.latency(bench, process, "paced", size.latency_s)
    say(f"  {system}: {json.dumps(figures)}")
    return figures


def _silent(line: str) -> None:
    """One line a system and round is enough."""


def is_same_traffic(ours: Figures, theirs: Figures) -> bool:
    """Equal counts of committed records on every topic."""
    return bool(ours["records"] == theirs["records"])


def ratios(rounds: list[tuple[Figures, Figures]]) -> dict[str, float | None]:
    """Medians of ours to its over the rounds. Raises RuntimeError where the records differ."""
    for ours, theirs in rounds:
        if not is_same_traffic(ours, theirs):
            raise RuntimeError(
                f"not the same traffic: {ours['records']}, {theirs['records']}. The machine stood "
                "still for so long that requests were repeated; run it again with less beside it"
            )

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


def compare(*, tree: Path, size: Size, rounds: int, say: measures.Say) -> Figures:
    """The ratios, and what they are of; the last published ones where the program cannot be built.

    Raises RuntimeError when the traffic differs, also the second time.
    """
    before = builds.machine(tree)
    program = built(BUILT, say)
    if program is None:
        say(f"no Streams program: the figures are those of {PUBLISHED.name}")
        return {**json.loads(PUBLISHED.read_text(encoding="utf-8")), "streamsMeasuredHere": False}
    found: list[tuple[Figures, Figures]] = []
    wave = 0
    for number in range(rounds):
        order = ("product", "streams") if number % 2 == 0 else ("streams", "product")
        for _ in range(TRIES):
            say(f"round {number + 1} of {rounds}, load average {os.getloadavg()[0]:.1f}")
            round_: dict[str, Figures] = {}
            for name in order:
                round_[name] = measured(name, tree, program, size, say, wave)
                wave = round_[name]["wave"]
            if is_same_traffic(round_["product"], round_["streams"]):
                break
            say("  not the same traffic: once more, with fewer payments at a time")
            wave = max(measures.WAVE_MIN, wave // 2)
        found.append((round_["product"], round_["streams"]))
    return {
        "streams": ratios(found),
        "streamsBuild": builds.running_in(tree),
        "streamsMachine": f"{before} before, {os.getloadavg()[0]:.1f} after",
        "streamsMeasuredHere": True,
        "streamsWarmUp": WARM_UP.format(int(size.payments * WARM_SHARE), size.warm_s),
        "notAt2000": sorted(
            {each["notAt2000"] for pair in found for each in pair if "notAt2000" in each}
        ),
        "records": found[0][0]["records"],
        "rounds": [{"product": ours, "streams": theirs} for ours, theirs in found],
    }


def main() -> int:
    parser = options_of("bench.peer", __doc__)
    parser.add_argument("--quick", action="store_true", help="smaller counts")
    parser.add_argument("--native", action="store_true", help="the compiled build (make native)")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--publish", type=Path, help="write the result to this file, too")
    options = parser.parse_args()
    tree = builds.tree(native=options.native)
    result = compare(
        tree=tree,
        size=QUICK if options.quick else FULL,
        rounds=options.rounds,
        say=say_on_stderr,
    )
    if options.publish and result["streamsMeasuredHere"]:
        published = {name: result[name] for name in ("streams", "streamsBuild", "streamsMachine")}
        options.publish.write_text(json.dumps(published, indent=1) + "\n", encoding="utf-8")
    give({"build": builds.running_in(tree), **result}, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
