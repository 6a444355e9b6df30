"""Builds the API: settings → Kafka, read model, sign-in, routes → a server until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
import uvicorn
from fastapi import FastAPI

from api.actions.commands import KafkaCommands
from api.actions.journal import KafkaJournal
from api.actions.outcome_tail import OutcomeTail
from api.app import ApiSettings, create_app
from api.audit.writer import KafkaAudit
from api.auth.keys import LOCAL_KEY_PREFIX, KeySource, Read, from_address, from_file
from api.auth.local import LOCAL_AUDIENCE, LOCAL_ISSUER, LocalIssuer
from api.auth.tokens import Tokens, TokenSettings
from api.services import Services
from app.cluster import open_registry
from app.exits import ExitCode, usage
from app.settings import Environment, Profile
from app.wiring.process import GC_THRESHOLDS, WATCHDOG_S_MAX, ProcessContext
from app.wiring.projector import read_model
from control.current import ControlFold
from engine.clients.control_reader import ControlReader
from engine.clients.publisher import Publisher
from engine.clock import Clock
from engine.errors import EngineError
from engine.health import Answer, Probes, progress
from engine.loop.watch import Health, start_watchdog, stop_on_signals
from evidence.keyring_file import LiveKeyring
from evidence.log import KafkaEvidenceLog
from evidence.pack_service import PackService
from readmodel.database.sqlite import SqliteStore
from readmodel.model import Model
from readmodel.ports import Reader, ReadModelDown
from schemas import topology
from schemas.codec.written import WrittenSchemas
from schemas.registry.ids import locked_fingerprints

log = structlog.get_logger("npp.wiring")

HEADER_BYTES_MAX: Final = 32_768  # of all headers of a request; a token may have 8 KiB
CONNECTIONS_MAX: Final = 2_000
BACKLOG: Final = 1_024
KEEP_ALIVE_S: Final = 15
DRAIN_S_MAX: Final = 15  # open requests and streams, after SIGTERM
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
CLIENT_ID: Final = "npp-api"


def run_api(environment: Environment) -> int:
    """`npp run api`: the operators' HTTP interface, until SIGTERM."""
    sources = clients(environment)
    context = ProcessContext(environment, "api")
    sign_in = tokens(environment, context.clock)
    model = read_model(environment, context.clock)
    if environment.settings.profile is Profile.PRODUCTION:
        require_read_only(model)
    reader = model.reader()
    publisher = Publisher(context.connection, CLIENT_ID, context.clock)
    commands = _commands(context, reader, publisher)
    audit = KafkaAudit(
        publisher=publisher,
        codec=context.codec,
        clock=context.clock,
        partitions=context.counts[topology.AUDIT],
    )
    keyring = LiveKeyring(
        environment.settings.keyring or context.data_dir() / "verifier" / "keyring.json"
    )
    services = Services(
        reader=reader,
        commands=commands,
        audit=audit,
        evidence=_evidence(context, reader, keyring),
        clock=context.clock,
        codec=context.codec,
        journal=KafkaJournal(
            context.connection,
            reader,
            context.codec,
            context.clock,
            context.counts[topology.EVENTS],
        ),
        sources=sources,
        keyring=keyring,
        partitions=context.counts[topology.EVENTS],
        reads_on_loop=isinstance(model.store, SqliteStore),
    )
    try:
        commands.start()
        audit.start()
        return _serve(context, services, sign_in, commands)
    except EngineError as error:
        log.critical("process ends", kind="api", code=error.code, detail=error.detail)
        return int(ExitCode.UNREACHABLE)
    finally:
        commands.close()
        audit.close()
        publisher.close()
        reader.close()
        model.close()


def _commands(context: ProcessContext, reader: Reader, publisher: Publisher) -> KafkaCommands:
    control = ControlFold(
        ControlReader(
            context.connection, topology.CONTROL, context.clock, context.health.partition_errors
        ),
        context.control(),
        context.clock,
    )
    return KafkaCommands(
        publisher=publisher,
        codec=context.codec,
        reader=reader,
        clock=context.clock,
        tail=OutcomeTail(
            context.connection,
            context.ends,
            context.codec,
            context.counts,
            context.health.partition_errors,
        ),
        control=control,
        partitions=context.counts[topology.OPERATOR_COMMANDS],
    )


def _evidence(context: ProcessContext, reader: Reader, keyring: LiveKeyring) -> PackService:
    fingerprints = locked_fingerprints(context.environment.ids_lock())
    return PackService(
        reader=reader,
        codec=context.codec,
        schemas=WrittenSchemas(fingerprints, open_registry(context.environment)),
        keyring=keyring.now,
        log=KafkaEvidenceLog(context.connection, context.clock),
    )


# -- settings --------------------------------------------------------------------------------------


def clients(environment: Environment) -> dict[str, str]:
    """Source by client, of those who create payments over HTTP. Raises Problem."""
    found: dict[str, str] = {}
    for part in _words(environment.settings.api_clients):
        client, equals, source = (word.strip() for word in part.partition("="))
        if not (client and equals and source) or client in found:
            raise usage(
                f"NPP_API_CLIENTS cannot be used: {part!r}",
                do="Write client=source,client=source; each client once.",
            )
        found[client] = source
    return found


def require_read_only(model: Model) -> None:
    """In production the API's role in the database can only read. Raises Problem. A database that
    does not answer is not asked again: without it there is nothing to write to."""
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


def tokens(environment: Environment, clock: Clock) -> Tokens:
    """The sign-in. Raises Problem: in production issuer, audience and keys must be named, and the
    demo's own issuer is refused."""
    settings = environment.settings
    production = settings.profile is Profile.PRODUCTION
    issuer = settings.token_issuer or ("" if production else LOCAL_ISSUER)
    audience = settings.token_audience or ("" if production else LOCAL_AUDIENCE)
    if not issuer or not audience or (production and not settings.jwks):
        raise usage(
            "NPP_JWKS, NPP_TOKEN_ISSUER and NPP_TOKEN_AUDIENCE must be set in production.",
            do="Name the token issuer's keys, its iss, and the aud that this API has there.",
        )
    if production and issuer == LOCAL_ISSUER:
        raise usage(f"{LOCAL_ISSUER} is the demo's issuer and refused in production.")
    read = _read_keys(environment, clock)
    if production:
        _refuse_local_keys(read)
    return Tokens(
        TokenSettings(issuer, audience), KeySource(read, clock, local_keys=not production), clock
    )


def _read_keys(environment: Environment, clock: Clock) -> Read:
    settings = environment.settings
    if not settings.jwks:
        return from_file(LocalIssuer(settings.data_dir, clock).jwks)
    if "://" not in settings.jwks:
        return from_file(Path(settings.jwks))
    address = urlsplit(settings.jwks)
    loopback = address.hostname in LOOPBACK and settings.profile is not Profile.PRODUCTION
    if address.scheme != "https" and not (address.scheme == "http" and loopback):
        raise usage(
            f"NPP_JWKS is {settings.jwks}: keys come from an https address or a file.",
            do="http is taken from loopback only, in demo and test.",
        )
    return from_address(settings.jwks, clock)


def _refuse_local_keys(read: Read) -> None:
    listed = (read() or {}).get("keys")
    for key in listed if isinstance(listed, list) else []:
        if isinstance(key, dict) and str(key.get("kid", "")).startswith(LOCAL_KEY_PREFIX):
            raise usage(
                "NPP_JWKS lists a key of the demo's issuer, which is refused in production.",
                do="Take it out of the key set.",
            )


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


# -- serving ---------------------------------------------------------------------------------------


def api_probes(health: Health, commands: KafkaCommands, sign_in: Tokens, reader: Reader) -> Probes:
    """Alive while the event loop turns; ready when everything that a call needs is there."""

    def unreadable() -> str | None:
        try:
            reader.projected()
        except ReadModelDown as down:
            return str(down)
        return None

    def ready() -> Answer:
        why = commands.not_ready() or sign_in.ready() or unreadable()
        return why is None, {"reason": why}

    return Probes(progress(health, WATCHDOG_S_MAX), ready, ready)


class ApiServer(uvicorn.Server):
    """Signals are `stop_on_signals`' own: open streams are told to end when one comes."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._streams = app.state.streams
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: Any = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def request_stop(self) -> None:
        """From a signal handler: no new connections, what is open is finished."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._streams.close)


def _serve(
    context: ProcessContext, services: Services, sign_in: Tokens, commands: KafkaCommands
) -> int:
    settings = context.settings
    probes = api_probes(context.health, commands, sign_in, services.reader)
    app = create_app(
        services,
        sign_in,
        ApiSettings(
            https=settings.profile is Profile.PRODUCTION,
            hosts=frozenset(word.lower() for word in _words(settings.api_hosts)),
            probes=probes,
            beat=context.health.beat,
            registry=context.registry,
        ),
    )
    server = ApiServer(
        uvicorn.Config(
            app,
            host=settings.api_host,
            port=settings.api_port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.api_proxies),
            forwarded_allow_ips=_words(settings.api_proxies),
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
            limit_concurrency=CONNECTIONS_MAX,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S_MAX,
            ws="none",
        ),
        app,
    )
    health = context.serve_health(probes)
    stop_on_signals(server.request_stop, settings.shutdown_seconds)
    context.health.beat()
    start_watchdog(context.health, WATCHDOG_S_MAX)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    log.info("api starts", host=settings.api_host, port=settings.api_port)
    try:
        server.run()
    except SystemExit as stopped:  # uvicorn's way to say that the port cannot be taken
        log.critical("process ends", kind="api", code="PORT", detail=str(stopped.code))
        return int(ExitCode.UNREACHABLE)
    finally:
        if health is not None:
            health.close()
    log.info("process has ended cleanly", kind="api")
    return int(ExitCode.OK)
