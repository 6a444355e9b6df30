"""`python -m bench.scale`: one group of payments processors over 48 partitions.

CPU per input and shares with 1, 2 and 4 processes; how long partitions wait while processes join
and leave with many known payments; and a cancel while more comes in than is decided. All processes
share the machine: its cores bound the throughput, so CPU per input is the figure.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

from app.platform.fetch import say_on_stderr as say
from bench.rig import builds, measures
from bench.rig.answer import give, options_of
from bench.rig.cluster import GROUP, Bench, running
from bench.rig.load import payment_ids, stage
from bench.rig.process import Process
from core.header import InputHeader, OperatorHeader
from core.payment.commands import RequestApproval
from core.values import PaymentIntentId
from engine.clients.groups import GroupAdmin
from engine.partitioner import partition_of
from schemas import topology

PARTITIONS: Final = 48
SERVING: Final = 'npp_engine_partitions{state="running"}'
POLLED: Final = "npp_engine_records_polled_total"
SERVING_SECONDS_MAX: Final = 600.0
LOOK_SECONDS: Final = 0.05
WARM_PAYMENTS: Final = 2_000
# Past saturation: a burst every second of this many times what the group decides in one.
OVERLOAD: Final = 4.0
OVERLOAD_SECONDS: Final = 15
CANCEL_SECONDS_MAX: Final = 60.0
NOT_AFTER_MS: Final = 3_600_000

Figures = dict[str, Any]


class Group:
    """Several processors as one process under measurement."""

    group: Final = GROUP

    def __init__(self, members: list[Process]) -> None:
        self.members = members

    def cpu_seconds(self) -> float:
        return sum(each.cpu_seconds() for each in self.members)

    def memory_bytes(self) -> int:
        return sum(each.memory_bytes() for each in self.members)

    def pause(self) -> None:
        for each in self.members:
            each.pause()

    def resume(self) -> None:
        for each in self.members:
            each.resume()

    def has_ended(self) -> bool:
        return any(each.has_ended() for each in self.members)

    def log_tail(self) -> str:
        return "\n".join(each.log_tail() for each in self.members)

    def wait_serving(self) -> None:
        """Until they serve all partitions between them. Raises RuntimeError after a time."""
        deadline = time.monotonic() + SERVING_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.has_ended():
                raise RuntimeError(f"a processor ended: {self.log_tail()}")
            counts = [each.metric(SERVING) for each in self.members]
            if sum(counts) == PARTITIONS and all(counts):
                return
            time.sleep(LOOK_SECONDS)
        raise RuntimeError(f"not all partitions are served after {SERVING_SECONDS_MAX:.0f} s")


@contextmanager
def group_of(bench: Bench, count: int) -> Iterator[Group]:
    """`count` processors that serve all partitions."""
    with ExitStack() as closing:
        members = [closing.enter_context(bench.processor(f"scale-{n}")) for n in range(count)]
        for each in members:
            each.wait_ready()
        group = Group(members)
        group.wait_serving()
        yield group


def shared(bench: Bench, count: int, payments: int) -> Figures:
    """CPU per input, and the smallest share of the inputs beside the largest."""
    with group_of(bench, count) as group:
        measures.throughput(bench, group, f"warm-{count}", WARM_PAYMENTS, _silent)
        before = [each.metric(POLLED) for each in group.members]
        wave = min(payments, measures.WAVE_MIN * 5)
        found = measures.throughput(bench, group, f"scale-{count}", payments, _silent, wave)
        polled = [each.metric(POLLED) - at for each, at in zip(group.members, before, strict=True)]
        memory = group.memory_bytes()
    figures = {
        "processes": count,
        "cpuSecondsPerMillionInputs": found["cpuSecondsPerMillionInputs"],
        "inputsPerSecond": found["inputsPerSecond"],
        "createsPerSecond": found["stages"]["create"],
        "shareMax": round(max(polled) / sum(polled), 3),
        "shareMin": round(min(polled) / sum(polled), 3),
        "memoryBytes": memory,
    }
    say(f"  {figures}")
    return figures


def log_bytes(bench: Bench, payments: int) -> dict[str, int]:
    """Bytes that each topic's segments take on the broker, per payment, in the order of size."""
    sizes: Counter[str] = Counter()
    for file in (bench.folder / "kafka").rglob("*.log"):
        topic = file.parent.name.rpartition("-")[0]
        if topic.startswith("npp."):
            sizes[topic] += file.stat().st_size
    return {topic: round(size / payments) for topic, size in sizes.most_common() if size}


def rebalances(bench: Bench, example: str, known: int) -> Figures:
    """Seconds until all partitions are served again after a second process joins, leaves, and is
    killed, with `known` payments at rest.
    """
    with bench.processor("scale-0") as first:
        first.wait_ready()
        alone = Group([first])
        alone.wait_serving()
        measures.seed(bench, example, known, say)
    with bench.processor("scale-0") as first:
        first.wait_ready()
        alone = Group([first])
        alone.wait_serving()
        started = time.monotonic()
        with bench.processor("scale-1") as second:
            second.wait_ready()
            Group([first, second]).wait_serving()
            joined = time.monotonic() - started
            started = time.monotonic()
        alone.wait_serving()
        left = time.monotonic() - started
        with bench.processor("scale-1") as second:
            second.wait_ready()
            Group([first, second]).wait_serving()
            second.child.kill()
            started = time.monotonic()
        alone.wait_serving()
        lost = time.monotonic() - started
    figures = {
        "knownPayments": known,
        "joinSeconds": round(joined, 1),
        "leaveSeconds": round(left, 1),
        "killedSeconds": round(lost, 1),
    }
    say(f"  {figures}")
    return figures


def past_saturation(bench: Bench, rate: int) -> Figures:
    """More creations than the group can decide: their lag grows, and cancels are decided meanwhile.
    A second counts while the group runs.

    The cancels' figures are milliseconds from publishing the request to reading its committed
    event.
    """
    burst = int(rate * OVERLOAD)
    targets = payment_ids("cancelled", OVERLOAD_SECONDS)
    with group_of(bench, 1) as group:
        now_ms = int(time.time() * 1000)
        bench.produce(stage(bench.codec, "create", "cancelled", targets, bench.partitions, now_ms))
        bench.wait_drained(topology.COMMANDS, group)
        loads = [
            stage(
                bench.codec, "create", "flood", payment_ids(f"flood-{n}", burst), bench.partitions,
                now_ms,
            )
            for n in range(OVERLOAD_SECONDS)
        ]  # fmt: skip
        lags, millis = [], []
        for load, target in zip(loads, targets, strict=True):
            group.pause()  # publishing may take longer than deciding: the lag would not grow
            bench.produce(load)
            group.resume()
            started = time.monotonic()
            lags.append(_lag(bench))
            millis.append(_cancel(bench, target))
            time.sleep(max(0.0, 1.0 - (time.monotonic() - started)))
    figures = {
        "offeredPerSecond": burst,
        "lagRecords": [lags[0], lags[len(lags) // 2], lags[-1]],
        "cancelMillisMedian": round(statistics.median(millis)),
        "cancelMillisMax": round(max(millis)),
    }
    say(f"  {figures}")
    return figures


def _lag(bench: Bench) -> int:
    """Creations that are not decided."""
    got = GroupAdmin({"bootstrap.servers": bench.bootstrap}).committed(GROUP)
    ends = bench.ends(topology.COMMANDS)
    return sum(end - got.get((topology.COMMANDS, n), 0) for n, end in ends.items())


def _cancel(bench: Bench, target: PaymentIntentId) -> float:
    """Request a payment's cancel, which holds its send back until a second person has decided;
    milliseconds until its event is read. Raises RuntimeError after a time.
    """
    key, now_ms = target.encode(), int(time.time() * 1000)
    number = partition_of(key, bench.partitions)
    operator = OperatorHeader(
        operator_id="ops_001",
        roles=("operator",),
        token_id="bench",
        not_after=now_ms + NOT_AFTER_MS,
    )
    command = RequestApproval(
        header=InputHeader(payment_intent_id=target, sent_at=now_ms),
        operator=operator,
        action="CANCEL",
        reason="bench",
    )
    value = bench.codec.encode(topology.OPERATOR_COMMANDS, command)
    reader = Consumer(
        {
            "bootstrap.servers": bench.bootstrap, "group.id": "bench-cancel", "log_level": 2,
            "isolation.level": "read_committed", "enable.auto.commit": False,
            "fetch.wait.max.ms": 5,
        }
    )  # fmt: skip
    end = bench.ends(topology.EVENTS)[number]
    reader.assign([TopicPartition(topology.EVENTS, number, end)])
    started = time.monotonic()
    bench.produce([(topology.OPERATOR_COMMANDS, number, key, value)])
    while (waited := time.monotonic() - started) < CANCEL_SECONDS_MAX:
        for message in reader.consume(1_000, LOOK_SECONDS / 10):
            raw = message.value()
            if message.key() != key or raw is None:
                continue
            if bench.codec.decode(topology.EVENTS, raw).header.cause.topic == (
                topology.OPERATOR_COMMANDS
            ):
                reader.close()
                return (time.monotonic() - started) * 1000
    raise RuntimeError(f"a cancel was not decided in {waited:.0f} s")


def _silent(line: str) -> None:
    """One line a group is enough."""


def main() -> int:
    parser = options_of("bench.scale", __doc__)
    parser.add_argument("--native", action="store_true", help="the compiled build (make native)")
    parser.add_argument("--payments", type=int, default=10_000, help="through each group")
    parser.add_argument("--known", type=int, default=100_000, help="payments at a rebalance")
    parser.add_argument("--processes", default="1,2,4", help="sizes of the groups")
    options = parser.parse_args()
    source = builds.tree(native=options.native)
    machine = builds.machine(source)
    say(machine)
    with ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="npp-bench-")))
        tree = builds.with_partitions(folder / "tree", source, PARTITIONS)
        bench = closing.enter_context(running(folder, tree))
        say(f"{PARTITIONS} partitions, {options.payments:,} payments through each group")
        sizes = [int(each) for each in options.processes.split(",")]
        groups = [shared(bench, count, options.payments) for count in sizes]
        through = len(sizes) * (options.payments + WARM_PAYMENTS)
        stored = log_bytes(bench, through)
        say(f"  bytes on the log per payment: {stored}")
        say(f"joining and leaving with {options.known:,} known payments")
        example = payment_ids(f"scale-{sizes[0]}", 1)[0]
        rebalanced = rebalances(bench, example, options.known)
        say(f"past saturation, {OVERLOAD_SECONDS} s")
        flooded = past_saturation(bench, groups[0]["createsPerSecond"])
    result = {
        "groups": groups,
        "logBytesPerPayment": stored,
        "rebalance": rebalanced,
        "pastSaturation": flooded,
        "build": builds.running_in(source),
        "machine": f"{machine} before, {os.getloadavg()[0]:.1f} after",
    }
    give(result, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
