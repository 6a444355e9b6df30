"""Prometheus and Alertmanager beside a demo: the shipped rules over the demo's own processes.

The files of deploy/prometheus are taken as they are; only addresses, folders and intervals differ.
Both programs are Debian packages, and a demo runs without them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from app.platform.supervisor import Program

SHIPPED: Final = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
PROMETHEUS: Final = "prometheus"
ALERTMANAGER: Final = "alertmanager"
NAMES: Final = {  # what the program may be called: Debian's name first
    PROMETHEUS: ("prometheus",),
    ALERTMANAGER: ("prometheus-alertmanager", "alertmanager"),
}
OLDEST: Final = (2, 42)  # the first that knows `keep_firing_for`
MISSING: Final = (
    "No Prometheus (2.42 or later) with Alertmanager here, so no alerts: "
    "`apt-get install prometheus prometheus-alertmanager`, and the next demo has them"
)
ANSWER_SECONDS_MAX: Final = 10
LOOPBACK: Final = "127.0.0.1"
FOLDER: Final = "prometheus"
KEPT_HOURS: Final = 25  # a day's picture, and the hour before it
KEPT_MB_MAX: Final = 256
MEMORY_MB: Final = 256
QUERIES_MAX: Final = 8
QUERY_SECONDS_MAX: Final = 10
CONNECTIONS_MAX: Final = 64
GO: Final = {"GOMAXPROCS": "1", "GOMEMLIMIT": f"{MEMORY_MB}MiB"}


class Pace(NamedTuple):
    """Scrape and evaluation intervals, and Alertmanager's group wait."""

    look: str
    group_wait: str
    group_interval: str


DEMO_PACE: Final = Pace(look="2s", group_wait="1s", group_interval="5s")


class Monitoring:
    """The two programs of one demo and their files, in a folder of the demo's."""

    def __init__(
        self,
        data: Path,
        ports: tuple[int, int],
        *,
        pages: str,
        pager: str = "",
        pace: Pace = DEMO_PACE,
    ) -> None:
        """`ports` of Prometheus and Alertmanager; `pages`: the dashboard's address, which serves
        the alerts' pages too; `pager`: where alerts are posted, under /level-1, /level-2 and
        /level-3, or "" when they are only shown."""
        self._folder = data / FOLDER
        self._ports = dict(zip((PROMETHEUS, ALERTMANAGER), ports, strict=True))
        self._pages, self._pager, self._pace = pages, pager, pace

    def url(self, name: str) -> str:
        return f"http://{LOOPBACK}:{self._ports[name]}"

    def ready_url(self, name: str) -> str:
        return f"{self.url(name)}/-/ready"

    def programs(self, targets: Mapping[str, int]) -> tuple[Program, ...]:
        """Both, with their files written; none when one of them is not on this machine.

        `targets`: the metrics port of each process by its instance.
        """
        found = {name: _found(name) for name in NAMES}
        if None in found.values():
            return ()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write("prometheus.yml", self._prometheus(targets))
        self._write("alertmanager.yml", self._alertmanager())
        env = {**GO, "NPP_WEB_URL": self._pages}
        listen = {name: f"{LOOPBACK}:{port}" for name, port in self._ports.items()}
        options = {
            ALERTMANAGER: (
                f"--config.file={self._folder / 'alertmanager.yml'}",
                f"--storage.path={self._folder / 'alertmanager'}",
                f"--data.retention={KEPT_HOURS}h",
                f"--web.listen-address={listen[ALERTMANAGER]}",
                "--cluster.listen-address=",  # alone
            ),
            PROMETHEUS: (
                f"--config.file={self._folder / 'prometheus.yml'}",
                "--enable-feature=expand-external-labels",  # as Prometheus 3 does by itself
                f"--storage.tsdb.path={self._folder / 'tsdb'}",
                f"--storage.tsdb.retention.time={KEPT_HOURS}h",
                f"--storage.tsdb.retention.size={KEPT_MB_MAX}MB",
                f"--query.max-concurrency={QUERIES_MAX}",
                f"--query.timeout={QUERY_SECONDS_MAX}s",
                f"--web.max-connections={CONNECTIONS_MAX}",
                f"--web.listen-address={listen[PROMETHEUS]}",
            ),
        }
        return tuple(
            Program(name, (str(found[name]), *more), env, cwd=self._folder)
            for name, more in options.items()
        )

    def _prometheus(self, targets: Mapping[str, int]) -> dict[str, Any]:
        config = _shipped("prometheus.yml")
        config["global"] |= {
            "scrape_interval": self._pace.look,
            "scrape_timeout": self._pace.look,
            "evaluation_interval": self._pace.look,
        }
        config["rule_files"] = [str(SHIPPED / each) for each in config["rule_files"]]
        (npp,) = config["scrape_configs"]
        npp["static_configs"] = [
            {"targets": [f"{LOOPBACK}:{port}"], "labels": {"instance": instance}}
            for instance, port in targets.items()
        ]
        (managers,) = config["alerting"]["alertmanagers"]
        address = f"{LOOPBACK}:{self._ports[ALERTMANAGER]}"
        managers["static_configs"] = [{"targets": [address]}]
        return config

    def _alertmanager(self) -> dict[str, Any]:
        config = _shipped("alertmanager.yml")
        config["route"] |= {
            "group_wait": self._pace.group_wait,
            "group_interval": self._pace.group_interval,
        }
        for receiver in config["receivers"]:
            hooks = receiver.pop("webhook_configs")
            if self._pager:
                url = f"{self._pager}/{receiver['name']}"
                for hook in hooks:
                    del hook["url_file"]
                receiver["webhook_configs"] = [hook | {"url": url} for hook in hooks]
        return config

    def _write(self, name: str, config: Mapping[str, Any]) -> None:
        text = yaml.safe_dump(config, sort_keys=False)
        (self._folder / name).write_text(text, encoding="utf-8")


def _found(name: str) -> str | None:
    """The path of a program; None when it is not there, or too old for the rules."""
    path = next((path for each in NAMES[name] if (path := shutil.which(each))), None)
    if path is None or name == ALERTMANAGER:
        return path
    requested = [path, "--version"]
    finished = subprocess.run(
        requested, capture_output=True, text=True, timeout=ANSWER_SECONDS_MAX, check=False
    )
    version = re.search(r"version ([0-9]+)\.([0-9]+)", finished.stdout + finished.stderr)
    known = version is not None and (int(version[1]), int(version[2])) >= OLDEST
    return path if known else None


def _shipped(name: str) -> dict[str, Any]:
    config = yaml.safe_load((SHIPPED / name).read_text(encoding="utf-8"))
    assert isinstance(config, dict)
    return config
