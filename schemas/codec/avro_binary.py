"""Avro's binary encoding of single values: numbers, texts, arrays. Strict: malformed bytes are
refused, and nothing is allocated that the bytes do not hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from schemas.errors import Undecodable

LONG_MIN: Final = -(2**63)
LONG_MAX: Final = 2**63 - 1
INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1
# Of one array: a megabyte of empty texts takes a third of a second to read, a batch of such records
# minutes. Far above what core accepts (64) and what a recovery writes at once (5,000).
ITEMS_MAX: Final = 10_000
VARINT_SHIFT_MAX: Final = 63  # ten groups of seven bits; the tenth holds one
VARINTS_KEPT: Final = 4096  # lengths and small numbers
# Larger ones come in runs: a batch has few decision times, an input's offset is in each of its
# events. Half a megabyte at most.
VARINTS_KEPT_MAX: Final = 2 * VARINTS_KEPT

# Two groups of seven bits at a time: all pairs that continue a number, and all shortest endings.
PAIR_BITS: Final = 14
PAIR_MASK: Final = (1 << PAIR_BITS) - 1
PAIRS_ON: Final = tuple(bytes((n & 0x7F | 0x80, n >> 7 | 0x80)) for n in range(PAIR_MASK + 1))
PAIRS_END: Final = tuple(
    bytes((n,)) if n < 0x80 else bytes((n & 0x7F | 0x80, n >> 7)) for n in range(PAIR_MASK + 1)
)


def zigzag(number: int) -> bytes:
    """`number` as Avro writes an int or long. Raises OverflowError outside 64 bits."""
    if not LONG_MIN <= number <= LONG_MAX:
        raise OverflowError("a long of more than 64 bits")
    rest = (number << 1) ^ (number >> 63)
    if rest <= PAIR_MASK:
        return PAIRS_END[rest]
    out = PAIRS_ON[rest & PAIR_MASK]
    rest >>= PAIR_BITS
    while rest > PAIR_MASK:
        out += PAIRS_ON[rest & PAIR_MASK]
        rest >>= PAIR_BITS
    return out + PAIRS_END[rest]


class Varints(dict[int, bytes]):
    """zigzag by look-up: small numbers always, the others while they are recent."""

    def __init__(self) -> None:
        super().__init__((number, zigzag(number)) for number in range(VARINTS_KEPT))

    def __missing__(self, number: int) -> bytes:
        if len(self) >= VARINTS_KEPT_MAX:
            for recent in list(self)[VARINTS_KEPT:]:
                self.pop(recent, None)  # another thread may have removed it already
        coded = self[number] = zigzag(number)
        return coded


class IntVarints(Varints):
    """As Varints, for numbers of 32 bits."""

    def __missing__(self, number: int) -> bytes:
        if not INT_MIN <= number <= INT_MAX:
            raise OverflowError("an int of more than 32 bits")
        return super().__missing__(number)


LONGS: Final = Varints()
INTS: Final = IntVarints()


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """(number, offset after it). Raises Undecodable beyond 64 bits, IndexError when cut off.

    The first four bytes are written out: most numbers end there, and times begin there.
    """
    byte = data[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    result = byte & 0x7F
    byte = data[at + 1]
    if byte < 0x80:
        result |= byte << 7
        return (result >> 1) ^ -(result & 1), at + 2
    result |= (byte & 0x7F) << 7
    byte = data[at + 2]
    if byte < 0x80:
        result |= byte << 14
        return (result >> 1) ^ -(result & 1), at + 3
    result |= (byte & 0x7F) << 14
    byte = data[at + 3]
    if byte < 0x80:
        result |= byte << 21
        return (result >> 1) ^ -(result & 1), at + 4
    result |= (byte & 0x7F) << 21
    at += 4
    shift = 28
    while True:
        byte = data[at]
        at += 1
        if shift == VARINT_SHIFT_MAX and byte > 1:
            raise Undecodable("a long of more than 64 bits")
        if byte < 0x80:
            result |= byte << shift
            return (result >> 1) ^ -(result & 1), at
        result |= (byte & 0x7F) << shift
        shift += 7


def read_length(data: bytes, at: int) -> tuple[int, int]:
    """(length of a string or of bytes, offset after it). Raises Undecodable when negative."""
    length, at = read_long(data, at)
    if length < 0:
        raise Undecodable("negative length")
    return length, at


def read_block(data: bytes, at: int) -> tuple[int, int]:
    """(items in the block, offset of the first). Raises Undecodable for more items than bytes are
    left.
    """
    count, at = read_long(data, at)
    if count < 0:
        count = -count
        size, at = read_long(data, at)
        if not 0 <= size <= len(data) - at:
            raise Undecodable("an array block larger than the value")
    if count > len(data) - at:
        raise Undecodable("an array with more items than the value has bytes")
    return count, at


def read_array(data: bytes, at: int, read_item: Callable[[bytes, int], Any]) -> tuple[Any, int]:
    """(tuple of the items, offset after the array). Every item has at least one byte."""
    items: list[Any] = []
    while True:
        count, at = read_block(data, at)
        if count == 0:
            return tuple(items), at
        check_items(len(items) + count)
        for _ in range(count):
            item, at = read_item(data, at)
            items.append(item)


def check_items(count: int) -> None:
    """Raises Undecodable for an array, over all its blocks, that our own writers never write."""
    if count > ITEMS_MAX:
        raise Undecodable(f"an array of more than {ITEMS_MAX} items")


def read_string(data: bytes, at: int) -> tuple[str, int]:
    """(text, offset after it)."""
    length, at = read_length(data, at)
    end = at + length
    return data[at:end].decode(), end


def read_int(data: bytes, at: int) -> tuple[int, int]:
    """(number of 32 bits, offset after it)."""
    number, at = read_long(data, at)
    return check_int(number), at


def check_int(number: int) -> int:
    """Raises Undecodable outside 32 bits."""
    if not INT_MIN <= number <= INT_MAX:
        raise Undecodable("an int of more than 32 bits")
    return number


def fail(reason: str) -> None:
    """Raises Undecodable. Generated code needs a call for this."""
    raise Undecodable(reason)


def write_array(items: tuple[Any, ...], write_item: Callable[[Any], bytes]) -> bytes:
    """The array as Avro writes it: one block, and the empty block that ends it."""
    if not items:
        return b"\0"
    return b"".join((zigzag(len(items)), *map(write_item, items), b"\0"))


def write_string(text: str) -> bytes:
    encoded = text.encode()
    return zigzag(len(encoded)) + encoded


READ_ITEM: Final = {"string": read_string, "long": read_long, "int": read_int}
WRITE_ITEM: Final = {"string": write_string, "long": LONGS.__getitem__, "int": INTS.__getitem__}


def check_size(value: bytes, size: int) -> bytes:
    """Raises ValueError when a fixed has another size."""
    if len(value) != size:
        raise ValueError(f"{len(value)} bytes where {size} are fixed")
    return value
