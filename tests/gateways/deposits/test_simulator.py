"""Each scripted behaviour of the simulated Deposits Core."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core.values import funds_ref
from gateways import ports
from gateways.deposits.simulator import DepositsSimulator
from tests.clock import HeldClock
from tests.gateways.deposits.harness import AMOUNT, FINAL_AT, NOW_MS, Harness, end_hold, hold
from tests.gateways.harness import funds, payment, serving


def test_the_simulator_can_expire_a_hold(harness: Harness) -> None:
    """Its CAPTURE and RELEASE are refused because the hold is gone."""
    harness.script({"kind": "EXPIRE", "afterMillis": 1_000, "operation": "HOLD"})
    held = harness.ask(hold(30))
    harness.clock.advance(999)
    assert harness.left() == AMOUNT
    harness.clock.advance(1)
    for operation in ("CAPTURE", "RELEASE"):
        answer = harness.ask(funds(30, operation, held.hold_ref))
        assert (answer.outcome, answer.code, answer.details) == (
            ports.REFUSED, ports.HOLD_GONE, "HOLD_EXPIRED",
        )  # fmt: skip
    assert harness.ask(end_hold(30, count=2)).code == ports.HOLD_GONE
    assert harness.left() == 0


def test_the_simulator_can_delay_a_hold_in_a_proxy(harness: Harness) -> None:
    """The caller gets no answer; the hold exists later."""
    harness.script({"kind": "PROXY", "afterMillis": 5_000, "times": 2})
    assert harness.ask(hold(31)).outcome == ports.SILENT
    assert harness.left() == 0
    harness.clock.advance(5_000)
    assert harness.left() == AMOUNT


def test_the_simulator_can_reorder_a_release_and_its_hold(harness: Harness) -> None:
    """The HOLD is delayed in a proxy, the RELEASE arrives first, then the HOLD: nothing is held."""
    harness.script({"kind": "PROXY", "afterMillis": 5_000, "operation": "HOLD"})
    harness.ask(hold(32))
    assert harness.ask(end_hold(32)).outcome == ports.PENDING
    harness.clock.advance(5_000)
    assert harness.left() == 0
    harness.clock.advance(FINAL_AT - NOW_MS)
    assert harness.ask(end_hold(32)).outcome == ports.NEVER_HELD


def test_the_simulator_can_hold_after_never_held(harness: Harness) -> None:
    """A Deposits Core that violates its own contract."""
    late = FINAL_AT - NOW_MS + 1_000
    harness.script({"kind": "PROXY", "afterMillis": late, "operation": "HOLD", "anyway": True})
    harness.ask(hold(33))
    harness.clock.advance(late - 1_000)
    assert harness.ask(end_hold(33)).outcome == ports.NEVER_HELD
    harness.clock.advance(1_000)
    assert harness.left() == AMOUNT
    held = harness.ask(hold(33))
    assert held.outcome == ports.DONE
    again = msgspec.structs.replace(
        funds(33, "RELEASE", held.hold_ref), funds_ref=funds_ref(payment(33), 1, "RELEASE", 2)
    )
    assert harness.ask(again).outcome == ports.DONE
    assert harness.left() == 0


def test_the_simulator_can_repeat_a_request(harness: Harness) -> None:
    """A request delivered twice by a proxy moves money once."""
    harness.script({"kind": "REPEAT", "afterMillis": 1_000})
    assert harness.ask(hold(34)).outcome == ports.DONE
    harness.clock.advance(1_000)
    entry = harness.client.get(f"/funds/{hold(34).funds_ref}").json()
    assert (entry["deliveries"], harness.left()) == (2, AMOUNT)


def test_the_simulator_can_be_down_for_minutes(harness: Harness) -> None:
    """No operation is answered and nothing moves until the time is over."""
    harness.script({"kind": "DOWN", "forMillis": 480_000})
    harness.clock.advance(479_999)
    assert harness.ask(hold(35)).technical_result == "HTTP_503"
    harness.clock.advance(1)
    assert harness.ask(hold(35)).outcome == ports.DONE


def test_the_simulator_can_refuse_after_it_was_done(harness: Harness) -> None:
    """REFUSED after it was done."""
    held = harness.ask(hold(36))
    harness.script({"kind": "SAY", "status": 422, "fields": {"code": "LIMIT"}, "times": 1})
    answer = harness.ask(funds(36, "CAPTURE", held.hold_ref))
    assert (answer.outcome, answer.code) == (ports.REFUSED, "LIMIT")
    assert harness.ask(funds(36, "CAPTURE", held.hold_ref)).outcome == ports.DONE
    assert harness.left() == 0


@pytest.mark.parametrize(
    "step",
    [
        {"raw": "<html>fine</html>"},
        {"fields": {"holdRef": "H" * 141}},
        {"fields": {"ledgerRef": "L" * 200}},
        {"fields": {"fundsRef": "N" * 33}},
        {"raw": "{"},
    ],
)
def test_the_simulator_can_answer_unreadably(harness: Harness, step: dict[str, Any]) -> None:
    """Unreadable and over-long answers, although the money moved; a repeat returns the result."""
    harness.script({"kind": "SAY", "times": 1, **step})
    assert harness.ask(hold(37)).outcome == ports.UNREADABLE
    assert harness.left() == AMOUNT
    assert harness.ask(hold(37)).outcome == ports.DONE
    assert harness.left() == AMOUNT


def test_a_script_names_an_attempt_a_payment_or_one_reference(harness: Harness) -> None:
    """Scripted like the rail's simulator: by reference, by payment, or for all."""
    for number, name in enumerate((hold(40).funds_ref, hold(41).funds_ref[:30], payment(42)), 40):
        harness.script({"kind": "SAY", "fields": {"amount": number}}, of=name)
        assert harness.ask(hold(number)).amount == number
    assert harness.ask(hold(43)).amount == AMOUNT


def test_a_script_of_an_unknown_kind_is_refused(harness: Harness) -> None:
    """Otherwise a misspelled script would silently give the correct answer."""
    answer = harness.client.post("/scripts", json={"for": "*", "steps": [{"kind": "EXPIRES"}]})
    assert answer.status_code == 400


def test_mixed_behaviour_fails_in_every_way_and_ends_correctly() -> None:
    """The demo's Deposits Core: the same seed fails at the same references, each once."""
    clock = HeldClock(NOW_MS)
    simulator = DepositsSimulator(clock=clock, behaviour="mixed", seed=20)
    with serving(simulator.app()) as client:
        harness = Harness(client, clock, simulator)
        first = [harness.ask(hold(number)) for number in range(60)]
        outcomes = {answer.outcome for answer in first}
        assert {ports.DONE, ports.DECLINED, ports.SILENT, ports.UNREADABLE} == outcomes
        clock.advance(2_000)
        again = [harness.ask(hold(number)).outcome for number in range(60)]
        declined = again.count(ports.DECLINED)
        assert set(again) == {ports.DONE, ports.DECLINED}
        assert harness.left() == (60 - declined) * AMOUNT
