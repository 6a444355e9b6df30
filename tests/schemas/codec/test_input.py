"""Input limits and schema identification: readable or undecodable (ERR-05, OP-34)."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest

from core.control_records import RuleSetActivated
from core.header import InputHeader
from core.payment.commands import RailReport
from core.values import ExternalRef, PaymentIntentId, Sealed
from schemas import definitions
from schemas.codec.avro_binary import ITEMS_MAX, zigzag
from schemas.codec.generated_backend import GeneratedBackend
from schemas.codec.wire import VALUE_SCHEMA_ID_HEADER, prefix, schema_id
from schemas.errors import Undecodable, Unencodable
from schemas.registry.client import guid_of
from tests.schemas.any_record import shape_by_name
from tests.schemas.codec.inputs import (
    CANCEL,
    CODEC,
    COMMANDS,
    CREATE,
    OPERATORS,
    TOPICS,
    Set,
    changed,
    fields_of,
)

REPORTS = "npp.rail.reports.v1"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value"),
        (b"", "too short"),
        (b"\0\0\0\0", "too short"),
        (b"\1" + bytes(8), "too short"),
        (b'{"amount": 1}', "magic byte 123"),
        (prefix(999_999) + b"x", "unknown schema id"),
        (b"\1" + bytes(16), "unknown schema GUID"),
    ],
)
def test_a_value_without_a_known_schema_is_undecodable(value: bytes | None, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        CODEC.decode(COMMANDS, value)


def test_a_record_of_another_topic_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="does not belong"):
        CODEC.decode(COMMANDS, CODEC.encode(OPERATORS, CANCEL))


@pytest.mark.parametrize("form", ["id in payload", "guid in payload", "id header", "guid header"])
def test_every_way_of_identifying_the_schema_gives_the_same_record(form: str) -> None:
    value = CODEC.encode(COMMANDS, CREATE)
    guid = b"\1" + guid_of(definitions.current("CreatePayment"))
    sent = {
        "id in payload": (value, None),
        "guid in payload": (guid + value[5:], [("other", b"x")]),
        "id header": (value[5:], [(VALUE_SCHEMA_ID_HEADER, value[:5])]),
        "guid header": (value[5:], [("other", None), (VALUE_SCHEMA_ID_HEADER, guid)]),
    }[form]
    assert CODEC.decode(COMMANDS, *sent) == CREATE
    assert value[:1] == b"\0"
    assert schema_id(value) == CODEC.schema_id(COMMANDS, "CreatePayment")


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        prefix(CODEC.schema_id(COMMANDS, "CreatePayment"))[:4],
        prefix(CODEC.schema_id(COMMANDS, "CreatePayment")) + b"\0",
        b"\1" + guid_of(definitions.current("CreatePayment"))[:15],
        b"\1" + guid_of(definitions.current("CreatePayment")) + b"\0",
        b"\x02" * 5,
    ],
)
def test_a_malformed_schema_header_is_undecodable(content: bytes | None) -> None:
    datum = CODEC.encode(COMMANDS, CREATE)[5:]
    with pytest.raises(Undecodable, match="header"):
        CODEC.decode(COMMANDS, datum, [(VALUE_SCHEMA_ID_HEADER, content)])


def around(limit: int) -> list[tuple[int, bool]]:
    return [(limit - 1, True), (limit, True), (limit + 1, False)]


@pytest.mark.parametrize("size", [4_097, 40_000, 900_000])
def test_every_text_that_fits_the_topic_is_decoded_whatever_cores_limits(size: int) -> None:
    """The decoder's own bounds are far above every limit in core."""
    for record in (
        msgspec.structs.replace(CREATE, idempotency_key="x" * size),
        msgspec.structs.replace(
            CREATE, parties=Sealed(scheme="avro.1", key_id=None, bytes=bytes(size))
        ),
        msgspec.structs.replace(CREATE, customer_id="é" * (size // 2)),
    ):
        assert CODEC.decode(COMMANDS, unlimited(COMMANDS, record)) == record


@pytest.mark.parametrize(("count", "good"), around(ITEMS_MAX))
def test_an_array_has_one_limit_over_all_its_blocks(count: int, good: bool) -> None:
    """An array of empty texts must not cost a second per record."""
    operator = msgspec.structs.replace(CANCEL.operator, roles=("",) * count)
    record = msgspec.structs.replace(CANCEL, operator=operator)
    value = unlimited(OPERATORS, record)
    in_blocks = value.replace(
        zigzag(count) + bytes(count), zigzag(1) + bytes(1) + zigzag(count - 1) + bytes(count - 1)
    )
    assert len(in_blocks) > len(value)
    for written in (value, in_blocks):
        if good:
            assert CODEC.decode(OPERATORS, written) == record
        else:
            with pytest.raises(Undecodable, match=f"more than {ITEMS_MAX} items"):
                CODEC.decode(OPERATORS, written)


def test_a_record_of_many_values_is_not_read_with_an_unknown_schema() -> None:
    """10,000 items of 1,000 empty fields would be 10,000,000 steps."""
    item = {"type": "record", "name": "Item",
            "fields": [{"name": f"f{n}", "type": "null"} for n in range(500)]
            + [{"name": "end", "type": "boolean"}]}  # fmt: skip
    extra = {"name": "more", "type": {"type": "array", "items": item}, "default": []}
    together = Set()
    newer = changed("CreatePayment", fields=[*fields_of("CreatePayment"), extra])
    number = together.foreign(newer)
    value = prefix(number) + together.codec.encode(COMMANDS, CREATE)[5:]
    assert together.codec.decode(COMMANDS, value + zigzag(2) + bytes(2) + b"\0") == CREATE
    with pytest.raises(Undecodable, match="values in one record"):
        together.codec.decode(COMMANDS, value + zigzag(9_000) + bytes(9_000) + b"\0")


@pytest.mark.parametrize(("extra", "good"), [(-1, True), (0, True), (1, False)])
def test_the_largest_record_is_the_topics_maximum(extra: int, good: bool) -> None:
    """max.message.bytes in topics.yaml."""
    largest = TOPICS.record_bytes_max(REPORTS)
    assert largest == int(TOPICS.configuration(REPORTS, "production")["max.message.bytes"])
    report = RailReport(
        header=InputHeader(payment_intent_id=PaymentIntentId("pi_x")),
        external_ref=ExternalRef("N"),
        kind="SETTLED",
        adapter="npp",
        details="y" * 100_000,
    )
    missing = largest + extra - len(unlimited(REPORTS, report))
    report = msgspec.structs.replace(report, details="y" * (100_000 + missing))
    assert len(unlimited(REPORTS, report)) == largest + extra
    check_both_ways(REPORTS, report, good)


def test_a_topic_with_a_larger_maximum_has_a_larger_limit() -> None:
    """The topic's own setting takes precedence over the default."""
    assert TOPICS.record_bytes_max("npp.payment.quarantine.v1") == 2_097_152


def unlimited(topic: str, record: msgspec.Struct) -> bytes:
    """The value as a writer without our limits would encode it."""
    number = CODEC.schema_id(topic, type(record).__name__)
    shape = shape_by_name(type(record).__name__)
    return GeneratedBackend().encoder(shape, prefix(number))(record)


def check_both_ways(topic: str, record: msgspec.Struct, good: bool) -> None:
    value = unlimited(topic, record)
    if good:
        assert CODEC.decode(topic, value) == record
        assert CODEC.encode(topic, record) == value
        return
    with pytest.raises(Undecodable, match="more than"):
        CODEC.decode(topic, value)
    with pytest.raises(Unencodable, match="more than"):
        CODEC.encode(topic, record)


@pytest.mark.parametrize(
    ("datum", "reason"),
    [
        (b"\xff" * 10 + b"\x01", "64 bits"),
        (b"\xff" * 9 + b"\x02", "64 bits"),
        (b"\x01", "negative length"),
        (b"\xfe\xff\xff\xff\x0f", "truncated"),
        (b"\x02\xff", "not UTF-8"),
        (b"\x06\xed\xa0\x80", "not UTF-8"),
        (b"\x00\x04\x00", "no such union branch"),
        (b"\x00\x01\x00", "no such union branch"),
    ],
)
def test_malformed_avro_is_undecodable_and_says_why(datum: bytes, reason: str) -> None:
    number = CODEC.schema_id(COMMANDS, "CreatePayment")
    with pytest.raises(Undecodable, match=reason):
        CODEC.decode(COMMANDS, prefix(number) + datum)


def test_a_boolean_and_an_int_out_of_range_are_undecodable() -> None:
    control = "npp.control.v1"
    value = CODEC.encode(
        control,
        RuleSetActivated(
            number=1,
            sha256=bytes(32),
            state_version=1,
            event_schema_version=1,
            activated_at=0,
            actor="ann",
        ),
    )
    with pytest.raises(Undecodable, match="32 bits"):
        CODEC.decode(control, value[:5] + zigzag(2**31) + value[6:])
    report = RailReport(
        header=InputHeader(payment_intent_id=PaymentIntentId("pi_x")),
        external_ref=ExternalRef("N"),
        kind="SETTLED",
        adapter="npp",
    )
    value = CODEC.encode(REPORTS, report)
    assert value[-3:] == b"\0\0\0"
    with pytest.raises(Undecodable, match="boolean"):
        CODEC.decode(REPORTS, value[:-2] + b"\x02\0")


def test_an_impossible_item_count_allocates_nothing() -> None:
    value = CODEC.encode(OPERATORS, CANCEL)
    at = value.index(b"\x02\x10operator")
    tracemalloc.start()
    with pytest.raises(Undecodable, match="more items than"):
        CODEC.decode(OPERATORS, value[:at] + zigzag(50_000_000) + value[at + 1 :])
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
