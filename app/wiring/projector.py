"""Builds the projector: settings → database, reader, fold → a process until SIGTERM."""

from __future__ import annotations

import gc

import structlog

from app import rule_files
from app.cluster import Cluster
from app.exits import ExitCode, Problem, usage
from app.settings import Environment
from app.wiring.process import GC_THRESHOLDS, WATCHDOG_S_MAX, ProcessContext
from core.payment.state import CorruptHistory
from engine.clients.partition_errors import PartitionErrors
from engine.clock import Clock
from engine.errors import EngineError
from engine.loop.watch import start_watchdog, stop_on_signals
from processors.projector.kafka import KafkaProjectorLog
from processors.projector.metrics import ProjectorMetrics
from processors.projector.process import Projector, probes
from processors.projector.rebuild import Rebuild, Rebuilt, Shown
from readmodel.model import Model, default_url, open_model
from readmodel.ports import Contradiction, ReadModelDown
from schemas import topology

log = structlog.get_logger("npp.wiring")


def read_model(environment: Environment, clock: Clock) -> Model:
    """The read model of NPP_READ_MODEL_URL. Raises Problem for an address that is none."""
    settings = environment.settings
    given = settings.read_model_url
    url = given.get_secret_value() if given else default_url(settings.data_dir)
    try:
        return open_model(url, clock=clock, journal=topology.EVENTS)
    except ValueError as error:
        raise usage(
            f"NPP_READ_MODEL_URL cannot be used: {error}",
            do="Leave it empty for SQLite in the data folder, or name a PostgreSQL database.",
        ) from error


def rebuild_read_model(environment: Environment, show: Shown) -> Rebuilt:
    """Fill a new generation from offset zero and switch to it. Raises Problem."""
    cluster = Cluster(environment)
    errors = PartitionErrors(cluster.clock)  # its log lines name them
    model = read_model(environment, cluster.clock)
    rebuild = Rebuild(
        source=KafkaProjectorLog(cluster.connection, cluster.clock, errors),
        model=model,
        codec=cluster.codec,
        rules_of=rule_files.rules_of,
        clock=cluster.clock,
        show=show,
    )
    try:
        return rebuild.run()
    except ReadModelDown as error:
        raise Problem(
            f"The read model's database does not answer: {error}",
            means="Nothing was switched: people go on reading what they read.",
            do="Start it, or correct NPP_READ_MODEL_URL, and rebuild again.",
            code=ExitCode.UNREACHABLE,
        ) from error
    except (CorruptHistory, Contradiction) as error:
        raise Problem(
            f"The journal does not fit together: {error}",
            means="Nothing was switched. `npp replay verify` proves the whole log.",
            do="Call engineering; this is a failed proof.",
        ) from error
    finally:
        model.close()


def run_projector(environment: Environment) -> int:
    """`npp run projector`: fills the read model, until SIGTERM. One a read model."""
    context = ProcessContext(environment, "projector")
    source = KafkaProjectorLog(context.connection, context.clock, context.health.partition_errors)
    projector = Projector(
        source=source,
        model=read_model(environment, context.clock),
        codec=context.codec,
        rules_of=rule_files.rules_of,
        clock=context.clock,
        metrics=ProjectorMetrics(context.registry),
        health=context.health,
    )
    server = context.serve_health(probes(projector, context.health, WATCHDOG_S_MAX))
    stop_on_signals(projector.stop, context.settings.shutdown_seconds)
    start_watchdog(context.health, WATCHDOG_S_MAX)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    log.info("projector starts")
    try:
        projector.run()
    except EngineError as error:
        log.critical("process ends", kind="projector", code=error.code, detail=error.detail)
        return int(ExitCode.FAILED)
    finally:
        if server is not None:
            server.close()
    log.info("process has ended cleanly", kind="projector")
    return int(ExitCode.OK)
