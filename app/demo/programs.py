"""The processes of a demo: their commands, ports and environment. Nothing is started here."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from app.config import settings as app_settings
from app.demo.options import Options
from app.demo.prometheus import ALERTMANAGER, PROMETHEUS, Monitoring
from app.platform.children import free_ports
from app.platform.supervisor import Program, Restart

PUBLISHER: Final = "examples.upstream_publisher"
SIMULATORS: Final = ("rail", "deposits", "notifications", "resolve")
PROCESSORS: Final = ("payments", "adapters", "verifier", "projector", "monitor")
API: Final = "api"
REPLAY: Final = "replay"  # of a demo that stays
PROOF_EVERY_HOURS: Final = 1
PUBLISHER_NAME: Final = "upstream"
PROOF_NAME: Final = "first-proof"
SUBMITTER_CLIENT: Final = "demo-client"
SUBMITTER_SOURCE: Final = "api-client"
LOOPBACK: Final = "127.0.0.1"


class Programs:
    """Builds each program, once Kafka's and the registry's addresses are known."""

    def __init__(self, options: Options, data: Path, run: str) -> None:
        """`run` names this demo's load: every record of it has it as a header."""
        self._options = options
        self.run = run
        self._data = data
        metered = (*PROCESSORS, REPLAY, API)
        names = [*SIMULATORS, "webhook", API, *(f"{name}-metrics" for name in metered)]
        names += [PROMETHEUS, ALERTMANAGER]
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        if options.api_port:
            self._ports[API] = options.api_port
        self._addresses: dict[str, str] = {}
        both = self._ports[PROMETHEUS], self._ports[ALERTMANAGER]
        self.monitoring = Monitoring(data, both, pages=self.url(API), pager=options.pager)

    def reach(self, bootstrap: str, registry: str) -> None:
        """Where Kafka and the schema registry are."""
        self._addresses = {
            "NPP_BOOTSTRAP_SERVERS": bootstrap,
            "NPP_SCHEMA_REGISTRY_URL": registry,
        }

    def url(self, name: str) -> str:
        """Where a simulator or the API listens."""
        return f"http://{LOOPBACK}:{self._ports[name]}"

    def ready_url(self, name: str) -> str:
        """Where a program says that it works."""
        if name in SIMULATORS:
            return f"{self.url(name)}/livez"
        return f"{self.url(API if name == API else f'{name}-metrics')}/readyz"

    def metrics_url(self, name: str) -> str:
        """Where a processor, or the API, shows its metrics."""
        return f"http://{LOOPBACK}:{self._ports[f'{name}-metrics']}/metrics"

    def watchers(self, processors: Sequence[str]) -> tuple[Program, ...]:
        """Prometheus and Alertmanager over these processes; none where they are not installed."""
        ports = {f"{name}-1": self._ports[f"{name}-metrics"] for name in processors}
        return self.monitoring.programs(ports)

    def variables(self) -> dict[str, str]:
        """Every NPP_* variable of a child; those of our own environment do not reach it."""
        values = {name: "" for name in os.environ if app_settings.is_setting(name)}
        return (
            values
            | self._addresses
            | dict(self._options.more)
            | {
                "NPP_PROFILE": "demo",
                "NPP_DATA_DIR": str(self._data),
                "NPP_IDS_LOCK": str(self._data / "ids.lock"),
                "NPP_RAIL_URL": self.url("rail"),
                "NPP_DEPOSITS_URL": self.url("deposits"),
                "NPP_NOTIFICATIONS_URL": self.url("notifications"),
                "NPP_RESOLVE_SIMULATOR_URL": self.url("resolve"),
                "NPP_WEBHOOK_PORT": str(self._ports["webhook"]),
                "NPP_API_URL": self.url(API),
                "NPP_API_CLIENTS": f"{SUBMITTER_CLIENT}={SUBMITTER_SOURCE}",
            }
        )

    def processor(self, name: str) -> Program:
        """`npp run NAME`, the API included."""
        env = self.variables() | {
            "NPP_INSTANCE_ID": f"{name}-1",
            "NPP_METRICS_PORT": str(self._ports[f"{name}-metrics"]),
            "NPP_METRICS_HOST": LOOPBACK,
        }
        if name == API:
            env |= {"NPP_API_HOST": LOOPBACK, "NPP_API_PORT": str(self._ports[API])}
        more = ("--every-hours", str(PROOF_EVERY_HOURS)) if name == REPLAY else ()
        return Program(name, (sys.executable, "-m", "app.cli.npp", "run", name, *more), env)

    def simulator(self, name: str) -> Program:
        command = [
            *(sys.executable, "-m", f"gateways.{name}.simulator"),
            *("--port", str(self._ports[name])),
            *("--seed", str(self._options.seed)),
            *("--behaviour", self._options.behaviour),
            *("--journal", str(self._data / f"{name}-ledger.jsonl")),
        ]
        if name == "rail":
            command += ["--callback-url", f"{self.url('webhook')}/callbacks/rail"]
        return Program(name, tuple(command), self.variables())

    def publisher(self) -> Program:
        """The upstream system, with the load of the options."""
        options = self._options
        command = (
            *(sys.executable, "-m", PUBLISHER, "--json"),
            *("--payments", str(options.payments)),
            *("--rate", str(options.rate)),
            *("--seed", str(options.seed)),
            *("--run", self.run),
        )
        return Program(PUBLISHER_NAME, command, self.variables(), restart=Restart.NEVER)

    def proof(self) -> Program:
        """A replay of the current log, as a separate process."""
        command = (sys.executable, "-m", "app.cli.npp", "replay", "verify", "--tell", "--json")
        return Program(PROOF_NAME, command, self.variables(), restart=Restart.NEVER)
