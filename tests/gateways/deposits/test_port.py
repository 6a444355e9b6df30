"""Deposits Core's port: its contract over the HTTP client and the simulator."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import gateways.connections
from gateways import ports
from gateways.connections import Gateway
from gateways.deposits.http_client import HttpDepositsCore
from gateways.deposits.simulator import DepositsSimulator
from gateways.simulator import Journal
from tests.clock import HeldClock
from tests.gateways.deposits.harness import (
    AMOUNT,
    FINAL_AT,
    NOT_AFTER,
    NOW_MS,
    Harness,
    end_hold,
    hold,
)
from tests.gateways.harness import PARTIES, funds, payment, serving


def test_money_moves_once_per_reference(harness: Harness) -> None:
    """INT-05: the same fundsRef again gives the first answer and moves nothing."""
    first = harness.ask(hold(1))
    assert first.outcome == ports.DONE
    assert harness.ask(hold(1)).hold_ref == first.hold_ref
    for _ in range(3):
        assert harness.ask(funds(1, "CAPTURE", first.hold_ref)).outcome == ports.DONE
    held = harness.client.get("/ledger").json()["holds"][first.hold_ref]
    assert (held["amount"], held["captured"], held["released"], held["left"]) == (
        AMOUNT, AMOUNT, 0, 0,
    )  # fmt: skip


def test_captured_money_cannot_be_released(harness: Harness) -> None:
    """INT-05: held = captured + released + expired + left."""
    held = harness.ask(hold(2))
    harness.ask(funds(2, "CAPTURE", held.hold_ref))
    answer = harness.ask(funds(2, "RELEASE", held.hold_ref))
    assert (answer.outcome, answer.code) == (ports.REFUSED, "HOLD_TOO_SMALL")


def test_a_declined_hold_a_refusal_and_silence_are_distinguished(harness: Harness) -> None:
    """Domain, money and funds: the adapter distinguishes silence from refusal."""
    harness.script({"kind": "REFUSE", "code": "INSUFFICIENT_FUNDS"})
    declined = harness.ask(hold(3))
    assert (declined.outcome, declined.code) == (ports.DECLINED, "INSUFFICIENT_FUNDS")
    harness.script()
    refused = harness.ask(funds(4, "REVERSE", "HLDNONE"))
    assert (refused.outcome, refused.code) == (ports.REFUSED, "NOTHING_CAPTURED")
    harness.script({"kind": "HTTP", "status": 503, "taken": True})
    silent = harness.ask(hold(5))
    assert (silent.outcome, silent.technical_result) == (ports.SILENT, "HTTP_503")
    harness.script()
    assert harness.ask(hold(5)).outcome == ports.DONE


def test_the_amount_is_the_one_deposits_core_names(harness: Harness) -> None:
    """Domain, money and funds: a contradiction in the amount reaches the payment."""
    harness.script({"kind": "SAY", "fields": {"amount": 1}})
    assert harness.ask(hold(6)).amount == 1
    harness.script({"kind": "SAY", "fields": {"amount": None}})
    assert harness.ask(hold(6)).amount is None


def test_a_hold_is_never_carried_out_after_its_not_after(harness: Harness) -> None:
    """Contract, rule 1."""
    harness.clock.advance(NOT_AFTER - NOW_MS)
    assert harness.ask(hold(7)).outcome == ports.DONE
    harness.clock.advance(1)
    answer = harness.ask(hold(8))
    assert (answer.outcome, answer.code) == (ports.REFUSED, "HOLD_TOO_LATE")
    assert harness.ask(hold(7)).outcome == ports.DONE  # the first answer again
    assert harness.left() == AMOUNT


def test_a_hold_that_arrives_after_its_release_is_never_carried_out(harness: Harness) -> None:
    """Contract, rule 2."""
    assert harness.ask(end_hold(9)).outcome == ports.PENDING
    answer = harness.ask(hold(9))
    assert (answer.outcome, answer.code) == (ports.REFUSED, "HOLD_RELEASED")
    assert harness.left() == 0


def test_never_held_comes_only_after_not_after_and_the_margin(harness: Harness) -> None:
    """Contract, rule 3: before that it is unknown."""
    harness.clock.advance(FINAL_AT - NOW_MS - 1)
    assert harness.ask(end_hold(10)).outcome == ports.PENDING
    harness.clock.advance(1)
    assert harness.ask(end_hold(10)).outcome == ports.NEVER_HELD
    assert harness.ask(end_hold(10)).outcome == ports.NEVER_HELD


def test_a_hold_that_was_carried_out_is_released_by_its_reference(harness: Harness) -> None:
    """Contract, rule 3: RELEASED names the hold and the amount released, which is all that was
    held.
    """
    held = harness.ask(hold(11))
    answer = harness.ask(end_hold(11))
    assert (answer.outcome, answer.hold_ref, answer.amount) == (
        ports.DONE, held.hold_ref, AMOUNT,
    )  # fmt: skip
    harness.ask(hold(19))
    more = harness.ask(msgspec.structs.replace(end_hold(19), amount=1))
    assert (more.amount, harness.left()) == (AMOUNT, 0)


def test_a_declined_hold_is_never_held(harness: Harness) -> None:
    """Contract, rule 3: a refused HOLD was never carried out."""
    harness.script({"kind": "REFUSE", "code": "INSUFFICIENT_FUNDS", "operation": "HOLD"})
    harness.ask(hold(12))
    harness.clock.advance(FINAL_AT - NOW_MS)
    assert harness.ask(end_hold(12)).outcome == ports.NEVER_HELD


def test_a_restarted_ledger_knows_its_movements_and_ended_holds(tmp_path: Path) -> None:
    """Contract, rules 1 to 3 across a restart of the simulator."""
    clock, path = HeldClock(NOW_MS), tmp_path / "deposits.jsonl"
    first = DepositsSimulator(clock=clock, journal=Journal(path))
    with serving(first.app()) as client:
        harness = Harness(client, clock, first)
        harness.script({"kind": "EXPIRE", "afterMillis": 1_000}, of=payment(14))
        held, expiring = harness.ask(hold(13)), harness.ask(hold(14))
        assert (held.outcome, expiring.outcome) == (ports.DONE, ports.DONE)
        harness.ask(end_hold(15))
        clock.advance(1_000)
    second = DepositsSimulator(clock=clock, journal=Journal(path))
    with serving(second.app()) as client:
        harness = Harness(client, clock, second)
        assert harness.ask(hold(13)).hold_ref == held.hold_ref
        assert harness.ask(hold(15)).code == "HOLD_RELEASED"
        assert harness.ask(funds(14, "RELEASE", expiring.hold_ref)).code == ports.HOLD_GONE
        assert harness.left() == AMOUNT


def test_a_reference_with_other_content_is_unclear(harness: Harness) -> None:
    """Contract: something was done under this reference, so the answer is not a refusal but
    unclear.
    """
    harness.ask(hold(16))
    answer = harness.ask(msgspec.structs.replace(hold(16), amount=AMOUNT - 1))
    assert answer.outcome == ports.UNREADABLE
    assert "REFERENCE_REUSED" in (answer.details or "")


@pytest.mark.parametrize(("patience_s", "outcome"), [(0.05, ports.SILENT), (5.0, ports.DONE)])
def test_an_answer_after_the_clients_timeout_is_silence_and_moves_money_once(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, patience_s: float, outcome: str
) -> None:
    """Domain, money and funds: without an answer in time it may still have been done."""
    monkeypatch.setattr(gateways.connections, "READ_TIMEOUT_SECONDS", patience_s)
    harness.core = HttpDepositsCore(
        gateway=Gateway(str(harness.client.base_url)), clock=harness.clock
    )
    harness.script({"kind": "DELAY", "afterMillis": 300, "times": 1})
    assert harness.ask(hold(17)).outcome == outcome
    monkeypatch.undo()
    harness.core = HttpDepositsCore(
        gateway=Gateway(str(harness.client.base_url)), clock=harness.clock
    )
    assert harness.ask(hold(17)).outcome == ports.DONE
    assert harness.left() == AMOUNT


def test_without_a_connection_there_is_silence() -> None:
    """Domain, money and funds: nothing was received, so nothing is known."""
    core = HttpDepositsCore(gateway=Gateway("http://127.0.0.1:9"), clock=HeldClock(NOW_MS))
    answer = core.perform(hold(18), PARTIES)
    assert (answer.outcome, answer.technical_result) == (ports.SILENT, "CONNECT_FAILED")
