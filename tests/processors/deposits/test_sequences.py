"""Sequences with Deposits Core through core, the adapter and the simulator over HTTP: nothing stays
held, nobody pays twice, and an outage fails no payment.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from core.payment.commands import PolicyVerdict
from core.payment.instructions import ApprovalRequest, PolicyCheckRequest
from core.payment.state import money_outcome, needs_attention
from core.values import Parties, external_ref
from gateways import ports
from gateways.ports import ResolveAnswer
from gateways.rail.simulator_ledger import RailEntry
from gateways.rail.simulator_messages import callback
from gateways.resolve.policy import DEFAULT_RULES, InBoxResolve, load_policy
from processors.adapter.metrics import AdapterMetrics
from processors.rail.webhook import RailWebhook
from schemas import topology
from tests.processors.deposits.harness import STEP_MS, FundsHarness
from tests.processors.payments.world import AMOUNT, CODEC
from tests.processors.rail import harness as rail_harness
from tests.processors.rail.harness import Served

MINUTE_MS = 60_000
WINDOW_MS = 10 * MINUTE_MS
FINAL_MS = WINDOW_MS + ports.NEVER_HELD_MARGIN_MS


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


@pytest.fixture(scope="module")
def served_rail() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


@pytest.fixture
def harness(served: Served) -> Iterator[FundsHarness]:
    """However a sequence ends, the replay finds no money error."""
    made = FundsHarness(served)
    yield made
    assert made.money_findings() == []


class DecliningResolve:
    """Every payment is declined at once, whatever its hold does."""

    version = "declines"

    def __init__(self) -> None:
        self._rules = InBoxResolve(load_policy(DEFAULT_RULES, profile="test"))

    def ask(
        self,
        question: PolicyCheckRequest | ApprovalRequest,
        parties: Parties | None,
        *,
        now_ms: int,
    ) -> tuple[ResolveAnswer, ...]:
        if isinstance(question, ApprovalRequest):
            return self._rules.ask(question, parties, now_ms=now_ms)
        header = self._rules.ask(question, parties, now_ms=now_ms)[0].decision.header
        verdict = PolicyVerdict(
            header=header,
            policy_ref=question.policy_ref,
            verdict="DECLINED",
            phase=question.phase,
            rules_evaluated=("none",),
            policy_version="1",
            failure_reason="FRAUD",
        )
        return (ResolveAnswer(decision=verdict),)


@pytest.fixture
def declining(served: Served) -> Iterator[FundsHarness]:
    """A harness in which a payment ends while its hold is in progress."""
    made = FundsHarness(served, resolve=DecliningResolve())
    yield made
    assert made.money_findings() == []


def settled(harness: FundsHarness, key: str = "one") -> str:
    """A payment that the rail has accepted and settled."""
    payment = harness.world.create(key)
    harness.run()
    harness.report(payment, "ACCEPTED")
    harness.report(payment, "SETTLED")
    harness.run()
    return payment


def test_a_hold_delayed_in_a_proxy_behind_its_release_is_not_held(
    declining: FundsHarness,
) -> None:
    """The HOLD is delayed in a proxy, the payment ends, the RELEASE arrives first, then the HOLD:
    nothing stays held.
    """
    harness = declining
    harness.script(
        {"kind": "PROXY", "afterMillis": 2 * MINUTE_MS, "times": 50, "operation": "HOLD"}
    )
    payment = harness.world.create("proxy")
    harness.run(MINUTE_MS)
    assert harness.payment(payment).state == "FAILED"
    assert {each.hold_funds_ref for each in harness.requested if each.operation == "RELEASE"} == {
        harness.requested[0].funds_ref
    }
    assert not harness.rests(payment)
    harness.run(2 * MINUTE_MS)
    assert (harness.held(), harness.moved("HOLD")) == (0, [])
    harness.run(FINAL_MS + 70 * MINUTE_MS)
    assert harness.rests(payment)
    assert harness.held() == 0


def test_a_hold_that_was_carried_out_in_time_is_released_by_name(declining: FundsHarness) -> None:
    """The payment ended with its hold unanswered: FundsHeld and FundsReleased come together."""
    harness = declining
    trouble = {"kind": "HTTP", "status": 503, "taken": True, "times": 50, "operation": "HOLD"}
    harness.script(trouble)
    payment = harness.world.create("unanswered")
    harness.run(5 * MINUTE_MS)
    assert harness.names(payment)[-2:] == ["FundsHeld", "FundsReleased"]
    assert (harness.held(), harness.moved("RELEASE"), harness.rests(payment)) == (0, [AMOUNT], True)


def test_a_hold_after_never_held_is_released_again(declining: FundsHarness) -> None:
    """Deposits Core says NEVER_HELD and holds later: no conflict, and nothing stays held."""
    harness = declining
    late = {"kind": "PROXY", "afterMillis": 6 * WINDOW_MS, "operation": "HOLD", "times": 1}
    silence = {"kind": "HTTP", "status": 503, "times": 50, "operation": "HOLD"}
    harness.script({**late, "anyway": True}, silence)
    payment = harness.world.create("dishonest")
    harness.run(6 * WINDOW_MS - MINUTE_MS)
    assert (harness.rests(payment), harness.held()) == (True, 0)
    harness.script()
    harness.run(2 * MINUTE_MS)
    assert harness.held() == AMOUNT  # not known to the payment
    harness.replay_requests(payment)  # the adapter reads its topic again, and the HOLD is answered
    harness.run(5 * MINUTE_MS)
    assert (harness.held(), harness.rests(payment)) == (0, True)
    assert not [name for name in harness.names(payment) if name == "ReconciliationRequired"]


def test_a_capture_of_a_hold_that_expired_becomes_a_forced_debit(harness: FundsHarness) -> None:
    """The hold expires at Deposits Core: CAPTURE refused, forced debit with attention."""
    silence = {"kind": "HTTP", "status": 503, "times": 8, "operation": "DEBIT_FORCED"}
    harness.script({"kind": "EXPIRE", "afterMillis": 1_000, "operation": "HOLD"}, silence)
    payment = harness.world.create("expired")
    harness.run(2_000)
    harness.report(payment, "ACCEPTED")
    harness.report(payment, "SETTLED")
    harness.run(1_000)
    assert needs_attention(harness.payment(payment))
    harness.run(5 * MINUTE_MS)
    assert (harness.moved("CAPTURE"), harness.moved("DEBIT_FORCED")) == ([], [AMOUNT])
    assert harness.payment(payment).state == "SETTLED"
    assert money_outcome(harness.payment(payment)) == "PAID"
    assert harness.attempt(payment).debited == AMOUNT
    assert (harness.rests(payment), needs_attention(harness.payment(payment))) == (True, False)


def test_a_release_of_a_hold_that_expired_counts_as_released(harness: FundsHarness) -> None:
    """The hold expires at Deposits Core: RELEASE refused, counts as released."""
    harness.script({"kind": "EXPIRE", "afterMillis": 1_000, "operation": "HOLD"})
    payment = harness.world.create("released")
    harness.run(2_000)
    harness.report(payment, "REJECTED", code="AB03", amount=None)
    harness.run(MINUTE_MS)
    assert harness.moved("RELEASE") == []
    assert harness.names(payment)[-1] == "FundsReleased"
    assert (harness.rests(payment), harness.held()) == (True, 0)


@pytest.mark.slow
@pytest.mark.parametrize("status", [503, 504])
def test_an_outage_shorter_than_the_window_fails_no_payment(
    harness: FundsHarness, status: int
) -> None:
    """An 8-minute outage of Deposits Core with a 10-minute window: no payment fails."""
    harness.script({"kind": "DOWN", "forMillis": 8 * MINUTE_MS, "status": status})
    payments = []
    for number in range(8):
        payments.append(harness.world.create(f"outage-{number}"))
        harness.run(MINUTE_MS // 2)
    harness.run(6 * MINUTE_MS)
    assert [harness.payment(each).state for each in payments] == ["SENT"] * 8
    assert (harness.held(), harness.moved("HOLD")) == (8 * AMOUNT, [AMOUNT] * 8)


@pytest.mark.slow
def test_an_outage_longer_than_the_window_ends_with_nothing_held(harness: FundsHarness) -> None:
    """A hold is requested within the window; afterwards the payment ends, and its hold too."""
    harness.script({"kind": "DOWN", "forMillis": 15 * MINUTE_MS})
    payment = harness.world.create("long")
    harness.run(12 * MINUTE_MS)
    assert harness.payment(payment).state == "FAILED"
    assert not harness.rests(payment)
    harness.run(120 * MINUTE_MS)
    assert (harness.rests(payment), harness.held(), harness.moved("HOLD")) == (True, 0, [])


def test_a_hold_is_requested_at_least_every_half_minute(harness: FundsHarness) -> None:
    """INT-10, domain, money and funds: within the window, under one fundsRef, with its notAfter."""
    harness.script({"kind": "DOWN", "forMillis": 9 * MINUTE_MS})
    payment = harness.world.create("patient")
    harness.run(9 * MINUTE_MS)
    holds = [each for each in harness.requested if each.operation == "HOLD"]
    assert len({each.funds_ref for each in holds}) == 1
    times = [each.header.decided_at for each in holds]
    assert max(b - a for a, b in itertools.pairwise(times)) <= 30_000 + STEP_MS
    created = harness.payment(payment).created_at
    assert {each.not_after for each in holds} == {created + WINDOW_MS}


def test_a_release_names_the_not_after_of_its_hold(declining: FundsHarness) -> None:
    """Contract of Deposits Core, rule 3: it may never have seen the HOLD."""
    harness = declining
    harness.script({"kind": "DOWN", "forMillis": 5 * MINUTE_MS})
    harness.world.create("names")
    harness.run(MINUTE_MS)
    holds = {each.not_after for each in harness.requested if each.operation == "HOLD"}
    assert {each.not_after for each in harness.requested if each.operation == "RELEASE"} == holds


def test_an_amount_other_than_requested_is_a_conflict_and_sends_nothing(
    harness: FundsHarness,
) -> None:
    """Deposits Core reports its own amount, not the requested one."""
    harness.script({"kind": "SAY", "fields": {"amount": AMOUNT - 1}, "operation": "HOLD"})
    payment = harness.world.create("amount")
    harness.run(MINUTE_MS)
    assert "ReconciliationRequired" in harness.names(payment)
    assert harness.rail == []


def test_a_capture_that_is_done_and_then_refused_counts_once(harness: FundsHarness) -> None:
    """REFUSED after done: the customer pays once, and the contradiction is visible."""
    payment = settled(harness)
    harness.script({"kind": "SAY", "status": 422, "fields": {"code": "LIMIT"}})
    harness.replay_requests(payment)
    harness.run(MINUTE_MS)
    assert (harness.moved("CAPTURE"), harness.moved("DEBIT_FORCED")) == ([AMOUNT], [])
    assert "ReconciliationRequired" in harness.names(payment)


@pytest.mark.parametrize(
    "step",
    [
        {"raw": "<html>fine</html>"},
        {"fields": {"holdRef": "H" * 141}},
        {"fields": {"ledgerRef": "L" * 141}},
    ],
)
@pytest.mark.parametrize("operation", ["HOLD", "CAPTURE"])
def test_an_unreadable_answer_is_retried_until_it_is_readable(
    harness: FundsHarness, operation: str, step: dict[str, Any]
) -> None:
    """An over-long id is never shortened, and the money moves once."""
    harness.script({"kind": "SAY", "times": 8, "operation": operation, **step})
    payment = harness.world.create("unreadable")
    harness.run(2 * MINUTE_MS)
    harness.report(payment, "ACCEPTED")
    harness.report(payment, "SETTLED")
    harness.run(5 * MINUTE_MS)
    assert (harness.moved("HOLD"), harness.moved("CAPTURE")) == ([AMOUNT], [AMOUNT])
    assert (harness.rests(payment), harness.held()) == (True, 0)
    failed = [
        each
        for each in harness.world.history(payment)
        if type(each).__name__ == "FundsRequestFailed"
    ]
    assert {each.code for each in failed} == {"UNREADABLE_ANSWER"}


def test_an_adapter_that_repeats_every_request_moves_nothing(harness: FundsHarness) -> None:
    """INT-05: lost offsets repeat every request; the answers are duplicates."""
    payment = settled(harness)
    before, ledger = harness.names(payment), harness.ledger()["holds"]
    for _ in range(3):
        harness.replay_requests(payment)
        harness.run(MINUTE_MS)
    assert (harness.names(payment), harness.ledger()["holds"]) == (before, ledger)
    outcomes = harness.world.driver.committed(topology.OUTCOMES)
    results = [CODEC.decode(topology.OUTCOMES, each.value).result for each in outcomes]
    assert results.count("DUPLICATE") == 6


def test_requests_repeated_by_a_proxy_move_money_once(harness: FundsHarness) -> None:
    """The simulator repeats; nothing is held or captured twice."""
    harness.script({"kind": "REPEAT", "afterMillis": 1_000, "times": 50})
    payment = settled(harness)
    harness.run(MINUTE_MS)
    assert (harness.moved("HOLD"), harness.moved("CAPTURE")) == ([AMOUNT], [AMOUNT])
    assert (harness.rests(payment), harness.held()) == (True, 0)


class Rail:
    """The rail's webhook, and its adapter with the simulated rail."""

    def __init__(self, served: Served, harness: FundsHarness, payment: str, amount: int) -> None:
        self._harness, self._payment = harness, payment
        self._rail = rail_harness.Harness(served)
        self._entry = RailEntry(
            external_ref=external_ref(payment, 1), amount=amount, currency="AUD", submit_before=0,
            content="", first_submitted_at=0, transaction_id="TX1",
        )  # fmt: skip
        self._rail.simulator.ledger.add(self._entry)
        self._webhook = RailWebhook(
            publisher=harness.publisher, codec=CODEC, clock=harness.clock, adapter="default",
            metrics=AdapterMetrics(CollectorRegistry()),
        )  # fmt: skip

    def calls_back(self, kind: str, amount: int, number: int) -> None:
        """The rail's ledger changes, and its message arrives."""
        self._entry.apply(kind, amount=amount, code="AC04" if kind == "RETURNED" else None)
        step = {"kind": kind, "amount": amount, "code": "AC04" if kind == "RETURNED" else None}
        message = callback(self._entry, step, str(number), self._harness.clock.now_ms())
        assert self._webhook.callback(json.dumps(message).encode()) == (202, "reported")
        self._harness.run(MINUTE_MS)

    def is_asked(self) -> None:
        """The adapter enquires: SETTLED, and RETURNED with the total so far."""
        known = len(self._rail.reports())
        self._rail.instruct("ENQUIRE", payment=self._payment, number=known + 1)
        self._rail.instance().run()
        for report in self._rail.reports()[known:]:
            self._harness.world.pipe(topology.RAIL_REPORTS, report)
        self._harness.run(MINUTE_MS)


def test_a_return_reported_by_callback_and_enquiry_is_credited_once(
    harness: FundsHarness, served_rail: Served
) -> None:
    """A partial return of 5000 of 12550 by callback, then the enquiry's total 5000: credited once.
    5000 and 3000, then total 8000: no conflict.
    """
    payment = harness.world.create("returned", amount=12_550)
    harness.run()
    rail = Rail(served_rail, harness, payment, 12_550)
    rail.calls_back("ACCEPTED", 12_550, 1)
    rail.calls_back("SETTLED", 12_550, 2)
    rail.calls_back("RETURNED", 5_000, 3)
    assert harness.moved("CREDIT") == [5_000]
    rail.is_asked()
    assert harness.moved("CREDIT") == [5_000]
    rail.calls_back("RETURNED", 3_000, 4)
    rail.is_asked()
    assert harness.moved("CREDIT") == [5_000, 3_000]
    assert "ReconciliationRequired" not in harness.names(payment)
    assert (harness.moved("CAPTURE"), harness.held(), harness.rests(payment)) == ([12_550], 0, True)


@pytest.mark.parametrize("kinds", [("ACCEPTED", "SETTLED"), ("REJECTED",)])
def test_a_repeated_hold_gone_answer_changes_nothing(
    harness: FundsHarness, kinds: tuple[str, ...]
) -> None:
    """INT-05: repeated after a crash, a CAPTURE and a RELEASE are refused again."""
    harness.script({"kind": "EXPIRE", "afterMillis": 1_000, "operation": "HOLD"})
    payment = harness.world.create("gone-twice")
    harness.run(2_000)
    for kind in kinds:
        harness.report(payment, kind, code="AB03" if kind == "REJECTED" else None)
    harness.run(MINUTE_MS)
    before = harness.names(payment)
    harness.replay_requests(payment)
    harness.run(MINUTE_MS)
    assert (harness.names(payment), harness.rests(payment)) == (before, True)
