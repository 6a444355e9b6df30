"""Inputs that cannot be decided go to quarantine or are answered; the partition continues."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from control import quarantine
from core.header import InputHeader
from core.payment import commands
from core.values import (
    Cents,
    ExternalRef,
    Parties,
    Party,
    PaymentIntentId,
    payment_intent_id,
)
from schemas import topology
from schemas.codec.parties import seal
from tests.processors.payments.world import CODEC, World, create_payment

UPSTREAM = [name for name in topology.INPUTS if topology.ORIGINS[name] == "upstream"]
OUTCOME_BYTES_MAX = 10_000  # sentence and hashes; far below the topic's limit


@pytest.fixture
def world() -> World:
    return World()


def test_the_log_line_names_the_payment_and_the_trace(world: World) -> None:
    """A key that is no payment id is not logged: it may contain anything."""
    payment, trace = payment_intent_id("mobile-app", "k"), "4bf92f3577b34da6a3ce929d0e0e4736"
    carried: list[tuple[str, bytes | None]] = [
        ("traceparent", f"00-{trace}-00f067aa0ba902b7-01".encode())
    ]
    with capture_logs() as lines:
        world.driver.pipe(topology.COMMANDS, payment.encode(), b"", carried, partition=0)
        world.driver.pipe(topology.COMMANDS, b"Alex Example", b"", carried, partition=0)
        world.driver.run()
    of_payment, of_nobody = [each for each in lines if each["event"] == "record_quarantined"]
    assert (of_payment["payment_intent_id"], of_payment["trace_id"]) == (payment, trace)
    assert {"topic", "partition", "offset"} <= of_payment.keys()
    assert "Alex" not in str(of_nobody)


@pytest.mark.parametrize("value", [None, b"", b"\x00", b"\x00\x00\x00\x00\x01", b"\xff" * 40])
def test_an_undecodable_record_goes_to_quarantine_and_the_partition_continues(
    world: World, value: bytes | None
) -> None:
    """ERR-05: origin, reason and untouched bytes; the next record is decided."""
    world.driver.pipe(topology.COMMANDS, b"key", value, [("trace", b"1")], partition=0)
    payment_id = world.create("after")
    world.driver.run()

    (record,) = world.driver.committed(topology.QUARANTINE)
    assert record.value == value
    assert dict(record.headers)["npp-reason"] == quarantine.UNDECODABLE.encode()
    assert dict(record.headers)["npp-origin-topic"] == topology.COMMANDS.encode()
    assert dict(record.headers)["trace"] == b"1"
    assert world.event_names(payment_id)[0] == "PaymentIntentCreated"
    (said,) = [each for each in world.driver.committed(topology.OUTCOMES) if each.key == b"key"]
    outcome = CODEC.decode(topology.OUTCOMES, said.value or b"", said.headers)
    assert (outcome.result, outcome.rule) == ("QUARANTINED", "UNDECODABLE")
    assert (outcome.cause.topic, outcome.cause.partition) == (topology.COMMANDS, 0)
    assert outcome.cause.input_hash == hashlib.sha256(value or b"").digest()


@pytest.mark.parametrize("topic", sorted(set(topology.INPUTS) - set(UPSTREAM)))
def test_unreadable_records_have_an_outcome_for_upstream_systems_only(
    world: World, topic: str
) -> None:
    """Readers of other systems' outcomes learn nothing about their unreadable records."""
    world.driver.pipe(topic, b"key", b"\xff" * 40, partition=0)
    world.driver.run()
    assert len(world.driver.committed(topology.QUARANTINE)) == 1
    assert world.driver.committed(topology.OUTCOMES) == []


LONG = [
    ({"idempotency_key": "k" * 4_097}, "idempotencyKey is longer than 128 characters."),
    ({"customer_id": "c" * 4_097}, "customerId is longer than 128 characters."),
    ({"customer_id": "c" * 1_000_000}, "customerId is longer than 128 characters."),
    ({"end_to_end_id": "e" * 40_000}, "endToEndId is longer than 35 characters."),
    ({"currency": "A" * 900_000}, "currency is longer than 64 characters."),
    (
        {
            "parties": seal(
                Parties(
                    debtor=Party(name="n" * 900_000, bsb="062000", account="1"),
                    creditor=Party(name="B", bsb="082001", account="2"),
                )
            )
        },
        "debtor name is longer than 140 characters.",
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), LONG)
def test_an_over_long_field_is_answered_and_not_quarantined(
    world: World, changes: dict[str, Any], sentence: str
) -> None:
    """VALIDATION_FAILED names field and limit, up to the largest record."""
    command = create_payment("long")
    key = changes.get("idempotency_key", command.idempotency_key)
    payment_id = payment_intent_id(command.source, key)
    for header in (
        InputHeader(payment_intent_id=payment_id, command_id="cmd-1"),
        InputHeader(payment_intent_id=payment_id, command_id="c" * 30_000),
    ):
        world.pipe(topology.COMMANDS, msgspec.structs.replace(command, header=header, **changes))
    world.driver.run()

    assert not world.driver.committed(topology.QUARANTINE)
    first, second = world.outcomes()
    assert (first.result, first.code, first.rule) == (
        "REJECTED", "VALIDATION_FAILED", "FIELD_INVALID",
    )  # fmt: skip
    assert first.sentence == sentence
    assert first.payment_intent_id == payment_id
    assert first.cause.command_id == "cmd-1"
    assert second.sentence == "commandId is longer than 128 characters."
    assert second.cause.command_id is None
    for record in world.driver.committed(topology.OUTCOMES):
        assert record.key == payment_id.encode()
        assert len(record.value or b"") < OUTCOME_BYTES_MAX


@pytest.mark.parametrize("same_key", [True, False])
def test_a_record_without_a_valid_payment_id_gets_a_bounded_outcome(
    world: World, same_key: bool
) -> None:
    """A paymentIntentId of 500,000 characters must not make an outcome of that size, which its
    topic would refuse; nor may one beside a valid id.
    """
    command = create_payment("long")
    long = "p" * 500_000
    value = CODEC.encode(
        topology.COMMANDS,
        msgspec.structs.replace(
            command, header=InputHeader(payment_intent_id=PaymentIntentId(long))
        )
        if same_key
        else command,
    )
    world.driver.pipe(topology.COMMANDS, long.encode(), value, partition=0)
    world.driver.run()

    (outcome,) = world.outcomes()
    assert (outcome.result, outcome.code) == ("MISROUTED", "VALIDATION_FAILED")
    expected = "" if same_key else command.header.payment_intent_id
    assert outcome.payment_intent_id == expected
    if same_key:
        assert "paymentIntentId is longer than 29 characters" in (outcome.sentence or "")
    (record,) = world.driver.committed(topology.OUTCOMES)
    assert len(record.value or b"") + len(record.key or b"") < OUTCOME_BYTES_MAX
    assert len(world.driver.committed(topology.QUARANTINE)) == 1


def test_a_record_in_the_wrong_partition_is_quarantined_with_one_outcome(world: World) -> None:
    """EV-06: nothing is decided outside the payment's own partition."""
    command = create_payment("misrouted")
    right = world.driver.pipe(
        topology.TIMERS, command.header.payment_intent_id.encode(), None
    ).partition
    world.pipe(topology.COMMANDS, command, partition=(right + 1) % 3)
    world.driver.run()

    assert [o.result for o in world.outcomes()] == ["MISROUTED"]
    assert not world.driver.committed(topology.EVENTS)


def test_a_report_for_an_unknown_payment_is_quarantined_as_unmatched(world: World) -> None:
    """OP-24: it has no history to join; an operator can assign it."""
    report = commands.RailReport(
        header=InputHeader(payment_intent_id=PaymentIntentId("pi_aaaaaaaaaaaaaaaaaaaaaaaaaa")),
        external_ref=ExternalRef("NAAAAAAAAAAAAAAAAAAAAAAAAAA001"),
        kind="SETTLED",
        adapter="default",
        amount=Cents(1),
        currency="AUD",
    )
    world.pipe(topology.RAIL_REPORTS, report)
    world.driver.run()

    (record,) = world.driver.committed(topology.QUARANTINE)
    assert dict(record.headers)["npp-reason"] == quarantine.UNMATCHED.encode()
