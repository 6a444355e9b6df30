"""What each process is made of, from settings to a process that runs until SIGTERM.

In this order: payments, the adapters, verifier, projector, monitor, replay, API. No rule is decided
here. What cannot be built raises Problem. What only the last four need is imported in their
functions, so that the others run without databases, Faust and FastAPI.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog

from app import rule_files
from app.cluster import open_registry
from app.config.gateway_settings import gateway, resolve_of, signed_in_gateway, webhook_secrets
from app.config.kinds import partition_range
from app.config.settings import Environment, Profile
from app.config.verifier_key import signing_key
from app.control.operators import process_key
from app.control.release_control import rules_for
from app.crash import crash_point
from app.exits import ExitCode
from app.process import WATCHDOG_S_MAX, AdaptersContext, ProcessContext
from app.topic_specs import kept_specs
from control.acts.actors import REDRIVER
from engine.clients.lag_metrics import LagMetrics
from engine.clients.producing import SMALLEST
from engine.clients.publisher import Publisher
from engine.clients.reader import LogEnds
from engine.clock import MS_PER_S
from engine.health import readiness
from engine.loop.loop import Loop
from engine.metrics import EngineMetrics
from engine.partitioner import partition_of
from engine.settings import EngineSettings
from engine.store.budget import CacheBudget
from engine.topics import TopicAdmin
from gateways.deposits.http_client import HttpDepositsCore
from gateways.notifications.http_client import HttpNotifier
from gateways.rail.http_client import HttpRail
from processors.adapter.parts import gateway_worker
from processors.adapter.threads import Runs, Threads, worst_of
from processors.deposits.handler import DepositsHandler
from processors.notifications.handler import NotificationsHandler
from processors.payments.handler import PaymentsApplication
from processors.payments.kafka import journal_floors, payments_alarm
from processors.payments.metrics import PaymentsMetrics
from processors.payments.spans import DecisionSpans
from processors.payments.topics import INSTRUCTION_TOPICS, engine_topology, further_inputs
from processors.rail.kafka import rail_worker
from processors.rail.webhook import RailWebhook, WebhookServer
from processors.redriver.kafka import RedriverLoop
from processors.resolve.handler import ResolveHandler
from processors.verifier.context import KnownContext
from processors.verifier.hanging_transactions import HangingMetrics, HangingWatch
from processors.verifier.kafka import WHOLE, KafkaVerifierLog
from processors.verifier.metrics import VerifierMetrics
from processors.verifier.process import Verifier
from processors.verifier.retention import RetentionMetrics, RetentionWatch
from processors.verifier.store import DiskStore
from schemas import topology
from schemas.codec.parties import open_parties
from schemas.registry.ids import locked_fingerprints

log = structlog.get_logger("npp.wiring")

WATCH_S_MAX: Final = 10.0  # for a broker's answer to the verifier's watch; verifying waits for it
RAIL_NAME: Final = "npp-gateway"  # names the reason table in the rules


def run_payments(environment: Environment) -> int:
    """`npp run payments`: one instance of the payments processor, until SIGTERM."""
    context = ProcessContext(environment, "payments")
    control, counts = context.control(), context.counts
    kafka = (context.connection, context.clock, context.codec, control)
    application = PaymentsApplication(
        topology=engine_topology(
            counts[topology.EVENTS], extra_inputs=further_inputs(context.topics)
        ),
        codec=context.codec,
        control=control,
        rules_of=rules_for(context.settings.profile),
        cluster_id=context.ends.cluster_id(),
        work_partitions={
            name: counts[name]
            for name in {*INSTRUCTION_TOPICS.values(), topology.OUTCOMES, topology.QUARANTINE}
        },
        metrics=PaymentsMetrics(context.registry),
        spans=None if context.tracer is None else DecisionSpans(context.tracer),
    )
    metrics = EngineMetrics(context.registry)
    metrics.start_topics(application.topology)
    metrics.watch(context.health.age_s)
    metrics.cache_budget(CacheBudget.of(context.settings.cache_bytes))
    LagMetrics(context.registry).watch("payments", lambda: context.health.lag)
    loop = Loop(
        application,
        control,
        EngineSettings(
            connection=context.connection,
            instance_id=context.instance,
            data_dir=context.data_dir(),
            cache_bytes=context.settings.cache_bytes,
            journal_floors=journal_floors(*kafka),
            transaction_interval_s=context.settings.transaction_interval_ms / MS_PER_S,
            shutdown_s_max=context.settings.shutdown_seconds,
        ),
        context.clock,
        metrics,
        context.health,
        payments_alarm(*kafka, instance=context.instance),
        crash_point(environment),
    )
    log.info("payments processor starts", partitions=counts[topology.EVENTS])
    return context.run_until_stopped(loop.run, loop.request_stop, watched=[context.health])


def run_adapters(environment: Environment, only: Sequence[str] | None) -> int:
    """`npp run adapters`: all of them, or those named, until SIGTERM. Each has its own thread
    in one process, or a separate process.
    """
    kinds = tuple(only or ADAPTERS)
    with contextlib.ExitStack() as closing:
        context = AdaptersContext(environment, "adapters" if len(kinds) > 1 else kinds[0], closing)
        workers: dict[str, Runs] = {}
        for each in kinds:
            workers |= ADAPTERS[each](context)
        threads = Threads(workers, shutdown_s_max=context.settings.shutdown_seconds)
        log.info("adapters start", adapters=list(workers))
        probes, watched = worst_of(context.healths, WATCHDOG_S_MAX), context.healths.values()
        run, stop = threads.run, threads.request_stop
        return context.run_until_stopped(
            run, stop, probes=probes, watched=watched, large_heap=False
        )


def _rail(context: AdaptersContext) -> dict[str, Runs]:
    settings, parts = context.settings, context.parts("rail")
    address = signed_in_gateway(settings, "rail")
    rail = HttpRail(gateway=address, clock=context.clock, name=RAIL_NAME)
    secrets = webhook_secrets(settings)
    webhook = RailWebhook(adapter=rail.name, secrets=secrets, tracer=parts.tracer, **parts.common())
    server = WebhookServer(
        webhook.app(),
        host=settings.webhook_host,
        port=settings.webhook_port,
        clock=context.clock,
        count=context.serving.of("callbacks"),
        certificate=context.certificate(),
    )
    return {"webhook": server, "rail": rail_worker(parts, rail)}


def _deposits(context: AdaptersContext) -> dict[str, Runs]:
    address = signed_in_gateway(context.settings, "deposits")
    core, parts = HttpDepositsCore(gateway=address, clock=context.clock), context.parts("deposits")
    return {"deposits": gateway_worker(parts, DepositsHandler(deposits=core, **parts.common()))}


def _resolve(context: AdaptersContext) -> dict[str, Runs]:
    resolve, parts = resolve_of(context.settings, context.clock), context.parts("resolve")
    return {"resolve": gateway_worker(parts, ResolveHandler(resolve=resolve, **parts.common()))}


def _notifications(context: AdaptersContext) -> dict[str, Runs]:
    address = gateway(context.settings.notifications_url, "NPP_NOTIFICATIONS_URL")
    parts = context.parts("notifications")
    notifier = HttpNotifier(gateway=address, clock=context.clock)
    handler = NotificationsHandler(notifier=notifier, **parts.common())
    return {"notifications": gateway_worker(parts, handler)}


def _redriver(context: AdaptersContext) -> dict[str, Runs]:
    # Its own client: it puts back other systems' records.
    publisher = context.new_publisher("-redriver", compression=SMALLEST)
    parts = msgspec.structs.replace(context.parts("redriver"), publisher=publisher)
    origins = {t.name for t in context.topics.topics if "redriver" in t.producers}
    loop = RedriverLoop(
        parts,
        adapter=RAIL_NAME,
        origins=origins - {topology.CONTROL},
        key=process_key(context.environment, REDRIVER),
    )
    return {"redriver": loop}


ADAPTERS: Final[dict[str, Callable[[AdaptersContext], dict[str, Runs]]]] = {
    build.__name__.removeprefix("_"): build
    for build in (_rail, _deposits, _resolve, _notifications, _redriver)
}


def run_verifier(environment: Environment) -> int:
    """`npp run verifier`: decides the journal again and signs checkpoints, until SIGTERM."""
    context = ProcessContext(environment, "verifier")
    folder = context.data_dir() / "verifier"
    key, keyring = signing_key(context)
    retention = RetentionWatch(
        TopicAdmin(context.connection, context.clock),
        kept_specs(context.topics, environment.topics_profile()),
        context.clock,
        RetentionMetrics(context.registry),
    )
    hanging = HangingWatch(
        LogEnds(context.connection, context.clock, WATCH_S_MAX),
        [(topology.EVENTS, n) for n in range(context.counts[topology.EVENTS])],
        context.clock,
        HangingMetrics(context.registry),
    )
    part = context.settings.verifier_partitions
    log_of = (context.connection, context.clock, context.health.partition_errors, part or WHOLE)
    with (
        contextlib.closing(DiskStore(folder / "heads", context.settings.cache_bytes)) as store,
        contextlib.closing(KafkaVerifierLog(*log_of)) as journal,
    ):
        verifier = Verifier(
            journal=journal,
            codec=context.codec,
            store=store,
            key=key,
            keyring=keyring,
            clock=context.clock,
            metrics=VerifierMetrics(context.registry),
            partition_of=partition_of,
            context=KnownContext(
                codec=context.codec,
                rules_of=rules_for(context.settings.profile),
                topics=topology.INPUTS + further_inputs(context.topics),
                open_parties=open_parties,
                log=journal,
                store=store,
            ),
            partitions=partition_range(part),
            meanwhile=(retention.look_if_due, hanging.look_if_due),
        )
        log.info("verifier starts", key_id=key.key_id)
        probes = readiness(lambda: (verifier.caught_up, {"caughtUp": verifier.caught_up}))
        run, stop = verifier.run, verifier.stop
        return context.run_until_stopped(run, stop, probes=probes, large_heap=False)


def run_projector(environment: Environment) -> int:
    """`npp run projector`: fills the read model, until SIGTERM. A second one stands by."""
    from app.read_model import read_model
    from processors.projector.kafka import KafkaProjectorLog
    from processors.projector.metrics import ProjectorMetrics
    from processors.projector.minute_topic import MinuteTopic
    from processors.projector.process import Projector, probes

    context = ProcessContext(environment, "projector")
    # gzip: the monitor's client reads no other without a further library
    publisher = Publisher(context.connection, context.instance, context.clock, compression="gzip")
    projector = Projector(
        source=KafkaProjectorLog(
            context.connection, context.clock, context.health.partition_errors
        ),
        model=read_model(environment, context.clock),
        codec=context.codec,
        rules_of=rule_files.rules_of,
        clock=context.clock,
        metrics=ProjectorMetrics(context.registry),
        health=context.health,
        publish_minutes=MinuteTopic(publisher, context.codec).publish,
    )
    log.info("projector starts")
    with contextlib.closing(publisher):
        return context.run_until_stopped(
            projector.run,
            projector.stop,
            probes=probes(projector, context.health, WATCHDOG_S_MAX),
            watched=[context.health],
            failed=ExitCode.FAILED,
        )


def run_monitor(environment: Environment) -> int:
    """`npp run monitor`: opens and resolves incidents, until SIGTERM. A second one waits."""
    from app.config.monitor import monitor_credentials
    from processors.monitor.faust_app import MonitorApp
    from processors.monitor.metrics import MonitorMetrics

    context = ProcessContext(environment, "monitor")
    monitor = MonitorApp(
        brokers=context.settings.bootstrap_servers,
        credentials=monitor_credentials(context.connection),
        instance=context.instance,
        data_dir=context.data_dir() / "monitor",
        # As declared: it needs no access to the journal, and the count never changes.
        partitions=context.topics.partition_count(topology.EVENTS, environment.topics_profile()),
        codec=context.codec,
        clock=context.clock,
        metrics=MonitorMetrics(context.registry),
    )
    log.info("monitor starts")
    probes = readiness(lambda: (monitor.ready, {"owner": monitor.owner}))
    return context.run_until_stopped(monitor.run, monitor.stop, probes=probes, large_heap=False)


def run_replay(environment: Environment, every_s: float) -> int:
    """`npp run replay`: proves the whole log on a schedule, until SIGTERM. A failure is a STOP."""
    from app.cluster import Cluster
    from app.control.proof import keyring_of, note_passed, prove, stop_for_failed
    from app.control.proof_states import proof_reporter
    from processors.replay.scheduled import ScheduledMetrics, ScheduledProof

    context = ProcessContext(environment, "replay")
    keyring = environment.keyring_file()
    with Cluster(environment) as cluster:
        scheduled = ScheduledProof(
            prove=lambda show: prove(cluster, keyring_of(keyring), show),
            passed=lambda report: note_passed(cluster, report),
            failed=lambda why: stop_for_failed(cluster, why, context.instance),
            every_s=every_s,
            clock=context.clock,
            metrics=ScheduledMetrics(context.registry),
            health=context.health,
            reporter=proof_reporter(cluster),
        )
        log.info("replay starts", every_s=every_s)
        run, stop, watched = scheduled.run, scheduled.stop, [context.health]
        return context.run_until_stopped(run, stop, watched=watched, large_heap=False)


def run_api(environment: Environment) -> int:
    """`npp run api`: the operators' HTTP interface, until SIGTERM."""
    from api.app import ApiSettings, create_app
    from api.kafka import services_on_kafka
    from api.server import ApiServer, api_probes
    from app.config.api_settings import clients, pages, tokens, words
    from app.read_model import read_model, require_read_only
    from evidence.keyring_file import LiveKeyring
    from readmodel.database.sqlite import SqliteStore
    from schemas.codec.written import WrittenSchemas

    sources = clients(environment)
    context = ProcessContext(environment, "api")
    settings, clock = context.settings, context.clock
    sign_in = tokens(environment, clock)
    with contextlib.ExitStack() as closing:
        model = read_model(environment, clock)
        closing.callback(model.close)
        if settings.profile is Profile.PRODUCTION:
            require_read_only(model)
        reader = closing.enter_context(contextlib.closing(model.reader()))
        keyring = LiveKeyring(environment.keyring_file())
        services, commands, audit = services_on_kafka(
            closing,
            connection=context.connection,
            ends=context.ends,
            counts=context.counts,
            errors=context.health.partition_errors,
            control=context.control(),
            codec=context.codec,
            schemas=WrittenSchemas(
                locked_fingerprints(environment.ids_lock()), open_registry(environment)
            ),
            clock=clock,
            reader=reader,
            reads_on_loop=isinstance(model.store, SqliteStore),
            keyring=keyring,
            sources=sources,
            tracer=context.tracer,
        )
        probes = api_probes(context.health, WATCHDOG_S_MAX, commands, sign_in, reader, keyring)
        served = ApiSettings(
            https=settings.profile is Profile.PRODUCTION,
            hosts=frozenset(word.lower() for word in words(settings.api_hosts)),
            probes=probes,
            beat=context.health.beat,
            registry=context.registry,
        )
        app = create_app(services, sign_in, served)
        server = ApiServer(
            pages(app, settings, clock),
            app.state.streams,
            host=settings.api_host,
            port=settings.api_port,
            proxies=words(settings.api_proxies),
            count=context.serving.of("api"),
            certificate=context.certificate(),
        )

        def serve() -> None:
            commands.start()
            audit.start()
            context.health.beat()
            server.serve_until_stopped()

        log.info("api starts", host=settings.api_host, port=settings.api_port)
        stop, watched = server.request_stop, [context.health]
        return context.run_until_stopped(serve, stop, probes=probes, watched=watched)
