"""Inputs that unpack to far more than a topic accepts: none makes a transaction impossible.

A topic's limit counts compressed bytes, so 5 MiB of zeros fit as 5 KiB.
"""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from control import quarantine
from core.header import InputHeader
from core.payment import commands
from core.values import Cents, ExternalRef, PaymentIntentId, State, payment_intent_id
from engine.ports import Headers
from engine.records import UNREADABLE_HEADER, LogRecord
from schemas import catalogue, topology
from schemas.topology import INPUTS
from tests.processors.payments.world import CODEC, SOURCE, World, create_payment

ZEROS = bytes(5 * 1024 * 1024)
GOOD = CODEC.encode(topology.COMMANDS, create_payment("good"))
GOOD_KEY = payment_intent_id(SOURCE, "good").encode()
# What is written for an input that is not copied: excerpts, our own headers, an outcome.
FALLBACK_BYTES_MAX = 4_096

Large = tuple[bytes | None, bytes | None, Headers]
LARGE: dict[str, Large] = {
    "value": (GOOD_KEY, ZEROS, []),
    "value behind a known schema": (GOOD_KEY, GOOD[:5] + ZEROS, []),
    "key": (ZEROS, b"x", []),
    "key of a command that can be read": (ZEROS, GOOD, []),
    "key, no value": (ZEROS, None, []),
    "one header": (GOOD_KEY, b"x", [("h", ZEROS)]),
    "many headers": (GOOD_KEY, b"x", [(f"header-{n}", b"v" * 100) for n in range(20_000)]),
    "headers of a command with another key": (b"other", GOOD, [("h", ZEROS)]),
    "everything": (ZEROS, ZEROS, [("h" * 1_000_000, ZEROS)]),
}


def size_of(record: LogRecord) -> int:
    headers = sum(len(name.encode()) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def written(world: World) -> list[LogRecord]:
    inputs = set(world.driver.app.topology.inputs)
    outputs = [topic for topic in world.driver.topics() if topic not in inputs]
    return [record for topic in outputs for record in world.driver.committed(topic)]


@pytest.mark.slow
@pytest.mark.parametrize("topic", INPUTS)
@pytest.mark.parametrize("which", LARGE)
def test_an_input_too_large_to_copy_is_quarantined_by_reference(which: str, topic: str) -> None:
    """ERR-07, domain §5: origin, sizes, SHA-256 and first KiB; everything written is small."""
    world = World()
    key, value, headers = LARGE[which]
    if topic not in (topology.COMMANDS, topology.BATCH_COMMANDS, topology.API_COMMANDS):
        value = value and value.replace(GOOD, b"not on this topic")
    world.driver.pipe(topic, key, value, headers, partition=1, timestamp_ms=77)
    after = world.create("after")
    world.settle_all()

    assert world.known(after).payment.state == State.SETTLED, "the records behind it are decided"
    (record,) = world.driver.committed(topology.QUARANTINE)
    why = quarantine.parse(record.headers)
    assert (why.topic, why.partition, why.offset, why.timestamp_ms) == (topic, 1, 0, 77)
    assert why.reference == quarantine.Reference(
        value_bytes=-1 if value is None else len(value),
        value_sha256=hashlib.sha256(value or b"").digest(),
        key_bytes=-1 if key is None else len(key),
        headers_count=len(headers),
        headers_bytes=sum(len(name) + len(content or b"") for name, content in headers),
    )
    assert record.value == (None if value is None else value[:1024])
    assert record.key == (None if key is None else key[:1024])
    assert why.original == []
    named = [each for each in written(world) if each.key != after.encode()]
    assert max(map(size_of, named)) < FALLBACK_BYTES_MAX


def test_an_input_that_just_fits_is_copied_whole(world: World) -> None:
    """The largest record that a topic accepts uncompressed is kept with every byte."""
    value, headers = bytes(1_048_576), [("trace", b"1")]
    world.driver.pipe(topology.COMMANDS, b"key", value, list(headers), partition=0)
    world.driver.run()

    (record,) = world.driver.committed(topology.QUARANTINE)
    why = quarantine.parse(record.headers)
    assert (record.key, record.value, why.original) == (b"key", value, headers)
    assert why.reference is None


def test_a_parked_payments_inputs_can_wait_by_reference_too(world: World) -> None:
    """PARKED copies keep their order and origin."""
    parked = world.create("parked")
    world.driver.run()
    good = world.rules_of
    world.rules_of = lambda _: msgspec.structs.replace(world.rules, windows=None)
    world.answer_once()
    world.driver.run()
    world.rules_of = good
    again = CODEC.encode(topology.COMMANDS, create_payment("parked"))
    world.driver.pipe(topology.COMMANDS, parked.encode(), again, [("h", ZEROS)])
    world.driver.run()

    assert world.known(parked).payment.parked
    last = world.driver.committed(topology.QUARANTINE)[-1]
    why = quarantine.parse(last.headers)
    assert (why.reason, last.key) == (quarantine.PARKED, parked.encode())
    assert why.reference is not None
    assert last.value == again


def test_a_defect_on_a_large_input_parks_only_its_payment(world: World) -> None:
    """`decide` raises on an input that cannot be copied; the transaction still fits."""
    parked = world.create("parked")
    world.driver.run()
    (requested,) = world.driver.take(topology.RESOLVE_REQUESTS)
    request = CODEC.decode(topology.RESOLVE_REQUESTS, requested.value)
    verdict = commands.PolicyVerdict(
        header=InputHeader(payment_intent_id=PaymentIntentId(parked)),
        policy_ref=request.policy_ref,
        verdict="PASSED",
        phase=request.phase,
        rules_evaluated=("all",),
        policy_version="1",
    )
    good = world.rules_of
    world.rules_of = lambda _: msgspec.structs.replace(world.rules, windows=None)
    value = CODEC.encode(topology.RESOLVE_DECISIONS, verdict)
    world.driver.pipe(topology.RESOLVE_DECISIONS, parked.encode(), value, [("h", ZEROS)])
    world.driver.run()
    world.rules_of = good

    assert world.event_names(parked)[-1] == "ProcessingSuspended"
    (record,) = world.driver.committed(topology.QUARANTINE)
    assert quarantine.parse(record.headers).reference is not None
    other = world.create("other")
    world.settle_all()
    assert world.known(other).payment.state == State.SETTLED


def test_an_unmatched_report_is_kept_by_reference(world: World) -> None:
    """UNMATCHED, with headers that are too large to copy."""
    report = commands.RailReport(
        header=InputHeader(payment_intent_id=PaymentIntentId("pi_aaaaaaaaaaaaaaaaaaaaaaaaaa")),
        external_ref=ExternalRef("NAAAAAAAAAAAAAAAAAAAAAAAAAA001"),
        kind="SETTLED",
        adapter="default",
        amount=Cents(1),
        currency="AUD",
    )
    value = CODEC.encode(topology.RAIL_REPORTS, report)
    world.driver.pipe(
        topology.RAIL_REPORTS, report.header.payment_intent_id.encode(), value, [("h", ZEROS)]
    )
    world.driver.run()

    (record,) = world.driver.committed(topology.QUARANTINE)
    why = quarantine.parse(record.headers)
    assert (why.reason, record.value) == (quarantine.UNMATCHED, value)
    assert why.reference is not None


@pytest.mark.parametrize("key", [payment_intent_id(SOURCE, "known").encode(), b"no-payment"])
def test_a_topic_with_a_lower_limit_than_configured_stops_nothing(key: bytes) -> None:
    """ERR-07, engine rules: a fallback must fit where the first try did not. An unreadable record
    is no input of the payment in its key, so it parks nothing.
    """
    declared = catalogue.load().record_bytes_max
    world = World(
        topic_bytes_max=lambda topic: (
            FALLBACK_BYTES_MAX if topic == topology.QUARANTINE else declared(topic)
        )
    )
    known = world.create("known")
    world.driver.run()
    piped = world.driver.pipe(topology.COMMANDS, key, bytes(10_000))
    after = world.create("after")
    world.settle_all()

    (record,) = world.driver.committed(topology.QUARANTINE)
    why = quarantine.parse(record.headers)
    assert (why.reason, why.offset) == (quarantine.UNDECODABLE, piped.offset)
    assert why.reference is not None
    for payment in (known, after):
        assert world.known(payment).payment.state == State.SETTLED


@pytest.mark.parametrize("name", ["pi_" + "a" * 30, "p" * 4_000])
def test_an_outcome_does_not_repeat_a_payment_id_that_is_too_long(world: World, name: str) -> None:
    """ERR-07: outcomes have their own bound; the cause still names the input."""
    command = msgspec.structs.replace(
        create_payment("long"), header=InputHeader(payment_intent_id=PaymentIntentId(name))
    )
    world.pipe(topology.COMMANDS, command)
    misrouted = CODEC.encode(topology.COMMANDS, command)
    world.driver.pipe(topology.COMMANDS, b"another key", misrouted, partition=0)
    world.driver.run()

    outcomes = world.outcomes()
    assert [outcome.result for outcome in outcomes] == ["MISROUTED", "MISROUTED"]
    assert [outcome.payment_intent_id for outcome in outcomes] == ["", ""]
    assert max(map(size_of, world.driver.committed(topology.OUTCOMES))) < FALLBACK_BYTES_MAX
    assert {(o.cause.topic, o.cause.partition) for o in outcomes} >= {(topology.COMMANDS, 0)}


def test_unreadable_headers_stop_nothing(world: World) -> None:
    """ERR-07: a header name that is not UTF-8. The record is kept by reference."""
    world.driver.pipe(topology.COMMANDS, GOOD_KEY, GOOD, [(UNREADABLE_HEADER, None)])
    after = world.create("after")
    world.settle_all()

    (record,) = world.driver.committed(topology.QUARANTINE)
    why = quarantine.parse(record.headers)
    assert (why.reason, record.value) == (quarantine.UNDECODABLE, GOOD)
    assert why.reference is not None
    assert (why.reference.headers_count, why.reference.headers_bytes) == (-1, -1)
    assert world.known(after).payment.state == State.SETTLED


@pytest.fixture
def world() -> World:
    return World()
