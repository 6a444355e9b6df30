"""Builds each adapter process's worker from its parts. Called by the wiring, opens nothing itself
but Kafka clients.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from control.fold import Control
from engine.clients.publisher import Publisher
from engine.clock import Clock
from engine.loop.watch import Health
from engine.worker.settings import WorkerSettings
from engine.worker.worker import Worker
from gateways.ports import DepositsCore, Notifier, Rail, Resolve
from processors.adapter.kafka import KafkaRecords, RedriverLoop
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import OpenParties
from processors.adapter.worker import InstructionHandler
from processors.deposits.handler import DepositsHandler
from processors.notifications.handler import NotificationsHandler
from processors.rail.handler import RailAdapter
from processors.rail.record import SubmissionRecord
from processors.rail.webhook import RailWebhook
from processors.rail.worker import (
    CROWDED_RECORDS,
    LANES,
    RECORDS_MAX,
    ROOM,
    RailHandler,
    Withdrawn,
    WorkerOwnership,
)
from processors.rail.writer import RailWriter
from processors.redriver.handler import Redriver
from processors.resolve.handler import ResolveHandler
from schemas import topology
from schemas.codec import Codec


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What every adapter needs. `control` is this worker's own fold of the control topic."""

    connection: Mapping[str, Any]
    instance_id: str
    clock: Clock
    codec: Codec
    open_parties: OpenParties
    publisher: Publisher
    control: Control
    health: Health
    metrics: AdapterMetrics
    quarantine_partitions: int


class _Late:
    """The worker, for those who are built before it: it and its handler need each other."""

    worker: Worker

    def is_fresh(self, partition: int) -> bool:
        return self.worker.is_fresh(partition)

    def still_ours(self, topic: str, partition: int) -> bool:
        return self.worker.still_ours(topic, partition)

    def stopped(self) -> str | None:
        return self.worker.stopped()

    def generation(self) -> int:
        return self.worker.generation()

    def crowded(self) -> bool:
        return self.worker.unfinished() > CROWDED_RECORDS


def build_rail(parts: Parts, rail: Rail) -> Worker:
    """The rail adapter: group npp-rail over npp.rail.submissions.v1, with its own record."""
    late = _Late()
    withdrawn = Withdrawn(codec=parts.codec, is_fresh=late.is_fresh, clock=parts.clock)
    record = SubmissionRecord()
    writer = RailWriter(
        rail=rail,
        record=record,
        ownership=WorkerOwnership(late.still_ours),
        publisher=parts.publisher,
        codec=parts.codec,
        clock=parts.clock,
        metrics=parts.metrics,
    )
    adapter = RailAdapter(
        rail=rail,
        record=record,
        ahead=withdrawn,
        writer=writer,
        open_parties=parts.open_parties,
        clock=parts.clock,
        stopped=late.stopped,
        crowded=late.crowded,
        metrics=parts.metrics,
    )
    handler = RailHandler(
        adapter=adapter,
        codec=parts.codec,
        publisher=parts.publisher,
        quarantine_partitions=parts.quarantine_partitions,
        metrics=parts.metrics,
        record=record,
        reader=KafkaRecords(parts.connection, parts.clock),
        generation=late.generation,
        clock=parts.clock,
    )
    worker = Worker(
        msgspec.structs.replace(
            _settings(parts, "npp-rail", topology.RAIL_SUBMISSIONS),
            lanes=LANES,
            lane_of=handler.lane_of,
            lane_room=ROOM,
            records_max=RECORDS_MAX,
            handler_obeys_stop=True,  # withdraws and enquiries are answered under STOP
        ),
        handler,
        parts.publisher,
        parts.control,
        parts.clock,
        parts.health,
        observe=withdrawn.observe,
    )
    late.worker = worker
    return worker


def build_webhook(parts: Parts, *, adapter: str, secret: bytes | None) -> RailWebhook:
    """The rail's callbacks; `adapter` is the name of the rail's reason table."""
    return RailWebhook(
        publisher=parts.publisher,
        codec=parts.codec,
        clock=parts.clock,
        adapter=adapter,
        metrics=parts.metrics,
        secret=secret,
    )


def build_deposits(parts: Parts, deposits: DepositsCore) -> Worker:
    """The deposits adapter: group npp-deposits over npp.deposits.requests.v1."""
    adapter = DepositsHandler(
        deposits=deposits,
        publisher=parts.publisher,
        codec=parts.codec,
        open_parties=parts.open_parties,
        clock=parts.clock,
        stopped=_never,
        metrics=parts.metrics,
    )
    late = _Late()
    handler = _handler(parts, "deposits", adapter, late)
    return _worker(parts, "npp-deposits", topology.DEPOSITS_REQUESTS, handler, late)


def build_resolve(parts: Parts, resolve: Resolve) -> Worker:
    """Our own Resolve: group npp-resolve over npp.resolve.requests.v1."""
    adapter = ResolveHandler(
        resolve=resolve,
        publisher=parts.publisher,
        codec=parts.codec,
        open_parties=parts.open_parties,
        clock=parts.clock,
        stopped=_never,
        metrics=parts.metrics,
    )
    late = _Late()
    handler = _handler(parts, "resolve", adapter, late)
    return _worker(parts, "npp-resolve", topology.RESOLVE_REQUESTS, handler, late)


def build_notifications(parts: Parts, notifier: Notifier) -> Worker:
    """Customer notifications: group npp-notifications over npp.customer.notifications.v1."""
    adapter = NotificationsHandler(
        notifier=notifier,
        publisher=parts.publisher,
        codec=parts.codec,
        clock=parts.clock,
        stopped=_never,
        metrics=parts.metrics,
    )
    late = _Late()
    handler = _handler(parts, "notifications", adapter, late)
    return _worker(parts, "npp-notifications", topology.NOTIFICATIONS, handler, late)


def build_redriver(parts: Parts, *, adapter: str, origins: Collection[str]) -> RedriverLoop:
    """The redriver; `origins` are the topics whose declared producers it is among."""
    redriver = Redriver(
        control=parts.control,
        records=KafkaRecords(parts.connection, parts.clock),
        publisher=parts.publisher,
        codec=parts.codec,
        clock=parts.clock,
        adapter=adapter,
        origins=origins,
        metrics=parts.metrics,
        beat=parts.health.beat,
    )
    return RedriverLoop(
        connection=parts.connection,
        control=parts.control,
        redriver=redriver,
        clock=parts.clock,
        health=parts.health,
    )


def _never() -> str | None:
    """The worker itself calls no handler under STOP."""
    return None


def _handler(parts: Parts, name: str, adapter: Any, late: _Late) -> InstructionHandler:
    return InstructionHandler(
        name=name,
        adapter=adapter,
        codec=parts.codec,
        publisher=parts.publisher,
        quarantine_partitions=parts.quarantine_partitions,
        metrics=parts.metrics,
        generation=late.generation,
    )


def _worker(
    parts: Parts, group: str, topic: str, handler: InstructionHandler, late: _Late
) -> Worker:
    late.worker = Worker(
        _settings(parts, group, topic),
        handler,
        parts.publisher,
        parts.control,
        parts.clock,
        parts.health,
    )
    return late.worker


def _settings(parts: Parts, group: str, topic: str) -> WorkerSettings:
    return WorkerSettings(
        connection=parts.connection,
        group=group,
        instance_id=parts.instance_id,
        topics=(topic,),
        control_topic=topology.CONTROL,
    )
