"""Refusals, identity and access over HTTP: requirements 7, 8, 14 and 17."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.auth.access import ACCESS
from control.acts.roles import ROLES
from core.values import payment_intent_id
from tests.acceptance.harness import ACCEPT, SETTLE, SILENT, Harness

pytestmark = pytest.mark.broker

NOBODYS = payment_intent_id("api-client", "nobody-sent-this-either")
CODES = {400: "VALIDATION_FAILED", 403: "POLICY_REJECTED", 404: "PAYMENT_NOT_FOUND"}


@pytest.mark.parametrize(
    ("path", "who", "body", "field"),
    [
        ("retry", "ops_1", {"reason": "r"}, "attemptId"),
        ("retry", "ops_1", {"attemptId": "att_2", "reason": "r"}, "attemptId"),
        ("retry", "ops_1", {"attemptId": "att_002", "reason": 7}, "reason"),
        ("retry", "ops_1", {"attemptId": "att_002", "reason": "r", "force": True}, "force"),
        ("cancel", "ops_1", {}, "reason"),
        ("cancel", "ops_1", {"reason": "nul\0"}, "reason"),
        ("cancel", "ops_1", {"reason": "x" * 1001}, "reason"),
        ("cancel", "ops_1", [], "body"),
        ("approvals", "ops_1", {"action": "PAY_TWICE", "reason": "r"}, "action"),
        ("evidence-pack", "ops_1", {"format": "XML", "includeReplayProof": True}, "format"),
    ],
)
def test_an_invalid_body_names_the_field_and_publishes_nothing(
    harness: Harness, path: str, who: str, body: Any, field: str
) -> None:
    """API-13, API-10, ERR-01: VALIDATION_FAILED, and no command on the log."""
    payment = harness.create(SILENT)
    before = harness.get(f"/api/payments/{payment}/outcomes")["items"]
    answer = harness.act(who, payment, path, body)
    said = answer.json()
    assert (answer.status_code, said["code"]) == (400, "VALIDATION_FAILED"), answer.text
    assert field in said["sentence"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert harness.get(f"/api/payments/{payment}/outcomes")["items"] == before


def test_every_refusal_has_code_rule_and_sentence(harness: Harness) -> None:
    """ERR-01, API-08: the four codes with their statuses, and a rule with a sentence."""
    key = harness.key()
    payment = harness.create([ACCEPT, SETTLE], key=key)
    harness.until(payment, state="SETTLED")
    cancel = {"reason": "r"}
    answers = [
        (400, harness.act("ops_1", payment, "cancel", {})),
        (403, harness.act("ops_1", payment, "cancel", cancel)),
        (404, harness.act("ops_1", NOBODYS, "cancel", cancel)),
        (409, harness.submit(key, amount=1)),
    ]
    for status, answer in answers:
        body = answer.json()
        assert answer.status_code == status, answer.text
        assert body["code"] == CODES.get(status, "INVARIANT_VIOLATION")
        assert body["rule"]
        assert body["sentence"].endswith(".")


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"amount": 0}, "AMOUNT_NOT_POSITIVE"),
        ({"amount": -5}, "AMOUNT_NOT_POSITIVE"),
        ({"amount": 10**12}, "AMOUNT_OVER_LIMIT"),
        ({"currency": "USD"}, "CURRENCY_NOT_AUD"),
        ({"creditor": {"name": "B", "bsb": "12", "account": "1"}}, "NPP_CONSTRAINT"),
        ({"creditor": {"name": "B", "payIdType": "EMAL", "payId": "A@B"}}, "NPP_CONSTRAINT"),
    ],
)
def test_an_impossible_payment_violates_a_named_invariant(
    harness: Harness, fields: dict[str, Any], rule: str
) -> None:
    """SM-13, SM-14, ERR-02: 409 INVARIANT_VIOLATION, and no payment."""
    key = harness.key()
    answer = harness.submit(key, **fields)
    body = answer.json()
    assert (answer.status_code, body["code"], body["rule"]) == (409, "INVARIANT_VIOLATION", rule)
    found = harness.ask("view_1", "GET", f"/api/payments/{payment_intent_id('api-client', key)}")
    assert found.status_code == 404


def test_a_fraction_of_a_cent_is_not_an_amount(harness: Harness) -> None:
    """API-13: no float touches an amount."""
    assert harness.submit(harness.key(), amount=12.5).status_code == 400
    assert harness.submit(harness.key(), amount="1250").status_code == 400


def test_the_same_key_with_the_same_content_returns_the_first_result(harness: Harness) -> None:
    """IDM-02: duplicate, no new event."""
    key = harness.key()
    payment = harness.create([ACCEPT, SETTLE], key=key)
    harness.until(payment, state="SETTLED", funds="CAPTURED")
    events = harness.events(payment)
    again = harness.submit(key)
    assert again.status_code == 200
    assert (again.json()["duplicate"], again.json()["paymentIntentId"]) == (True, payment)
    assert harness.events(payment) == events


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ({"amount": 99, "endToEndId": "other"}, "amount"),
        ({"debtor": {"name": "X", "bsb": "062000", "account": "1"}}, "debtor"),
        ({"remittance": "other words"}, "remittance"),
        ({"service": "sct"}, "service"),
    ],
)
def test_the_same_key_with_other_content_is_refused(
    harness: Harness, fields: dict[str, Any], first: str
) -> None:
    """IDM-03: IDEMPOTENCY_KEY_REUSED naming the first differing field."""
    key = harness.key()
    harness.create(SILENT, key=key)
    answer = harness.submit(key, **fields)
    body = answer.json()
    assert (answer.status_code, body["rule"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert first in body["firstDifference"]


def test_simultaneous_creations_with_one_key_make_one_payment(harness: Harness) -> None:
    """IDM-01, IDM-04: of twenty creations with one key one counts: one hold, one submission."""
    key = harness.key()
    payment = payment_intent_id("api-client", key)
    harness.script(payment, [ACCEPT, SETTLE])
    with ThreadPoolExecutor(20) as shops:
        answers = list(shops.map(lambda _: harness.submit(key), range(20)))
    assert Counter(a.status_code for a in answers) == {200: 20}
    results = Counter(a.json()["result"] for a in answers)
    assert results["ACCEPTED"] <= 1
    assert set(results) <= {"ACCEPTED", "DUPLICATE"}
    harness.until(payment, state="SETTLED", funds="CAPTURED")
    types = harness.types(payment)
    assert [
        types.count(name) for name in ("PaymentIntentCreated", "FundsHeld", "FundsCaptured")
    ] == [*(1, 1, 1)]
    entry = harness.rail_entry(payment)
    assert entry is not None
    assert entry["submitted"] == 1


def test_a_creation_needs_a_key(harness: Harness) -> None:
    """API-13: without the header nothing is created."""
    answer = harness.ask(harness.submitter(), "POST", "/api/payments", {"amount": 1})
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")


def test_without_sign_in_every_route_answers_401(harness: Harness) -> None:
    """SEC-01: 401 on every route under /api."""
    for method, path in ACCESS:
        answer = harness.http.request(method, harness.url + filled(path))
        assert answer.status_code == 401, (method, path, answer.text)


def filled(path: str) -> str:
    """A path of the table with every placeholder filled."""
    values = {
        "payment_intent_id": NOBODYS,
        "approval_id": "apr_001",
        "conflict_id": "cnf_001",
        "command_id": "cmd-1",
        "request_id": "rdr_1",
        "stop_id": "stp_1",
        "partition": "0",
        "offset": "999999999",
    }
    for name, value in values.items():
        path = path.replace("{" + name + "}", value)
    return path


def test_a_missing_role_is_refused_by_name(harness: Harness) -> None:
    """SEC-02, ERR-03: every route with every role that is not allowed: MISSING_ROLE."""
    for (method, path), allowed in ACCESS.items():
        for role in sorted(ROLES - allowed):
            token = harness.token(f"walker-{role}", role)
            answer = harness.ask(token, method, filled(path))
            assert answer.status_code == 403, (method, path, role, answer.text)
            body = answer.json()
            assert body["rule"] == "MISSING_ROLE"
            assert all(name in body["sentence"] for name in allowed)


def test_an_allowed_role_is_never_refused_for_its_role(harness: Harness) -> None:
    """SEC-02: every route with the roles that are allowed."""
    for (method, path), allowed in ACCESS.items():
        if path == "/api/stream" or (method, path) == ("POST", "/api/control/stop"):
            continue  # one never ends, the other would stop the harness; each has its own test
        for role in sorted(allowed):
            token = harness.token(f"walker-{role}", role, client="demo-client")
            answer = harness.ask(token, method, filled(path))
            rule = answer.json().get("rule") if "json" in answer.headers["content-type"] else ""
            assert answer.status_code != 401, (method, path, role, answer.text)
            assert rule != "MISSING_ROLE", (method, path, role)


def test_the_operator_is_the_signed_in_user(harness: Harness) -> None:
    """AUD-04, OP-16: another operatorId in a body is POLICY_REJECTED and audited."""
    payment = harness.create(SILENT)
    body = {"reason": "r", "operatorId": "somebody_else"}
    answer = harness.act("ops_1", payment, "cancel", body)
    assert (answer.status_code, answer.json()["code"]) == (403, "POLICY_REJECTED")

    def noted() -> Any:
        items = harness.get("/api/audit", "aud_1", paymentIntentId=payment)["items"]
        return next((i for i in items if i["rule"] == answer.json()["rule"]), None)

    item = harness.soon(noted, what="the refusal in the audit log")
    assert item["operatorId"] == "ops_1"
