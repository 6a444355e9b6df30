"""Issue 10's sequences about Deposits Core, through core, the adapter and the simulator over HTTP:
nothing stays held, nobody pays twice, and an outage kills no payment.
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
from gateways.ports import Said
from gateways.rail.simulator_ledger import RailEntry
from gateways.rail.simulator_messages import callback
from gateways.resolve.policy import DEFAULT_RULES, InBoxResolve, load_policy
from processors.adapter.metrics import AdapterMetrics
from processors.rail.webhook import RailWebhook
from schemas import topology
from tests.processors.deposits.harness import STEP_MS, FundsHouse
from tests.processors.payments.world import AMOUNT, CODEC
from tests.processors.rail import harness as rail_house
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
def house(served: Served) -> Iterator[FundsHouse]:
    """However a sequence ends, the replay finds nothing wrong with its money."""
    made = FundsHouse(served)
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
    ) -> tuple[Said, ...]:
        if isinstance(question, ApprovalRequest):
            return self._rules.ask(question, parties, now_ms=now_ms)
        header = self._rules.ask(question, parties, now_ms=now_ms)[0].decision.header
        verdict = PolicyVerdict(
            header, question.policy_ref, "DECLINED", question.phase, ("none",), "1", "FRAUD"
        )
        return (Said(verdict),)


@pytest.fixture
def declining(served: Served) -> Iterator[FundsHouse]:
    """A house where a payment ends while its hold is under way."""
    made = FundsHouse(served, resolve=DecliningResolve())
    yield made
    assert made.money_findings() == []


def settled(house: FundsHouse, key: str = "one") -> str:
    """A payment that the rail has accepted and settled."""
    payment = house.world.create(key)
    house.run()
    house.report(payment, "ACCEPTED")
    house.report(payment, "SETTLED")
    house.run()
    return payment


def test_a_hold_in_a_proxy_that_comes_after_its_release_is_not_held(declining: FundsHouse) -> None:
    """HOLD hangs in a proxy, the payment ends, RELEASE arrives first, then the HOLD: nothing stays
    held.
    """
    house = declining
    house.script({"kind": "PROXY", "afterMillis": 2 * MINUTE_MS, "times": 50, "operation": "HOLD"})
    payment = house.world.create("proxy")
    house.run(MINUTE_MS)
    assert house.payment(payment).state == "FAILED"
    assert {each.hold_funds_ref for each in house.asked if each.operation == "RELEASE"} == {
        house.asked[0].funds_ref
    }
    assert not house.rests(payment)
    house.run(2 * MINUTE_MS)
    assert (house.held(), house.moved("HOLD")) == (0, [])
    house.run(FINAL_MS + 70 * MINUTE_MS)
    assert house.rests(payment)
    assert house.held() == 0


def test_a_hold_that_was_carried_out_in_time_is_released_by_name(declining: FundsHouse) -> None:
    """The payment ended with its hold unanswered: FundsHeld and FundsReleased come together."""
    house = declining
    trouble = {"kind": "HTTP", "status": 503, "taken": True, "times": 50, "operation": "HOLD"}
    house.script(trouble)
    payment = house.world.create("unanswered")
    house.run(5 * MINUTE_MS)
    assert house.names(payment)[-2:] == ["FundsHeld", "FundsReleased"]
    assert (house.held(), house.moved("RELEASE"), house.rests(payment)) == (0, [AMOUNT], True)


def test_a_hold_after_never_held_is_released_anew(declining: FundsHouse) -> None:
    """Deposits Core says NEVER_HELD and holds later: no conflict, and nothing stays held."""
    house = declining
    late = {"kind": "PROXY", "afterMillis": 6 * WINDOW_MS, "operation": "HOLD", "times": 1}
    silence = {"kind": "HTTP", "status": 503, "times": 50, "operation": "HOLD"}
    house.script({**late, "anyway": True}, silence)
    payment = house.world.create("dishonest")
    house.run(6 * WINDOW_MS - MINUTE_MS)
    assert (house.rests(payment), house.held()) == (True, 0)
    house.script()
    house.run(2 * MINUTE_MS)
    assert house.held() == AMOUNT  # nobody knows of it
    house.replay_requests(payment)  # the adapter reads its topic again, and the HOLD is answered
    house.run(5 * MINUTE_MS)
    assert (house.held(), house.rests(payment)) == (0, True)
    assert not [name for name in house.names(payment) if name == "ReconciliationRequired"]


def test_a_capture_of_a_hold_that_expired_becomes_a_forced_debit(house: FundsHouse) -> None:
    """The hold expires at Deposits Core: CAPTURE refused, forced debit with attention."""
    silence = {"kind": "HTTP", "status": 503, "times": 8, "operation": "DEBIT_FORCED"}
    house.script({"kind": "EXPIRE", "afterMillis": 1_000, "operation": "HOLD"}, silence)
    payment = house.world.create("expired")
    house.run(2_000)
    house.report(payment, "ACCEPTED")
    house.report(payment, "SETTLED")
    house.run(1_000)
    assert needs_attention(house.payment(payment))
    house.run(5 * MINUTE_MS)
    assert (house.moved("CAPTURE"), house.moved("DEBIT_FORCED")) == ([], [AMOUNT])
    assert house.payment(payment).state == "SETTLED"
    assert money_outcome(house.payment(payment)) == "PAID"
    assert house.attempt(payment).debited == AMOUNT
    assert (house.rests(payment), needs_attention(house.payment(payment))) == (True, False)


def test_a_release_of_a_hold_that_expired_counts_as_released(house: FundsHouse) -> None:
    """The hold expires at Deposits Core: RELEASE refused, counts as released."""
    house.script({"kind": "EXPIRE", "afterMillis": 1_000, "operation": "HOLD"})
    payment = house.world.create("released")
    house.run(2_000)
    house.report(payment, "REJECTED", code="AB03", amount=None)
    house.run(MINUTE_MS)
    assert house.moved("RELEASE") == []
    assert house.names(payment)[-1] == "FundsReleased"
    assert (house.rests(payment), house.held()) == (True, 0)


@pytest.mark.parametrize("status", [503, 504])
def test_an_outage_shorter_than_the_window_kills_no_payment(house: FundsHouse, status: int) -> None:
    """An 8-minute outage of Deposits Core with a 10-minute window: every payment lives."""
    house.script({"kind": "DOWN", "forMillis": 8 * MINUTE_MS, "status": status})
    payments = []
    for number in range(8):
        payments.append(house.world.create(f"outage-{number}"))
        house.run(MINUTE_MS // 2)
    house.run(6 * MINUTE_MS)
    assert [house.payment(each).state for each in payments] == ["SENT"] * 8
    assert (house.held(), house.moved("HOLD")) == (8 * AMOUNT, [AMOUNT] * 8)


def test_an_outage_longer_than_the_window_ends_with_nothing_held(house: FundsHouse) -> None:
    """A hold is asked for within the window; after it the payment ends, and so does its hold."""
    house.script({"kind": "DOWN", "forMillis": 15 * MINUTE_MS})
    payment = house.world.create("long")
    house.run(12 * MINUTE_MS)
    assert house.payment(payment).state == "FAILED"
    assert not house.rests(payment)
    house.run(120 * MINUTE_MS)
    assert (house.rests(payment), house.held(), house.moved("HOLD")) == (True, 0, [])


def test_a_hold_is_asked_for_at_least_every_half_minute(house: FundsHouse) -> None:
    """Domain, money and funds: within the window, under one fundsRef, with its notAfter."""
    house.script({"kind": "DOWN", "forMillis": 9 * MINUTE_MS})
    payment = house.world.create("patient")
    house.run(9 * MINUTE_MS)
    holds = [each for each in house.asked if each.operation == "HOLD"]
    assert len({each.funds_ref for each in holds}) == 1
    times = [each.header.decided_at for each in holds]
    assert max(b - a for a, b in itertools.pairwise(times)) <= 30_000 + STEP_MS
    created = house.payment(payment).created_at
    assert {each.not_after for each in holds} == {created + WINDOW_MS}


def test_a_release_names_the_not_after_of_its_hold(declining: FundsHouse) -> None:
    """Contract of Deposits Core, rule 3: it may never have seen the HOLD."""
    house = declining
    house.script({"kind": "DOWN", "forMillis": 5 * MINUTE_MS})
    house.world.create("names")
    house.run(MINUTE_MS)
    holds = {each.not_after for each in house.asked if each.operation == "HOLD"}
    assert {each.not_after for each in house.asked if each.operation == "RELEASE"} == holds


def test_another_amount_than_was_asked_is_a_conflict_and_sends_nothing(house: FundsHouse) -> None:
    """Deposits Core contradicts: the amount is its own, not our request's."""
    house.script({"kind": "SAY", "fields": {"amount": AMOUNT - 1}, "operation": "HOLD"})
    payment = house.world.create("amount")
    house.run(MINUTE_MS)
    assert "ReconciliationRequired" in house.names(payment)
    assert house.rail == []


def test_a_capture_that_was_done_and_is_then_refused_is_one_capture(house: FundsHouse) -> None:
    """REFUSED after done: the customer pays once, and the contradiction is seen."""
    payment = settled(house)
    house.script({"kind": "SAY", "status": 422, "fields": {"code": "LIMIT"}})
    house.replay_requests(payment)
    house.run(MINUTE_MS)
    assert (house.moved("CAPTURE"), house.moved("DEBIT_FORCED")) == ([AMOUNT], [])
    assert "ReconciliationRequired" in house.names(payment)


@pytest.mark.parametrize(
    "step",
    [
        {"raw": "<html>fine</html>"},
        {"fields": {"holdRef": "H" * 141}},
        {"fields": {"ledgerRef": "L" * 141}},
    ],
)
@pytest.mark.parametrize("operation", ["HOLD", "CAPTURE"])
def test_what_can_not_be_read_is_asked_again_until_it_can(
    house: FundsHouse, operation: str, step: dict[str, Any]
) -> None:
    """Issue 10, finding 8: an over-long id is never shortened, and the money moves once."""
    house.script({"kind": "SAY", "times": 8, "operation": operation, **step})
    payment = house.world.create("unreadable")
    house.run(2 * MINUTE_MS)
    house.report(payment, "ACCEPTED")
    house.report(payment, "SETTLED")
    house.run(5 * MINUTE_MS)
    assert (house.moved("HOLD"), house.moved("CAPTURE")) == ([AMOUNT], [AMOUNT])
    assert (house.rests(payment), house.held()) == (True, 0)
    failed = [
        each for each in house.world.history(payment) if type(each).__name__ == "FundsRequestFailed"
    ]
    assert {each.code for each in failed} == {"UNREADABLE_ANSWER"}


def test_an_adapter_that_asks_everything_again_moves_nothing(house: FundsHouse) -> None:
    """INT-05: lost offsets repeat every request; the answers are duplicates."""
    payment = settled(house)
    before, ledger = house.names(payment), house.ledger()["holds"]
    for _ in range(3):
        house.replay_requests(payment)
        house.run(MINUTE_MS)
    assert (house.names(payment), house.ledger()["holds"]) == (before, ledger)
    outcomes = house.world.driver.committed(topology.OUTCOMES)
    results = [CODEC.decode(topology.OUTCOMES, each.value).result for each in outcomes]
    assert results.count("DUPLICATE") == 6


def test_requests_that_a_proxy_repeats_move_money_once(house: FundsHouse) -> None:
    """Issue 10: the simulator repeats; nothing is held or captured twice."""
    house.script({"kind": "REPEAT", "afterMillis": 1_000, "times": 50})
    payment = settled(house)
    house.run(MINUTE_MS)
    assert (house.moved("HOLD"), house.moved("CAPTURE")) == ([AMOUNT], [AMOUNT])
    assert (house.rests(payment), house.held()) == (True, 0)


class Rail:
    """The rail's webhook, and its adapter before the simulated rail: what it says of a payment."""

    def __init__(self, served: Served, house: FundsHouse, payment: str, amount: int) -> None:
        self._house, self._payment = house, payment
        self._rail = rail_house.House(served)
        self._entry = RailEntry(
            external_ref=external_ref(payment, 1), amount=amount, currency="AUD", submit_before=0,
            content="", first_submitted_at=0, transaction_id="TX1",
        )  # fmt: skip
        self._rail.simulator.ledger.add(self._entry)
        self._webhook = RailWebhook(
            publisher=house.publisher, codec=CODEC, clock=house.clock, adapter="default",
            metrics=AdapterMetrics(CollectorRegistry()),
        )  # fmt: skip

    def calls_back(self, kind: str, amount: int, number: int) -> None:
        """The rail's ledger moves, and its message comes."""
        self._entry.apply(kind, amount=amount, code="AC04" if kind == "RETURNED" else None)
        step = {"kind": kind, "amount": amount, "code": "AC04" if kind == "RETURNED" else None}
        message = callback(self._entry, step, str(number), self._house.clock.now_ms())
        assert self._webhook.callback(json.dumps(message).encode()) == (202, "reported")
        self._house.run(MINUTE_MS)

    def is_asked(self) -> None:
        """The adapter enquires: SETTLED, and RETURNED with the total so far."""
        known = len(self._rail.reports())
        self._rail.instruct("ENQUIRE", payment=self._payment, number=known + 1)
        self._rail.instance().run()
        for report in self._rail.reports()[known:]:
            self._house.world.pipe(topology.RAIL_REPORTS, report)
        self._house.run(MINUTE_MS)


def test_a_return_that_is_called_back_and_enquired_is_credited_once(
    house: FundsHouse, served_rail: Served
) -> None:
    """Partial return 5000 of 12550 by callback, then the enquiry's total 5000: credited once. 5000
    and 3000, then total 8000: no conflict.
    """
    payment = house.world.create("returned", amount=12_550)
    house.run()
    rail = Rail(served_rail, house, payment, 12_550)
    rail.calls_back("ACCEPTED", 12_550, 1)
    rail.calls_back("SETTLED", 12_550, 2)
    rail.calls_back("RETURNED", 5_000, 3)
    assert house.moved("CREDIT") == [5_000]
    rail.is_asked()
    assert house.moved("CREDIT") == [5_000]
    rail.calls_back("RETURNED", 3_000, 4)
    rail.is_asked()
    assert house.moved("CREDIT") == [5_000, 3_000]
    assert "ReconciliationRequired" not in house.names(payment)
    assert (house.moved("CAPTURE"), house.held(), house.rests(payment)) == ([12_550], 0, True)


@pytest.mark.parametrize("kinds", [("ACCEPTED", "SETTLED"), ("REJECTED",)])
def test_that_a_hold_is_gone_is_told_twice_and_changes_nothing_more(
    house: FundsHouse, kinds: tuple[str, ...]
) -> None:
    """INT-05: asked again after a crash, a CAPTURE and a RELEASE are refused once more."""
    house.script({"kind": "EXPIRE", "afterMillis": 1_000, "operation": "HOLD"})
    payment = house.world.create("gone-twice")
    house.run(2_000)
    for kind in kinds:
        house.report(payment, kind, code="AB03" if kind == "REJECTED" else None)
    house.run(MINUTE_MS)
    before = house.names(payment)
    house.replay_requests(payment)
    house.run(MINUTE_MS)
    assert (house.names(payment), house.rests(payment)) == (before, True)
