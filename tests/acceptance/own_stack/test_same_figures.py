"""One arithmetic: page, API, incidents, `/metrics` and `npp top` agree at the same offset."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.harness import ACCEPT, SETTLE, Harness, rejects

pytestmark = pytest.mark.broker

SETTLED, REJECTED = 6, 20
FIGURE = re.compile(r'data-series="(\w+)">.*?data-value="([0-9]+)"', re.DOTALL | re.ASCII)
TILE = re.compile(r'class="name">(?:<a [^>]*>)?([^<]+).*?class="fine">([^<]+)', re.DOTALL)
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
LOOKS = 20


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """A stack of its own, whose figures nobody else moves."""
    made = Harness(tmp_path_factory.mktemp("quiet") / "data")
    try:
        made.start()
        yield made
    finally:
        made.close()


class Metrics:
    """What a process shows at `/metrics`."""

    def __init__(self, text: str) -> None:
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def one(self, name: str, **labels: str) -> float:
        return self._samples[name, frozenset(labels.items())]

    def total(self, name: str, **labels: str) -> float:
        """Over all labels that are not given."""
        wanted = set(labels.items())
        return sum(v for (n, of), v in self._samples.items() if n == name and wanted <= of)


class Seen:
    """Everything that shows figures, looked at while the read model stood at one offset."""

    def __init__(self, harness: Harness, browser: httpx.Client) -> None:
        url = harness.stage.programs.ready_url("projector").replace("/readyz", "/metrics")
        self.before = harness.get("/api/summary")
        self.page = browser.get("/").text
        self.metrics = Metrics(harness.http.get(url).text)
        self.top = harness.npp_json("top")["summary"]
        self.summary = harness.get("/api/summary")

    def at_one_offset(self) -> bool:
        """And within one minute of each window, all of it on the journal being shown."""

        def place(summary: dict[str, Any]) -> tuple[Any, ...]:
            return summary["readModel"]["offsets"], summary["at"][:16]

        same = place(self.before) == place(self.top) == place(self.summary)
        return same and self.summary["readModel"]["recordsBehind"] == 0

    def table(self, name: str) -> dict[str, int]:
        body = self.page.partition(f'id="{name}"')[2].partition("</table>")[0]
        found = FIGURE.findall(body.partition("<tbody>")[2])
        return {series: int(value) for series, value in found}

    def tiles(self) -> dict[str, str]:
        return {name.strip(): meaning for name, meaning in TILE.findall(self.page)}


@pytest.fixture(scope="module")
def seen(quiet: Harness) -> Seen:
    """After a success rate that broke its limit, and its incident."""
    ended = [(quiet.create([ACCEPT, SETTLE]), "SETTLED") for _ in range(SETTLED)]
    ended += [(quiet.create([rejects("AC01")]), "FAILED") for _ in range(REJECTED)]
    for payment, state in ended:
        quiet.until(payment, state=state)
    quiet.soon(lambda: quiet.get("/api/summary")["incidents"], what="an incident is open")
    with httpx.Client(base_url=quiet.url, follow_redirects=True, trust_env=False) as browser:
        assert browser.post("/sign-in", data={"person": "vera", "next": "/"}).status_code == 200
        for _ in range(LOOKS):
            found = Seen(quiet, browser)
            if found.at_one_offset():
                return found
    raise AssertionError("it never stood still")


def test_states_and_queues_are_the_same_everywhere(seen: Seen) -> None:
    """DSH-07."""
    states = seen.summary["states"]
    assert (states["SETTLED"], states["FAILED"]) == (SETTLED, REJECTED)
    assert seen.table("states-table") == seen.top["states"] == states
    for state, count in states.items():
        assert seen.metrics.one("npp_read_model_payments", state=state) == count, state
    for name, kind in QUEUES.items():
        assert seen.metrics.one("npp_read_model_queue", kind=kind) == seen.summary[name], name


def test_rates_are_the_same_everywhere(seen: Seen) -> None:
    """Parts and wholes on page, API and terminal; share and whole in Prometheus."""
    for name, label in RATES.items():
        rate, kind = seen.summary["rates"][name], KINDS.get(name, name)
        assert seen.top["rates"][name] == rate
        assert seen.metrics.one("npp_business_rate_count", kind=kind) == rate["whole"], name
        share = seen.metrics.one("npp_business_rate", kind=kind)
        assert rate["value"] == share or (rate["value"] is None and math.isnan(share)), name
        shown = OF.search(seen.tiles()[label])
        assert shown is not None, label
        assert tuple(map(int, shown.groups())) == (rate["part"], rate["whole"]), label
    assert seen.summary["rates"]["success"]["whole"] == SETTLED + REJECTED


def test_counts_of_the_hour_and_failures_by_reason_are_the_same(seen: Seen) -> None:
    throughput = seen.summary["throughput"]
    for kind in ("created", "settled", "cancelled"):
        shown = sum(each[kind] for each in throughput)
        assert seen.metrics.one("npp_business_last_hour", kind=kind) == shown, kind
    failures = seen.summary["failures"]
    assert seen.table("failures-table") == failures
    for reason, count in failures.items():
        if reason != "CANCELLED":
            counted = seen.metrics.total("npp_business_failed_last_hour", reason=reason)
            assert counted == count, reason
    assert sum(failures.values()) == REJECTED


def test_the_incident_has_the_rate_that_page_and_prometheus_show(seen: Seen) -> None:
    """By its own process, from the minutes on Kafka."""
    (incident,) = [each for each in seen.summary["incidents"] if each["rule"] == "success"]
    rate = seen.summary["rates"]["success"]
    assert (incident["part"], incident["whole"]) == (rate["part"], rate["whole"])
    assert incident["part"] / incident["whole"] == seen.metrics.one(
        "npp_business_rate", kind="success"
    )
    assert f"Success rate {rate['value']:.1%}, below 90%" in seen.page
