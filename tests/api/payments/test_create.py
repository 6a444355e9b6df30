"""Creating payments over HTTP: one key of one source is one payment."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from core.values import payment_intent_id
from schemas import topology
from schemas.codec.parties import open_parties
from tests.api.command_harness import CLIENT, CLIENT_SOURCE, ApiHarness, Response, problem

pytestmark = pytest.mark.slow

BODY: dict[str, Any] = {
    "amount": 1_250, "currency": "AUD", "endToEndId": "INV-1", "service": "x2p1",
    "debtor": {"name": "Alex Example", "bsb": "062000", "account": "12345678"},
    "creditor": {"name": "Robin Example", "payIdType": "EMAL", "payId": "robin@example.com"},
    "remittance": "Invoice 1 ☕",
}  # fmt: skip


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ApiHarness]:
    made = ApiHarness(tmp_path)
    yield made
    made.close()


def create(harness: ApiHarness, key: str = "key-1", **changed: Any) -> Response:
    return harness.post(CLIENT, "/api/payments", {**BODY, **changed}, **{"Idempotency-Key": key})


def test_the_access_log_names_the_payment_and_the_callers_trace(harness: ApiHarness) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    given = {"Idempotency-Key": "key-1", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    with capture_logs() as lines:
        made = harness.post(CLIENT, "/api/payments", BODY, **given).json()["paymentIntentId"]
        harness.act("olga", made, "retry", {"attemptId": "att_002", "reason": "x"})
    created, retried = [each for each in lines if each["event"] == "request"]
    assert (created["payment_intent_id"], created["trace_id"]) == (made, trace)
    assert (retried["payment_intent_id"], retried["trace_id"]) == (made, None)


def test_a_payment_is_created_under_the_clients_source(harness: ApiHarness) -> None:
    """SM-07, SEC-06, API-03: computed id, on the API's own topic, shown at once."""
    answer = create(harness)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    payment = payment_intent_id(CLIENT_SOURCE, "key-1")
    assert (body["paymentIntentId"], body["result"], body["state"]) == (
        payment, "ACCEPTED", "CREATED",
    )  # fmt: skip
    assert body["events"][0]["type"] == "PaymentIntentCreated"
    (command,) = harness.written(topology.API_COMMANDS)
    assert (command.source, command.idempotency_key) == (CLIENT_SOURCE, "key-1")
    parties = open_parties(command.parties)
    assert (parties.creditor.pay_id, parties.remittance) == ("robin@example.com", "Invoice 1 ☕")
    assert harness.get("vera", f"/api/payments/{payment}").status_code == 200


def test_the_outcome_of_an_accepted_creation_can_be_read_again(harness: ApiHarness) -> None:
    """OP-10: it has no outcome record; its first event identifies it."""
    link = create(harness).json()["outcome"]
    assert harness.get(CLIENT, link).json()["result"] == "ACCEPTED"


def test_the_same_key_and_content_return_the_first_result(harness: ApiHarness) -> None:
    """IDM-02: a client that lost the response repeats the request."""
    first = create(harness).json()
    again = create(harness).json()
    assert (again["result"], again["duplicate"]) == ("DUPLICATE", True)
    assert (again["paymentIntentId"], again["events"][0]) == (
        first["paymentIntentId"], first["events"][0],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"amount": 1_251}, "amount"),
        ({"debtor": {**BODY["debtor"], "account": "1"}}, "debtor account"),
        ({"creditor": {**BODY["creditor"], "payId": "r@e.com"}}, "creditor account or PayID"),
        ({"endToEndId": "INV-2"}, "endToEndId"),
        ({"remittance": None}, "remittance"),
        ({"service": "sct"}, "service"),
    ],
)
def test_the_same_key_for_another_payment_names_the_first_difference(
    harness: ApiHarness, changed: dict[str, Any], field: str
) -> None:
    """IDM-03."""
    create(harness)
    answer = create(harness, **changed)
    assert problem(answer) == (409, "INVARIANT_VIOLATION", "IDEMPOTENCY_KEY_REUSED")
    assert answer.json()["firstDifference"] == field


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"amount": 0}, (409, "INVARIANT_VIOLATION", "AMOUNT_NOT_POSITIVE")),
        ({"amount": -5}, (409, "INVARIANT_VIOLATION", "AMOUNT_NOT_POSITIVE")),
        ({"amount": 10**9}, (409, "INVARIANT_VIOLATION", "AMOUNT_OVER_LIMIT")),
        ({"amount": 10**30}, (400, "VALIDATION_FAILED", "FIELD_INVALID")),
        ({"amount": "1250"}, (400, "VALIDATION_FAILED", "FIELD_INVALID")),
        ({"amount": 12.5}, (400, "VALIDATION_FAILED", "FIELD_INVALID")),
        ({"amount": True}, (400, "VALIDATION_FAILED", "FIELD_INVALID")),
        ({"currency": "USD"}, (409, "INVARIANT_VIOLATION", "CURRENCY_NOT_AUD")),
        (
            {"debtor": {**BODY["debtor"], "bsb": "06200"}},
            (409, "INVARIANT_VIOLATION", "NPP_CONSTRAINT"),
        ),
        ({"debtor": {"name": "A"}}, (400, "VALIDATION_FAILED", "FIELD_MISSING")),
        ({"source": "mobile-app"}, (400, "VALIDATION_FAILED", "FIELD_INVALID")),
        ({"expiresAt": "2026-01-01T00:00:00"}, (400, "VALIDATION_FAILED", "FIELD_INVALID")),
        (
            {"requestedExecutionTime": "2026-02-01T00:00:00+11:00"},
            (409, "INVARIANT_VIOLATION", "EXECUTION_TOO_FAR"),
        ),
        ({"uetr": "no"}, (409, "INVARIANT_VIOLATION", "NPP_CONSTRAINT")),
    ],
)
def test_a_payment_that_npp_does_not_allow_is_not_created(
    harness: ApiHarness, changed: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    """SM-13, SM-14, OP-09."""
    assert problem(create(harness, **changed)) == expected
    assert harness.written(topology.EVENTS) == []


@pytest.mark.parametrize("key", [None, "", "a b", "ümlaut", "x" * 129])
def test_a_key_is_required_and_is_plain_text(harness: ApiHarness, key: str | None) -> None:
    """Domain §2: bounded and printable; nothing is published without one."""
    headers: dict[str, Any] = {} if key is None else {"Idempotency-Key": key.encode("latin-1")}
    answer = harness.post(CLIENT, "/api/payments", BODY, **headers)
    assert problem(answer)[:2] == (400, "VALIDATION_FAILED")
    assert harness.written(topology.API_COMMANDS) == []


def test_only_a_submitter_with_a_source_creates(harness: ApiHarness) -> None:
    """SEC-06: an operator has no source, nor has an unconfigured client."""
    headers = {"Idempotency-Key": "k"}
    operator = harness.post("olga", "/api/payments", BODY, **headers)
    assert problem(operator)[2] == "MISSING_ROLE"
    token = harness.issuer.issue("stray", ["submitter"], client_id="stray")
    stray = harness.http.post(
        "/api/payments", json=BODY, headers={**headers, "Authorization": f"Bearer {token}"}
    )
    assert problem(stray) == (403, "POLICY_REJECTED", "SOURCE_NOT_ENTITLED")
    assert [e.rule for e in harness.audited()] == ["MISSING_ROLE", "SOURCE_NOT_ENTITLED"]


def test_simultaneous_posts_of_one_key_make_one_payment(harness: ApiHarness) -> None:
    """IDM-01."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: create(harness), range(16)))
    assert {a.status_code for a in answers} == {200}
    assert len({a.json()["paymentIntentId"] for a in answers}) == 1
    assert [a.json()["result"] for a in answers].count("ACCEPTED") == 1
    names = harness.world.event_names(answers[0].json()["paymentIntentId"])
    assert names.count("PaymentIntentCreated") == 1


def test_a_late_creation_says_where_to_look_and_has_no_not_after(harness: ApiHarness) -> None:
    """OP-10: a creation has no notAfter; its key makes a repeat safe."""
    harness.log.stalled = True
    late = create(harness)
    assert (late.status_code, late.json()["notAfter"]) == (202, None)
    assert harness.get(CLIENT, late.json()["outcome"]).status_code == 202
    harness.log.stalled = False
    harness.work()
    assert harness.get(CLIENT, late.json()["outcome"]).json()["result"] == "ACCEPTED"
    assert create(harness).json()["duplicate"]
