"""What runs: Kafka, registry, topics and schemas, simulators, processors, API and publisher.

Everything but the two Java servers is a child of one supervisor; all of it ends with this process.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TextIO

import httpx

from api.auth.local import LocalIssuer
from app import rule_files
from app.cluster import Cluster, open_registry_codec
from app.config import settings as app_settings
from app.config.settings import DEMO_MARK, ENV_FILE, Environment
from app.control import first_records
from app.demo import shell
from app.demo.options import Options
from app.demo.programs import (
    API,
    PROCESSORS,
    PROOF_NAME,
    PUBLISHER_NAME,
    REPLAY,
    SIMULATORS,
    Programs,
)
from app.demo.prometheus import ALERTMANAGER, PROMETHEUS
from app.exits import ExitCode, Problem, usage
from app.platform import broker, registry
from app.platform.java import JVM_FAST_START, Jvm
from app.platform.supervisor import Ended, Status, Supervisor
from app.topic_specs import topic_specs
from control.acts.roles import ADMIN, APPROVER, AUDITOR, OPERATOR, SENIOR, VIEWER
from engine.clock import SystemClock
from engine.topics import TopicAdmin
from schemas import catalogue

LOCK: Final = "demo.lock"
PEOPLE: Final = (VIEWER, OPERATOR, SENIOR, APPROVER, AUDITOR, ADMIN)
READY_SECONDS_MAX: Final = 180.0  # a machine that is busy with other work
LOOK_EVERY_SECONDS: Final = 0.1
PROBE_SECONDS: Final = 2.0
KAFKA_HEAP_MB: Final = 512
LEDGER_SECONDS: Final = 20.0
# Of the demo's own Kafka clients: if Kafka does not answer, that is reported as a Problem already;
# a client's messages about the broker's end must not be the last lines that a person reads.
QUIET: Final = {"NPP_KAFKA_LOG_LEVEL": "2"}


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt like Ctrl-C; a second signal is ignored, because the end is
    bounded.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    former = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class Stage:
    """The running demo. Use as a context manager: leaving it ends everything."""

    def __init__(self, options: Options, jvm: Jvm = JVM_FAST_START) -> None:
        """`jvm`: how Kafka's Java runs; the default starts fastest."""
        self.options = options
        self._jvm = jvm
        self.data = options.data.absolute()
        self.clock = SystemClock()
        self._lock: TextIO | None = None
        run = f"run{options.seed}-{self.clock.now_ms():x}"
        self.programs = Programs(options, self.data, run)
        self.supervisor = Supervisor(self.data / "logs", self.clock)
        self._kafka: broker.Cluster | None = None
        self._registry: registry.Registry | None = None
        self.environment: Environment | None = None
        self._http = httpx.Client(trust_env=False, timeout=LEDGER_SECONDS)

    # -- life --------------------------------------------------------------------------------------

    def __enter__(self) -> Stage:
        self._take_folder()
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.end_all()
        if self._registry is not None:
            self._registry.stop()
        if self._kafka is not None:
            self._kafka.stop()
        for name in (ENV_FILE, shell.FILE):
            (self.data / name).unlink(missing_ok=True)
        self._http.close()
        if self._lock is not None:
            self._lock.close()

    def start_platform(self) -> Cluster:
        """Start Kafka and the registry; put topics, schemas and control records there."""
        self._kafka = broker.Cluster(self.data / "kafka", heap_mb=KAFKA_HEAP_MB, jvm=self._jvm)
        self._registry = registry.Registry(self.data / "registry")
        try:
            with ThreadPoolExecutor(2) as both:
                kafka = both.submit(self._kafka.start)
                both.submit(self._registry.start).result()
                kafka.result()
        except (broker.BrokerError, registry.RegistryError) as error:
            raise Problem(
                str(error),
                means="The platform of the demo did not start.",
                do="`make fetch` repairs what is missing; --reset begins with an empty folder.",
                code=ExitCode.UNREACHABLE,
            ) from error
        self.programs.reach(self._kafka.bootstrap, self._registry.url)
        values = self.programs.variables()
        self._issuer = LocalIssuer(self.data, self.clock)
        token = {"NPP_API_TOKEN": self.token("demo", SENIOR)}
        app_settings.write_env_file(self.data / ENV_FILE, values | token)
        self.environment = app_settings.load(values | QUIET)
        topics = catalogue.load()
        TopicAdmin(self.environment.connection()).apply(
            topic_specs(topics, self.environment.topics_profile())
        )
        open_registry_codec(self.environment, may_register=True)
        cluster = Cluster(self.environment)
        control, _ = cluster.control()
        rules = rule_files.chosen(rule_files.DEMO_RULES, "demo")
        for record in first_records.missing(cluster, control, topics, rules, "npp-demo"):
            cluster.publish_control(record)
        return cluster

    def start_programs(self, processors: Sequence[str] = (*PROCESSORS, API)) -> None:
        """Simulators, processors and the API, all at once; returns when all of them are ready."""
        for name in SIMULATORS:
            self.supervisor.start(self.programs.simulator(name))
        for name in processors:
            self.supervisor.start(self.programs.processor(name))
        watchers = self.programs.watchers(processors)
        for watcher in watchers:
            self.supervisor.start(watcher)
        for name in (*SIMULATORS, *processors):
            self._await(name, self.programs.ready_url(name))
        for watcher in watchers:
            self._await(watcher.name, self.programs.monitoring.ready_url(watcher.name))

    def start_simulators(self) -> None:
        """The simulators alone; returns when all of them are ready."""
        for name in SIMULATORS:
            self.supervisor.start(self.programs.simulator(name))
        for name in SIMULATORS:
            self._await(name, self.programs.ready_url(name))

    def start_publisher(self) -> None:
        """The upstream system, with the load of the options."""
        (self.data / "logs" / f"{PUBLISHER_NAME}.log").unlink(missing_ok=True)
        self.supervisor.start(self.programs.publisher())

    def start_proof(self) -> None:
        """A replay of the current log, during the load."""
        self.supervisor.start(self.programs.proof())

    def prove_now(self) -> None:
        """Restart the scheduled proof, over the whole current log."""
        self.supervisor.end(REPLAY)
        self.supervisor.start(self.programs.processor(REPLAY))

    def token(self, person: str, *roles: str, client_id: str | None = None) -> str:
        """A token of the demo's own issuer, for eight hours."""
        return self._issuer.issue(person, roles, client_id=client_id)

    def tokens(self) -> dict[str, str]:
        """A token for each role."""
        return {role: self.token(f"demo-{role}", role) for role in PEOPLE}

    def ready(self) -> dict[str, Any]:
        """Where everything is: for programs that drive a demo."""
        assert self.environment is not None
        return {
            "ready": True,
            "api": self.url(API),
            "dashboard": self.url(API) + "/",
            "tokens": self.tokens(),
            "bootstrap": self.environment.settings.bootstrap_servers,
            "registry": self.environment.settings.schema_registry_url,
            "simulators": {name: self.url(name) for name in SIMULATORS},
            **{name: self.watcher_url(name) for name in (PROMETHEUS, ALERTMANAGER)},
        }

    def watcher_url(self, name: str) -> str | None:
        """Where Prometheus or Alertmanager is; None when it is not on this machine."""
        runs = name in self.supervisor.status()
        return self.programs.monitoring.url(name) if runs else None

    def proof(self) -> dict[str, Any] | None:
        """The report of that replay; None until it has ended, empty if it is not readable."""
        if self.supervisor.status().get(PROOF_NAME) is not Status.ENDED:
            return None
        last = self.supervisor.log_tail(PROOF_NAME).splitlines()[-1:]
        try:
            report = json.loads("".join(last))
        except ValueError:
            return {}
        return report if isinstance(report, dict) else {}

    # -- while it runs -----------------------------------------------------------------------------

    def tend(self) -> list[Ended]:
        """Restart what failed. Raises Problem if something stays down."""
        ends = self.supervisor.tend()
        if self._kafka is not None and not self._kafka.alive():
            raise Problem("Kafka has ended by itself.", do=str(self._kafka.log_file()))
        for name, status in self.supervisor.status().items():
            if status is Status.GIVEN_UP:
                raise Problem(
                    f"{name} keeps falling; its last output:\n{self.supervisor.log_tail(name)}",
                    do=f"The whole log: {self.data / 'logs' / (name + '.log')}",
                )
        return ends

    def published(self) -> dict[str, Any] | None:
        """What the publisher says it published, or None while it runs. Raises Problem."""
        if self.supervisor.status().get(PUBLISHER_NAME) is not Status.ENDED:
            return None
        tail = self.supervisor.log_tail(PUBLISHER_NAME)
        last = tail.splitlines()[-1] if tail else ""
        try:
            report = json.loads(last)
        except ValueError:
            raise Problem(f"The upstream publisher failed:\n{tail}") from None
        assert isinstance(report, dict)
        return report

    def is_ready(self, name: str) -> bool:
        """Whether a processor says that it works."""
        return self._answers(self.programs.ready_url(name))

    def url(self, name: str) -> str:
        """Where a simulator or the API listens."""
        return self.programs.url(name)

    def ledger(self, name: str) -> dict[str, Any]:
        """A simulator's own books. Raises Problem when it does not show them."""
        try:
            answer = self._http.get(f"{self.url(name)}/ledger")
            answer.raise_for_status()
            found = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Problem(
                f"The {name} simulator does not show its ledger: {error}",
                code=ExitCode.UNREACHABLE,
            ) from error
        assert isinstance(found, dict)
        return found

    def rail_entry(self, external_ref: str) -> dict[str, Any] | None:
        """What the rail's books say of one reference."""
        try:
            url = f"{self.url('rail')}/ledger"
            answer = self._http.get(url, params={"externalRef": external_ref})
            payments = answer.json()["payments"]
        except (httpx.HTTPError, ValueError, KeyError):
            return None
        return payments[0] if payments else None

    # -- parts -------------------------------------------------------------------------------------

    def _take_folder(self) -> None:
        """Lock the folder; `--reset` empties it. Raises Problem if it is in use or no demo's."""
        marked = (self.data / DEMO_MARK).exists()
        if self.data.exists() and not marked and any(self.data.iterdir()):
            raise usage(
                f"{self.data} holds something that is not a demo's.", do="--data another folder."
            )
        self.data.mkdir(parents=True, exist_ok=True)
        self._lock = (self.data / LOCK).open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise usage(
                f"A demo runs in {self.data} already.", do="End it, or --data another folder."
            ) from error
        if self.options.reset:
            for each in self.data.iterdir():
                if each.name != LOCK:
                    shutil.rmtree(each) if each.is_dir() else each.unlink()
        (self.data / DEMO_MARK).touch()

    def _answers(self, url: str) -> bool:
        try:
            return self._http.get(url, timeout=PROBE_SECONDS).is_success
        except httpx.HTTPError:
            return False  # not listening yet

    def _await(self, name: str, url: str) -> None:
        """Wait until it answers 200. Raises Problem with the end of its output."""
        until = self.clock.monotonic_s() + READY_SECONDS_MAX
        while self.clock.monotonic_s() < until:
            self.tend()
            if self._answers(url):
                return
            self.clock.sleep(LOOK_EVERY_SECONDS)
        raise Problem(
            f"{name} is not ready after {READY_SECONDS_MAX:.0f} s; its last output:\n"
            f"{self.supervisor.log_tail(name)}",
            do=f"The whole log: {self.data / 'logs' / (name + '.log')}",
        )
