"""The monitor's Faust application: one stream over minutes and ticks, two plain tables, a timer.

Every topic has one partition, so one worker owns all of them and a second one waits. Settings and
their reasons: docs/decisions/0021. Faust is at-least-once here and reads no transactional topic.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import faust
import structlog
from aiokafka.errors import KafkaError
from faust.types import TP

from core.monitoring import Incident, MonitorTick
from engine.clock import Clock
from engine.errors import Exit
from processors.monitor.metrics import MonitorMetrics
from processors.monitor.monitor import Monitor
from processors.monitor.reading import Reading
from schemas.codec import Codec
from schemas.topology import INCIDENTS, MINUTES, MINUTES_TABLE, RULES_TABLE, TICKS

log = structlog.get_logger("npp.monitor")

GROUP: Final = "npp-monitor"
TICK_S: Final = 1.0
READY_S_MAX: Final = 120.0  # from the start; Faust reports nothing when its recovery hangs
UNREAD_S_MAX: Final = 60.0  # a record may wait so long; the owner gets its own tick every second
LOOK_S: Final = 5.0
STOP_S_MAX: Final = 20.0
STOP_LOOK_S: Final = 0.2
SESSION_S: Final = 10.0  # after this, another worker takes over from a killed one
EXIT_FAILED: Final = 1
SOURCES: Final = (TP(MINUTES, 0), TP(TICKS, 0))


class MonitorApp:
    """Built once per process; `faust` is the application that a Faust worker runs."""

    def __init__(
        self,
        *,
        brokers: str,
        credentials: Any,
        instance: str,
        data_dir: Path,
        partitions: int,
        codec: Codec,
        clock: Clock,
        metrics: MonitorMetrics,
    ) -> None:
        self._codec = codec
        self._clock = clock
        self._metrics = metrics
        self._instance = instance
        self._started_s = clock.monotonic_s()
        self._reading = Reading((MINUTES, TICKS), clock, UNREAD_S_MAX)
        self._stopping = threading.Event()
        self.ready = False
        self.owner = False
        self.faust = faust.App(
            GROUP,
            broker=[f"aiokafka://{each.strip()}" for each in brokers.split(",")],
            broker_credentials=credentials,
            broker_client_id=instance,
            broker_commit_interval=1.0,
            broker_session_timeout=SESSION_S,
            broker_heartbeat_interval=SESSION_S / 3,
            consumer_auto_offset_reset="earliest",
            datadir=data_dir,
            store="memory://",
            table_standby_replicas=0,
            topic_allow_declare=False,
            topic_disable_leader=True,
            stream_wait_empty=False,
            web_enabled=False,
            autodiscover=False,
        )
        raw: dict[str, Any] = {
            "key_type": bytes, "value_type": bytes,
            "key_serializer": "raw", "value_serializer": "raw",
        }  # fmt: skip
        self._incidents = self.faust.topic(INCIDENTS, **raw)
        self._ticks = self.faust.topic(TICKS, **raw)
        source = self.faust.topic(MINUTES, TICKS, **raw)
        tables = [
            self.faust.Table(
                name,
                key_type=bytes,
                value_type=bytes,
                partitions=1,
                changelog_topic=self.faust.topic(topic, **raw),
            )
            for name, topic in (("minutes", MINUTES_TABLE), ("rules", RULES_TABLE))
        ]
        self.monitor = Monitor(
            figures=tables[0],
            states=tables[1],
            codec=codec,
            publish=self._publish,
            partitions=partitions,
            metrics=metrics,
        )
        tables[1].on_recover(self._recovered)
        self.faust.agent(source)(self._judge)
        self.faust.timer(TICK_S)(self._tick)
        self.faust.timer(LOOK_S)(self._look)
        signals: Any = self.faust
        signals.on_partitions_assigned.connect(self._assigned, weak=False)
        signals.on_partitions_revoked.connect(self._revoked, weak=False)
        threading.Thread(target=self._watch, name="npp-monitor-watch", daemon=True).start()

    async def _judge(self, stream: Any) -> None:
        async for event in stream.events():
            try:
                await self.monitor.take(event.message.topic, event.value)
                # What this record changed must be in the changelogs before its offset is committed.
                await self.faust.producer.flush()
            except asyncio.CancelledError:
                raise
            except Exception:  # noqa: BLE001  # every error ends the process
                self._end("a record could not be handled")
            self._reading.record(event.message.topic, event.message.offset)

    async def _tick(self) -> None:
        tick = MonitorTick(at=self._clock.now_ms(), worker=self._instance)
        await self._ticks.send(key=b"tick", value=self._codec.encode(TICKS, tick))

    async def _publish(self, incident: Incident) -> None:
        sent = await self._incidents.send(
            key=incident.incident_id.encode(), value=self._codec.encode(INCIDENTS, incident)
        )
        await sent

    async def _recovered(self) -> None:
        self.monitor.show()
        consumer = self.faust.consumer
        self._reading.start_at({tp.topic: await consumer.position(tp) or 0 for tp in SOURCES})

    async def _look(self) -> None:
        """Ask Kafka for the ends of what the owner reads."""
        if not self.owner:
            return
        try:
            ends = await self.faust.consumer.highwaters(*SOURCES)
        except KafkaError:
            log.warning("monitor_ends_unknown", exc_info=True)  # `_watch` bounds how long
            return
        self._reading.ends({tp.topic: end for tp, end in ends.items() if end is not None})

    async def _assigned(self, app: Any, assigned: Any, **kwargs: Any) -> None:
        self._own(any(each.topic == TICKS for each in app.consumer.assignment() | set(assigned)))
        self.ready = True

    async def _revoked(self, app: Any, revoked: Any, **kwargs: Any) -> None:
        if any(each.topic == TICKS for each in revoked):
            self._own(False)

    def _own(self, owner: bool) -> None:
        log.info("monitor_owner", owner=owner)
        self.owner = owner
        self._metrics.owner.set(int(owner))
        if owner:
            self._reading.begin()
        else:
            self._reading.end()
            self._metrics.last_tick.set(0)

    def _watch(self) -> None:
        """Faust may hang without an error: end the process then, and the supervisor restarts it."""
        while not self._stopping.wait(LOOK_S):
            now_s = self._clock.monotonic_s()
            if not self.ready and now_s - self._started_s > READY_S_MAX:
                self._end(f"not ready {READY_S_MAX:.0f} s after the start")
            topic = self._reading.unread()
            if topic is not None:
                self._end(f"no record of {topic} was read for {self._reading.wait_s_max:.0f} s")

    def run(self) -> None:
        """Run until `stop`. Raises Exit with Faust's own error."""
        for name in ("faust", "mode", "aiokafka"):
            logging.getLogger(name).setLevel(logging.WARNING)
        asyncio.run(self._run())

    def stop(self) -> None:
        """Stop soon; may be called from a signal handler."""
        self._stopping.set()

    async def _run(self) -> None:
        self.faust.finalize()
        await self.faust.start()
        while not self._stopping.is_set() and not self.faust.should_stop:
            await asyncio.sleep(STOP_LOOK_S)
        await asyncio.wait_for(self.faust.stop(), STOP_S_MAX)
        if self.faust.crash_reason is not None:
            raise Exit("MONITOR_CRASHED", repr(self.faust.crash_reason))

    def _end(self, why: str) -> None:
        """End the process: Faust would drop the record and continue, but no record may be lost."""
        log.critical("monitor_ends", why=why, exc_info=True)
        os._exit(EXIT_FAILED)


def credentials(connection: Mapping[str, Any]) -> Any:
    """The Kafka client's options in Faust's form; None for PLAINTEXT.

    Raises ValueError naming an option that Faust does not support.
    """
    protocol = str(connection.get("security.protocol", "PLAINTEXT")).upper()
    if protocol == "PLAINTEXT":
        return None
    context = _tls(connection) if protocol.endswith("SSL") else None
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    mechanism = str(connection.get("sasl.mechanism", connection.get("sasl.mechanisms", "")))
    if mechanism not in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        raise ValueError(f"sasl.mechanism {mechanism}: the monitor signs in by PLAIN or SCRAM")
    return faust.SASLCredentials(
        username=connection["sasl.username"],
        password=connection["sasl.password"],
        mechanism=mechanism,
        ssl_context=context,
    )


def _tls(connection: Mapping[str, Any]) -> Any:
    context = ssl.create_default_context(cafile=connection.get("ssl.ca.location"))
    if connection.get("ssl.certificate.location"):
        context.load_cert_chain(
            connection["ssl.certificate.location"],
            connection.get("ssl.key.location"),
            connection.get("ssl.key.password"),
        )
    if str(connection.get("ssl.endpoint.identification.algorithm", "https")) == "none":
        context.check_hostname = False
    return context
