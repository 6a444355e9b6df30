"""Fault rows 17, 19 and 20: poison, wrong partitions, duplicates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from app.platform.broker import Cluster
from examples import upstream_load as upstream
from tests.auditor.evidence import INPUTS
from tests.broker.harness import Harness, rounds
from tests.broker.raw_producer import produce_with_header

MAX_MESSAGE_BYTES = 1_048_576  # topics.yaml, max.message.bytes
BATCH_OVERHEAD_BYTES = 200  # record batch, key and varints around one value
LARGE = 32_768


def poison(load: upstream.Load) -> list[upstream.Record]:
    """Records for the command topic that can never be decoded or are too large."""
    draw = load.draw
    good = [load.payment() for _ in range(8)]
    values: list[bytes | None] = [
        None,
        b"",
        b"\0",
        b"\0\0\0\0",
        draw.randbytes(5),
        draw.randbytes(300),
    ]
    values += [(good[0].value or b"")[:cut] for cut in (4, 5, 6, 40, -1)]  # truncated
    values += [(good[1].value or b"") + extra for extra in (b"\0", b"x" * 50)]  # trailing bytes
    values += [b"\0\x7f\xff\xff\xff" + (good[2].value or b"")[5:]]  # an unregistered schema id
    values += [(good[3].value or b"")[:5] + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" * 20]
    values += [(good[4].value or b"")[:5] + b"\x02" * 30_000]  # "deep": tags without an end
    values += [draw.randbytes(LARGE + more) for more in (-1, 0, 1)]
    values += [(good[5].value or b"")[:5] + b"\0" * (LARGE + 1)]
    values += [draw.randbytes(500_000), draw.randbytes(MAX_MESSAGE_BYTES - BATCH_OVERHEAD_BYTES)]
    return [upstream.Record("poison", upstream.APP_TOPIC, good[6].key, value) for value in values]


def sized(load: upstream.Load, **changes: Any) -> upstream.Record:
    payment = load._new(upstream.APP_TOPIC, upstream.APP_SOURCE)
    if "idempotencyKey" in changes:
        key = changes["idempotencyKey"]
        payment_id = upstream.payment_intent_id(upstream.APP_SOURCE, key)
        payment.body["header"] = load._header(payment_id)
    if "commandId" in changes:
        payment.body["header"]["commandId"] = changes.pop("commandId")
    if "remittance" in changes:
        parties = {**payment.parties, "remittance": changes.pop("remittance")}
        payment.body["parties"] = load.encoder.sealed(parties)
    payment.body |= changes
    return load._create("sized", payment)


@pytest.mark.parametrize("again", rounds(20))
def test_row_17_every_poison_record_is_kept_and_the_partition_continues(
    harness: Harness, again: int
) -> None:
    """ERR-05, EV-03, EV-06, SM-14: whatever can be decoded is answered, however long its fields
    are.
    """
    process = harness.start_payments()
    harness.ready(process)
    quarantined = process.metric("npp_quarantined_records_total")
    load = harness.load()
    bad = poison(load)
    for topic in INPUTS:
        bad.append(upstream.Record("poison", topic, load.payment().key, load.draw.randbytes(64)))
    misfits = [load.mistake(kind) for kind in ("wrongPartition", "nullKey", "otherKey")]
    over = [
        sized(load, endToEndId="e" * 36),
        sized(load, remittance="r" * 281),
        sized(load, amount=10**15),
        sized(load, idempotencyKey="k" * 129),
        sized(load, idempotencyKey="k" * 4_097),
        sized(load, customerId="c" * 4_097),
        sized(load, customerId="c" * (LARGE + 1)),
        sized(load, remittance="r" * 900_000),
        sized(load, commandId="c" * 1_000_000),
    ]
    fitting = [
        sized(load, endToEndId="e" * 35),
        sized(load, remittance="r" * 280),
        sized(load, idempotencyKey="k" * 128),
    ]
    harness.send([*bad, *misfits, *over, *fitting])
    harness.published["accepted"] += len(fitting)
    harness.publish(10, happy_path=True)
    _, moved = harness.outcome_of_run()
    shown = process.metric("npp_quarantined_records_total")
    process.stop()

    kept = len(bad) + len(misfits)
    assert moved["quarantined"] == kept
    assert shown - quarantined == kept, "the metric says so too"
    assert moved["CreatePayment REJECTED"] == len(over)
    assert moved["PaymentIntentCreated"] == 10 + len(fitting)


def larger_than_its_topic(load: upstream.Load) -> list[tuple[str, dict[str, Any]]]:
    """Records that fit a topic of 1 MiB because they are compressed, and cannot be copied whole."""
    draw = load.draw
    good = load.payment()
    return [
        ("gzip", {"value": bytes(5 * 1024 * 1024)}),
        ("gzip", {"value": bytes(64 * 1024 * 1024)}),
        ("lz4", {"value": (good.value or b"")[:5] + bytes(8 * 1024 * 1024)}),
        ("zstd", {"value": bytes(draw.choices(b"abcd", k=3_000_000))}),
        ("zstd", {"value": bytes(draw.choices(b"ab", k=4_000_000))}),
        ("gzip", {"key": bytes(5 * 1024 * 1024), "value": b"x"}),
        ("gzip", {"key": bytes(3 * 1024 * 1024), "value": good.value}),
        ("gzip", {"value": b"x", "headers": [("h" * 1_000, bytes(4 * 1024 * 1024))]}),
        ("gzip", {"value": None, "headers": [(f"h{n}", bytes(600)) for n in range(5_000)]}),
    ]


@pytest.mark.parametrize("again", rounds(20))
def test_row_17_a_record_that_unpacks_to_more_than_its_topics_limit_stops_nothing(
    harness: Harness, again: int
) -> None:
    """5 KiB on the wire used to stop all payments at every start; so did a header name that is not
    UTF-8. Each such record is quarantined by reference, and every payment behind it continues, also
    after a restart.
    """
    process = harness.start_payments()
    harness.ready(process)
    load = harness.load()
    key = load.payment().key
    bad = larger_than_its_topic(load)
    failures: list[str] = []

    def report(error: Any, _: Any) -> None:
        if error:
            failures.append(str(error))

    for topic in INPUTS:
        for compression, record in bad if topic == upstream.APP_TOPIC else bad[:1]:
            wide = {"compression.type": compression, "message.max.bytes": 100_000_000}
            producer = harness.producer(**wide, **{"batch.num.messages": 1})
            producer.produce(
                topic, **{"key": key, **record}, partition=harness.partitions(topic) - 1,
                on_delivery=report,
            )  # fmt: skip
            assert not producer.flush(30.0)
    assert not failures, failures[:3]
    good = load.payment()
    produce_with_header(
        harness.bootstrap, upstream.APP_TOPIC, 0, good.key or b"", good.value or b"", b"\xff\xfe"
    )
    records = harness.partitions(upstream.APP_TOPIC) * 4
    harness.publish(records, happy_path=True)
    harness.at_rest()
    process.kill()
    process = harness.start_payments()
    harness.publish(records, happy_path=True)
    _, moved = harness.outcome_of_run()
    shown = process.metrics()
    process.stop()

    count = len(bad) + len(INPUTS) - 1 + 1
    assert moved["quarantined by reference"] == count
    assert moved["quarantined"] == count
    assert moved["outcome MISROUTED"] == 1, "the one that can be read has an outcome too"
    assert moved["PaymentIntentCreated"] == moved["rail settled"] == 2 * records
    assert "npp_quarantined_by_reference_total" in shown


@pytest.mark.parametrize("again", rounds(10))
def test_row_19_a_wrong_partitioner_affects_no_payment(harness: Harness, again: int) -> None:
    """EV-06: librdkafka's default partitioner differs from Java's murmur2."""
    process = harness.start_payments()
    harness.ready(process)
    load = harness.load()
    count = harness.partitions(upstream.APP_TOPIC)
    records = [load._new(upstream.APP_TOPIC, upstream.APP_SOURCE) for _ in range(30)]
    wrong = 0
    producer = harness.producer(partitioner="consistent")
    landed: list[tuple[Any, Any]] = []
    for payment in records:
        record = load._create("payment", payment)
        producer.produce(
            record.topic, record.value, record.key,
            on_delivery=lambda _, m: landed.append((m.key(), m.partition())),
        )  # fmt: skip
    producer.flush(30.0)
    wrong = sum(upstream.partition_of(key, count) != partition for key, partition in landed)
    harness.published["accepted"] += len(records) - wrong
    _, moved = harness.outcome_of_run()
    process.stop()
    assert wrong > 0, "NV: every record landed where it belongs"
    assert moved["quarantined MISROUTED"] == wrong
    assert moved["outcome MISROUTED"] == wrong
    assert moved["PaymentIntentCreated"] == len(records) - wrong


@pytest.mark.parametrize("again", rounds(10))
def test_row_19_a_raised_partition_count_stops_the_start(
    fresh_cluster: Callable[..., Cluster], registry: str, tmp_path: Path, again: int
) -> None:
    """OP-33: more partitions would map known ids to partitions without their states."""
    cluster = fresh_cluster()
    harness = Harness(cluster.bootstrap, registry, tmp_path / "harness")
    try:
        harness.apply()
        topic = upstream.APP_TOPIC
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        count = harness.partitions(topic)
        admin.create_partitions([NewPartitions(topic, count + 1)])[topic].result(10.0)
        process = harness.start_payments()
        assert process.exited() != 0
        assert "partition" in process.log.read_text()
    finally:
        harness.close()


def repeated(load: upstream.Load, payment: upstream.Payment, **changes: Any) -> upstream.Record:
    body = {**payment.body, "header": load._header(payment.id), **changes}
    again = upstream.Payment(payment.topic, body, payment.parties)
    return load._create("repeat", again)


@pytest.mark.parametrize("again", rounds(20))  # of each of the five
@pytest.mark.parametrize("way", ["at once", "later", "after restart", "while uncommitted", "mixed"])
def test_row_20_a_repeated_command_is_done_once(harness: Harness, way: str, again: int) -> None:
    """IDM-01..IDM-04: the same content is a duplicate; another body is refused, naming
    the field.
    """
    load = harness.load()
    firsts = [load._new(upstream.APP_TOPIC, upstream.APP_SOURCE) for _ in range(8)]
    records = [load._create("payment", payment) for payment in firsts]
    same = [repeated(load, payment) for payment in firsts for _ in range(2)]
    other = [repeated(load, payment, amount=payment.body["amount"] + 1) for payment in firsts]
    if way == "while uncommitted":
        harness.send(records)
        process = harness.start_payments(crash_at="before_commit:1")
        harness.send(same + other)
        assert process.exited() != 0, "NV: the crash point was not reached"
        process = harness.start_payments()
    elif way == "after restart":
        process = harness.start_payments()
        harness.ready(process)
        harness.send(records)
        harness.at_rest()
        process.kill()
        harness.lose_disk()
        process = harness.start_payments()
        harness.send(same + other)
    elif way == "later":
        process = harness.start_payments()
        harness.ready(process)
        harness.send(records)
        harness.at_rest()
        harness.send(same + other)
    else:
        process = harness.start_payments()
        if way == "mixed":
            rest = [*same, *other]
            harness.random.shuffle(rest)
            harness.send([*records, *rest])
        else:
            harness.send(
                [r for each in zip(records, same[::2], same[1::2], strict=True) for r in each]
                + other
            )
    harness.ready(process)
    _, moved = harness.outcome_of_run()
    process.stop()
    assert moved["PaymentIntentCreated"] == len(firsts)
    assert moved["CreatePayment DUPLICATE"] == len(same)
    assert moved["rule IDEMPOTENCY_KEY_REUSED"] == len(other)
    assert moved["rail settled"] == len(firsts)
    assert moved["FundsCaptured"] == len(firsts)
