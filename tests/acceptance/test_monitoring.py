"""From a breach on the real product to the person who is called, and back: every process, the
shipped rules and routes, a real Prometheus and Alertmanager. Only addresses and intervals differ.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from app.demo.programs import API, PROCESSORS, REPLAY
from app.demo.prometheus import ALERTMANAGER, PROMETHEUS
from core.values import external_ref
from schemas import topology
from tests.acceptance.harness import ACCEPT, SETTLE, SILENT, Harness, rejects
from tests.deploy.grafana import DASHBOARDS
from tests.deploy.grafana.panels import ALERTS
from tests.deploy.grafana.parts import EVERY
from tests.deploy.pager import Pager
from tests.rooms import ROOT

pytestmark = [pytest.mark.broker, pytest.mark.slow]

TOLD_SECONDS_MAX = 60.0
WELL_SECONDS = 20.0
HANGS_SECONDS_MAX = 120.0  # a minute's patience, and the scrapes that fail
QUARANTINED = 15  # in ten minutes; the limit is 10
KAFKA_SECONDS_MAX = 20.0
RAIL_SUPPORT = "support@nppa.com.au"


class Watched(Harness):
    """The whole product with a pager, and what its Prometheus says."""

    pager: Pager

    def prometheus(self, path: str, **query: Any) -> Any:
        url = self.stage.watcher_url(PROMETHEUS)
        assert url is not None, "install prometheus and prometheus-alertmanager"
        answer = self.http.get(f"{url}/api/v1/{path}", params=query)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    def told(
        self, alert: str, status: str, *, seconds: float = TOLD_SECONDS_MAX, **labels: str
    ) -> tuple[str, dict[str, Any]]:
        """Wait for what the pager is told; the path that it came by, and the alert."""

        def found() -> tuple[str, dict[str, Any]] | None:
            for path, each in self.pager.told_of(alert, status):
                if labels.items() <= each["labels"].items():
                    return path, each
            return None

        what = f"{alert} {status}; told: {self.pager.told}"
        path, each = self.soon(found, seconds, what)
        return str(path), dict(each)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    pager = Pager()
    made = Watched(tmp_path_factory.mktemp("watched") / "data", pager=pager.url)
    made.pager = pager
    try:
        made.start((*PROCESSORS, REPLAY, API))
        yield made
    finally:
        made.close()
        pager.close()


def test_every_process_is_scraped(watched: Watched) -> None:
    """DEP-04, DEP-05."""

    def up() -> bool:
        targets = watched.prometheus("targets")["activeTargets"]
        found = {each["labels"]["instance"]: each["health"] for each in targets}
        return found == {f"{name}-1": "up" for name in (*PROCESSORS, REPLAY, API)}

    watched.soon(up, what="all targets up")
    ready = watched.stage.ready()
    for name in (PROMETHEUS, ALERTMANAGER):
        assert watched.http.get(f"{ready[name]}/-/ready").is_success


def test_a_product_that_is_well_calls_nobody(watched: Watched) -> None:
    """Nor does its start: what has not happened yet is not late. Half an alert's patience long."""
    watched.until(watched.create([ACCEPT, SETTLE]), state="SETTLED")
    until = time.monotonic() + WELL_SECONDS
    while time.monotonic() < until:
        watched.stage.tend()
        firing = watched.prometheus("query", query=ALERTS)["result"]
        assert [each["metric"]["alertname"] for each in firing] == []
        time.sleep(1)
    assert watched.pager.told == []


def test_a_rail_that_keeps_silent_calls_engineering_until_it_speaks(watched: Watched) -> None:
    """MET-07, MET-08, MET-12: level, contacts and page arrive; so does the end. That one of them
    is overdue is a symptom: level 1 is not told of it."""
    payments = [watched.create(SILENT) for _ in range(2)]
    path, alert = watched.told("PaymentsStuck", "firing", state="SENT")
    assert path == "/level-2"
    assert alert["labels"]["level"] == "2"
    assert alert["labels"]["contact"] == f"engineering@turingdynamics.com, {RAIL_SUPPORT}"
    page, _, _ = alert["annotations"]["runbook_url"].partition("#")
    assert (ROOT / page).is_file()

    for payment in payments:
        watched.rail_now(payment, ACCEPT, SETTLE)
        watched.until(payment, state="SETTLED")
    path, _ = watched.told("PaymentsStuck", "resolved", state="SENT")
    assert path == "/level-2"
    assert watched.pager.told_of("PaymentOverdueEscalated", "firing") == []


def test_an_open_conflict_is_told_to_operations_until_a_person_resolves_it(
    watched: Watched,
) -> None:
    """MET-09, MET-12: the rail settles what it has rejected."""
    payment = contradicted(watched)
    path, alert = watched.told("ConflictOpen", "firing")
    assert path == "/level-1"
    assert alert["labels"]["contact"] == "ops@turingdynamics.com"

    verdict = {"conflictId": "cnf_001", "verdict": "SETTLED_AFTER_ALL"}
    watched.approved("snr_1", payment, "RESOLVE_RECONCILIATION", attemptId="att_001", **verdict)
    body = {"attemptId": "att_001", "verdict": "SETTLED_AFTER_ALL", "details": "rail ticket 91"}
    watched.done("snr_1", payment, "conflicts/cnf_001/resolve", body)
    path, _ = watched.told("ConflictOpen", "resolved")
    assert path == "/level-1"
    path, alert = watched.told("DebitForced", "firing")  # the hold was gone: another level's
    assert (path, alert["labels"]["level"]) == ("/level-2", "2")


def test_what_comes_in_wrong_is_told_to_who_has_to_act(watched: Watched) -> None:
    """MET-09, MET-12, RT-06, SEC-07: one key with two contents, records that cannot be read, a
    control act that nobody signed, a retry that fails again; each alert to its level."""
    again = watched.create([rejects("AB05")], key="two-contents")
    assert watched.submit("two-contents", amount=999).status_code == 409
    junk(watched, topology.COMMANDS, QUARANTINED)
    junk(watched, topology.CONTROL, 1)
    watched.until(again, state="FAILED", funds="RELEASED")
    watched.script(external_ref(again, 2), [rejects("AB05")])
    watched.approved("ops_1", again, "RETRY")
    watched.done("ops_1", again, "retry", {"attemptId": "att_002", "reason": "again"})
    watched.until(again, state="FAILED", attemptId="att_002")

    told = {
        "InvariantViolation": "/level-2",
        "QuarantineGrows": "/level-1",
        "ControlActRefused": "/level-3",
        "RetryFailedAgain": "/level-2",
    }
    assert {name: watched.told(name, "firing")[0] for name in told} == told


def test_a_verifier_that_hangs_is_missed_and_its_return_is_told(watched: Watched) -> None:
    """ESC-02: a process that neither ends nor works."""
    watched.stage.supervisor.pause("verifier")
    try:
        path, _ = watched.told("JournalUnverified", "firing", seconds=HANGS_SECONDS_MAX)
    finally:
        watched.stage.supervisor.unpause("verifier")
    assert path == "/level-2"
    watched.told("JournalUnverified", "resolved")


def junk(watched: Watched, topic: str, count: int) -> None:
    """Records that nobody can read."""
    producer = Producer({"bootstrap.servers": watched.bootstrap})
    for number in range(count):
        producer.produce(topic, b"no record of ours", f"junk-{number}".encode(), 0)
    assert producer.flush(KAFKA_SECONDS_MAX) == 0


def test_every_expression_of_the_dashboards_is_answered(watched: Watched) -> None:
    """By the processes that run, and not with nothing: a panel that stays empty is a mistake, but
    for what has not happened, or has no history yet."""
    watched.until(watched.create([ACCEPT, SETTLE]), state="SETTLED")
    contradicted(watched)

    def empty() -> list[str]:
        return [
            expr
            for dashboard in DASHBOARDS
            for expr in dashboard.expressions()
            if expr != ALERTS
            and not watched.prometheus("query", query=expr.replace(EVERY, "1m"))["result"]
        ]

    def full() -> bool:
        nothing[:] = empty()
        return not nothing

    nothing: list[str] = []
    try:
        watched.soon(full)
    except AssertionError:
        raise AssertionError(nothing) from None


def contradicted(watched: Watched) -> str:
    """A payment that the rail settles after it has rejected it."""
    payment = watched.create([rejects("AB05")])
    watched.until(payment, state="FAILED", funds="RELEASED")
    watched.rail_now(payment, SETTLE)
    watched.until(payment, moneyOutcome="CONTRADICTED")
    return payment
