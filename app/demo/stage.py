"""What runs: Kafka, registry, topics and schemas, simulators, processors and the publisher.

Everything but the two Java servers is a child of one supervisor; all of it ends with this process.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TextIO

import httpx

from app import control_records, rule_files
from app import settings as app_settings
from app.cluster import Cluster, open_registry_codec
from app.demo.options import Options
from app.exits import ExitCode, Problem, usage
from app.platform import broker, registry
from app.platform.children import free_ports
from app.platform.supervisor import Ended, Program, Restart, Status, Supervisor
from app.settings import ENV_FILE, Environment
from app.topic_specs import topic_specs
from engine.clock import SystemClock
from engine.topics import TopicAdmin
from schemas import catalogue

MARK: Final = "demo-data"  # a folder with this file is ours to delete
LOCK: Final = "demo.lock"
PUBLISHER: Final = Path(__file__).resolve().parents[2] / "examples" / "upstream_publisher.py"
SIMULATORS: Final = ("rail", "deposits", "notifications")
PROCESSORS: Final = ("payments", "adapters", "verifier")
PUBLISHER_NAME: Final = "upstream"
PROOF_NAME: Final = "first-proof"
READY_SECONDS_MAX: Final = 60.0
LOOK_EVERY_SECONDS: Final = 0.1
PROBE_SECONDS: Final = 2.0
KAFKA_HEAP_MB: Final = 512
LEDGER_SECONDS: Final = 20.0


class Stage:
    """The running demo. Use as a context manager: leaving it ends everything."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.data = options.data.absolute()
        self.clock = SystemClock()
        self._lock: TextIO | None = None
        self._ports = dict(
            zip(
                (*SIMULATORS, "webhook", *(f"{name}-metrics" for name in PROCESSORS)),
                free_ports(len(SIMULATORS) + 1 + len(PROCESSORS)),
                strict=True,
            )
        )
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
        (self.data / ENV_FILE).unlink(missing_ok=True)
        self._http.close()
        if self._lock is not None:
            self._lock.close()

    def start_platform(self) -> Cluster:
        """Kafka and the registry, with topics, schemas and control records; the way to them."""
        self._kafka = broker.Cluster(self.data / "kafka", heap_mb=KAFKA_HEAP_MB)
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
        values = self._variables()
        app_settings.write_env_file(self.data / ENV_FILE, values)
        self.environment = app_settings.load(values)
        topics = catalogue.load()
        TopicAdmin(self.environment.connection()).apply(
            topic_specs(topics, self.environment.topics_profile())
        )
        open_registry_codec(self.environment, may_register=True)
        cluster = Cluster(self.environment)
        control, _ = cluster.control()
        rules = rule_files.chosen(rule_files.DEMO_RULES, "demo")
        for record in control_records.missing(cluster, control, topics, rules, "npp-demo"):
            cluster.publish_control(record)
        return cluster

    def start_programs(self) -> None:
        """Simulators, then processors; returns when all of them are ready."""
        for name in SIMULATORS:
            self.supervisor.start(self._simulator(name))
        for name in SIMULATORS:
            self._await(name, f"{self.url(name)}/livez")
        for name in PROCESSORS:
            self.supervisor.start(self._processor(name))
        for name in PROCESSORS:
            port = self._ports[f"{name}-metrics"]
            self._await(name, f"http://127.0.0.1:{port}/readyz")

    def start_publisher(self) -> None:
        """The upstream system, with the load of the options."""
        options = self.options
        command = (
            *(sys.executable, str(PUBLISHER), "--json"),
            *("--payments", str(options.payments)),
            *("--rate", str(options.rate)),
            *("--seed", str(options.seed)),
        )
        log = self.data / "logs" / f"{PUBLISHER_NAME}.log"
        log.unlink(missing_ok=True)
        self.supervisor.start(
            Program(PUBLISHER_NAME, command, self._variables(), restart=Restart.NEVER)
        )

    def start_proof(self) -> None:
        """A replay of what is there already, while the load goes on."""
        command = (sys.executable, "-m", "app.cli", "replay", "verify", "--json")
        self.supervisor.start(
            Program(PROOF_NAME, command, self._variables(), restart=Restart.NEVER)
        )

    def proof(self) -> dict[str, Any] | None:
        """The report of that replay, or None until it has ended well enough to be read."""
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
        """Restart what fell. Raises Problem when something stays down."""
        ends = self.supervisor.tend()
        if self._kafka is not None and not self._kafka.alive():
            raise Problem("Kafka has ended by itself.", do=str(self._kafka.log_file()))
        for name, status in self.supervisor.status().items():
            if status is Status.GIVEN_UP:
                raise Problem(
                    f"{name} keeps falling; its last words:\n{self.supervisor.log_tail(name)}",
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
        try:
            url = f"http://127.0.0.1:{self._ports[f'{name}-metrics']}/readyz"
            return self._http.get(url, timeout=PROBE_SECONDS).is_success
        except httpx.HTTPError:
            return False

    def url(self, name: str) -> str:
        """Where a simulator listens."""
        return f"http://127.0.0.1:{self._ports[name]}"

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
        """The folder is ours alone; `--reset` deletes only what a demo made."""
        marked = (self.data / MARK).exists()
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
        (self.data / MARK).touch()

    def _variables(self) -> dict[str, str]:
        """Every NPP_* variable of a child; those of our own environment do not reach it."""
        assert self._kafka is not None
        assert self._registry is not None
        values = {name: "" for name in os.environ if app_settings.is_setting(name)}
        return values | {
            "NPP_PROFILE": "demo",
            "NPP_BOOTSTRAP_SERVERS": self._kafka.bootstrap,
            "NPP_SCHEMA_REGISTRY_URL": self._registry.url,
            "NPP_DATA_DIR": str(self.data),
            "NPP_IDS_LOCK": str(self.data / "ids.lock"),
            "NPP_RAIL_URL": self.url("rail"),
            "NPP_DEPOSITS_URL": self.url("deposits"),
            "NPP_NOTIFICATIONS_URL": self.url("notifications"),
            "NPP_WEBHOOK_PORT": str(self._ports["webhook"]),
        }

    def _processor(self, name: str) -> Program:
        command = (sys.executable, "-m", "app.cli", "run", name)
        env = self._variables() | {
            "NPP_INSTANCE_ID": f"{name}-1",
            "NPP_METRICS_PORT": str(self._ports[f"{name}-metrics"]),
            "NPP_METRICS_HOST": "127.0.0.1",
        }
        return Program(name, command, env)

    def _simulator(self, name: str) -> Program:
        command = [
            *(sys.executable, "-m", f"adapters.simulators.{name}"),
            *("--port", str(self._ports[name])),
            *("--seed", str(self.options.seed)),
            *("--behaviour", "mixed"),
            *("--journal", str(self.data / f"{name}-ledger.jsonl")),
        ]
        if name == "rail":
            webhook = f"http://127.0.0.1:{self._ports['webhook']}/callbacks/rail"
            command += ["--callback-url", webhook]
        return Program(name, tuple(command), self._variables())

    def _await(self, name: str, url: str) -> None:
        """Until it answers 200. Raises Problem with its last words."""
        until = self.clock.monotonic_s() + READY_SECONDS_MAX
        while self.clock.monotonic_s() < until:
            self.tend()
            try:
                if self._http.get(url, timeout=PROBE_SECONDS).is_success:
                    return
            except httpx.HTTPError:
                pass  # not listening yet
            self.clock.sleep(LOOK_EVERY_SECONDS)
        raise Problem(
            f"{name} is not ready after {READY_SECONDS_MAX:.0f} s; its last words:\n"
            f"{self.supervisor.log_tail(name)}",
            do=f"The whole log: {self.data / 'logs' / (name + '.log')}",
        )
