"""An alert from the metric to the person: real Prometheus, real Alertmanager, our configuration.

The shipped files are taken as they are; only addresses and intervals are the test's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from app.platform.children import end_child, free_ports, start_child, tail_of
from processors.projector.metrics import ProjectorMetrics
from tests.rooms import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        None in map(shutil.which, ("prometheus", "prometheus-alertmanager"))
        and "CI" not in os.environ,
        reason="install prometheus and prometheus-alertmanager",
    ),
]

SHIPPED: Final = ROOT / "deploy" / "prometheus"
SECONDS_MAX: Final = 60.0
LOOK_S: Final = "500ms"


class Pager(ThreadingHTTPServer):
    """What a paging system was told, by the path of the receiver."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def told_of(self, alert: str, status: str) -> list[tuple[str, dict[str, Any]]]:
        return [
            (path, each)
            for path, each in list(self.told)
            if each["labels"]["alertname"] == alert and each["status"] == status
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Pager

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.told += [(self.path, each) for each in body["alerts"]]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the base class's name
        """Nothing on the test's output."""


class Rig:
    """The metrics of a projector, Prometheus and Alertmanager; `pager` is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = CollectorRegistry()
        self.metrics = ProjectorMetrics(self.registry)
        scraped, prometheus, self.manager = free_ports(3)
        self.server, _ = start_http_server(scraped, "127.0.0.1", self.registry)
        self.pager = Pager()
        self._configure(scraped)
        self.children: list[subprocess.Popen[bytes]] = []
        self._start(
            "prometheus-alertmanager", f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'am'}", f"--web.listen-address=127.0.0.1:{self.manager}",
            "--cluster.listen-address=",
        )  # fmt: skip
        self._start(
            "prometheus", f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{prometheus}",
        )  # fmt: skip

    def _configure(self, scraped: int) -> None:
        config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": LOOK_S, "evaluation_interval": LOOK_S}
        config["rule_files"] = [str(SHIPPED / each) for each in config["rule_files"]]
        config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{scraped}"]}]
        (managers,) = config["alerting"]["alertmanagers"]
        managers["static_configs"] = [{"targets": [f"127.0.0.1:{self.manager}"]}]
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        text = (SHIPPED / "alertmanager.yml").read_text(encoding="utf-8")
        text = text.replace("http://pager:8080", f"http://127.0.0.1:{self.pager.server_port}")
        routes = yaml.safe_load(text)
        routes["route"] |= {"group_wait": "100ms", "group_interval": "1s"}
        (self.folder / "alertmanager.yml").write_text(yaml.safe_dump(routes))

    def _start(self, name: str, *options: str) -> None:
        log = self.folder / f"{name}.log"
        self.children.append(start_child([name, *options], log_file=log, env={}, cwd=self.folder))

    def until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while not holds():
            logs = "\n".join(tail_of(each) for each in self.folder.glob("*.log"))
            assert time.monotonic() < deadline, f"{self.pager.told}\n{logs}"
            time.sleep(0.1)

    def close(self) -> None:
        for child in self.children:
            end_child(child, 10.0)
        self.pager.shutdown()
        self.pager.server_close()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_a_breach_calls_its_level_with_contact_and_page_and_its_end_is_told(rig: Rig) -> None:
    """MET-12, ESC-02: level, contact and link arrive; when it is over, that arrives too."""
    rig.metrics.halted.set(1)
    rig.until(lambda: rig.pager.told_of("ReadModelHalted", "firing"))
    path, alert = rig.pager.told_of("ReadModelHalted", "firing")[0]
    assert path == "/level-3"
    assert (alert["labels"]["level"], alert["labels"]["severity"]) == ("3", "critical")
    assert alert["labels"]["contact"] == (
        "engineering@turingdynamics.com, compliance@turingdynamics.com, +61 (0) 1234 5678"
    )
    assert alert["annotations"]["runbook_url"] == "docs/runbook.md#read-model"

    rig.metrics.halted.set(0)
    rig.until(lambda: rig.pager.told_of("ReadModelHalted", "resolved"))
    assert {path for path, _ in rig.pager.told_of("ReadModelHalted", "resolved")} == {"/level-3"}


def test_the_rails_support_is_named_where_the_rail_is_concerned(rig: Rig) -> None:
    rig.metrics.stuck({("SENT", "ESCALATED"): 1})
    rig.until(lambda: rig.pager.told_of("PaymentOverdueEscalated", "firing"))
    path, alert = rig.pager.told_of("PaymentOverdueEscalated", "firing")[0]
    assert path == "/level-1"
    assert alert["labels"]["contact"] == "ops@turingdynamics.com, support@nppa.com.au"
