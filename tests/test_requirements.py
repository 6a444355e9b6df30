"""Lines of the requirements that no other test shows alone."""

from __future__ import annotations

import ast
import functools
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from core.decider import Accepted, Refusal
from core.payment.instructions import RailInstruction
from engine.clock import HeldClock
from gateways.connections import Gateway
from gateways.rail.http_client import HttpRail
from gateways.rail.simulator import RailSimulator
from processors.payments.metrics import PaymentsMetrics
from schemas import catalogue, topology
from tests.core.payment import dsl as d
from tests.gateways.harness import CLOCK, PARTIES, serving, submit
from tests.processors.rail.harness import NOW_MS, MemoryLog
from tests.processors.rail.test_webhook import REF, message, webhook
from tests.rooms import ROOT, sources


@functools.cache
def imported() -> frozenset[str]:
    """The roots of everything that the product imports."""
    found: set[str] = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return frozenset(found)


def test_the_top_level_is_what_was_asked_for() -> None:
    """DEP-01."""
    wanted = "pyproject.toml README.md schemas processors core topics.yaml deploy tests"
    assert [name for name in wanted.split() if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "package", ["confluent_kafka", "fastavro", "pydantic", "prometheus_client"]
)
def test_the_libraries_that_were_asked_for_carry_the_product(package: str) -> None:
    """DEP-02, without the monitor's."""
    assert package in imported()


def test_events_are_kept_for_ever_and_the_lifecycle_is_compacted() -> None:
    """EV-04, OP-01: two topics of one partition count, since a compacted one keeps no history."""
    topics = catalogue.load()
    events, lifecycle = topics.topic(topology.EVENTS), topics.topic(topology.LIFECYCLE)
    assert (events.cleanup, lifecycle.cleanup) == ("keep", "compact")
    assert events.partitions == lifecycle.partitions


def test_an_external_resolve_takes_over_by_topics_alone() -> None:
    """INT-07: nothing of the engine or the payments processor knows the in-box Resolve."""
    topics = catalogue.load()
    assert "payments" in topics.topic(topology.RESOLVE_REQUESTS).producers
    assert "payments" in topics.topic(topology.RESOLVE_DECISIONS).consumers
    for path in (*(ROOT / "engine").glob("*.py"), *(ROOT / "processors").glob("payments*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            module = getattr(node, "module", None) or ""
            assert module not in ("processors.resolve.handler", "gateways.resolve.policy"), path


def test_each_submission_and_callback_is_logged_with_what_an_operator_asks_for() -> None:
    """INT-02: externalRef, time, latency and result code, and no party details."""
    with serving(RailSimulator(clock=CLOCK).app()) as client, capture_logs() as submissions:
        client.post(
            "/scripts", json={"for": "*", "steps": [{"kind": "SYNC_REJECT", "code": "AC04"}]}
        )
        instruction = submit(1)
        HttpRail(gateway=Gateway(str(client.base_url)), clock=CLOCK).submit(instruction, PARTIES)
    with capture_logs() as callbacks:
        raw = message(TxSts="RJCT", StsRsnInf={"Cd": "AC04"})
        webhook(MemoryLog(HeldClock(NOW_MS))).callback(raw)

    def line(lines: list[Any], reference: str) -> dict[str, Any]:
        (found,) = [each for each in lines if each.get("external_ref") == reference]
        assert "Alice" not in str(found)
        assert found["at"] > 0
        assert found["latency_ms"] >= 0
        return dict(found)

    assert line(submissions, instruction.external_ref)["result"] == "REJECTED"
    assert line(callbacks, REF)["code"] == "AC04"


@pytest.mark.parametrize(("code", "table"), [("AC04", "default@1"), ("ZZ99", "default@1/unknown")])
def test_the_raw_code_and_the_table_that_read_it_stay_in_the_event(code: str, table: str) -> None:
    """INT-03, OP-27: the mapping is per adapter and versioned; the header names the rule set."""
    case = d.given(*d.SENT).when(d.rail("REJECTED", code))
    (failed,) = [each for each in case.history if type(each).__name__ == "PaymentFailed"]
    assert (failed.code, failed.code_table) == (code, table)
    assert failed.header.rule_set == 1


def test_a_code_that_no_row_maps_is_counted() -> None:
    """MET-09: a rail that says something new is seen before people wonder."""
    registry = CollectorRegistry()
    metrics = PaymentsMetrics(registry)
    for code in ("AC04", "ZZ99", None):
        for event in d.given(*d.SENT).when(d.rail("REJECTED", code)).history:
            metrics.event(event)
    metrics.commit()
    assert registry.get_sample_value("npp_unknown_rail_codes_total") == 1


def test_it_is_sent_by_event_before_it_is_sent_to_the_rail() -> None:
    """OP-25: PaymentSentToRail and the instruction with its time limit come in one decision."""
    case = d.given(d.create(), d.policy()).when(d.held())
    case.then("FundsHeld", "PaymentAuthorised", "PaymentAttemptCreated", "PaymentSentToRail")
    case.asks("SUBMIT")
    assert isinstance(case.decision, Accepted)
    (instruction,) = case.decision.instructions
    assert isinstance(instruction, RailInstruction)
    assert instruction.submit_before == case.history[-1].submit_before > case.now


@pytest.mark.parametrize("history", [d.SENT, d.ACKNOWLEDGED], ids=["SENT", "ACKNOWLEDGED"])
def test_what_is_on_its_way_is_never_retried(history: list[Any]) -> None:
    """OP-05: the way is enquiry, mark-failed with evidence, then retry."""
    case = d.given(*history).when(d.retry(approval="apr_001"))
    assert isinstance(case.decision, Refusal)
