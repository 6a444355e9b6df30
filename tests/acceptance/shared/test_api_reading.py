"""Reads over HTTP: requirements 7, 14 and 18, the runbook's diagnosis steps."""

from __future__ import annotations

import base64
import hashlib
import itertools
import time
from datetime import datetime
from typing import Any

import pytest
from confluent_kafka import Producer

from core.values import external_ref, payment_intent_id
from engine.partitioner import partition_of
from tests.acceptance.harness import ACCEPT, CREDITOR, SETTLE, SILENT, Harness, rejects

pytestmark = pytest.mark.broker

STATES = {"CREATED", "AUTHORISED", "SENT", "ACKNOWLEDGED", "SETTLED", "FAILED", "EXPIRED"}
ZERO_HASH = "0" * 64


def settled(harness: Harness, **fields: Any) -> str:
    payment = harness.create([ACCEPT, SETTLE], **fields)
    harness.until(payment, state="SETTLED", funds="CAPTURED")
    return payment


def test_a_payment_shows_everything_an_operator_needs(harness: Harness) -> None:
    """API-01, SM-01, ESC-01: state, reason, amount, attempt, reference, funds, times, marks."""
    payment = settled(harness)
    shown = harness.payment(payment)
    assert shown["paymentIntentId"] == payment
    assert (shown["state"], shown["reason"], shown["moneyOutcome"]) == ("SETTLED", None, "PAID")
    assert (shown["amount"], shown["currency"]) == (1250, "AUD")
    assert (shown["attemptId"], shown["externalRef"]) == ("att_001", external_ref(payment, 1))
    assert (shown["funds"], shown["fundsHeld"]) == ("CAPTURED", False)
    assert shown["overdue"] is None
    assert shown["needsAttention"] is False
    assert shown["lastEventAt"].endswith("Z")
    assert shown["lastEventAt"] == harness.events(payment)[-1]["timestamp"]


def test_an_unknown_payment_is_not_found_and_the_journal_is_queried_separately(
    harness: Harness,
) -> None:
    """API-02: 404 PAYMENT_NOT_FOUND; whether its creation is in the journal, from Kafka."""
    unknown = payment_intent_id("api-client", "nobody-sent-this")
    answer = harness.ask("view_1", "GET", f"/api/payments/{unknown}")
    assert (answer.status_code, answer.json()["code"]) == (404, "PAYMENT_NOT_FOUND")
    assert harness.get(f"/api/payments/{unknown}/event-store")["inEventStore"] is False
    known = harness.create(SILENT)
    harness.until(known, state="SENT")
    stored = harness.get(f"/api/payments/{known}/event-store")
    assert (stored["inEventStore"], stored["inReadModel"]) == (True, True)


def test_each_new_state_shows_within_five_seconds(harness: Harness) -> None:
    """API-03: from the event's time until it can be read over HTTP."""
    payment = harness.create([{"kind": "ACCEPTED", "afterMillis": 300}, *SILENT])
    shown = harness.until(payment, state="ACKNOWLEDGED")
    seen_ms = time.time() * 1000
    events = harness.events(payment)
    at = next(e for e in events if e["type"] == "PaymentAcknowledged")["timestamp"]
    assert seen_ms - datetime.fromisoformat(at).timestamp() * 1000 < 5_000
    assert shown["moneyOutcome"] == "OPEN"


def test_events_come_in_order_with_states_hashes_and_causes(harness: Harness) -> None:
    """API-04, EV-05: sequence without a gap, states before and after, the hash chain."""
    payment = settled(harness)
    events = harness.events(payment, "aud_1")
    assert [e["sequence"] for e in events] == list(range(1, len(events) + 1))
    assert events[0]["previousHash"] == ZERO_HASH
    for before, after in itertools.pairwise(events):
        assert after["previousHash"] == before["hash"]
        assert after["fromState"] == before["toState"]
        assert after["timestamp"] >= before["timestamp"]
    assert harness.payment(payment, "aud_1")["headHash"] == events[-1]["hash"]
    assert {e["toState"] for e in events} <= STATES
    assert all(e["cause"]["topic"] and len(e["cause"]["inputHash"]) == 64 for e in events)
    sent = next(e for e in events if e["type"] == "PaymentSentToRail")
    assert (sent["externalRef"], sent["attemptId"]) == (external_ref(payment, 1), "att_001")


def test_the_events_of_a_payment_can_be_paged(harness: Harness) -> None:
    """API-04: the pages together are complete."""
    payment = settled(harness)
    whole = harness.events(payment)
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        more: dict[str, str] = {} if cursor is None else {"cursor": cursor}
        page = harness.get(f"/api/payments/{payment}/events", limit=3, **more)
        found += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == whole


def test_a_key_finds_its_payment_or_none(harness: Harness) -> None:
    """API-09, IDM-01, S3 step 1: the single payment for a known key, an empty list for another."""
    key = harness.key()
    payment = harness.create([ACCEPT, SETTLE], key=key)
    harness.until(payment, state="SETTLED", funds="CAPTURED")
    found = harness.get("/api/payments", idempotencyKey=key)["items"]
    assert [each["paymentIntentId"] for each in found] == [payment]
    assert found[0]["source"] == "api-client"
    one = harness.get("/api/payments", idempotencyKey=key, source="api-client")["items"]
    assert one == harness.get("/api/payments", idempotencyKey=key)["items"]
    assert harness.get("/api/payments", idempotencyKey=key, source="mobile-app")["items"] == []
    assert harness.get("/api/payments", idempotencyKey="never-sent")["items"] == []


def test_the_same_key_of_two_sources_is_two_payments(harness: Harness) -> None:
    """API-09, OP-02: both are shown, each with its source."""
    key = harness.key()
    over_http = harness.create(SILENT, key=key)
    published = harness.npp("payment", "publish", "--key", key, "--amount", "3.00").stdout.strip()
    harness.until(published, currency="AUD")
    found = harness.get("/api/payments", idempotencyKey=key)["items"]
    assert {(each["paymentIntentId"], each["source"]) for each in found} == {
        (over_http, "api-client"),
        (published, "mobile-app"),
    }


def test_a_payment_is_found_by_any_of_its_identifiers(harness: Harness) -> None:
    """Search: id, end-to-end id, externalRef in any case, UETR, key, and topic, partition and
    offset.
    """
    key, end_to_end = harness.key(), "E2E-SEARCH-1"
    uetr = "7f3e2a10-5b6c-4d7e-8f90-0123456789ab"
    payment = harness.create([ACCEPT, SETTLE], key=key, endToEndId=end_to_end, uetr=uetr)
    harness.until(payment, state="SETTLED")
    events = harness.events(payment)
    place = events[-1]["place"]
    names = [
        *(payment, key, end_to_end, uetr, uetr.upper(), external_ref(payment, 1)),
        *(
            external_ref(payment, 1).lower(),
            f"{place['topic']}/{place['partition']}/{place['offset']}",
        ),
    ]
    for name in names:
        found = harness.get("/api/search", q=name)["items"]
        assert payment in {each["paymentIntentId"] for each in found}, name
    assert harness.get("/api/search", q="no-such-thing")["items"] == []


def test_lists_are_filtered_and_paged_without_loss(harness: Harness) -> None:
    """API-14: pages of two contain the same payments as one page, each once."""
    amount = 77_701
    made = {harness.create([rejects("AC04")], amount=amount) for _ in range(5)}
    for payment in made:
        harness.until(payment, state="FAILED")
    found: list[str] = []
    cursor = None
    for _ in range(1_000):
        more: dict[str, str] = {} if cursor is None else {"cursor": cursor}
        page = harness.get(
            "/api/payments", state="FAILED", reason="INVALID_ACCOUNT", limit=2, **more
        )
        assert all(
            (i["state"], i["reason"]) == ("FAILED", "INVALID_ACCOUNT") for i in page["items"]
        )
        found += [i["paymentIntentId"] for i in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(found) == len(set(found))
    assert made <= set(found)


def test_the_summary_counts_what_is_there(harness: Harness) -> None:
    """API-14, DSH-01, DSH-03: seven states, queues, and the read model's delay."""
    settled(harness)
    text = harness.ask("view_1", "GET", "/api/summary").text
    summary = harness.get("/api/summary")
    assert all(state in text for state in ("SETTLED", "FAILED"))
    assert summary


def test_personal_data_is_shown_by_role(harness: Harness) -> None:
    """SEC-05: names and accounts for operator, senior operator and auditor only."""
    payment = settled(harness, customerId="cust_77")
    for who in ("ops_1", "snr_1", "aud_1"):
        shown = harness.payment(payment, who)
        assert shown["parties"]["creditor"]["account"] == CREDITOR["account"]
        assert shown["customerId"] == "cust_77"
    for who in ("view_1", "apv_1", "adm_1"):
        text = harness.ask(who, "GET", f"/api/payments/{payment}").text
        text += harness.ask(who, "GET", f"/api/payments/{payment}/events").text
        for secret in (CREDITOR["account"], CREDITOR["name"], "cust_77"):
            assert secret not in text


def test_a_submitter_sees_its_own_payments_only(harness: Harness) -> None:
    """SEC-06: a payment of another source does not exist for it."""
    mine = harness.create(SILENT)
    harness.until(mine, state="SENT")
    other = harness.npp(
        "payment", "publish", "--key", harness.key(), "--amount", "1.00"
    ).stdout.strip()
    harness.until(other, currency="AUD")
    token = harness.submitter()
    assert harness.ask(token, "GET", f"/api/payments/{mine}").status_code == 200
    hidden = harness.ask(token, "GET", f"/api/payments/{other}")
    assert (hidden.status_code, hidden.json()["code"]) == (404, "PAYMENT_NOT_FOUND")


def test_a_payment_stuck_in_sent_needs_attention_until_the_rail_reports(harness: Harness) -> None:
    """S1, MET-07, SM-12, ESC-01: overdue and in the attention list, never failed by a timer; an
    acknowledgement clears it.
    """
    payment = harness.create(SILENT)
    shown = harness.until(payment, needsAttention=True)
    assert (shown["state"], shown["fundsHeld"]) == ("SENT", True)
    assert shown["overdue"] in ("ATTENTION", "ESCALATED")  # after 4 s in the demo's rule set
    overdue = next(e for e in harness.events(payment) if e["type"] == "PaymentOverdue")
    assert overdue["data"]["level"] == "ATTENTION"
    assert shown["externalRef"] == external_ref(payment, 1)
    assert shown["attention"]["why"] == ["OVERDUE"]
    listed = {i["paymentIntentId"]: i for i in harness.get("/api/attention", limit=200)["items"]}
    assert listed[payment]["attentionSince"]
    assert "RailEnquiryRequested" in harness.types(payment)
    harness.rail_now(payment, ACCEPT)
    cleared = harness.until(payment, state="ACKNOWLEDGED")
    types = harness.types(payment)
    overdue_again = "PaymentOverdue" in types[types.index("PaymentAcknowledged") :]  # after 4 s
    assert (cleared["overdue"], cleared["needsAttention"]) == (None, False) or overdue_again


def test_quarantined_records_are_listed_with_their_origin_and_bytes(harness: Harness) -> None:
    """ERR-05, EV-06: undecodable records are in quarantine with their bytes untouched."""
    key = payment_intent_id("mobile-app", harness.key())
    rubbish = b"\x00\x00\x00\x00\x07 no avro at all " + harness.key().encode()
    topic = "npp.payment.commands.v1"
    producer = Producer({"bootstrap.servers": harness.bootstrap})
    partition = partition_of(key.encode(), harness.cluster.partitions(topic))
    producer.produce(topic, rubbish, key.encode(), partition)
    assert producer.flush(10) == 0

    def find() -> Any:
        items = harness.get("/api/quarantine", reason="UNDECODABLE", limit=200)["items"]
        return next((i for i in items if i["paymentIntentId"] == key), None)

    item = harness.soon(find, what="the record in quarantine")
    assert item["origin"]["topic"] == topic
    one = harness.get(f"/api/quarantine/{item['partition']}/{item['offset']}", "ops_1")
    assert base64.b64decode(one["value"]) == rubbish
    masked = harness.get(f"/api/quarantine/{item['partition']}/{item['offset']}", "view_1")
    assert masked["value"] is None


def test_the_verification_keys_are_published(harness: Harness) -> None:
    """EP-06: the verifier's public keys, for offline verification."""
    keys = harness.soon(lambda: harness.get("/api/keys"), what="keys")
    assert keys


def test_the_incident_summary_names_what_fired_and_which_payments_are_affected(
    harness: Harness,
) -> None:
    """ESC-04: conflicts, quarantine and overdue payments of the period with their last events."""
    payment = harness.create([{"kind": "RECALL", "answer": "REFUSED"}, rejects("AC04"), *SILENT])
    harness.until(payment, state="FAILED", funds="RELEASED")
    harness.soon(lambda: "CustomerNotified" in harness.types(payment), what="the customer knows")
    harness.rail_now(payment, SETTLE)
    harness.until(payment, moneyOutcome="CONTRADICTED")
    summary = harness.get("/api/incidents/summary")
    assert summary["counts"]["CONFLICT"] >= 1
    fired = [each for each in summary["fired"] if each["paymentIntentId"] == payment]
    assert [each["kind"] for each in fired] == ["CONFLICT"]
    concerned = next(p for p in summary["payments"] if p["paymentIntentId"] == payment)
    assert concerned["moneyOutcome"] == "CONTRADICTED"
    assert concerned["lastEvent"]["type"] == "ReconciliationRequired"
    nothing = harness.get(
        "/api/incidents/summary", from_="2001-01-01T00:00:00Z", to="2001-01-02T00:00:00Z"
    )
    assert (nothing["fired"], nothing["payments"]) == ([], [])


def test_the_hash_of_an_event_matches_its_bytes_on_the_log(harness: Harness) -> None:
    """EV-05, I9: the API shows what Kafka has."""
    payment = settled(harness)
    shown = {e["place"]["offset"]: e["hash"] for e in harness.events(payment, "aud_1")}
    for entry in harness.cluster.history(payment):
        assert shown[entry.at.offset] == hashlib.sha256(entry.at.value or b"").hexdigest()
