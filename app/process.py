"""What every process has, what the adapters of one process share, and how a process ends."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from app import logs
from app.cluster import open_registry_codec
from app.config import build, memory
from app.config.floor import require_floor
from app.config.settings import Environment
from app.control import operators
from app.control.release_control import ReleaseControl
from app.exits import ExitCode, usage
from app.telemetry import tracing
from control.metrics import ControlMetrics
from engine.clients.lag_metrics import LagMetrics
from engine.clients.partition_errors import PartitionErrorMetrics
from engine.clients.producing import COMPRESSION
from engine.clients.publisher import Publisher
from engine.clients.reader import LogEnds
from engine.clock import Clock, SystemClock
from engine.errors import EngineError
from engine.health import HealthServer, Probes, engine_probes
from engine.loop.watch import Health, start_watchdog, stop_on_signals
from engine.serving.metrics import ServingMetrics
from engine.serving.server import Certificate
from processors.adapter.metrics import ADAPTERS, AdapterMetrics
from processors.adapter.parts import Parts
from schemas import catalogue, topology
from schemas.codec import Codec

log = structlog.get_logger("npp.wiring")

WATCHDOG_S_MAX: Final = 150.0  # longer than any bounded wait inside one step


class ProcessContext:
    """What every process has: settings, connection, codec, clock, control, metrics, health."""

    def __init__(self, environment: Environment, kind: str) -> None:
        memory.limit_arenas()
        require_floor(environment)
        build.require(environment)
        self.kind = kind
        self.environment = environment
        self.settings = environment.settings
        self.instance = environment.instance_id(kind)
        logs.set_up(self.settings.log_level, process=kind, instance=self.instance)
        self.connection = environment.connection()
        self.clock: Clock = SystemClock()
        self.codec: Codec = open_registry_codec(environment)
        self.topics = catalogue.load()
        self.ends = LogEnds(self.connection, self.clock)
        self.registry = CollectorRegistry()
        build.show(self.registry)
        self._control_metrics = ControlMetrics(self.registry)
        self.serving = ServingMetrics(self.registry)
        self.health = Health(self.clock)
        self.partition_error_metrics = PartitionErrorMetrics(self.registry)
        self.partition_error_metrics.watch(self.health.partition_errors)
        self.tracer = tracing.tracer(kind, self.instance, self.registry)
        self.counts = self.ends.partition_counts([topic.name for topic in self.topics.topics])

    def control(self) -> ReleaseControl:
        """A fresh fold of the control topic; each loop that obeys has its own."""
        return ReleaseControl(
            self.codec.decode,
            cluster_id=self.ends.cluster_id(),
            partitions=self.counts[topology.EVENTS],
            deployed=operators.deployed(self.environment, self.topics),
            refused=self._control_metrics.refused,
            profile=self.settings.profile,
        )

    def data_dir(self) -> Path:
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        return self.settings.data_dir

    def certificate(self) -> Certificate | None:
        """The certificate for this process's own ports; None: plain HTTP. Raises Problem if it
        cannot be used.
        """
        file, key = self.settings.tls_certificate, self.settings.tls_key
        if file is None:
            return None
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(file, key)
        except (OSError, ssl.SSLError) as error:
            raise usage(
                f"NPP_TLS_CERTIFICATE {file} cannot be used: {error}",
                do="A PEM file with the chain; the key in it, or in NPP_TLS_KEY.",
            ) from error
        return Certificate(file, key)

    def run_until_stopped(
        self,
        run: Callable[[], None],
        request_stop: Callable[[], None],
        *,
        probes: Probes | None = None,
        watched: Iterable[Health] = (),
        failed: ExitCode = ExitCode.UNREACHABLE,
        large_heap: bool = True,
    ) -> int:
        """Run until SIGTERM, with metrics and probes if a port is set; returns the exit code. An
        EngineError is logged and gives `failed`.
        """
        settings = self.settings
        if settings.metrics_port != 0:
            server = HealthServer(
                settings.metrics_host,
                settings.metrics_port,
                self.registry,
                probes or engine_probes(self.health, WATCHDOG_S_MAX),
                count=self.serving.of("metrics"),
                certificate=self.certificate(),
            )
            server.start()
        stop_on_signals(request_stop, settings.shutdown_seconds)
        for health in watched:
            start_watchdog(health, WATCHDOG_S_MAX)
        if large_heap:
            memory.freeze_heap()
        try:
            run()
        except EngineError as error:
            log.critical("process ends", kind=self.kind, code=error.code, detail=error.detail)
            return int(failed)
        finally:
            if self.tracer is not None:
                self.tracer.close()
            if settings.metrics_port != 0:
                server.close()
        log.info("process has ended cleanly", kind=self.kind)
        return int(ExitCode.OK)


class AdaptersContext(ProcessContext):
    """What the adapters of one process share; each has its own health and fold of control."""

    def __init__(self, environment: Environment, kind: str, closing: contextlib.ExitStack) -> None:
        super().__init__(environment, kind)
        self.closing = closing
        self.healths: dict[str, Health] = {}
        self.metrics = AdapterMetrics(self.registry)
        self._lag = LagMetrics(self.registry)
        self.publisher = self.new_publisher("")

    def new_publisher(self, suffix: str, compression: str = COMPRESSION) -> Publisher:
        publisher = Publisher(
            self.connection, f"npp-{self.instance}{suffix}", self.clock, compression=compression
        )
        self.closing.callback(publisher.close)
        return publisher

    def parts(self, name: str) -> Parts:
        health = self.healths[name] = Health(self.clock)
        self.partition_error_metrics.watch(health.partition_errors)
        self._lag.watch(name, lambda: health.lag)
        if name in ADAPTERS:
            self.metrics.watch(name, lambda: health.stalled_s)
        return Parts(
            connection=self.connection,
            instance_id=self.instance,
            clock=self.clock,
            codec=self.codec,
            publisher=self.publisher,
            control=self.control(),
            health=health,
            metrics=self.metrics,
            quarantine_partitions=self.counts[topology.QUARANTINE],
            tracer=self.tracer,
        )
