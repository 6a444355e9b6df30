"""Builds and runs the adapters: rail with its webhook, deposits, Resolve, notifications, redriver.

Each has a thread of its own in one process, or a process of its own (`--only`). When one ends with
an error, all end, and whoever supervises the process starts it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from app.exits import ExitCode, usage
from app.settings import Environment, Profile, Settings
from app.wiring.process import WATCHDOG_S_MAX, ProcessContext
from app.wiring.workers import (
    Parts,
    build_deposits,
    build_notifications,
    build_rail,
    build_redriver,
    build_resolve,
    build_webhook,
)
from engine.clients.producing import SMALLEST
from engine.clients.publisher import Publisher
from engine.clock import Clock
from engine.health import Answer, Probes
from engine.loop.watch import Health, start_watchdog, stop_on_signals
from gateways.connections import Gateway
from gateways.deposits.http_client import HttpDepositsCore
from gateways.notifications.http_client import HttpNotifier
from gateways.ports import Resolve
from gateways.rail.http_client import HttpRail
from gateways.resolve.policy import RULES_DIR, InBoxResolve, RulesRefusedError, load_policy
from gateways.resolve.scripted import ScriptedResolve
from processors.adapter.metrics import ADAPTERS, AdapterMetrics
from processors.rail.webhook import WebhookServer
from schemas import topology
from schemas.codec.parties import open_parties

log = structlog.get_logger("npp.wiring")

KINDS: Final = ("rail", "deposits", "resolve", "notifications", "redriver")
LOOK_EVERY_S: Final = 0.2
RAIL_NAME: Final = "npp-gateway"  # names the reason table in the rules


class Runs(Protocol):
    """A worker: runs until asked to stop."""

    def run(self) -> None: ...

    def request_stop(self) -> None: ...


def run_adapters(environment: Environment, only: Sequence[str] | None) -> int:
    """`npp run adapters`: all of them, or those named, until SIGTERM."""
    unknown = [name for name in only or () if name not in KINDS]
    if unknown:
        raise usage(f"There is no adapter {unknown[0]}.", do=f"One of {', '.join(KINDS)}.")
    return AdaptersProcess(environment, tuple(only or KINDS)).run()


class AdaptersProcess:
    """The adapters of one process and their threads."""

    def __init__(self, environment: Environment, kinds: tuple[str, ...]) -> None:
        self._environment = environment
        self._context = ProcessContext(environment, "adapters" if len(kinds) > 1 else kinds[0])
        self._metrics = AdapterMetrics(self._context.registry)
        self._publisher = Publisher(
            self._context.connection, f"npp-{self._context.instance}", self._context.clock
        )
        self._redrives: Publisher | None = (
            None  # a client of its own: it puts back what others made
        )
        self._healths: dict[str, Health] = {}
        self._webhook: WebhookServer | None = None
        self._workers: dict[str, Runs] = {name: self._build(name) for name in kinds}
        self._failures: dict[str, BaseException] = {}
        self._stopping = threading.Event()

    def run(self) -> int:
        """Run every worker; 0 after SIGTERM, else the first failure's exit code."""
        context = self._context
        server = context.serve_health(adapter_probes(self._healths))
        stop_on_signals(self._stopping.set, context.settings.shutdown_seconds)
        for health in self._healths.values():
            start_watchdog(health, WATCHDOG_S_MAX)
        threads = [
            threading.Thread(target=self._run_one, args=(name, worker), name=f"npp-{name}")
            for name, worker in self._workers.items()
        ]
        if self._webhook is not None:
            self._webhook.start()
        for thread in threads:
            thread.daemon = True
            thread.start()
        log.info("adapters start", adapters=list(self._workers))
        while not self._stopping.wait(LOOK_EVERY_S):
            if self._webhook is not None and not self._webhook.is_alive():
                self._failures["webhook"] = RuntimeError("the webhook has ended")
            if self._failures:
                break
        for worker in self._workers.values():
            worker.request_stop()
        if self._webhook is not None:
            self._webhook.stop()
        for thread in threads:
            thread.join(context.settings.shutdown_seconds)
        self._publisher.close()
        if self._redrives is not None:
            self._redrives.close()
        if server is not None:
            server.close()
        for name, error in self._failures.items():
            log.critical("adapter ends", adapter=name, error=str(error), exc_info=error)
        if not self._failures:
            log.info("process has ended cleanly", kind="adapters")
        return int(ExitCode.UNREACHABLE if self._failures else ExitCode.OK)

    def _run_one(self, name: str, worker: Runs) -> None:
        try:
            worker.run()
        except BaseException as error:  # noqa: BLE001 the process ends by it, in `run`
            self._failures[name] = error

    def _build(self, name: str) -> Runs:
        makers: dict[str, Callable[[], Runs]] = {
            "rail": self._rail,
            "deposits": self._deposits,
            "resolve": self._resolve,
            "notifications": self._notifications,
            "redriver": self._redriver,
        }
        return makers[name]()

    def _parts(self, name: str) -> Parts:
        context = self._context
        health = self._healths[name] = Health(context.clock)
        context.partition_error_metrics.watch(health.partition_errors)
        if name in ADAPTERS:
            self._metrics.watch(name, lambda: health.standing_s)
        return Parts(
            connection=context.connection,
            instance_id=context.instance,
            clock=context.clock,
            codec=context.codec,
            open_parties=open_parties,
            publisher=self._publisher,
            control=context.control(),
            health=health,
            metrics=self._metrics,
            quarantine_partitions=context.counts[topology.QUARANTINE],
        )

    def _rail(self) -> Runs:
        settings = self._context.settings
        gateway = Gateway(_given(settings.rail_url, "NPP_RAIL_URL"))
        rail = HttpRail(gateway=gateway, clock=self._context.clock, name=RAIL_NAME)
        parts = self._parts("rail")
        secret = settings.webhook_secret
        if secret is None and settings.profile is Profile.PRODUCTION:
            raise usage(
                "NPP_WEBHOOK_SECRET is not set; the production profile requires it.",
                do="Whoever can reach the webhook could else report a settlement.",
            )
        webhook = build_webhook(
            parts,
            adapter=rail.name,
            secret=None if secret is None else secret.get_secret_value().encode(),
        )
        self._webhook = WebhookServer(
            webhook.app(),
            host=settings.webhook_host,
            port=settings.webhook_port,
            clock=self._context.clock,
        )
        return build_rail(parts, rail)

    def _deposits(self) -> Runs:
        url = _given(self._context.settings.deposits_url, "NPP_DEPOSITS_URL")
        core = HttpDepositsCore(gateway=Gateway(url), clock=self._context.clock)
        return build_deposits(self._parts("deposits"), core)

    def _resolve(self) -> Runs:
        resolve = resolve_of(self._context.settings, self._context.clock)
        return build_resolve(self._parts("resolve"), resolve)

    def _notifications(self) -> Runs:
        url = _given(self._context.settings.notifications_url, "NPP_NOTIFICATIONS_URL")
        notifier = HttpNotifier(gateway=Gateway(url), clock=self._context.clock)
        return build_notifications(self._parts("notifications"), notifier)

    def _redriver(self) -> Runs:
        context = self._context
        origins = [t.name for t in context.topics.topics if "redriver" in t.producers]
        self._redrives = Publisher(
            context.connection,
            f"npp-{context.instance}-redriver",
            context.clock,
            compression=SMALLEST,
        )
        return build_redriver(
            msgspec.structs.replace(self._parts("redriver"), publisher=self._redrives),
            adapter=RAIL_NAME,
            origins=[name for name in origins if name != topology.CONTROL],
        )


def resolve_of(settings: Settings, clock: Clock) -> Resolve:
    """The Resolve of these settings. Raises Problem for rules, or a simulator, that the profile
    refuses.
    """
    demo = settings.profile is not Profile.PRODUCTION
    path = settings.resolve_rules or RULES_DIR / ("demo.yaml" if demo else "default.yaml")
    try:
        policy = load_policy(path, profile=settings.profile)
    except (RulesRefusedError, OSError) as error:
        raise usage(str(error), do="NPP_RESOLVE_RULES names the file.") from error
    simulator = settings.resolve_simulator_url
    if not simulator:
        return InBoxResolve(policy)
    if not demo:
        raise usage(
            "NPP_RESOLVE_SIMULATOR_URL is set; the production profile refuses simulators.",
            do="Unset it: a script could approve what needs a person.",
        )
    return ScriptedResolve(policy=policy, gateway=Gateway(simulator), clock=clock)


def adapter_probes(healths: dict[str, Health]) -> Probes:
    """The worst of the workers."""

    def live() -> Answer:
        ages = {name: round(health.age_s(), 3) for name, health in healths.items()}
        return max(ages.values()) <= WATCHDOG_S_MAX, {"progressSecondsAgo": ages}

    def ready() -> Answer:
        phases = {name: health.phase.value for name, health in healths.items()}
        return all(health.ready() for health in healths.values()), phases

    return Probes(live, ready, ready)


def _given(url: str, variable: str) -> str:
    if not url:
        raise usage(
            f"{variable} is not set.", do="Set the gateway's address, or run --only others."
        )
    return url
