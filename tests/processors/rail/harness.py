"""The rail adapter without Kafka: an in-memory log, the real adapter and codec, the simulated rail
over HTTP. An instance can be killed at each of its effects; the simulator's ledger decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import httpx
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from core.header import InstructionHeader
from core.payment.commands import RailReport
from core.payment.instructions import RailInstruction
from core.records import RailSubmission
from core.values import (
    Cents,
    ExternalRef,
    Parties,
    Party,
    PaymentIntentId,
    external_ref,
    payment_intent_id,
)
from engine.clock import SystemClock
from engine.ports import Headers, InputRecord
from engine.records import LogRecord
from engine.serving.metrics import uncounted
from engine.worker.lanes import Lane
from engine.worker.settings import TryAgain
from gateways.connections import Gateway
from gateways.ports import RecallAnswer, StatusAnswer, SubmitAnswer
from gateways.rail.http_client import HttpRail
from gateways.rail.simulator import RailSimulator
from processors.adapter.metrics import AdapterMetrics
from processors.rail.handler import RailAdapter
from processors.rail.record import SubmissionRecord
from processors.rail.webhook import WebhookServer
from processors.rail.worker import RailHandler, Withdrawn
from processors.rail.writer import RailWriter
from schemas import topology
from schemas.codec.parties import seal
from schemas.registry.setup import static_codec
from tests.clock import HeldClock

NOW_MS = 1_780_000_000_000
WINDOW_MS = 60_000
HOUR_MS = 3_600_000
NOWHERE = "http://127.0.0.1:9"  # nothing listens there
STEPS_MAX = 2_000
PARTIES = Parties(
    debtor=Party(name="A", bsb="062000", account="12345678"),
    creditor=Party(name="B", bsb="082001", account="87654321"),
)
CODEC = static_codec()
PAYMENT = payment_intent_id("mobile-app", "key-0001")
REFERENCE = external_ref(PAYMENT, 1)


class Killed(BaseException):
    """The process was killed; no code in it may catch this."""


class Fuse:
    """Kills at the n-th effect, before it happens (even n) or just after it (odd n)."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.count = 0
        self.kills = 0

    def burn(self) -> None:
        if self.count == self.at:
            self.at = None
            self.kills += 1
            raise Killed
        self.count += 1


class MemoryLog:
    """Topics of one partition each; survives restarts."""

    def __init__(self, clock: HeldClock) -> None:
        self.clock = clock
        self.topics: dict[str, list[LogRecord]] = {}
        self.fuse = Fuse()

    def publish(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Headers | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self.fuse.burn()
        self.append(topic, key, value, headers)
        self.fuse.burn()

    def append(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> None:
        records = self.topics.setdefault(topic, [])
        records.append(
            LogRecord(topic, 0, len(records), self.clock.now_ms(), key, value, headers or [])
        )

    def of(self, topic: str) -> list[LogRecord]:
        return self.topics.setdefault(topic, [])

    # processors.rail.worker.RecordReader

    def submissions(self, partition: int) -> Iterable[LogRecord]:
        return list(self.of(topology.RAIL_SUBMITTED))

    def submissions_end(self, partition: int) -> int:
        return len(self.of(topology.RAIL_SUBMISSIONS))


class FusedRail:
    """The HTTP rail; the process may die before the request is sent and before its answer."""

    def __init__(self, harness: Harness, fuse: Fuse) -> None:
        self._there = HttpRail(gateway=harness.gateway, clock=harness.clock)
        self._nowhere = HttpRail(gateway=Gateway(NOWHERE), clock=harness.clock)
        self.name = self._there.name
        self._harness = harness
        self._fuse = fuse

    def _rail(self) -> HttpRail:
        return self._nowhere if self._harness.refuses_connections else self._there

    def submit(self, instruction: RailInstruction, parties: Parties) -> SubmitAnswer:
        self._fuse.burn()
        answer = self._rail().submit(instruction, parties)
        self._fuse.burn()
        return answer

    def status(self, external_ref: ExternalRef) -> StatusAnswer:
        self._fuse.burn()
        answer = self._rail().status(external_ref)
        self._fuse.burn()
        return answer

    def recall(self, external_ref: ExternalRef, *, number: int) -> RecallAnswer:
        self._fuse.burn()
        return self._rail().recall(external_ref, number=number)


class Ownership:
    """`ours` false: another instance has the partition. An answer `takes_ms`."""

    def __init__(self, clock: HeldClock) -> None:
        self.ours = True
        self.takes_ms = 0
        self._clock = clock

    def confirm(self, partition: int) -> bool:
        self._clock.advance(self.takes_ms)
        return self.ours


class Served:
    """One HTTP server for all harnesses of a run; it serves the current harness's simulator."""

    app: ASGIApp

    def __init__(self) -> None:
        self._server = WebhookServer(
            self, count=uncounted, host="127.0.0.1", port=0, clock=SystemClock()
        )
        self._server.start()
        base_url = f"http://127.0.0.1:{self._server.port}"
        self.client = httpx.Client(base_url=base_url, trust_env=False)
        self.gateway = Gateway(base_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError("callbacks are not sent in these tests")
        await self.app(scope, receive, send)

    def close(self) -> None:
        self.client.close()
        self.gateway.close()
        self._server.close()


class Harness:
    """One simulated rail, one log, and instances that start and die.

    The adapter record holds a submission of an hour ago, so it covers today's instructions.
    """

    def __init__(self, served: Served) -> None:
        self.clock = HeldClock(NOW_MS - HOUR_MS)
        self.log = MemoryLog(self.clock)
        self.record_of(external_ref(payment_intent_id("mobile-app", "elder"), 1), "SUBMITTED")
        self.clock.advance(HOUR_MS)
        self.simulator = RailSimulator(clock=self.clock)
        self.simulator.scripts.put({"for": "*", "steps": [{"kind": "NOTHING"}]})
        served.app = self.simulator.app()
        self.client = served.client
        self.gateway = served.gateway
        self.committed = 0
        self.stopped: str | None = None
        self.fresh = True
        self.crowded = False
        self.refuses_connections = False  # the rail
        self.ownership = Ownership(self.clock)

    def instruct(self, kind: Any, *, attempt: int = 1, number: int = 1, window: int = WINDOW_MS,
                 payment: str = PAYMENT, key: bytes | None = None) -> None:  # fmt: skip
        """Append an instruction to the submissions topic, as the payments processor would."""
        instruction = RailInstruction(
            header=InstructionHeader(
                payment_intent_id=PaymentIntentId(payment),
                sequence=5,
                decided_at=self.clock.now_ms(),
            ),
            kind=kind,
            external_ref=external_ref(payment, attempt),
            attempt=attempt,
            amount=Cents(12_345),
            currency="AUD",
            service="sct",
            end_to_end_id="E2E-1",
            submit_before=NOW_MS + window,
            number=number,
            parties=seal(PARTIES) if kind == "SUBMIT" else None,
        )
        topic = topology.RAIL_SUBMISSIONS
        self.log.append(topic, key or payment.encode(), CODEC.encode(topic, instruction))

    def record_of(self, reference: str, *phases: Any, tries: int = 1) -> None:
        """Append to the adapter record, as an earlier instance would have."""
        for phase in phases:
            now = self.clock.now_ms()
            written = RailSubmission(
                external_ref=ExternalRef(reference),
                payment_intent_id=PAYMENT,
                phase=phase,
                submit_before=now + WINDOW_MS,
                at=now,
                tries=tries,
            )
            topic = topology.RAIL_SUBMITTED
            self.log.append(topic, reference.encode(), CODEC.encode(topic, written))

    def instance(self, fuse: Fuse | None = None, *, ahead: bool = True) -> Instance:
        """A new process. With `ahead` its look-ahead reads the topic to its end."""
        return Instance(self, fuse or Fuse(), ahead)

    def reports(self) -> list[RailReport]:
        topic = topology.RAIL_REPORTS
        return [CODEC.decode(topic, r.value, r.headers) for r in self.log.of(topic)]

    def kinds(self) -> list[str]:
        return [report.kind for report in self.reports()]

    def said(self) -> list[tuple[str, str | None]]:
        """Kind and code of each report."""
        return [(report.kind, report.code) for report in self.reports()]

    def script(self, *steps: Mapping[str, object], reference: str = REFERENCE) -> None:
        self.simulator.scripts.put({"for": reference, "steps": list(steps)})

    def requested(self, reference: str = REFERENCE) -> int:
        """How many enquiries about a reference reached the rail."""
        return self.simulator.ledger.enquiries.get(reference, 0)

    def submitted(self, reference: str = REFERENCE) -> int:
        """How many submissions of a reference reached the rail's ledger."""
        entry = self.simulator.ledger.entries.get(reference)
        return 0 if entry is None else entry.submitted


class Instance:
    """The rail adapter from one start to its next crash."""

    def __init__(self, harness: Harness, fuse: Fuse, ahead: bool) -> None:
        self.harness = harness
        self.fuse = fuse
        self.done: set[int] = set()  # offsets
        self.generation = 1  # of the assignment
        harness.log.fuse = fuse
        self.record = SubmissionRecord()
        self.withdrawn = Withdrawn(
            codec=CODEC, is_fresh=lambda _: harness.fresh, clock=harness.clock
        )
        if ahead:
            self.look_ahead()
        metrics = AdapterMetrics(CollectorRegistry())
        rail = FusedRail(harness, fuse)
        writer = RailWriter(
            rail=rail,
            record=self.record,
            ownership=harness.ownership,
            publisher=harness.log,
            codec=CODEC,
            clock=harness.clock,
            metrics=metrics,
        )
        adapter = RailAdapter(
            rail=rail,
            record=self.record,
            ahead=self.withdrawn,
            writer=writer,
            clock=harness.clock,
            stopped=lambda: harness.stopped,
            crowded=lambda: harness.crowded,
            metrics=metrics,
        )
        self.handler = RailHandler(
            adapter=adapter,
            codec=CODEC,
            publisher=harness.log,
            quarantine_partitions=1,
            metrics=metrics,
            record=self.record,
            reader=harness.log,
            generation=lambda: self.generation,
            clock=harness.clock,
        )

    def look_ahead(self) -> None:
        for record in self.harness.log.of(topology.RAIL_SUBMISSIONS)[self.harness.committed :]:
            self.withdrawn.observe(record)

    def assign(self) -> None:
        """Take the partition now: records appended from here on are new."""
        self.handler._restore(0)

    def poll(self, offset: int) -> None:
        """Read an instruction into its lane; `run` does this by itself."""
        record = self.harness.log.of(topology.RAIL_SUBMISSIONS)[offset]
        self.handler.lane_of(polled(record, self.harness.clock))

    def try_once(self, offset: int) -> float | None:
        """Call the handler once; return the seconds it wants to wait, or None when it is done."""
        record = self.harness.log.of(topology.RAIL_SUBMISSIONS)[offset]
        try:
            self.handler(polled(record, self.harness.clock))
        except TryAgain as error:
            return error.pause_s
        self.done.add(offset)
        while self.harness.committed in self.done:
            self.harness.committed += 1
        return None

    def run(self) -> None:
        """Handle everything from the committed offset to the end, as the lanes would with one
        thread: the lowest rank first, waiting as requested. Offsets pass only finished records.
        """
        lanes: dict[Lane, list[int]] = {}
        due_ms: dict[int, int] = {}
        for _ in range(STEPS_MAX):
            records = self.harness.log.of(topology.RAIL_SUBMISSIONS)
            seen = {offset for offsets in lanes.values() for offset in offsets} | self.done
            for offset in sorted(set(range(self.harness.committed, len(records))) - seen):
                lane = self.handler.lane_of(polled(records[offset], self.harness.clock))
                lanes.setdefault(lane, []).append(offset)
            heads = [(lane.rank, offsets[0], lane) for lane, offsets in lanes.items() if offsets]
            if not heads:
                return
            now = self.harness.clock.now_ms()
            ready = [head for head in heads if due_ms.get(head[1], 0) <= now]
            if not ready:
                self.harness.clock.sleep(
                    (min(due_ms[offset] for _, offset, _ in heads) - now) / 1000
                )
                continue
            _, offset, lane = min(ready)
            again_s = self.try_once(offset)
            if again_s is not None:
                due_ms[offset] = self.harness.clock.now_ms() + max(1, round(again_s * 1000))
                continue
            lanes[lane].remove(offset)
        raise AssertionError("an instruction never ends")


def polled(record: LogRecord, clock: HeldClock) -> InputRecord:
    return InputRecord(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp_ms,
        record.key,
        record.value,
        record.headers,
        clock.now_ms(),
    )
