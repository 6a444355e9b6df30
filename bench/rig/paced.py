"""The paced load: 2,000 inputs a second of all six stages at once, and how late their events are.

A payment's answer is published when it is due *and* its question's event was read, as in life: on
a machine that is too slow answers come later, and never overtake their questions.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, Message, TopicPartition

from bench.rig.cluster import Bench
from bench.rig.load import STAGES, payment_ids, stage
from bench.rig.process import Process
from engine.ports import RecordPosition
from schemas import topology

RATE_PER_SECOND: Final = 2_000
TICK_SECONDS: Final = 0.005
STAGE_LAG_SECONDS: Final = 0.6  # between two inputs of one payment; all stages run after 3 s
STILL_SECONDS_MAX: Final = 60.0  # without one event, while some are missing
KEPT_UP_SHARE: Final = 0.98  # of the inputs due: fewer sent in time is another load
PERCENTILES: Final = {"p50": 0.50, "p99": 0.99, "p999": 0.999}

Input = tuple[str, int, bytes, bytes]
Step = tuple[int, int]
"""(payment, stage)."""


class Due(NamedTuple):
    """One input of the load."""

    at_s: float
    measured: bool  # all stages run at this time
    step: Step
    record: Input


class Paced:
    """Publishes the load and notes, by payment and stage, when each input was sent and answered.

    `send(due)` hands an input to Kafka.
    """

    def __init__(self, send: Callable[[Due], None]) -> None:
        self._send = send
        self._steps: dict[RecordPosition, Step] = {}
        self._early: dict[RecordPosition, float] = {}  # read before their input was confirmed
        self._waiting: dict[Step, Due] = {}  # by the step whose event they wait for
        self.sent: dict[Step, float] = {}
        self.answered: dict[Step, float] = {}
        self.delayed = 0  # answers that were due before their question's event was read

    def due(self, each: Due, now_s: float) -> None:
        """It is this input's time."""
        payment, number = each.step
        if number and (payment, number - 1) not in self.answered:
            self._waiting[payment, number - 1] = each
            self.delayed += 1
        else:
            self._publish(each, now_s)

    def placed(self, step: Step, place: RecordPosition) -> None:
        """Kafka has the input at this place."""
        self._steps[place] = step
        if place in self._early:
            self._answer(step, self._early.pop(place))

    def event(self, cause: RecordPosition, now_s: float) -> None:
        """A committed event was read; later events of the same input change nothing."""
        step = self._steps.get(cause)
        if step is None:
            self._early.setdefault(cause, now_s)
        else:
            self._answer(step, now_s)

    def missing(self) -> list[Step]:
        """Inputs without an event; those that wait for one of these are not among them."""
        return [step for step in self.sent if step not in self.answered]

    def is_complete(self) -> bool:
        """Every input due so far was published and has its event."""
        return not self._waiting and len(self.answered) == len(self.sent)

    def _answer(self, step: Step, now_s: float) -> None:
        if step in self.answered:
            return
        self.answered[step] = now_s
        follower = self._waiting.pop(step, None)
        if follower is not None:
            self._publish(follower, now_s)

    def _publish(self, each: Due, now_s: float) -> None:
        self.sent[each.step] = now_s
        self._send(each)


def warm_up(bench: Bench, process: Process, run: str, seconds: float) -> None:
    """The same load, unjudged."""
    _run(bench, process, run, seconds)


def latency(bench: Bench, process: Process, run: str, seconds: float) -> dict[str, Any]:
    """Milliseconds from publishing an input to reading its first event committed, at 2,000 inputs a
    second of all six stages at once; and the processor's share of a core meanwhile.

    Raises RuntimeError when an input has no event.
    """
    return measured(bench, process, run, seconds)[1]


def measured(
    bench: Bench, process: Process, run: str, seconds: float
) -> tuple[Paced, dict[str, Any]]:
    """The load as it went, and the figures of `latency`."""
    load, plan, share = _run(bench, process, run, seconds)
    steps = [each.step for each in plan if each.measured]
    millis = sorted((load.answered[step] - load.sent[step]) * 1000 for step in steps)
    figures = {
        name: round(millis[int(q * (len(millis) - 1))], 1) for name, q in PERCENTILES.items()
    }
    late = load.delayed / len(plan)
    found: dict[str, Any] = {"endToEndMillisAt2000": figures, "cpuShareAt2000": round(share, 3)}
    if late > 1 - KEPT_UP_SHARE:
        found["notAt2000"] = (
            f"{late:.0%} of the answers waited for their question's event: the machine did not "
            f"carry 2,000 inputs/s (load average {os.getloadavg()[0]:.1f})"
        )
    return load, found


def _run(
    bench: Bench, process: Process, run: str, seconds: float
) -> tuple[Paced, list[Due], float]:
    """The load, what happened to it, and the processor's share of a core while all stages ran."""
    plan = planned(bench, run, seconds)
    reader = _journal_reader(bench)
    failed: list[str] = []

    def send(each: Due) -> None:
        def report(error: Any, message: Message) -> None:
            topic, number, offset = message.topic(), message.partition(), message.offset()
            if error is not None or topic is None or number is None or offset is None:
                failed.append(str(error))
            else:
                load.placed(each.step, (topic, number, offset))

        topic, partition, key, value = each.record
        bench.producer.produce(topic, value, key, partition, report)

    load = Paced(send)
    decode = bench.codec.decode

    def look() -> bool:
        """Read what is there; True when there was something."""
        bench.producer.poll(0)
        messages = reader.consume(10_000, TICK_SECONDS)
        now_s = time.monotonic()
        for message in messages:
            value = message.value()
            if value is not None:
                cause = decode(topology.EVENTS, value).header.cause
                load.event((cause.topic, cause.partition, cause.offset), now_s)
        if failed:
            raise RuntimeError(f"an input was not taken: {failed[0]}")
        return bool(messages)

    used = begun = ended = 0.0
    started_s, at = time.monotonic(), 0
    while at < len(plan):
        look()
        now_s = time.monotonic()
        while at < len(plan) and plan[at].at_s <= now_s - started_s:
            if plan[at].measured and not begun:
                used, begun = process.cpu_seconds(), now_s
            if begun and not ended and not plan[at].measured:
                used, ended = process.cpu_seconds() - used, now_s
            load.due(plan[at], now_s)
            at += 1
    last_s = time.monotonic()
    while not load.is_complete():
        now_s = time.monotonic()
        if look():
            last_s = now_s
        elif now_s - last_s > STILL_SECONDS_MAX or process.has_ended():
            raise RuntimeError(_why(load, plan, process))
    reader.close()
    return load, plan, used / (ended - begun)


def _why(load: Paced, plan: list[Due], process: Process) -> str:
    topics = {each.step: each.record[0] for each in plan}
    counts = dict(Counter(topics[step] for step in load.missing()))
    what = (
        "the process ended" if process.has_ended() else f"none came for {STILL_SECONDS_MAX:.0f} s"
    )
    return (
        f"of {len(load.sent)} inputs sent, {len(load.missing())} have no event ({counts}); {what}. "
        f"Load average {os.getloadavg()[0]:.1f}. Its log: {process.log_tail()[-500:]}"
    )


def planned(bench: Bench, run: str, seconds: float, rate: int = RATE_PER_SECOND) -> list[Due]:
    """Every input with the second at which it is due, in order."""
    payments_per_second = rate / len(STAGES)
    lag = int(payments_per_second * STAGE_LAG_SECONDS)
    last = lag * (len(STAGES) - 1)
    count = int(payments_per_second * seconds) + last
    ids = payment_ids(run, count)
    now_ms = int(time.time() * 1000)
    loads = [stage(bench.codec, name, run, ids, bench.partitions, now_ms) for name in STAGES]
    return [
        Due(
            tick / payments_per_second,
            last <= tick < count,
            (tick - number * lag, number),
            load[tick - number * lag],
        )
        for tick in range(count + last)
        for number, load in enumerate(loads)
        if 0 <= tick - number * lag < count
    ]


def _journal_reader(bench: Bench) -> Consumer:
    """A read_committed reader at the journal's end."""
    reader = Consumer(
        {
            "bootstrap.servers": bench.bootstrap,
            "group.id": "bench-latency",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 5,
            "enable.auto.commit": False,
            "log_level": 2,
        }
    )
    ends = bench.ends(topology.EVENTS)
    reader.assign([TopicPartition(topology.EVENTS, n, end) for n, end in ends.items()])
    reader.consume(1, 0.5)
    return reader
