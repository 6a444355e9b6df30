"""Microseconds of CPU per record read and written, for records of a payment's happy path.

Medians of five runs, one thread.
"""

from __future__ import annotations

import statistics
import sys
import time
import timeit
from typing import Any, Final

import msgspec

from bench.rig.answer import give, options_of
from core.header import Actor, Cause, EventHeader, InputHeader
from core.payment.commands import CreatePayment
from core.payment.events import FundsHeld, PaymentSentToRail
from core.records import PaymentLifecycle
from core.values import Cents, ExternalRef, FundsRef, Parties, Party, PaymentIntentId
from schemas.codec import Codec, CodecBackend
from schemas.codec.fastavro_backend import FastavroBackend
from schemas.codec.generated_backend import GeneratedBackend
from schemas.codec.parties import open_parties, seal
from schemas.registry.setup import static_codec

RUNS: Final = 5
CALLS: Final = 10_000
NOW_MS: Final = 1_790_000_000_000
PAYMENT: Final = "pi_pdkz22ub6ujnprx6nas575vbxy"
REFERENCE: Final = "NPDKZ22UB6UJNPRX6NAS575VBXY001"
PARTIES: Final = Parties(
    debtor=Party(name="Ann Example", bsb="062000", account="12345678"),
    creditor=Party(
        name="Bob Example", bsb=None, account=None, pay_id_type="TELI", pay_id="+61-412345678"
    ),
    remittance="Invoice 2026-000123",
)


def records() -> list[tuple[str, msgspec.Struct]]:
    """(topic, record), as they are on the log of an ordinary payment."""
    cause = Cause(
        cluster_id="5L6g3nShT-eMCtK--X86sw",
        topic="npp.deposits.results.v1",
        partition=3,
        offset=1_234_567,
        input_hash=bytes(32),
        command_id="cmd-000042",
    )
    header = EventHeader(
        payment_intent_id=PaymentIntentId(PAYMENT),
        sequence=5,
        previous_hash=bytes(range(32)),
        decided_at=NOW_MS,
        cause=cause,
        actor=Actor(kind="system", id="payments"),
        attempt=1,
        state_after="SENT",
        reason=None,
        approval_id=None,
        rule_set=1,
        traceparent=None,
    )
    return [
        (
            "npp.payment.commands.v1",
            CreatePayment(
                header=InputHeader(
                    payment_intent_id=PaymentIntentId(PAYMENT),
                    command_id="cmd-000042",
                    sent_at=NOW_MS,
                    traceparent=None,
                ),
                source="mobile-app",
                idempotency_key="key-0001",
                amount=Cents(12_345),
                currency="AUD",
                parties=seal(PARTIES),
                end_to_end_id="E2E-000000000001",
                service="x2p1",
                uetr=None,
                customer_id="cust-77",
            ),
        ),
        (
            "npp.payment.events.v1",
            PaymentSentToRail(
                header=header,
                attempt_id="att_001",
                external_ref=ExternalRef(REFERENCE),
                amount=Cents(12_345),
                currency="AUD",
                submit_before=NOW_MS + 300_000,
            ),
        ),
        (
            "npp.payment.events.v1",
            FundsHeld(
                header=header,
                funds_ref=FundsRef(f"{REFERENCE}H01"),
                hold_ref="hold-000123",
                amount=Cents(12_345),
                verified_at=NOW_MS,
                ledger_ref="ledger-000456",
            ),
        ),
        (
            "npp.payment.lifecycle.v1",
            PaymentLifecycle(
                at_rest=False,
                deadline=NOW_MS + 300_000,
                payment_intent_id=PaymentIntentId(PAYMENT),
                state_version=1,
                sequence=5,
                head_hash=bytes(32),
                last_lifecycle_event="PaymentSentToRail",
                state="SENT",
                money_outcome="OPEN",
                reason=None,
                attempt=1,
                external_ref=ExternalRef(REFERENCE),
                amount=Cents(12_345),
                currency="AUD",
                funds="HELD",
                open_conflicts=0,
                overdue=None,
                waiting_for_person=False,
                rule_set=1,
                decided_at=NOW_MS,
                snapshot=bytes(600),
            ),
        ),
    ]


def microseconds(call: Any) -> float:
    """Median over the runs, of the mean over the calls."""
    seconds = timeit.repeat(call, timer=time.process_time, number=CALLS, repeat=RUNS)
    return round(statistics.median(seconds) / CALLS * 1e6, 2)


def measure(codec: Codec) -> dict[str, dict[str, float]]:
    """Record name → µs to encode and to decode, and its bytes."""
    figures: dict[str, dict[str, float]] = {}
    for topic, record in records():
        value = codec.encode(topic, record)
        assert codec.decode(topic, value) == record
        figures[type(record).__name__] = {
            "encodeMicros": microseconds(lambda t=topic, r=record: codec.encode(t, r)),
            "decodeMicros": microseconds(lambda t=topic, v=value: codec.decode(t, v)),
            "bytes": len(value),
        }
    return figures


def main() -> int:
    options = options_of("bench.codec", __doc__).parse_args()
    backends: list[CodecBackend] = [GeneratedBackend(), FastavroBackend()]
    result: dict[str, Any] = {each.name: measure(static_codec(backend=each)) for each in backends}
    sealed = seal(PARTIES)
    result["parties"] = {
        "sealMicros": microseconds(lambda: seal(PARTIES)),
        "openMicros": microseconds(lambda: open_parties(sealed)),
    }
    give(result, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
