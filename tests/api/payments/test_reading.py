"""Reads: payments, events, lists with cursors, search, queues, figures."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from core.values import external_ref
from tests.api.harness import ApiHarness, mixed_harness

pytestmark = pytest.mark.slow

Made = tuple[ApiHarness, dict[str, str]]
LISTS = ("/api/payments", "/api/approvals", "/api/conflicts", "/api/attention", "/api/quarantine")
NASTY = "'; drop table payments;--<script>\u202e=cmd()🧡\r\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    harness, names = mixed_harness(tmp_path_factory.mktemp("api"), NASTY)
    yield harness, names
    harness.close()


def test_api_01_a_payment_shows_its_state(made: Made) -> None:
    harness, names = made
    shown = harness.get(f"/api/payments/{names['settled']}").json()
    payment = names["settled"]
    assert (shown["state"], shown["moneyOutcome"], shown["reason"]) == ("SETTLED", "PAID", None)
    assert (shown["amount"], shown["currency"], shown["attemptId"]) == (5000, "AUD", "att_001")
    assert (shown["externalRef"], shown["funds"]) == (external_ref(payment, 1), "CAPTURED")
    assert (shown["overdue"], shown["needsAttention"], shown["attention"]) == (None, False, None)
    assert shown["lastEventAt"].endswith("Z")
    assert len(shown["lastEventAt"]) == 24
    assert shown["nextActions"] == ["REVERSE"]


def test_esc_01_a_contradicted_payment_shows_why_and_what_it_waits_for(made: Made) -> None:
    harness, names = made
    shown = harness.get(f"/api/payments/{names['conflict']}").json()
    assert (shown["state"], shown["moneyOutcome"]) == ("FAILED", "CONTRADICTED")
    assert shown["attention"]["why"] == ["CONFLICT_OPEN"]
    assert shown["attention"]["since"]
    assert shown["waitingFor"]["what"] == "RECONCILIATION"
    assert [each["conflictId"] for each in shown["conflicts"]] == ["cnf_001"]
    assert shown["nextActions"] == ["RESOLVE_RECONCILIATION"]


def test_rt_09_attempts_are_shown_separately(made: Made) -> None:
    harness, names = made
    shown = harness.get(f"/api/payments/{names['retried']}").json()
    first, second = shown["attempts"]
    assert (first["state"], first["reason"], first["certain"]) == ("FAILED", "RAIL", True)
    assert (second["state"], second["certain"]) == ("SETTLED", None)
    assert second["externalRef"] == external_ref(names["retried"], 2)
    assert [each["status"] for each in shown["approvals"]] == ["USED"]
    assert (first["funds"]["released"], second["funds"]["captured"]) == (5000, 5000)


def test_api_04_events_are_in_order_chained_and_show_both_states(made: Made) -> None:
    harness, names = made
    path = f"/api/payments/{names['retried']}/events"
    events = harness.get(path, "auditor").json()["items"]
    assert [each["sequence"] for each in events] == list(range(1, len(events) + 1))
    for before, after in pairwise(events):
        assert after["previousHash"] == before["hash"]
        assert after["fromState"] == before["toState"]
    failed = next(each for each in events if each["type"] == "PaymentFailed")
    assert (failed["reason"], failed["attemptId"]) == ("RAIL", "att_001")
    sent = [each["externalRef"] for each in events if each["type"] == "PaymentSentToRail"]
    assert sent == [external_ref(names["retried"], n) for n in (1, 2)]
    found: list[Any] = []
    cursor: dict[str, Any] = {}
    while len(found) < len(events):
        page = harness.get(path, "auditor", limit=7, **cursor).json()
        found += page["items"]
        cursor = {"cursor": page["next"]}
    assert found == events
    assert cursor["cursor"] is None


def test_free_text_is_returned_unchanged(made: Made) -> None:
    harness, names = made
    shown = harness.get(f"/api/payments/{names['nasty']}", "operator")
    assert shown.json()["parties"]["remittance"] == NASTY
    assert shown.json()["parties"]["debtor"]["name"] == NASTY.strip()
    assert shown.json()["customerId"] == "customer-7"
    assert shown.headers["content-type"] == "application/json"
    masked = harness.get(f"/api/payments/{names['nasty']}", "viewer")
    assert (masked.json()["parties"], masked.json()["customerId"]) == (None, None)
    assert masked.json()["masked"] is True
    assert "drop table" not in masked.text


@pytest.mark.parametrize("path", LISTS)
def test_the_pages_of_a_list_contain_each_item_once(made: Made, path: str) -> None:
    harness, _ = made
    whole = harness.get(path, limit=200).json()
    assert whole["next"] is None
    found: list[Any] = []
    cursor: dict[str, Any] = {}
    for _ in range(len(whole["items"]) + 1):
        page = harness.get(path, limit=1, **cursor).json()
        found += page["items"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    identity = ("paymentIntentId", "approvalId", "conflictId", "offset")
    keys = [[each.get(name) for name in identity] for each in whole["items"]]
    assert [[each.get(name) for name in identity] for each in found] == keys


@pytest.mark.parametrize("path", [*LISTS, "/api/audit"])
def test_a_made_up_cursor_is_refused(made: Made, path: str) -> None:
    harness, _ = made
    page = harness.get(path, "auditor", limit=1).json()
    wrong = ["x", "%", "a" * 900, "W10", "bnVsbA", "WzEsMl0"]
    if page["next"]:
        wrong += [page["next"][:-2], page["next"] + "A"]
    for cursor in wrong:
        answer = harness.get(path, "auditor", cursor=cursor)
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 400:
            assert answer.json()["field"] == "cursor"
        else:
            assert cursor not in ("x", "%"), path


def test_api_09_a_key_finds_its_one_payment_or_an_empty_list(made: Made) -> None:
    harness, names = made
    found = harness.get("/api/payments", idempotencyKey="settled").json()["items"]
    assert [(each["paymentIntentId"], each["source"]) for each in found] == [
        (names["settled"], "mobile-app")
    ]
    assert harness.get("/api/payments", idempotencyKey="never").json()["items"] == []


def test_filters_are_combined(made: Made) -> None:
    harness, names = made
    found = harness.get("/api/payments", state="FAILED", moneyOutcome="CONTRADICTED").json()[
        "items"
    ]
    assert [each["paymentIntentId"] for each in found] == [names["conflict"]]
    created = found[0]["createdAt"]
    both = {"from_": created, "to": created}
    assert harness.get("/api/payments", **both).json()["items"] == []
    assert harness.get("/api/payments", from_=created, reason="INVALID_ACCOUNT").json()["items"]


def test_search_finds_a_payment_by_any_identifier(made: Made) -> None:
    harness, names = made
    payment = names["settled"]
    event = harness.get(f"/api/payments/{payment}/events").json()["items"][-1]
    cause, place = event["cause"], event["place"]
    names_of_it = [
        payment,
        external_ref(payment, 1),
        external_ref(payment, 1).lower(),
        "settled",
        f"{place['topic']}/{place['partition']}/{place['offset']}",
        f"{cause['topic']}/{cause['partition']}/{cause['offset']}",
    ]
    for name in names_of_it:
        found = harness.get("/api/search", q=name).json()["items"]
        assert payment in [each["paymentIntentId"] for each in found], name
    for name in (NASTY, "%", "_", "*", "pi_", "npp.payment.events.v1/0/999999999"):
        assert harness.get("/api/search", q=name).json()["items"] == [], name


def test_api_02_the_journal_is_queried_separately_from_the_read_model(made: Made) -> None:
    harness, names = made
    shown = harness.get(f"/api/payments/{names['failed']}/event-store").json()
    assert (shown["inEventStore"], shown["inReadModel"], shown["offset"]) == (True, True, 0)
    unknown = "pi_" + "a" * 26
    shown = harness.get(f"/api/payments/{unknown}/event-store").json()
    assert (shown["inEventStore"], shown["inReadModel"], shown["offset"]) == (False, False, None)


def test_outcomes_show_the_result_of_inputs_and_that_a_late_one_may_still_happen(
    made: Made,
) -> None:
    harness, names = made
    items = harness.get(f"/api/payments/{names['settled']}/outcomes").json()["items"]
    assert {"DUPLICATE", "REJECTED"} <= {each["result"] for each in items}
    refused = next(each for each in items if each["rule"] == "STATE_PRECONDITION")
    again = harness.get(f"/api/outcomes/{refused['commandId']}").json()
    assert (again["code"], again["sentence"]) == (refused["code"], refused["sentence"])
    late = harness.get("/api/outcomes/cmd-waits")
    assert (late.status_code, late.json()["notAfter"]) == (202, "2026-09-21T14:13:20.000Z")
    assert harness.get("/api/outcomes/cmd-none").status_code == 404


def test_aud_01_the_audit_log_has_the_six_fields_first(made: Made) -> None:
    harness, names = made
    items = harness.get("/api/audit", "auditor", operatorId="ops_001").json()["items"]
    six = ["operatorId", "at", "action", "paymentIntentId", "reason", "approvalId"]
    assert list(items[0])[:6] == six
    cancel = next(each for each in items if each["action"] == "CANCEL")
    assert (cancel["paymentIntentId"], cancel["result"]) == (names["cancelled"], "ACCEPTED")
    events = harness.get(cancel["events"]).json()["items"]
    made_by = events[cancel["fromSequence"] - 1]
    assert made_by["cause"]["commandId"] == cancel["commandId"]


def test_the_figures_count_every_payment_once(made: Made) -> None:
    """API-14, DSH-01."""
    harness, _ = made
    found = harness.get("/api/summary").json()
    listed = harness.get("/api/payments", limit=200).json()["items"]
    assert sum(found["states"].values()) == sum(found["moneyOutcomes"].values()) == len(listed)
    assert len(found["states"]) == len(found["failures"]) == 7
    assert (found["openConflicts"], found["readModel"]["recordsBehind"]) == (1, 0)
    assert found["rates"]["success"] == {
        "value": None,
        "part": 0,
        "whole": 0,
        "enough": False,
        "minutes": 5,
    }


def test_a_read_waits_for_a_sequence_on_its_way(tmp_path: Path) -> None:
    harness = ApiHarness(tmp_path)
    payment = harness.harness.world.settled("soon")
    timer = threading.Timer(0.3, harness.harness.project)
    path = f"/api/payments/{payment}"
    assert harness.get(path).status_code == 404
    timer.start()
    try:
        assert harness.get(path, minSequence=11).json()["sequence"] == 11
        assert harness.get(path, minSequence=12).json()["sequence"] == 11
    finally:
        timer.join()
        harness.close()
