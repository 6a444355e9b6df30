"""The rail's webhook: what reaches Kafka, and when the rail gets its response."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from control import quarantine
from core.payment.commands import RailReport
from core.rules import parse
from core.values import external_ref
from engine.clients.publisher import NotConfirmed
from engine.serving.server import Bounds, ThreadedServer
from gateways.rail import signatures
from gateways.rail.http_client import submission
from gateways.rail.simulator import RailSimulator
from processors.adapter.metrics import AdapterMetrics
from processors.rail.webhook import BODY_BYTES_MAX, RailWebhook
from schemas import topology
from tests.clock import HeldClock
from tests.gateways.harness import CLOCK, PARTIES, payment, serving, submit, wait_for
from tests.processors.rail.harness import CODEC, NOW_MS, MemoryLog
from tests.rooms import ROOT

REF = external_ref(payment(1), 1)
RULES = sorted((ROOT / "core" / "rules").glob("*.yaml"))


class BrokenLog(MemoryLog):
    def publish(self, *_: Any, **__: Any) -> None:
        raise NotConfirmed("TIMED_OUT")


def webhook(
    log: MemoryLog, *secrets: bytes, registry: CollectorRegistry | None = None
) -> RailWebhook:
    return RailWebhook(
        publisher=log,
        codec=CODEC,
        clock=log.clock,
        adapter="npp-gateway",
        metrics=AdapterMetrics(registry or CollectorRegistry()),
        secrets=secrets,
    )


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(HeldClock(NOW_MS))


def message(**changes: Any) -> bytes:
    base = {"MsgType": "pacs.002", "MsgId": "M1", "OrgnlInstrId": REF, "TxSts": "ACSC"}
    return msgspec.json.encode(base | changes)


def reports(log: MemoryLog) -> list[RailReport]:
    topic = topology.RAIL_REPORTS
    return [CODEC.decode(topic, r.value, r.headers) for r in log.of(topic)]


@pytest.mark.parametrize(
    ("changes", "kind", "code"),
    [
        ({"TxSts": "RCVD"}, "RECEIVED", None),
        ({"TxSts": "ACTC"}, "RECEIVED", None),
        ({"TxSts": "PDNG"}, "STATUS", "PDNG"),
        ({"TxSts": "ACCP"}, "ACCEPTED", None),
        ({"TxSts": "ACSP"}, "ACCEPTED", None),
        ({"TxSts": "ACSC"}, "SETTLED", None),
        ({"TxSts": "RJCT", "StsRsnInf": {"Cd": "AC04"}}, "REJECTED", "AC04"),
        ({"TxSts": "EXPD"}, "EXPIRED", None),
        ({"TxSts": "ZZZZ"}, "STATUS", "ZZZZ"),
        ({"MsgType": "camt.029", "CxlSts": "CNCL"}, "RECALL_ACCEPTED", None),
        ({"MsgType": "camt.029", "CxlSts": "RJCR"}, "RECALL_REFUSED", None),
        ({"MsgType": "pacs.004", "RtrRsnInf": {"Cd": "AC04"}}, "RETURNED", "AC04"),
        ({"TxSts": "RJCT", "StsRsnInf": {"Prtry": "BANK-Z9"}}, "REJECTED", "BANK-Z9"),
        ({"TxSts": "RJCT", "StsRsnInf": {"Prtry": "P" * 35}}, "REJECTED", "P" * 35),
        ({"MsgType": "pacs.004", "RtrRsnInf": {"Prtry": "Z9"}}, "RETURNED", "Z9"),
        (
            {"MsgType": "camt.029", "CxlSts": "RJCR", "StsRsnInf": {"Prtry": "Z9"}},
            "RECALL_REFUSED",
            "Z9",
        ),
    ],
)
def test_each_message_of_the_rail_becomes_its_report(
    log: MemoryLog, changes: dict[str, Any], kind: str, code: str | None
) -> None:
    assert webhook(log).callback(message(**changes)) == (202, "reported")
    (report,) = reports(log)
    assert (report.kind, report.code, report.external_ref) == (kind, code, REF)
    assert report.header.payment_intent_id == payment(1)
    assert log.of(topology.RAIL_REPORTS)[0].key == payment(1).encode()


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_a_banks_proprietary_code_without_a_row_is_rail_and_not_retry_safe(
    log: MemoryLog, file: Path
) -> None:
    """Prtry is looked up in the adapter's table like Cd, and never guessed."""
    webhook(log).callback(message(TxSts="RJCT", StsRsnInf={"Prtry": "BANK-Z9"}))
    (report,) = reports(log)
    meaning = parse(file.read_bytes()).meaning(report.adapter, report.code)
    assert (meaning.reason, meaning.retry_safe, meaning.non_payment_certain) == (
        "RAIL", False, False,
    )  # fmt: skip


UETR = "eb6305c9-1f7f-49de-aed0-16487c27b42d"


@pytest.mark.parametrize("whole", [UETR, "i" * 140])
def test_the_ids_of_a_callback_are_never_truncated(log: MemoryLog, whole: str) -> None:
    """A truncated id is another id; 140 characters are kept, including a UETR's 36."""
    webhook(log).callback(message(MsgId=whole, OrgnlTxId=whole))
    (report,) = reports(log)
    assert (report.rail_message_id, report.transaction_id) == (whole, whole)


def test_a_return_without_an_amount_is_reported_without_one(log: MemoryLog) -> None:
    """The returned amount is never guessed."""
    webhook(log).callback(message(MsgType="pacs.004", RtrRsnInf={"Cd": "AC04"}))
    (report,) = reports(log)
    assert (report.kind, report.amount, report.via_enquiry) == ("RETURNED", None, False)


@pytest.mark.parametrize(
    ("value", "expected"), [("123.45", 12_345), ("123.4", 12_340), ("123", 12_300)]
)
def test_an_amount_is_read_in_whole_cents(log: MemoryLog, value: str, expected: int) -> None:
    webhook(log).callback(message(IntrBkSttlmAmt={"Ccy": "AUD", "Value": value}))
    assert reports(log)[0].amount == expected


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (message(OrgnlInstrId="OTHERBANK-1"), quarantine.UNMATCHED),
        (b"{", quarantine.UNDECODABLE),
        (b"\xff\xfe", quarantine.UNDECODABLE),
        (message(MsgId="\u00e4").replace(b"\xc3\xa4", b"\xe4"), quarantine.UNDECODABLE),
        (b"[" * 16_000, quarantine.UNDECODABLE),
        (message(MsgType="pain.001"), quarantine.UNDECODABLE),
        (message(MsgId="x" * 141), quarantine.UNDECODABLE),
        (message(MsgId=""), quarantine.UNDECODABLE),
        (message(MsgId="a\0b"), quarantine.UNDECODABLE),
        (message(OrgnlTxId="x" * 141), quarantine.UNDECODABLE),
        (message(OrgnlInstrId="x" * 141), quarantine.UNDECODABLE),
        (message(TxSts="RJCT", StsRsnInf={"Cd": "C" * 36}), quarantine.UNDECODABLE),
        (message(TxSts="RJCT", StsRsnInf={"Prtry": "C" * 36}), quarantine.UNDECODABLE),
        (message(TxSts="RJCT", StsRsnInf={"Cd": "AC04", "Prtry": "Z"}), quarantine.UNDECODABLE),
        (message(TxSts="Z" * 36), quarantine.UNDECODABLE),
        (message(IntrBkSttlmAmt={"Ccy": "AUD", "Value": "1.234"}), quarantine.UNDECODABLE),
        (message(IntrBkSttlmAmt={"Ccy": "AUD", "Value": "0"}), quarantine.UNDECODABLE),
    ],
)
def test_a_callback_for_an_unknown_reference_is_quarantined_with_its_bytes(
    log: MemoryLog, raw: bytes, reason: str
) -> None:
    assert webhook(log).callback(raw)[0] == 202
    (record,) = log.of(topology.QUARANTINE)
    assert record.value == raw
    assert quarantine.parse(record.headers).reason == reason
    assert log.of(topology.RAIL_REPORTS) == []


def test_a_callback_with_a_duplicate_key_is_quarantined_naming_the_key(log: MemoryLog) -> None:
    """Two statuses are ambiguous, so the message is unreadable."""
    raw = message(TxSts="ACSC").replace(b"{", b'{"TxSts": "RJCT", ', 1)
    assert webhook(log).callback(raw)[0] == 202
    (record,) = log.of(topology.QUARANTINE)
    found = quarantine.parse(record.headers)
    assert found.reason == quarantine.UNDECODABLE
    assert "the key 'TxSts' is given twice" in found.detail
    assert log.of(topology.RAIL_REPORTS) == []


def test_callbacks_are_refused_while_kafka_is_unavailable() -> None:
    broken = BrokenLog(HeldClock(NOW_MS))
    assert webhook(broken).callback(message()) == (503, "not_taken")


def test_an_unsigned_callback_is_denied_and_a_signed_one_is_accepted(log: MemoryLog) -> None:
    signed = webhook(log, b"secret")
    raw = message()
    assert signed.callback(raw)[0] == 401
    assert signed.callback(raw, "0" * 64)[0] == 401
    assert signed.callback(raw, signature(raw, b"other"))[0] == 401
    assert signed.callback(raw, signature(raw)) == (202, "reported")
    assert len(reports(log)) == 1


def signature(raw: bytes, *secrets: bytes, at_ms: int = NOW_MS) -> str:
    """As the rail signs; with b"secret" unless stated otherwise."""
    digest = hashlib.sha256(raw).hexdigest()
    return signatures.sign(secrets or (b"secret",), digest, at_ms // 1_000)


def test_two_secrets_are_valid_during_a_rotation(log: MemoryLog) -> None:
    signed = webhook(log, b"secret", b"next")
    raw = message()
    for secrets in ((b"secret",), (b"next",), (b"old", b"next")):
        assert signed.callback(raw, signature(raw, *secrets)) == (202, "reported")
    assert signed.callback(raw, signature(raw, b"old")) == (401, "denied")


@pytest.mark.parametrize("seconds", [-signatures.WINDOW_S - 1, signatures.WINDOW_S + 1])
def test_a_callback_signed_outside_the_window_is_a_replay(log: MemoryLog, seconds: int) -> None:
    raw = message()
    old = signature(raw, at_ms=NOW_MS + seconds * 1_000)
    assert webhook(log, b"secret").callback(raw, old) == (401, "denied")


def test_a_signature_covers_its_time_and_its_body(log: MemoryLog) -> None:
    raw = message()
    good = signature(raw)
    for altered in (
        good.replace(f"t={NOW_MS // 1_000}", f"t={NOW_MS // 1_000 + 1}"),
        good.replace("sha256=", "sha256=0"),
        good.replace("v1=", "v2="),
        good + ",v1=" + "0" * 64 + ",v1=" + "0" * 64,
        good + " ",
    ):
        assert webhook(log, b"secret").callback(raw, altered) == (401, "denied")
    assert webhook(log, b"secret").callback(raw + b" ", good) == (401, "denied")


def padded(size: int) -> bytes:
    """A settlement of exactly this many bytes."""
    return message(SplmtryData="x" * (size - len(message(SplmtryData=""))))


def counted(registry: CollectorRegistry) -> dict[str, float]:
    """The number of callbacks by result, without zeros."""
    samples = [s for m in registry.collect() for s in m.samples]
    total = {s.labels["result"]: s.value for s in samples if s.name == "npp_rail_callbacks_total"}
    return {result: value for result, value in total.items() if value}


@pytest.mark.parametrize("size", [16_385, BODY_BYTES_MAX])
def test_a_large_callback_is_processed_like_any_other(log: MemoryLog, size: int) -> None:
    """A settlement of 16 KiB used to get a 413 and was lost; one of 1 MiB is applied."""
    assert webhook(log).callback(padded(size)) == (202, "reported")
    assert [report.kind for report in reports(log)] == ["SETTLED"]


def test_a_callback_beyond_the_bound_is_kept_by_reference(log: MemoryLog) -> None:
    """Its size, SHA-256 and first KiB are in quarantine, and it is counted."""
    raw = padded(BODY_BYTES_MAX + 1)
    registry = CollectorRegistry()
    made = webhook(log, registry=registry)
    with serving(made.app()) as hook:
        answer = hook.post("/callbacks/rail", content=raw)
    assert (answer.status_code, answer.json()) == (202, {"result": "too_large"})
    (record,) = log.of(topology.QUARANTINE)
    why = quarantine.parse(record.headers)
    assert why.reference is not None
    assert why.reference.value_bytes == len(raw)
    assert why.reference.value_sha256 == hashlib.sha256(raw).digest()
    assert record.value == raw[: quarantine.EXCERPT_BYTES]
    assert (why.reason, why.topic, why.offset) == (quarantine.UNDECODABLE, "callbacks/rail", -1)
    assert str(len(raw)) in why.detail
    assert counted(registry) == {"too_large": 1}
    assert reports(log) == []


def test_a_large_callback_is_signed_like_any_other(log: MemoryLog) -> None:
    """Without the secret nobody can fill the quarantine topic; the signature covers the
    whole body.
    """
    raw = padded(BODY_BYTES_MAX + 100_000)
    registry = CollectorRegistry()
    with serving(webhook(log, b"secret", registry=registry).app()) as hook:
        path = "/callbacks/rail"
        other = {"npp-signature": signature(raw + b" ")}
        denied = hook.post(path, content=raw, headers=other)
        taken = hook.post(path, content=raw, headers={"npp-signature": signature(raw)})
    assert (denied.status_code, taken.status_code) == (401, 202)
    assert len(log.of(topology.QUARANTINE)) == 1
    assert counted(registry) == {"denied": 1, "too_large": 1}


def test_a_body_that_arrives_too_slowly_gets_a_timeout(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEC-08: a slow connection does not occupy memory forever."""
    monkeypatch.setattr("processors.rail.webhook.BODY_S_MAX", 0.2)

    def trickle() -> Iterator[bytes]:
        yield b"{"
        time.sleep(0.6)
        yield b"}"

    registry = CollectorRegistry()
    with serving(webhook(log, registry=registry).app()) as hook:
        answer = hook.post("/callbacks/rail", content=trickle())
    assert answer.status_code == 408
    assert counted(registry) == {"incomplete": 1}


def test_callbacks_beyond_the_memory_limit_are_refused_and_sent_again(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEC-08: the sum of all bodies is bounded, and their memory is released, refused or not."""
    monkeypatch.setattr("processors.rail.webhook.BODIES_BYTES_MAX", 20_000)
    with serving(webhook(log).app()) as hook:
        answers = [
            hook.post("/callbacks/rail", content=padded(size)).status_code
            for size in (20_001, 19_000, 20_001, 19_000)
        ]
    assert answers == [503, 202, 503, 202]
    assert len(reports(log)) == 2


def test_the_simulated_rail_calls_back_until_it_is_accepted(log: MemoryLog) -> None:
    simulator = RailSimulator(clock=CLOCK)
    broken = BrokenLog(HeldClock(NOW_MS))
    with (
        serving(simulator.app()) as rail,
        serving(webhook(log).app()) as hook,
        serving(webhook(broken).app()) as refusing,
    ):
        simulator.callback_url = f"{refusing.base_url}/callbacks/rail"
        instruction = submit(1)
        assert rail.post("/payments", json=submission(instruction, PARTIES)).status_code == 202
        wait_for(lambda: simulator.ledger.entries[REF].messages)
        simulator.callback_url = f"{hook.base_url}/callbacks/rail"
        kinds = wait_for(lambda: len(reports(log)) == 2 and {r.kind for r in reports(log)})
        assert kinds == {"ACCEPTED", "SETTLED"}


def test_responses_are_sent_at_once_and_not_after_a_tcp_acknowledgement() -> None:
    """Otherwise each body waits 40 ms behind its head, on every port of ours."""

    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        """No application: the test uses the port only."""

    server = ThreadedServer(nothing, host="127.0.0.1", port=0, bounds=Bounds(), name="test")
    try:
        option = server._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        server._socket.close()
    assert option == 1
