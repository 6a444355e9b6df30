"""The one room that builds: settings → clients, codec, application → a process until SIGTERM.

Nothing here decides about payments. A build that fails says why and ends with an exit code.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry

from app import logs, rule_files, settings
from app.cluster import open_registry_codec
from app.control_records import EVENT_SCHEMA_VERSION, other_build
from app.exits import ExitCode
from app.settings import Environment, Profile
from app.topic_specs import kept_specs
from app.wiring.crash import crash_point
from control.fold import Control
from core.records import STATE_VERSION, Checkpoint, ProcessingStopped
from core.recovery_point import is_void
from core.rules import Rules
from engine.clients.partition_errors import PartitionErrorMetrics
from engine.clients.publisher import NotConfirmed, Publisher
from engine.clients.reader import LogEnds, read_all
from engine.clock import Clock, SystemClock
from engine.errors import EngineError
from engine.health import Answer, HealthServer, Probes, engine_probes
from engine.loop.assignment_setup import LOG_TAIL_LOST
from engine.loop.loop import Loop
from engine.loop.watch import Health, start_watchdog, stop_on_signals
from engine.metrics import EngineMetrics
from engine.partitioner import partition_of
from engine.ports import EngineTopology
from engine.settings import Alarm, EngineSettings
from engine.topics import TopicAdmin
from evidence.keys import key_and_keyring, write_keyring
from processors.payments.handler import (
    INSTRUCTION_TOPICS,
    PaymentsApplication,
    engine_topology,
)
from processors.payments.metrics import PaymentsMetrics
from processors.verifier.hanging_transactions import HangingMetrics, HangingWatch
from processors.verifier.kafka import KafkaVerifierLog
from processors.verifier.process import Verifier, VerifierMetrics
from processors.verifier.retention import RetentionMetrics, RetentionWatch
from processors.verifier.store import DiskStore
from schemas import catalogue, topology
from schemas.codec import Codec
from schemas.errors import Undecodable
from schemas.registry.ids import locked_fingerprints

log = structlog.get_logger("npp.wiring")

CHECKPOINTS_READ_MAX: Final = 100  # the last of a partition is among its last records
# Decisions make many small values and no cycles: look for these seldom, or a large heap of open
# payments is walked again and again (it shows in the latency's tail).
GC_THRESHOLDS: Final = (50_000, 50, 1_000)
WATCH_S_MAX: Final = 10.0  # the verifier's looks at the cluster: it has its own work
WATCHDOG_S_MAX: Final = 150.0  # longer than any bounded wait inside one step


class ReleaseControl(Control):
    """The control topic, obeyed only as far as this release and profile can: a rule set that is
    not carried, or another file, or the demo's, holds everything back rather than decide wrongly.
    """

    def __init__(self, *args: Any, profile: Profile, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._profile = profile

    def ready(self) -> str | None:
        return super().ready() or self._unfit()

    def stopped(self) -> str | None:
        return super().stopped() or (self._unfit() if self.rule_set is not None else None)

    def _unfit(self) -> str | None:
        active = self.rule_set
        if active is None:
            return None
        try:
            rules = rule_files.rules_of(active.number)
        except KeyError:
            return f"rule set {active.number} is in force and this release does not carry it"
        if rules.sha256 != active.sha256:
            problem = other_build(active.number)
            return f"{problem.what} {problem.do}"
        if self._profile is Profile.PRODUCTION and rules.profile != "production":
            return f"rule set {active.number} is for {rules.profile}, this is production"
        if (
            active.state_version > STATE_VERSION
            or active.event_schema_version > EVENT_SCHEMA_VERSION
        ):
            return f"state version {active.state_version} is in force, this release writes older"
        return None


class ProcessContext:
    """What every process has: settings, connection, codec, clock, control, metrics, health."""

    def __init__(self, environment: Environment, kind: str) -> None:
        self.environment = environment
        self.settings = environment.settings
        self.instance = environment.instance_id(settings.default_instance(kind))
        logs.set_up(self.settings.log_level, process=kind, instance=self.instance)
        self.connection = environment.connection()
        self.clock: Clock = SystemClock()
        self.codec: Codec = open_registry_codec(environment)
        self.topics = catalogue.load()
        self.ends = LogEnds(self.connection, self.clock)
        self.registry = CollectorRegistry()
        self.health = Health(self.clock)
        self.partition_error_metrics = PartitionErrorMetrics(self.registry)
        self.partition_error_metrics.watch(self.health.partition_errors)
        self.counts = self.ends.partition_counts([topic.name for topic in self.topics.topics])

    def control(self) -> ReleaseControl:
        """A fresh fold of the control topic; each loop that obeys has its own."""
        return ReleaseControl(
            decode_control(self.codec),
            cluster_id=self.ends.cluster_id(),
            partitions=self.counts[topology.EVENTS],
            profile=self.settings.profile,
        )

    def serve_health(self, probes: Probes | None = None) -> HealthServer | None:
        """Metrics and probes, when a port is set."""
        if self.settings.metrics_port == 0:
            return None
        server = HealthServer(
            self.settings.metrics_host,
            self.settings.metrics_port,
            self.registry,
            probes or engine_probes(self.health, WATCHDOG_S_MAX),
        )
        server.start()
        return server

    def data_dir(self) -> Path:
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        return self.settings.data_dir


def decode_control(codec: Codec) -> Any:
    """The codec as the control fold wants it: ValueError for what cannot be read."""

    def decode(topic: str, value: bytes) -> object:
        try:
            return codec.decode(topic, value)
        except Undecodable as error:
            raise ValueError(error.reason) from error

    return decode


def run_payments(environment: Environment) -> int:
    """`npp run payments`: one instance of the payments processor, until SIGTERM."""
    context = ProcessContext(environment, "payments")
    control = context.control()
    app = payments_application(context, control)
    metrics = EngineMetrics(context.registry)
    metrics.start_topics(app.topology)
    engine_settings = EngineSettings(
        connection=context.connection,
        instance_id=context.instance,
        data_dir=context.data_dir(),
        journal_floors=_journal_floors(context, control),
        shutdown_s_max=context.settings.shutdown_seconds,
        watchdog_s_max=WATCHDOG_S_MAX,
    )
    crash = crash_point(environment)
    tell = payments_alarm(context, control)
    loop = Loop(app, control, engine_settings, context.clock, metrics, context.health, tell, crash)
    metrics.watch(context.health.age_s)
    server = context.serve_health()
    stop_on_signals(loop.request_stop, engine_settings.shutdown_s_max)
    start_watchdog(context.health, engine_settings.watchdog_s_max)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    log.info("payments processor starts", partitions=context.counts[topology.EVENTS])
    return _until_end("payments", loop.run, server)


def payments_application(context: ProcessContext, control: Control) -> PaymentsApplication:
    """The payment core on the engine, for the topics of this cluster."""
    return PaymentsApplication(
        topology=payments_topology(context),
        codec=context.codec,
        control=control,
        rules_of=rules_for(context.settings.profile),
        cluster_id=context.ends.cluster_id(),
        work_partitions={
            name: context.counts[name]
            for name in {*INSTRUCTION_TOPICS.values(), topology.OUTCOMES, topology.QUARANTINE}
        },
        metrics=PaymentsMetrics(context.registry),
    )


def payments_topology(context: ProcessContext) -> EngineTopology:
    """The processor's topics, with the command topics of further upstream systems."""
    further = tuple(
        topic.name
        for topic in context.topics.inputs()
        if topic.name not in topology.INPUTS and topic.sources
    )
    return engine_topology(context.counts[topology.EVENTS], extra_inputs=further)


def rules_for(profile: Profile) -> Any:
    """Rule sets by number; the demo's are not there in production."""

    def rules_of(number: int) -> Rules:
        rules = rule_files.rules_of(number)
        if profile is Profile.PRODUCTION and rules.profile != "production":
            raise KeyError(number)
        return rules

    return rules_of


def run_verifier(environment: Environment) -> int:
    """`npp run verifier`: checks the journal's chain and signs checkpoints, until SIGTERM."""
    context = ProcessContext(environment, "verifier")
    folder = context.data_dir() / "verifier"
    key_file = context.settings.signing_key or folder / "signing-key.pem"
    key, keyring = key_and_keyring(key_file, folder / "keyring.json", context.clock.now_ms())
    codec = context.codec  # opening it has compared the schema ids with their lock
    if keyring.state_schemas(key, locked_fingerprints(environment.ids_lock())):
        write_keyring(folder / "keyring.json", keyring)
    store = DiskStore(folder / "heads")
    journal = KafkaVerifierLog(context.connection, context.clock, context.health.partition_errors)
    retention = RetentionWatch(
        TopicAdmin(context.connection, context.clock),
        kept_specs(context.topics, environment.topics_profile()),
        context.clock,
        RetentionMetrics(context.registry),
    )
    hanging = HangingWatch(
        LogEnds(context.connection, context.clock, WATCH_S_MAX),
        [(topology.EVENTS, number) for number in range(context.counts[topology.EVENTS])],
        context.clock,
        HangingMetrics(context.registry),
    )

    def watch() -> None:
        retention.look_if_due()
        hanging.look_if_due()

    verifier = Verifier(
        journal=journal,
        codec=codec,
        store=store,
        key=key,
        keyring=keyring,
        clock=context.clock,
        metrics=VerifierMetrics(context.registry),
        partition_of=partition_of,
        meanwhile=watch,
    )
    server = context.serve_health(verifier_probes(verifier))
    stop_on_signals(verifier.stop, context.settings.shutdown_seconds)
    log.info("verifier starts", key_id=key.key_id)
    try:
        return _until_end("verifier", verifier.run, server)
    finally:
        journal.close()
        store.close()


def verifier_probes(verifier: Verifier) -> Probes:
    """Ready once it has caught up with the journal."""

    def live() -> Answer:
        return True, {}

    def ready() -> Answer:
        return verifier.caught_up, {"caughtUp": verifier.caught_up}

    return Probes(live, ready, ready)


def payments_alarm(context: ProcessContext, control: Control) -> Alarm:
    """Something a person has to know of at once; a lost log tail is a STOP for everybody.

    Only the processor's own store can know that records are gone which no checkpoint covers yet.
    """

    def alarm(name: str, partition: int | None, sentence: str) -> None:
        log.critical("alarm", alarm=name, partition=partition, detail=sentence)
        if name != LOG_TAIL_LOST:
            return
        stop_id = f"payments-{name}-{partition}"
        if any(each.stop_id == stop_id for each in control.stops()):
            return
        stop = ProcessingStopped(
            stop_id=stop_id,
            reason=f"{name}: partition {partition}: {sentence}",
            automatic=True,
            stopped_at=context.clock.now_ms(),
            actor=context.instance,
        )
        publisher = Publisher(context.connection, f"{context.instance}-stop", context.clock)
        try:
            raw = context.codec.encode(topology.CONTROL, stop)
            publisher.publish(topology.CONTROL, None, raw, partition=0)
        except NotConfirmed as error:
            # This instance stays halted whatever becomes of it; the verifier may stop the others.
            log.critical("stop not confirmed", stop_id=stop_id, error=str(error))
        else:
            log.critical("processing_stopped", stop_id=stop_id, reason=stop.reason)
        finally:
            publisher.close()

    return alarm


def _until_end(kind: str, run: Any, server: HealthServer | None) -> int:
    """Run; an end by the engine's own word is logged, and gives its exit code."""
    try:
        run()
    except EngineError as error:
        log.critical("process ends", kind=kind, code=error.code, detail=error.detail)
        return int(ExitCode.UNREACHABLE)
    finally:
        if server is not None:
            server.close()
    log.info("process has ended cleanly", kind=kind)
    return int(ExitCode.OK)


def _journal_floors(context: ProcessContext, control: Control) -> Any:
    """Where journals must reach at least: the end of each partition's last signed checkpoint that
    no recovery has made void."""
    topic = topology.CHECKPOINTS

    def floors(partitions: Sequence[int]) -> dict[int, int]:
        recovery_points = {n: control.recovery_points(n) for n in partitions}
        ends = context.ends.high([(topic, n) for n in partitions])
        found: dict[int, int] = {}
        for batch in read_all(
            context.connection,
            topic,
            start={n: max(0, ends[topic, n] - CHECKPOINTS_READ_MAX) for n in partitions},
            partitions=partitions,
            clock=context.clock,
        ):
            for record in batch:
                try:
                    checkpoint = context.codec.decode(topic, record.value, record.headers)
                except Undecodable:
                    continue  # the verifier's to judge
                if not isinstance(checkpoint, Checkpoint):
                    continue
                if not is_void(checkpoint, recovery_points[record.partition]):
                    found[record.partition] = checkpoint.to_offset + 1
        return found

    return floors
