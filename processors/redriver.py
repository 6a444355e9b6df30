"""Puts quarantined records back when two persons said so: the raw bytes, where they came from.

`processors.redrive_plan` says what that is; a request is carried out whole or not at all.
"""

from __future__ import annotations

from collections.abc import Collection

import structlog

from core.records import RedriveDone, RedriveRequested
from engine.clock import Clock
from processors import topology
from processors.adapter_metrics import AdapterMetrics
from processors.adapter_ports import Codec, Publisher
from processors.control import Control
from processors.redrive_plan import Planned, ReadRecord, RedrivePlan, RefusedError

log = structlog.get_logger("processors.redriver")


class Redriver:
    """Obeys confirmed requests of the control topic, one after the other."""

    def __init__(
        self,
        *,
        control: Control,
        read: ReadRecord,
        publisher: Publisher,
        codec: Codec,
        clock: Clock,
        adapter: str,
        origins: Collection[str],
        metrics: AdapterMetrics,
    ) -> None:
        """`read(partition, offset)` gives a quarantined record or None; `origins` are the topics
        that may be written to, `adapter` the reason table of assigned callbacks.
        """
        self._control = control
        self._plan = RedrivePlan(
            read=read, codec=codec, clock=clock, adapter=adapter, origins=origins
        )
        self._publisher = publisher
        self._codec = codec
        self._clock = clock
        self._metrics = metrics
        self._answered: set[str] = set()

    def step(self) -> int:
        """Carry out what is confirmed and not done; the number of requests answered.

        Raises NotConfirmed when Kafka does not take a record: the request is carried out again.
        """
        waiting = [
            each
            for each in list(self._control.redrives_confirmed.values())
            if each[0].request_id not in self._answered
        ]
        for request, confirmed_by in waiting:
            self._answer(request, confirmed_by)
        self._answered &= set(self._control.redrives_confirmed)
        return len(waiting)

    def _answer(self, request: RedriveRequested, confirmed_by: str) -> None:
        refused: str | None = None
        planned: list[Planned] = []
        try:
            planned = self._plan.of(request, confirmed_by)
        except RefusedError as error:
            refused = str(error)
        for each in planned:
            self._publisher.publish(
                each.topic, each.key, each.value, partition=each.partition, headers=each.headers
            )
            self._metrics.redriven.inc()
        done = RedriveDone(
            request_id=request.request_id,
            redriven=len(planned),
            refused=refused,
            done_at=self._clock.now_ms(),
        )
        topic = topology.CONTROL
        self._publisher.publish(topic, None, self._codec.encode(topic, done), partition=0)
        self._answered.add(request.request_id)
        log.warning(
            "redrive done",
            request_id=request.request_id,
            requested_by=request.actor,
            confirmed_by=confirmed_by,
            redriven=len(planned),
            refused=refused,
        )
