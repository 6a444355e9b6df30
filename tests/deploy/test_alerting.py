"""An alert from the metric to the page: real Prometheus, real Alertmanager, our configuration.

The shipped files are used unchanged except for addresses and intervals.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from app.demo.prometheus import Monitoring, Pace
from app.platform.children import end_child, free_ports, start_child, tail_of
from processors.projector.metrics import ProjectorMetrics
from tests.deploy.pager import Pager

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        None in map(shutil.which, ("prometheus", "prometheus-alertmanager"))
        and "CI" not in os.environ,
        reason="install prometheus and prometheus-alertmanager",
    ),
]

SECONDS_MAX: Final = 60.0
PAGES: Final = "https://npp.example"
PACE: Final = Pace(look="500ms", group_wait="100ms", group_interval="1s")


class Rig:
    """A projector's metrics, Prometheus and Alertmanager, which posts to `pager`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = CollectorRegistry()
        self.metrics = ProjectorMetrics(self.registry)
        scraped, *ports = free_ports(3)
        self.server, _ = start_http_server(scraped, "127.0.0.1", self.registry)
        self.pager = Pager()
        monitoring = Monitoring(
            folder, (ports[0], ports[1]), pages=PAGES, pager=self.pager.url, pace=PACE
        )
        self.children = [
            start_child(
                each.command, log_file=folder / f"{each.name}.log", env=each.env, cwd=each.cwd
            )
            for each in monitoring.programs({"projector-1": scraped})
        ]

    def until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while not holds():
            logs = "\n".join(tail_of(each) for each in self.folder.glob("*.log"))
            assert time.monotonic() < deadline, f"{self.pager.notified}\n{logs}"
            time.sleep(0.1)

    def close(self) -> None:
        for child in self.children:
            end_child(child, 10.0)
        self.pager.close()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_a_breach_pages_its_level_with_contact_and_runbook_and_then_resolves(rig: Rig) -> None:
    """MET-12, ESC-02: level, contact and link arrive, and so does the resolution."""
    rig.metrics.halted.set(1)
    rig.until(lambda: rig.pager.notified_of("ReadModelHalted", "firing"))
    path, alert = rig.pager.notified_of("ReadModelHalted", "firing")[0]
    assert path == "/level-3"
    assert (alert["labels"]["level"], alert["labels"]["severity"]) == ("3", "critical")
    assert alert["labels"]["contact"] == (
        "engineering@turingdynamics.com, compliance@turingdynamics.com, +61 (0) 1234 5678"
    )
    assert alert["annotations"]["runbook_url"] == f"{PAGES}/runbooks/ReadModelHalted"
    assert "runbooks" not in alert["labels"]

    rig.metrics.halted.set(0)
    rig.until(lambda: rig.pager.notified_of("ReadModelHalted", "resolved"))
    assert {path for path, _ in rig.pager.notified_of("ReadModelHalted", "resolved")} == {
        "/level-3"
    }


def test_the_rails_support_is_named_in_alerts_about_the_rail(rig: Rig) -> None:
    rig.metrics.stuck({("SENT", "ESCALATED"): 1})
    rig.until(lambda: rig.pager.notified_of("PaymentOverdueEscalated", "firing"))
    path, alert = rig.pager.notified_of("PaymentOverdueEscalated", "firing")[0]
    assert path == "/level-1"
    assert alert["labels"]["contact"] == "ops@turingdynamics.com, support@nppa.com.au"
