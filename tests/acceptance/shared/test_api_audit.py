"""The audit log over HTTP, and the API's answers compared with the log: requirement 15, invariants
I7, I9.
"""

from __future__ import annotations

from typing import Any

import pytest

from app.cli.api_client import Api
from app.demo.api_account import ApiAccount
from app.demo.operator_calls import Acknowledged
from tests.acceptance.harness import ACCEPT, SETTLE, SILENT, Harness, rejects

pytestmark = pytest.mark.broker

REASON = "Customer requested cancellation"


def audit(harness: Harness, **query: Any) -> list[dict[str, Any]]:
    return list(harness.get("/api/audit", "aud_1", limit=200, **query)["items"])


def test_an_action_is_audited_with_the_six_fields_and_its_events(harness: Harness) -> None:
    """AUD-01, AUD-03, A2 "Log cancellation in audit trail": who, when, what, which payment, why,
    with which approval; linked to the event it caused and back.
    """
    payment = harness.create(SILENT)
    harness.until(payment, state="SENT")
    approval = harness.approved("ops_1", payment, "CANCEL")
    done = harness.done("ops_1", payment, "cancel", {"reason": REASON, "approvalId": approval})

    items = harness.soon(
        lambda: [
            i for i in audit(harness, paymentIntentId=payment)
            if "ancel" in i["action"].lower() and i["result"]
        ],
        what="the audit entry",
    )  # fmt: skip
    item = next(i for i in items if i["commandId"] == done["commandId"])
    assert (item["operatorId"], item["paymentIntentId"]) == ("ops_1", payment)
    assert (item["reason"], item["approvalId"]) == (REASON, approval)
    assert item["at"].endswith("Z")
    assert (item["result"], item["roles"]) == ("ACCEPTED", ["operator"])
    caused = [
        e
        for e in harness.events(payment)
        if item["fromSequence"] <= e["sequence"] <= item["toSequence"]
    ]
    assert caused[0]["type"] == "PaymentFailed"
    assert {e["cause"]["commandId"] for e in caused} == {item["commandId"]}


def test_refused_actions_are_audited_too(harness: Harness) -> None:
    """AUD-02: refused by the engine, for the role, for an invalid body; with code and rule."""
    payment = harness.create([ACCEPT, SETTLE])
    harness.until(payment, state="SETTLED")
    harness.act("ops_1", payment, "cancel", {"reason": REASON})
    harness.act("view_1", payment, "cancel", {"reason": REASON})
    harness.act("ops_1", payment, "cancel", {"reason": REASON, "force": 1})
    wanted = {
        ("ops_1", "STATE_PRECONDITION"),
        ("view_1", "MISSING_ROLE"),
        ("ops_1", "FIELD_INVALID"),
    }

    def noted() -> bool:
        found = {(i["operatorId"], i["rule"]) for i in audit(harness, paymentIntentId=payment)}
        return wanted <= found

    harness.soon(noted, what=f"{wanted}")
    assert all(i["code"] for i in audit(harness, paymentIntentId=payment) if i["rule"])


def test_the_audit_log_is_listed_by_operator_payment_and_time(harness: Harness) -> None:
    """AUD-03: every filter selects correctly, newest first."""
    payment = harness.create(SILENT)
    harness.until(payment, state="SENT")
    who = "ops_77"
    harness.act(who, payment, "cancel", {"reason": REASON})
    mine = harness.soon(lambda: audit(harness, operatorId=who), what="entries of one operator")
    assert {i["operatorId"] for i in mine} == {who}
    at = mine[0]["at"]
    assert audit(harness, operatorId=who, from_=at)
    assert audit(harness, operatorId=who, to=at) == [i for i in mine if i["at"] < at]
    times = [i["at"] for i in audit(harness)]
    assert times == sorted(times, reverse=True)
    refused = harness.ask("ops_1", "GET", "/api/audit")
    assert refused.json()["rule"] == "MISSING_ROLE"


def test_an_export_is_audited(harness: Harness) -> None:
    """EP-10: who, when, which payment, format and the inquiry's reference."""
    payment = harness.create([ACCEPT, SETTLE])
    harness.until(payment, state="SETTLED")
    body = {"format": "JSON", "includeReplayProof": False, "reference": "ASIC-2026-17"}
    answer = harness.act("aud_1", payment, "evidence-pack", body)
    assert answer.status_code == 200, answer.text

    def noted() -> Any:
        items = audit(harness, paymentIntentId=payment, operatorId="aud_1")
        return next((i for i in items if "ASIC-2026-17" in str(i)), None)

    item = harness.soon(noted, what="the export in the audit log")
    assert "JSON" in str(item)


def test_every_acknowledged_command_is_on_the_log_and_the_api_equals_the_fold(
    harness: Harness,
) -> None:
    """I7, I9, AUD-01: every payment in the API equals its lifecycle record; every command on the
    log is in the audit with its outcome; the response given is the outcome recorded.
    """
    payment = harness.create(SILENT)
    harness.until(payment, state="SENT")
    harness.approved("ops_1", payment, "CANCEL")
    reported = [harness.done("ops_1", payment, "cancel", {"reason": REASON}) for _ in range(2)]
    acknowledged = [
        Acknowledged(payment, each["commandId"], each["result"], each["toSequence"])
        for each in reported
    ]
    until_no_enquiries(harness)
    with Api(harness.url, harness.token("aud_1")) as api:
        account = ApiAccount(harness.cluster, api, harness.stage.tend)
        assert account.problems(acknowledged) == []
        assert len(account.lifecycle) > 0
        assert len(account.commands) > 0
        lies = [Acknowledged(payment, "cmd-nobody", "ACCEPTED", 1)]
        assert account.problems(lies) != []


def until_no_enquiries(harness: Harness) -> None:
    """The rail reports on every payment that waits for it, so that there are no more enquiries."""
    for state in ("SENT", "ACKNOWLEDGED"):
        for item in harness.get("/api/payments", state=state, limit=200)["items"]:
            harness.rail_now(item["paymentIntentId"], SETTLE, attempt=int(item["attemptId"][-3:]))
    for item in harness.get("/api/payments", moneyOutcome="UNCERTAIN", limit=200)["items"]:
        harness.rail_now(item["paymentIntentId"], rejects("AB05"))
