"""The bench's load: the whole happy path of a payment as six stages of inputs, encoded beforehand.

Every id is computed, so the answers of Resolve, Deposits Core and the rail can be written before
the processor has requested them. A stage is complete before the next begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from core.header import InputHeader
from core.payment import commands
from core.values import (
    Cents,
    Parties,
    Party,
    PaymentIntentId,
    external_ref,
    funds_ref,
    payment_intent_id,
    policy_ref,
)
from engine.partitioner import partition_of
from schemas import topology
from schemas.codec import Codec
from schemas.codec.parties import seal

SOURCE: Final = "mobile-app"
AMOUNT_CENTS: Final = 12_500
STAGES: Final = ("create", "policy", "hold", "acknowledge", "settle", "capture")
PARTIES: Final = seal(
    Parties(
        debtor=Party(name="Alex Example", bsb="062000", account="12345678"),
        creditor=Party(name="Robin Example", pay_id_type="EMAL", pay_id="robin@example.com"),
        remittance="Invoice 1042",
    )
)

Load = list[tuple[str, int, bytes, bytes]]
"""(topic, partition, key, value) of each record."""


def payment_ids(run: str, count: int) -> list[PaymentIntentId]:
    return [payment_intent_id(SOURCE, f"{run}-{n}") for n in range(count)]


def stage(
    codec: Codec,
    name: str,
    run: str,
    ids: list[PaymentIntentId],
    partitions: int,
    sent_at: int,
    first: int = 0,
) -> Load:
    """Every input of one stage, one per payment; `first`: number of the first payment in its
    run.
    """
    topic, records = _records(name, run, ids, sent_at, first)
    load: Load = []
    for payment_id, record in zip(ids, records, strict=True):
        key = payment_id.encode()
        load.append((topic, partition_of(key, partitions), key, codec.encode(topic, record)))
    return load


def _records(
    name: str, run: str, ids: list[PaymentIntentId], sent_at: int, first: int
) -> tuple[str, Iterator[commands.Input]]:
    match name:
        case "create":
            creates = (_create(i, f"{run}-{n}", sent_at) for n, i in enumerate(ids, first))
            return topology.COMMANDS, creates
        case "policy":
            return topology.RESOLVE_DECISIONS, (_policy(i, sent_at) for i in ids)
        case "hold":
            return topology.DEPOSITS_RESULTS, (_funds(i, "HOLD", "HELD", sent_at) for i in ids)
        case "acknowledge":
            return topology.RAIL_REPORTS, (_rail(i, "ACCEPTED", "ACCP", sent_at) for i in ids)
        case "settle":
            return topology.RAIL_REPORTS, (_rail(i, "SETTLED", "ACSC", sent_at) for i in ids)
        case "capture":
            captures = (_funds(i, "CAPTURE", "CAPTURED", sent_at) for i in ids)
            return topology.DEPOSITS_RESULTS, captures
    raise ValueError(f"no stage {name}")


def _header(payment_id: PaymentIntentId, sent_at: int) -> InputHeader:
    return InputHeader(payment_intent_id=PaymentIntentId(payment_id), sent_at=sent_at)


def _create(payment_id: PaymentIntentId, key: str, sent_at: int) -> commands.CreatePayment:
    return commands.CreatePayment(
        header=_header(payment_id, sent_at),
        source=SOURCE,
        idempotency_key=key,
        amount=Cents(AMOUNT_CENTS),
        currency="AUD",
        parties=PARTIES,
        end_to_end_id="E2E-1042",
        service="x2p1",
    )


def _policy(payment_id: PaymentIntentId, sent_at: int) -> commands.PolicyVerdict:
    return commands.PolicyVerdict(
        header=_header(payment_id, sent_at),
        policy_ref=policy_ref(payment_id, 1),
        verdict="PASSED",
        phase="CREATE",
        rules_evaluated=("amount-limit", "blocked-accounts"),
        policy_version="bench",
    )


def _funds(
    payment_id: PaymentIntentId, operation: Any, result: Any, sent_at: int
) -> commands.DepositsResult:
    return commands.DepositsResult(
        header=_header(payment_id, sent_at),
        funds_ref=funds_ref(payment_id, 1, operation),
        operation=operation,
        result=result,
        amount=Cents(AMOUNT_CENTS),
        hold_ref=f"hold-{payment_id[3:13]}",
        ledger_ref="ledger-1",
        verified_at=sent_at,
    )


def _rail(payment_id: PaymentIntentId, kind: Any, code: str, sent_at: int) -> commands.RailReport:
    return commands.RailReport(
        header=_header(payment_id, sent_at),
        external_ref=external_ref(payment_id, 1),
        kind=kind,
        adapter="default",
        code=code,
        amount=Cents(AMOUNT_CENTS),
        currency="AUD",
        rail_message_id=f"{kind}-{payment_id[3:13]}",
    )
