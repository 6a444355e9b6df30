"""Before a person chooses: the verdicts that fit an open conflict, and the consequence of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.cli.api_client import Reply
from app.cli.npp import run_cli
from app.cli.operators import conflict
from app.exits import ExitCode
from core.header import InputHeader
from core.payment import commands
from core.payment.operator.verdicts import VERDICTS, fitting
from core.values import Cents, PaymentIntentId, external_ref
from schemas import topology
from tests.api.command_harness import ApiHarness, problem

pytestmark = pytest.mark.slow

OTHER_CENTS = 1_858
OTHER = "AUD 18.58"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ApiHarness]:
    made = ApiHarness(tmp_path)
    yield made
    made.close()


def settled_otherwise(harness: ApiHarness, key: str) -> str:
    """A payment in SENT whose settlement has an amount other than the instructed one."""
    payment = harness.sent(key)
    report = commands.RailReport(
        header=InputHeader(payment_intent_id=PaymentIntentId(payment)),
        external_ref=external_ref(payment, 1),
        kind="SETTLED",
        adapter="default",
        amount=Cents(OTHER_CENTS),
        currency="AUD",
        rail_message_id="m-1",
    )
    harness.world.pipe(topology.RAIL_REPORTS, report)
    harness.work()
    return payment


def listed(harness: ApiHarness, payment: str) -> dict[str, Any]:
    (found,) = harness.get("vera", f"/api/conflicts?paymentIntentId={payment}").json()["items"]
    return dict(found)


def test_an_open_conflict_lists_the_fitting_verdicts_with_their_consequences(
    harness: ApiHarness,
) -> None:
    """Ruling 5: in the list and with the payment, as in core's own matrix."""
    payment = settled_otherwise(harness, "k1")
    state = harness.world.known(payment).payment
    expected = [
        {"verdict": verdict, "consequence": consequence}
        for verdict, consequence in fitting(state, state.conflicts[0])
    ]
    assert expected
    assert listed(harness, payment)["verdicts"] == expected
    (of_payment,) = harness.get("vera", f"/api/payments/{payment}").json()["conflicts"]
    assert of_payment["verdicts"] == expected
    assert any(OTHER in each["consequence"] for each in expected)


def test_every_listed_verdict_can_be_requested_and_no_other(harness: ApiHarness) -> None:
    """Ruling 5: the others are refused VERDICT_NOT_APPLICABLE."""
    payment = settled_otherwise(harness, "k1")
    fit = [each["verdict"] for each in listed(harness, payment)["verdicts"]]
    for verdict in VERDICTS:
        requested = {
            "action": "RESOLVE_RECONCILIATION", "reason": "rail ticket 91", "attemptId": 1,
            "conflictId": "cnf_001", "verdict": verdict,
        }  # fmt: skip
        if verdict == "RETURNED":
            requested["amount"] = 500
        answer = harness.act("sue", payment, "approvals", requested)
        if verdict in fit:
            assert answer.status_code == 200, answer.text
        else:
            assert problem(answer)[2] == "VERDICT_NOT_APPLICABLE"


def test_a_conflicts_amount_is_formatted(harness: ApiHarness) -> None:
    """Cents used to be shown as dollars in the event, the list and the summary."""
    payment = settled_otherwise(harness, "k1")
    found = listed(harness, payment)
    assert (found["amount"], found["currency"], found["amountText"]) == (OTHER_CENTS, "AUD", OTHER)
    events = harness.get("vera", f"/api/payments/{payment}/events").json()["items"]
    (opened,) = [each for each in events if each["type"] == "ReconciliationRequired"]
    summary = harness.get("vera", "/api/incidents/summary").json()["fired"]
    (fired,) = [each for each in summary if each["kind"] == "CONFLICT"]
    assert opened["data"]["amount"] == OTHER_CENTS
    for text in (found["detail"], opened["data"]["detail"], fired["detail"]):
        assert OTHER in text
        assert str(OTHER_CENTS) not in text


def test_a_resolved_conflict_lists_no_verdict(harness: ApiHarness) -> None:
    """Ruling 5: nothing is left to choose."""
    payment = settled_otherwise(harness, "k1")
    named = {"conflictId": "cnf_001", "verdict": "REPORT_WRONG"}
    harness.approved(payment, "RESOLVE_RECONCILIATION", by="sue", **named)
    body = {"attemptId": "1", "verdict": "REPORT_WRONG", "details": "the rail took it back"}
    assert harness.act("sue", payment, "conflicts/cnf_001/resolve", body).status_code == 200
    answer = harness.get("vera", f"/api/conflicts?paymentIntentId={payment}&open=false").json()
    (found,) = answer["items"]
    assert (found["open"], found["verdict"], found["verdicts"]) == (False, "REPORT_WRONG", [])
    assert found["amountText"] == OTHER


def test_a_refused_approval_formats_amounts(harness: ApiHarness) -> None:
    """The approved amount, and the amount that the action would move."""
    payment = harness.sent("k1")
    harness.approved(payment, "CANCEL", amount=OTHER_CENTS)
    answer = harness.act("olga", payment, "cancel", {"reason": "x"})
    assert problem(answer)[2] == "APPROVAL_OTHER_PARAMETERS"
    assert f"amount {OTHER}, not AUD 125.00" in answer.json()["sentence"]


CONFLICT: dict[str, Any] = {
    "paymentIntentId": "pi_pdkz22ub6ujnprx6nas575vbxy", "conflictId": "cnf_001",
    "kind": "AMOUNT_DIFFERS", "attemptId": "att_001", "detail": "SETTLED of AUD 18.58",
    "openedAt": "2026-01-01T00:00:00.000Z", "amount": OTHER_CENTS, "currency": "NZD",
    "verdicts": [
        {"verdict": "AMOUNT_ACCEPTED", "consequence": "AUD 18.58 is what att_001 settled."},
        {"verdict": "REPORT_WRONG", "consequence": "The conflict ends and changes nothing."},
    ],
}  # fmt: skip


@pytest.mark.parametrize("words", [["show", CONFLICT["paymentIntentId"]], ["list"]])
def test_the_command_line_shows_the_fitting_verdicts(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ruling 5: `npp conflict`, with the amount in its own currency."""
    body = msgspec.json.decode(msgspec.json.encode({"items": [CONFLICT], "next": None}))
    monkeypatch.setattr(conflict, "fetch", lambda *_, **__: Reply(200, body, b"", {}))
    assert run_cli(["conflict", *words]) == ExitCode.OK
    output = capsys.readouterr().out
    for each in CONFLICT["verdicts"]:
        assert each["verdict"] in output
        assert words == ["list"] or each["consequence"] in output
    assert words == ["list"] or "NZD 18.58" in output
