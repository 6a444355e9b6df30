"""Processes one record of the monitor: stores a minute's figures, or judges the rules at a tick.

It knows tables and a publish function, not Faust. A record that is delivered twice changes nothing:
a minute's figures are dropped unless newer, a tick unless later, and an incident's id is computed
from its rule and its start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Final, assert_never

import msgspec
import structlog

from core.monitoring import Incident, MinuteFigures, MonitorTick
from core.words import IncidentRule
from processors.monitor.metrics import OLDER, UNDECODABLE, MonitorMetrics
from processors.monitor.rules import OPEN, RULES, RuleState, judge, values
from readmodel import minutes
from readmodel.minutes import Figures
from schemas.codec import Codec
from schemas.errors import Undecodable
from schemas.topology import MINUTES

log = structlog.get_logger("npp.monitor")

Table = MutableMapping[bytes, bytes]
Publish = Callable[[Incident], Awaitable[None]]

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(RuleState).decode


class Monitor:
    """`partitions`: of the journal. `publish` returns once Kafka has the incident."""

    def __init__(
        self,
        *,
        figures: Table,
        states: Table,
        codec: Codec,
        publish: Publish,
        partitions: int,
        metrics: MonitorMetrics,
    ) -> None:
        self._figures = figures
        self._states = states
        self._codec = codec
        self._publish = publish
        self._partitions = partitions
        self._metrics = metrics

    async def take(self, topic: str, value: bytes | None) -> None:
        """One record of the minutes or ticks topic. An undecodable one is skipped and counted.

        Raises ValueError for a damaged table.
        """
        try:
            record: MinuteFigures | MonitorTick = self._codec.decode(topic, value)
        except Undecodable as error:
            log.exception("monitor_record_skipped", topic=topic, reason=error.reason)
            self._metrics.skipped.labels(UNDECODABLE).inc()
            return
        match record:
            case MinuteFigures():
                self._keep(topic, record, value or b"")
            case MonitorTick(at=at):
                await self._judge(at)
            case _:
                assert_never(record)

    def _keep(self, topic: str, record: MinuteFigures, value: bytes) -> None:
        key = minutes.slot(record.partition, record.minute)
        known = self._figures.get(key)
        if known is not None:
            before = self._codec.decode(topic, known)
            older = (before.minute, before.offset) > (record.minute, record.offset)
            if older or value == known:
                self._metrics.skipped.labels(OLDER).inc()
                return
        self._figures[key] = value
        self._metrics.minutes.inc()

    async def _judge(self, at: int) -> None:
        found = values(self._buckets(at), at)
        for rule in RULES:
            before = self.state_of(rule)
            after = judge(rule, before, found[rule], at)
            if after is before:
                self._metrics.skipped.labels(OLDER).inc()
                continue
            if after.incident is not None and after.incident != before.incident:
                await self._publish(after.incident)  # first: a crash between the two repeats it
                log.warning("incident", **msgspec.structs.asdict(after.incident))
            self._states[rule.encode()] = _encode(after)
            self._show(rule, after)
        self._metrics.ticks.inc()
        self._metrics.last_tick.set(at / 1_000)

    def state_of(self, rule: IncidentRule) -> RuleState:
        """The state of a rule."""
        packed = self._states.get(rule.encode())
        return RuleState() if packed is None else _decode(packed)

    def show(self) -> None:
        """Set the metrics of open incidents, after the tables were restored."""
        for rule in RULES:
            self._show(rule, self.state_of(rule))

    def _show(self, rule: IncidentRule, at: RuleState) -> None:
        is_open = at.incident is not None and at.incident.status == OPEN
        self._metrics.incident.labels(rule).set(int(is_open))

    def _buckets(self, at: int) -> dict[tuple[int, int], Figures]:
        """The figures of the hour before `at` (epoch ms), by partition and minute."""
        last = minutes.minute_of(at)
        found: dict[tuple[int, int], Figures] = {}
        for partition in range(self._partitions):
            for minute in range(last - minutes.HOUR_MINUTES + 1, last + 1):
                raw = self._figures.get(minutes.slot(partition, minute))
                if raw is None:
                    continue
                record = self._codec.decode(MINUTES, raw)
                if record.minute == minute:  # else a slot of 25 hours ago
                    found[partition, minute] = minutes.figures_of(record)
        return found
