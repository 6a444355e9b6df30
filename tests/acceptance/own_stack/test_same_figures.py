"""Page, API, incidents, `/metrics` and `npp top` agree at the same offset."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.values import external_ref
from processors.monitor.rules import RULES
from readmodel.minutes import LEAST_COUNT
from schemas import topology
from tests.acceptance.harness import ACCEPT, SETTLE, SILENT, Harness, rejects
from tests.acceptance.watched.test_monitoring import contradicted

pytestmark = pytest.mark.broker

SETTLED, VIOLATIONS, QUARANTINED = 6, 1, 11
OTHERS = 5  # attempts that end otherwise
# The last rejection makes the count large enough to be judged, so that the incident opens on the
# final figures however long the rest takes.
REJECTED = LEAST_COUNT - SETTLED - OTHERS
FIGURE = re.compile(r'data-series="(\w+)">.*?data-value="([0-9]+)"', re.DOTALL | re.ASCII)
VALUE = re.compile(r'data-value="([0-9]+)"', re.ASCII)
TILE = re.compile(
    r'class="name">(?:<a [^>]*>)?([^<]+).*?class="value">([^<]+).*?class="fine">([^<]+)', re.DOTALL
)
OF = re.compile(r"([0-9,]+) of ([0-9,]+)\.", re.ASCII)
RATES = {
    "success": "Success rate",
    "retry": "Retry rate",
    "cancellation": "Cancellation rate",
    "lateFailure": "Late failure rate",
}
KINDS = {"lateFailure": "late_failure"}
QUEUES = {
    "attention": "attention",
    "openConflicts": "open_conflicts",
    "waitingForPerson": "waiting_for_person",
    "approvalsWaiting": "approvals_referred",
    "quarantined": "quarantined",
}
COUNTED = {
    "attention": "Need attention",
    "approvalsWaiting": "Approvals waiting",
    "openConflicts": "Open conflicts",
}
IN_FUTURE_MS = 600_000
LOOKS = 20


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """Its own stack, so that no other test changes its figures."""
    made = Harness(tmp_path_factory.mktemp("quiet") / "data")
    try:
        made.start()
        yield made
    finally:
        made.close()


class Metrics:
    """A process's `/metrics`."""

    def __init__(self, text: str) -> None:
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def one(self, name: str, **labels: str) -> float:
        return self._samples[name, frozenset(labels.items())]

    def total(self, name: str, **labels: str) -> float:
        """Summed over all labels that are not given."""
        wanted = set(labels.items())
        return sum(v for (n, of), v in self._samples.items() if n == name and wanted <= of)


class Seen:
    """Everything that shows figures, read while the read model was at one offset."""

    def __init__(self, harness: Harness, browser: httpx.Client) -> None:
        self._harness = harness
        self.before = harness.get("/api/summary")
        self.page = browser.get("/").text
        self.metrics, self.monitor = self._shown_by("projector"), self._shown_by("monitor")
        self.top = harness.npp_json("top")
        self.listed = harness.get("/api/incidents", open="true")["items"]
        self.summary = harness.get("/api/summary")

    def _shown_by(self, program: str) -> Metrics:
        url = self._harness.stage.programs.ready_url(program).replace("/readyz", "/metrics")
        return Metrics(self._harness.http.get(url).text)

    def at_one_offset(self) -> bool:
        """Within one minute of each window, with the whole journal projected."""

        def place(summary: dict[str, Any]) -> tuple[Any, ...]:
            return summary["readModel"]["offsets"], summary["at"][:16], summary["incidents"]

        same = place(self.before) == place(self.top["summary"]) == place(self.summary)
        return same and self.summary["readModel"]["recordsBehind"] == 0

    def body(self, name: str) -> str:
        """Of a table of the page."""
        table = self.page.partition(f'id="{name}"')[2].partition("</table>")[0]
        return table.partition("<tbody>")[2]

    def table(self, name: str) -> dict[str, int]:
        return {series: int(value) for series, value in FIGURE.findall(self.body(name))}

    def columns(self, name: str, count: int) -> list[int]:
        """The sum of each column of figures."""
        figures = [int(value) for value in VALUE.findall(self.body(name))]
        return [sum(figures[place::count]) for place in range(count)]

    def tiles(self) -> dict[str, tuple[str, str]]:
        """Value and meaning by name."""
        return {name.strip(): (value, text) for name, value, text in TILE.findall(self.page)}


def retried(quiet: Harness, steps: list[dict[str, Any]]) -> str:
    """A payment whose second attempt meets these steps at the rail."""
    payment = quiet.create([rejects("AB05")])
    quiet.until(payment, state="FAILED", funds="RELEASED")
    quiet.script(external_ref(payment, 2), steps)
    quiet.approved("ops_1", payment, "RETRY")
    quiet.done("ops_1", payment, "retry", {"attemptId": "att_002", "reason": "again"})
    return payment


def everything_happens(quiet: Harness) -> None:
    """Each figure is another than 0: two retries, a cancellation, a conflict, an approval that
    waits, an invariant that holds, and a quarantine that grows.
    """
    keys = [quiet.key() for _ in range(SETTLED)]
    ended = [(quiet.create([ACCEPT, SETTLE], key=key), "SETTLED") for key in keys]
    ended += [(quiet.create([rejects("AC01")]), "FAILED") for _ in range(REJECTED - 1)]
    later = int(time.time() * 1_000) + IN_FUTURE_MS
    cancelled = quiet.create(SILENT, requestedExecutionTime=later)
    quiet.until(cancelled, state="AUTHORISED")
    quiet.approved("ops_1", cancelled, "CANCEL")
    quiet.done("ops_1", cancelled, "cancel", {"reason": "Customer requested cancellation"})
    failed = retried(quiet, [rejects("AB05")])
    ended += [(retried(quiet, [ACCEPT, SETTLE]), "SETTLED"), (cancelled, "FAILED")]
    for payment, state in ended:
        quiet.until(payment, state=state)
    quiet.until(failed, state="FAILED", attemptId="att_002", funds="RELEASED")
    quiet.requested("ops_1", failed, "RETRY")
    contradicted(quiet)
    assert quiet.submit(keys[0], amount=99).status_code == 409
    quiet.put(topology.COMMANDS, *[b"no record of ours"] * QUARANTINED)
    quiet.until(quiet.create([rejects("AC01")]), state="FAILED")


@pytest.fixture(scope="module")
def seen(quiet: Harness) -> Seen:
    """After a success rate below its limit, and its incident."""
    everything_happens(quiet)
    quiet.soon(
        lambda: quiet.get("/api/summary")["quarantined"] == QUARANTINED, what="the quarantine"
    )
    quiet.soon(lambda: quiet.get("/api/summary")["incidents"], what="an incident is open")
    with httpx.Client(base_url=quiet.url, follow_redirects=True, trust_env=False) as browser:
        assert browser.post("/sign-in", data={"person": "vera", "next": "/"}).status_code == 200
        for _ in range(LOOKS):
            found = Seen(quiet, browser)
            if found.at_one_offset():
                return found
    raise AssertionError("the offset never stayed the same")


def test_states_and_queues_are_the_same_everywhere(seen: Seen) -> None:
    """DSH-01, DSH-03, DSH-04, DSH-07."""
    summary, tiles = seen.summary, seen.tiles()
    assert summary["states"]["FAILED"] == REJECTED + 3
    assert seen.table("states-table") == seen.top["summary"]["states"] == summary["states"]
    for state, count in summary["states"].items():
        assert seen.metrics.one("npp_read_model_payments", state=state) == count, state
    for outcome, count in summary["moneyOutcomes"].items():
        assert seen.metrics.one("npp_read_model_money_outcomes", outcome=outcome) == count, outcome
    for name, kind in QUEUES.items():
        assert summary[name] > 0, name
        assert seen.metrics.one("npp_read_model_queue", kind=kind) == summary[name], name
        assert seen.top["summary"][name] == summary[name], name
    for name, label in COUNTED.items():
        assert tiles[label][0] == f"{summary[name]:,}", label
    for state, count in summary["overdue"].items():
        assert seen.metrics.total("npp_payments_overdue", state=state) == count, state
    assert seen.metrics.one("npp_idempotency_bypassed") == summary["bypassed"]


def test_rates_are_the_same_everywhere(seen: Seen) -> None:
    """Parts and wholes on page, API and terminal; rate and whole in Prometheus."""
    for name, label in RATES.items():
        rate = seen.summary["rates"][name]
        assert seen.top["summary"]["rates"][name] == rate
        shown = OF.search(seen.tiles()[label][1])
        assert shown is not None, label
        assert tuple(map(int, shown.groups())) == (rate["part"], rate["whole"]), label
        exported(seen, KINDS.get(name, name), rate)
    assert seen.summary["rates"]["success"]["whole"] == LEAST_COUNT


def test_the_retry_success_rate_is_the_same_everywhere(seen: Seen) -> None:
    """DSH-02: one of two retries has settled."""
    rate = seen.summary["retrySuccess"]
    assert (rate["part"], rate["whole"]) == (1, 2)
    assert seen.columns("retries-table", 2) == [1, 1]
    assert "1 of 2 retries that ended in the last 24 hours settled." in seen.page
    assert seen.top["summary"]["retrySuccess"] == rate
    exported(seen, "retry_success", rate)


def exported(seen: Seen, kind: str, rate: dict[str, Any]) -> None:
    """By the projector."""
    assert seen.metrics.one("npp_business_rate_count", kind=kind) == rate["whole"], kind
    share = seen.metrics.one("npp_business_rate", kind=kind)
    assert rate["value"] == share or (rate["value"] is None and math.isnan(share)), kind


def test_throughput_is_the_same_everywhere(seen: Seen) -> None:
    """DSH-01: by minute and by quarter of an hour; all of it was within the hour."""
    minutes = seen.summary["throughput"]
    assert seen.top["summary"]["throughput"] == minutes
    counted = {
        kind: sum(each[kind] for each in minutes)
        for kind in ("created", "settled", "cancelled", "expired", "retries", "acknowledged")
    }
    for kind, count in counted.items():
        assert seen.metrics.one("npp_business_last_hour", kind=kind) == count, kind
    failed = sum(each["failed"] for each in minutes)
    assert seen.metrics.total("npp_business_failed_last_hour") == failed
    otherwise = failed + counted["cancelled"] + counted["expired"]
    for table in ("hour-table", "throughput-table"):
        assert seen.columns(table, 3) == [counted["created"], counted["settled"], otherwise], table


def test_failures_by_reason_are_the_same_everywhere(seen: Seen) -> None:
    """DSH-02."""
    failures = seen.summary["failures"]
    assert seen.table("failures-table") == seen.top["summary"]["failures"] == failures
    for reason, count in failures.items():
        shown = seen.metrics.one("npp_business_failed_last_day", reason=reason)
        assert shown == count, reason
    assert {reason: count for reason, count in failures.items() if count} == {
        "INVALID_ACCOUNT": REJECTED,
        "TIMEOUT": 4,
        "CANCELLED": 1,
    }


def test_open_incidents_are_the_same_everywhere(seen: Seen) -> None:
    """DSH-03: the monitor's own, and on page and terminal what else a person must end."""
    rules = {each["rule"] for each in seen.summary["incidents"]}
    assert seen.listed == seen.top["summary"]["incidents"] == seen.summary["incidents"]
    assert rules == {"success"}
    for rule in RULES:
        assert seen.monitor.one("npp_incident_open", rule=rule) == (rule in rules), rule
    active = seen.top["incidents"]
    assert seen.tiles()["Active incidents"][0] == f"{len(active)}"
    assert [each["what"] for each in active if each["what"] not in seen.page] == []
    assert {each["alert"] for each in active} == {
        *("PaymentSuccessRateLow", "InvariantViolation", "QuarantineGrows", "ConflictOpen"),
    }
    assert seen.summary["violatedLately"] == VIOLATIONS
    assert seen.summary["quarantinedLately"] == QUARANTINED


def test_the_incident_has_the_rate_of_page_and_prometheus(seen: Seen) -> None:
    """From its own process, computed from the minutes on Kafka."""
    (incident,) = [each for each in seen.summary["incidents"] if each["rule"] == "success"]
    rate = seen.summary["rates"]["success"]
    assert (incident["part"], incident["whole"]) == (rate["part"], rate["whole"])
    assert incident["part"] / incident["whole"] == seen.metrics.one(
        "npp_business_rate", kind="success"
    )
    assert f"Success rate {rate['value']:.1%}, below 90%" in seen.page
