"""The chain of raw bytes: complete histories pass, and each kind of damage is named with its
location.
"""

from __future__ import annotations

import hashlib

import pytest

from evidence.chain import (
    FOREIGN_EVENT,
    PREVIOUS_HASH,
    SEQUENCE_GAP,
    SEQUENCE_REPEATED,
    Break,
    ChainChecker,
    Head,
    Link,
    MemoryHeads,
    MissingSequence,
    read_link,
    require_complete,
)

A, B = "pi_aaaaaaaaaaaaaaaaaaaaaaaaaa", "pi_bbbbbbbbbbbbbbbbbbbbbbbbbb"


def _long(number: int) -> bytes:
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _raw(payment: str, sequence: int, previous: bytes, body: bytes = b"body") -> bytes:
    return (
        b"\x00\x00\x00\x00\x07"
        + _long(len(payment)) + payment.encode() + _long(sequence) + previous + body
    )  # fmt: skip


def _history(payment: str, length: int, *, body: bytes = b"body") -> list[tuple[bytes, bytes]]:
    records, previous = [], bytes(32)
    for sequence in range(1, length + 1):
        raw = _raw(payment, sequence, previous, body)
        previous = hashlib.sha256(raw).digest()
        records.append((payment.encode(), raw))
    return records


def _breaks(records: list[tuple[bytes | None, bytes | None]]) -> list[Break]:
    checker = ChainChecker(3, MemoryHeads())
    found = [checker.feed(offset, key, value) for offset, (key, value) in enumerate(records)]
    return [each for each in found if isinstance(each, Break)]


def test_two_complete_interleaved_histories_have_no_break_and_the_right_heads() -> None:
    heads = MemoryHeads()
    checker = ChainChecker(0, heads)
    both = [r for pair in zip(_history(A, 300), _history(B, 300), strict=True) for r in pair]
    for offset, (key, value) in enumerate(both):
        assert isinstance(checker.feed(offset, key, value), Link)
    assert heads.heads[A] == Head(300, hashlib.sha256(both[-2][1]).digest())
    assert checker.events == 600


def test_a_dropped_event_is_a_gap_with_the_missing_sequence_and_the_offset() -> None:
    records = _history(A, 5)
    del records[2]
    (found,) = _breaks(list(records))
    assert (found.kind, found.payment, found.sequence, found.offset) == (SEQUENCE_GAP, A, 4, 2)
    assert found.first_difference == "sequence 3 is missing before it"
    assert found.sentence().startswith(
        f"SEQUENCE_GAP: payment {A} sequence 4 at partition 3 offset 2"
    )


def test_a_doubled_event_is_a_repeated_sequence() -> None:
    records = _history(A, 3)
    records.insert(2, records[1])
    (found,) = _breaks(list(records))
    assert (found.kind, found.sequence, found.offset) == (SEQUENCE_REPEATED, 2, 2)


def test_two_swapped_events_are_a_gap_at_the_first() -> None:
    records = _history(A, 4)
    records[1], records[2] = records[2], records[1]
    (found,) = _breaks(list(records))
    assert (found.kind, found.sequence, found.offset) == (SEQUENCE_GAP, 3, 1)


def test_a_flipped_bit_in_an_event_changes_the_hash_that_the_next_one_names() -> None:
    for at in range(len(_history(A, 4)[1][1])):
        records = _history(A, 4)
        key, raw = records[1]
        records[1] = (key, raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        assert _breaks(list(records)), f"the flipped bit at byte {at} went unseen"


def test_a_changed_body_is_named_with_both_hashes() -> None:
    records = _history(A, 3)
    first = hashlib.sha256(records[0][1]).hexdigest()
    records[0] = (records[0][0], _raw(A, 1, bytes(32), b"bodies"))
    (found,) = _breaks(list(records))
    assert (found.kind, found.sequence) == (PREVIOUS_HASH, 2)
    assert first in found.first_difference


def test_a_first_event_with_a_previous_hash_is_a_break() -> None:
    (found,) = _breaks([(A.encode(), _raw(A, 1, b"\x01" * 32))])
    assert found.kind == PREVIOUS_HASH


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        (None, _raw(A, 1, bytes(32)), "no key"),
        (A.encode(), None, "no key or no value"),
        (A.encode(), b"", "magic byte"),
        (A.encode(), b"{json}", "magic byte"),
        (A.encode(), _raw(A, 1, bytes(32))[:20], "ends within"),
        (A.encode(), _raw(A, 1, b"short", b""), "previousHash"),
        (B.encode(), _raw(A, 1, bytes(32)), "not the payment id in the value"),
        (A.encode(), b"\x00\x00\x00\x00\x07" + b"\xff" * 20, "longer than 64 bits"),
        (A.encode(), b"\x00\x00\x00\x00\x07" + _long(10_000), "10000 bytes"),
    ],
)
def test_a_record_that_the_engine_did_not_write_is_foreign_with_the_reason(
    key: bytes | None, value: bytes | None, says: str
) -> None:
    (found,) = _breaks([(key, value)])
    assert found.kind == FOREIGN_EVENT
    assert says in found.first_difference


def test_an_event_in_a_partition_other_than_its_keys_is_foreign() -> None:
    checker = ChainChecker(3, MemoryHeads(), partition_of=lambda key: 2)
    key, value = _history(A, 1)[0]
    found = checker.feed(0, key, value)
    assert isinstance(found, Break)
    assert (found.kind, found.first_difference) == (FOREIGN_EVENT, "the key belongs to partition 2")


def test_after_a_break_only_that_payment_is_skipped() -> None:
    broken, other = _history(A, 6), _history(B, 4)
    del broken[1], other[2]
    found = _breaks([*broken, *other])
    assert [(each.payment, each.sequence) for each in found] == [(A, 3), (B, 4)]


def test_sequences_in_any_order_are_complete_or_the_missing_one_is_named() -> None:
    require_complete([3, 1, 2])
    with pytest.raises(MissingSequence, match="sequence 2 is missing"):
        require_complete([3, 1])
    with pytest.raises(ValueError, match="twice"):
        require_complete([1, 2, 2])


def test_the_previous_hash_is_read_from_the_bytes_alone() -> None:
    assert read_link(_raw(A, 1 << 40, b"\x05" * 32)) == Link(A, 1 << 40, b"\x05" * 32)
