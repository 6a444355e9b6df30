"""From a breach on the real product to the page that calls a person, and back: every process, the
shipped rules and routes, a real Prometheus and Alertmanager. Only addresses and intervals differ.
"""

from __future__ import annotations

import time

import pytest

from app.demo.prometheus import ALERTMANAGER, PROMETHEUS
from core.values import external_ref
from schemas import topology
from tests.acceptance.harness import ACCEPT, SETTLE, SILENT, Product, rejects
from tests.acceptance.watched.product import EVERY_PROCESS, Watched
from tests.deploy.grafana import DASHBOARDS
from tests.deploy.grafana.panels import ALERTS
from tests.deploy.grafana.parts import EVERY

pytestmark = [pytest.mark.broker, pytest.mark.slow]

WELL_SECONDS = 20.0
ALERTS_WAIT_SECONDS = 30.0  # before they report a missing process: `for` in npp.yml
QUARANTINED = 15  # in ten minutes; the limit is 10
RAIL_SUPPORT = "support@nppa.com.au"


def test_every_process_is_scraped(watched: Watched) -> None:
    """DEP-04, DEP-05."""

    def up() -> bool:
        targets = watched.prometheus("targets")["activeTargets"]
        found = {each["labels"]["instance"]: each["health"] for each in targets}
        return found == {f"{name}-1": "up" for name in EVERY_PROCESS}

    watched.soon(up, what="all targets up")
    ready = watched.stage.ready()
    for name in (PROMETHEUS, ALERTMANAGER):
        assert watched.http.get(f"{ready[name]}/-/ready").is_success


def test_a_healthy_product_raises_no_alert(watched: Watched) -> None:
    """Checked for half the alert's delay. Nor does its start, unless that takes longer than alerts
    wait: then what they say of a missing process is true, and passes.
    """
    watched.until(watched.create([ACCEPT, SETTLE]), state="SETTLED")
    if watched.start_seconds > ALERTS_WAIT_SECONDS:
        watched.soon(lambda: not watched.samples(ALERTS), what="the start's alerts end")
    else:
        assert watched.pager.notified == []
    notified = len(watched.pager.notified)
    until = time.monotonic() + WELL_SECONDS
    while time.monotonic() < until:
        watched.stage.tend()
        firing = watched.prometheus("query", query=ALERTS)["result"]
        assert [each["metric"]["alertname"] for each in firing] == []
        time.sleep(1)
    later = watched.pager.notified[notified:]
    assert [each["labels"] for _, each in later if each["status"] == "firing"] == []


def test_a_silent_rail_pages_engineering_until_it_reports(watched: Watched) -> None:
    """MET-07, MET-08, MET-12: level, contacts and page arrive, and so does the resolution. An
    overdue payment is a symptom: level 1 is not paged for it.
    """
    payments = [watched.create(SILENT) for _ in range(2)]
    path, alert = watched.notified("PaymentsStuck", "firing", state="SENT")
    assert path == "/level-2"
    assert alert["labels"]["level"] == "2"
    assert alert["labels"]["contact"] == f"engineering@turingdynamics.com, {RAIL_SUPPORT}"
    page = watched.http.get(alert["annotations"]["runbook_url"])
    assert (page.status_code, "<h1>PaymentsStuck</h1>" in page.text) == (200, True)
    watched.breaks("PaymentOverdueEscalated")

    for payment in payments:
        watched.rail_now(payment, ACCEPT, SETTLE)
        watched.until(payment, state="SETTLED")
    path, _ = watched.notified("PaymentsStuck", "resolved", state="SENT")
    assert path == "/level-2"
    assert watched.pager.notified_of("PaymentOverdueEscalated", "firing") == []


def test_an_open_conflict_pages_operations_until_a_person_resolves_it(
    watched: Watched,
) -> None:
    """MET-09, MET-12: the rail settles what it has rejected."""
    payment = contradicted(watched)
    path, alert = watched.notified("ConflictOpen", "firing")
    assert path == "/level-1"
    assert alert["labels"]["contact"] == "ops@turingdynamics.com"

    settled_after_all(watched, payment)
    path, _ = watched.notified("ConflictOpen", "resolved")
    assert path == "/level-1"
    path, alert = watched.notified("DebitForced", "firing")  # the hold was gone: another level's
    assert (path, alert["labels"]["level"]) == ("/level-2", "2")


def test_a_settlement_after_an_early_release_raises_an_alert(watched: Watched) -> None:
    """MF-04, MET-09: the hold was released before non-payment was certain; then the rail settles,
    and the customer's account is debited without a hold.
    """
    counted = 'sum(npp_events_total{type="FundsDebitForced"})'
    before = watched.value(counted)
    payment = watched.create(SILENT)
    watched.until(payment, state="SENT")
    watched.approved("snr_1", payment, "MARK_FAILED", failureReason="RAIL")
    watched.done("snr_1", payment, "mark-failed", {"reason": "RAIL", "details": "no answer"})
    watched.approved("snr_1", payment, "RELEASE_EARLY")
    watched.done("snr_1", payment, "release", {"attemptId": "att_001", "reason": "in need"})
    watched.until(payment, funds="RELEASED", moneyOutcome="UNCERTAIN")

    watched.rail_now(payment, SETTLE)
    watched.until(payment, moneyOutcome="CONTRADICTED")
    settled_after_all(watched, payment)
    watched.until(payment, funds="DEBITED")
    watched.soon(lambda: watched.value(counted) == before + 1, what=counted)
    watched.breaks("DebitForced")


def test_faulty_inputs_alert_the_team_that_has_to_act(watched: Watched) -> None:
    """MET-09, MET-12, RT-06, SEC-07: one key with two contents, undecodable records, an unsigned
    control act, a retry that fails again; each alert goes to its level.
    """
    again = watched.create([rejects("AB05")], key="two-contents")
    assert watched.submit("two-contents", amount=999).status_code == 409
    watched.put(topology.COMMANDS, *[b"no record of ours"] * QUARANTINED)
    watched.put(topology.CONTROL, b"no record of ours")
    watched.until(again, state="FAILED", funds="RELEASED")
    watched.script(external_ref(again, 2), [rejects("AB05")])
    watched.approved("ops_1", again, "RETRY")
    watched.done("ops_1", again, "retry", {"attemptId": "att_002", "reason": "again"})
    watched.until(again, state="FAILED", attemptId="att_002")

    reported = {
        "InvariantViolation": "/level-2",
        "QuarantineGrows": "/level-1",
        "ControlActRefused": "/level-3",
        "RetryFailedAgain": "/level-2",
    }
    assert {name: watched.notified(name, "firing")[0] for name in reported} == reported


def test_every_expression_of_the_dashboards_has_data(watched: Watched) -> None:
    """The running processes provide it. An empty panel is an error, except for what has not
    happened or has no history yet.
    """
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


def settled_after_all(watched: Watched, payment: str) -> None:
    """Two people confirm that the rail's settlement stands."""
    verdict = {"conflictId": "cnf_001", "verdict": "SETTLED_AFTER_ALL"}
    watched.approved("snr_1", payment, "RESOLVE_RECONCILIATION", attemptId="att_001", **verdict)
    body = {"attemptId": "att_001", "verdict": "SETTLED_AFTER_ALL", "details": "rail ticket 91"}
    watched.done("snr_1", payment, "conflicts/cnf_001/resolve", body)


def contradicted(watched: Product) -> str:
    """A payment that the rail settles after it has rejected it."""
    payment = watched.create([rejects("AB05")])
    watched.until(payment, state="FAILED", funds="RELEASED")
    watched.rail_now(payment, SETTLE)
    watched.until(payment, moneyOutcome="CONTRADICTED")
    return payment
