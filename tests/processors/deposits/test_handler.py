"""The deposits adapter: what it reports for each answer, and how long it retries."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from core.payment.commands import DepositsResult
from core.payment.instructions import DepositsRequest
from core.values import FundsOperation, Parties
from engine.ports import InputRecord
from gateways import ports
from gateways.ports import FundsAnswer
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Work
from processors.deposits.handler import DepositsHandler
from schemas import topology
from schemas.registry.setup import static_codec
from tests.clock import HeldClock
from tests.gateways.harness import funds
from tests.processors.rail.harness import MemoryLog

NOW_MS = 1_780_000_000_000
NOT_AFTER = NOW_MS + 600_000
AMOUNT = 12_345
CODEC = static_codec()
RECORD = InputRecord(topology.DEPOSITS_REQUESTS, 0, 0, NOW_MS, b"", b"", [], NOW_MS)
DONE_OF = {
    "HOLD": "HELD",
    "CAPTURE": "CAPTURED",
    "RELEASE": "RELEASED",
    "DEBIT_FORCED": "DEBITED",
    "REVERSE": "REVERSED",
    "CREDIT": "CREDITED",
}


class ScriptedCore:
    """A Deposits Core that gives these answers in turn and repeats the last one; each takes
    `call_ms`.
    """

    def __init__(
        self, clock: HeldClock, *outcomes: ports.FundsOutcome, call_ms: int = 10, **said: Any
    ) -> None:
        self._clock = clock
        self._outcomes = list(outcomes)
        self._call_ms = call_ms
        self._said = said
        self.requested: list[tuple[str, int]] = []

    def perform(self, request: DepositsRequest, parties: Parties | None) -> FundsAnswer:
        requested_at = self._clock.now_ms()
        self.requested.append((request.funds_ref, requested_at))
        self._clock.advance(self._call_ms)
        outcome = self._outcomes[min(len(self.requested), len(self._outcomes)) - 1]
        return FundsAnswer(
            outcome=outcome,
            requested_at=requested_at,
            answered_at=self._clock.now_ms(),
            technical_result="HTTP_200",
            **self._said,
        )


class Harness:
    """The adapter with a scripted Deposits Core."""

    def __init__(self, *outcomes: ports.FundsOutcome, call_ms: int = 10, **said: Any) -> None:
        self.clock = HeldClock(NOW_MS)
        self.core = ScriptedCore(self.clock, *outcomes, call_ms=call_ms, **said)
        self.log = MemoryLog(self.clock)
        self.registry = CollectorRegistry()
        self.adapter = DepositsHandler(
            deposits=self.core,
            publisher=self.log,
            codec=CODEC,
            clock=self.clock,
            metrics=AdapterMetrics(self.registry),
        )

    def do(self, request: DepositsRequest, tries_max: int = 20) -> list[DepositsResult]:
        """Handle the request to its end; return the reports about it."""
        work = Work(record=RECORD, instruction=request)
        for _ in range(tries_max):
            again_s = self.adapter.handle(work)
            if again_s is None:
                break
            self.clock.sleep(again_s)
        return self.results()

    def results(self) -> list[DepositsResult]:
        topic = topology.DEPOSITS_RESULTS
        return [CODEC.decode(topic, r.value, r.headers) for r in self.log.of(topic)]

    def count(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


def end_hold() -> DepositsRequest:
    """The RELEASE of an unanswered HOLD."""
    return msgspec.structs.replace(
        funds(1, "RELEASE"), hold_funds_ref=funds(1, "HOLD").funds_ref, not_after=NOT_AFTER
    )


@pytest.mark.parametrize("operation", list(FundsOperation))
def test_a_result_is_reported_with_the_amount_that_deposits_core_names(operation: str) -> None:
    """Domain, money and funds: the payment must see an amount other than the requested one."""
    request = funds(1, operation, "HLD1")
    for named, reported in ((None, AMOUNT), (AMOUNT, AMOUNT), (5_000, 5_000)):
        harness = Harness(ports.DONE, amount=named, hold_ref="H", ledger_ref="L", verified_at=7)
        (result,) = harness.do(request)
        assert (result.result, result.amount) == (DONE_OF[operation], reported)
        assert (result.hold_ref, result.ledger_ref, result.verified_at) == ("H", "L", 7)
        assert (result.funds_ref, result.code) == (request.funds_ref, None)


@pytest.mark.parametrize("outcome", [ports.REFUSED, ports.DECLINED, ports.NEVER_HELD])
def test_a_certain_refusal_is_reported_at_once(outcome: ports.FundsOutcome) -> None:
    """Domain, money and funds: REFUSED, DECLINED and NEVER_HELD close the request."""
    harness = Harness(outcome, code="C", details="why")
    (result,) = harness.do(funds(1, "RELEASE", "HLD1"))
    assert (result.result, result.code, result.details) == (outcome, "C", "why")
    assert (result.amount, len(harness.core.requested)) == (AMOUNT, 1)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (ports.SILENT, "NO_ANSWER"),
        (ports.PENDING, "NO_ANSWER"),
        (ports.UNREADABLE, "UNREADABLE_ANSWER"),
    ],
)
def test_an_uncertain_answer_is_retried_and_then_reported_as_failed(
    outcome: ports.FundsOutcome, code: str
) -> None:
    """Domain, money and funds: silence leaves the request open, under the same fundsRef."""
    harness = Harness(outcome, details="why")
    (result,) = harness.do(end_hold())
    assert (result.result, result.code, result.details) == ("FAILED", code, "why")
    assert [ref for ref, _ in harness.core.requested] == [end_hold().funds_ref] * 6


@pytest.mark.parametrize("outcome", [ports.SILENT, ports.UNREADABLE, ports.PENDING])
def test_an_answer_after_silence_is_reported_and_no_failure(outcome: ports.FundsOutcome) -> None:
    """Domain, money and funds: the retry returns the first answer."""
    harness = Harness(outcome, outcome, ports.DONE, hold_ref="H")
    assert [result.result for result in harness.do(funds(1, "HOLD"))] == ["HELD"]


@pytest.mark.parametrize("call_ms", [1, 2_000, 5_000, 10_000])
def test_however_slow_the_calls_the_failure_is_reported_within_half_a_minute(call_ms: int) -> None:
    """Domain, money and funds: a hold is repeated at least every 30 s within its window."""
    harness = Harness(ports.SILENT, call_ms=call_ms)
    (result,) = harness.do(funds(1, "HOLD"))
    assert result.result == "FAILED"
    assert harness.clock.now_ms() - NOW_MS <= 30_000


def test_never_held_before_its_time_is_not_final() -> None:
    """Contract of Deposits Core, rule 3: before notAfter and the margin the HOLD may
    still arrive.
    """
    final_at = NOT_AFTER + ports.NEVER_HELD_MARGIN_MS
    early, late = Harness(ports.NEVER_HELD, call_ms=0), Harness(ports.NEVER_HELD, call_ms=0)
    early.clock.advance(final_at - NOW_MS - 60_000)
    late.clock.advance(final_at - NOW_MS)
    assert [(r.result, r.code) for r in early.do(end_hold())] == [("FAILED", "NO_ANSWER")]
    assert [r.result for r in late.do(end_hold())] == ["NEVER_HELD"]
    assert len(late.core.requested) == 1
    assert early.count(
        "npp_adapter_calls_total", adapter="deposits", operation="RELEASE", outcome=ports.PENDING
    ) == 6  # fmt: skip


def test_unreadable_parties_are_reported_without_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a readable account nothing is held; the payment repeats the request."""
    harness = Harness(ports.DONE)

    def closed(_: object) -> Parties:
        raise ValueError

    monkeypatch.setattr("processors.deposits.handler.open_parties", closed)
    (result,) = harness.do(funds(1, "HOLD"))
    assert (result.result, result.code) == ("FAILED", "UNREADABLE_PARTIES")
    assert harness.core.requested == []


def test_each_outcome_is_counted_from_zero() -> None:
    """Engine, metrics: every label set starts at 0; refusals and silence are counted separately."""
    harness = Harness(ports.SILENT, ports.REFUSED, code="C")
    name = "npp_adapter_calls_total"

    def calls(operation: str, outcome: ports.FundsOutcome) -> float | None:
        return harness.count(name, adapter="deposits", operation=operation, outcome=outcome)

    everything = [(o, outcome) for o in FundsOperation for outcome in ports.FUNDS_OUTCOMES]
    assert [calls(*each) for each in everything] == [0.0] * len(everything)
    harness.do(funds(1, "CAPTURE", "HLD1"))
    assert (calls("CAPTURE", ports.SILENT), calls("CAPTURE", ports.REFUSED)) == (1.0, 1.0)

    def kinds(kind: str) -> float | None:
        return harness.count("npp_adapter_reports_total", adapter="deposits", kind=kind)

    assert (kinds("REFUSED"), kinds("FAILED"), kinds("NEVER_HELD")) == (1.0, 0.0, 0.0)
