"""The read model that the settings name, and its rebuild from offset zero."""

from __future__ import annotations

import structlog

from app import rule_files
from app.cluster import Cluster
from app.config.settings import Environment
from app.exits import ExitCode, Problem, usage
from core.payment.state import CorruptHistory
from engine.clients.partition_errors import PartitionErrors
from engine.clock import Clock
from processors.projector.kafka import KafkaProjectorLog
from processors.projector.rebuild import Rebuild, Rebuilt, Shown
from readmodel.database.sqlite import SqliteStore
from readmodel.model import Model, default_url, open_model
from readmodel.ports import Contradiction, ReadModelDown
from schemas import topology

log = structlog.get_logger("npp.wiring")


def read_model(environment: Environment, clock: Clock) -> Model:
    """The read model of NPP_READ_MODEL_URL. Raises Problem for an unusable address."""
    settings = environment.settings
    given = settings.read_model_url
    url = given.get_secret_value() if given else default_url(settings.data_dir)
    try:
        return open_model(
            url, clock=clock, journal=topology.EVENTS, cache_bytes=settings.cache_bytes
        )
    except ValueError as error:
        raise usage(
            f"NPP_READ_MODEL_URL cannot be used: {error}",
            do="Leave it empty for SQLite in the data folder, or name a PostgreSQL database.",
        ) from error


def require_read_only(model: Model) -> None:
    """In production the API's database role must not be able to write: raises Problem if it can. If
    the database does not answer, that is logged and not asked again.
    """
    try:
        writes = not isinstance(model.store, SqliteStore) and model.store.may_write()
    except ReadModelDown as down:
        log.warning("whether the API's database role can write is not known", why=str(down))
        return
    if writes:
        raise usage(
            "NPP_READ_MODEL_URL names a role that can write, which the API may not have.",
            do="Give it npp_reader (deploy/read-model/reader.sql); the projector keeps its own.",
        )


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
            means="Nothing was switched: readers keep the current data.",
            do="Start it, or correct NPP_READ_MODEL_URL, and rebuild again.",
            code=ExitCode.UNREACHABLE,
        ) from error
    except (CorruptHistory, Contradiction) as error:
        raise Problem(
            f"The journal is inconsistent: {error}",
            means="Nothing was switched. `npp replay verify` proves the whole log.",
            do="Call engineering; this is a failed proof.",
        ) from error
    finally:
        model.close()
