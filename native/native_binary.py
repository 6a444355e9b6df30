"""Avro's binary encoding of single values over machine integers: the compiled build's
`schemas.codec.native_binary`. Each rule is that of schemas/codec/avro_binary.py.

Every read of a byte is checked: past the end it raises IndexError. A length is compared with the
bytes that are left before anything is allocated. Other invalid bytes raise Undecodable.
"""

from __future__ import annotations

from librt.strings import BytesWriter
from mypy_extensions import i64, u8

from schemas.codec.avro_binary import ITEMS_MAX
from schemas.errors import Undecodable


def write_long(out: BytesWriter, number: i64) -> None:
    rest: i64 = (number << 1) ^ (number >> 63)
    if 0 <= rest < 128:
        out.append(u8(rest))
        return
    out.append(u8((rest & 127) | 128))
    rest = (rest >> 7) & 0x1FFFFFFFFFFFFFF
    while rest >= 128:
        out.append(u8((rest & 127) | 128))
        rest >>= 7
    out.append(u8(rest))


def write_int(out: BytesWriter, number: i64) -> None:
    if number < -2147483648 or number > 2147483647:
        raise OverflowError("an int of more than 32 bits")
    write_long(out, number)


def write_string(out: BytesWriter, text: str) -> None:
    write_bytes(out, text.encode())


def write_bytes(out: BytesWriter, content: bytes) -> None:
    write_long(out, len(content))
    out.write(content)


def write_fixed(out: BytesWriter, content: bytes, size: i64) -> None:
    if len(content) != size:
        raise ValueError(f"{len(content)} bytes where {size} are fixed")
    out.write(content)


def write_boolean(out: BytesWriter, yes: bool) -> None:
    out.append(1 if yes else 0)


def write_strings(out: BytesWriter, items: tuple[str, ...]) -> None:
    if len(items) > 0:
        write_long(out, len(items))
        for each in items:
            write_string(out, each)
    out.append(0)


def read_long(data: bytes, at: i64) -> tuple[i64, i64]:
    byte: i64 = data[at]
    at += 1
    if byte < 128:
        return (byte >> 1) ^ -(byte & 1), at
    result: i64 = byte & 127
    shift: i64 = 7
    while True:
        byte = data[at]
        at += 1
        if shift == 63 and byte > 1:
            raise Undecodable("a long of more than 64 bits")
        result |= (byte & 127) << shift
        if byte < 128:
            return ((result >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(result & 1), at
        shift += 7


def read_int(data: bytes, at: i64) -> tuple[i64, i64]:
    number, after = read_long(data, at)
    if number < -2147483648 or number > 2147483647:
        raise Undecodable("an int of more than 32 bits")
    return number, after


def read_string(data: bytes, at: i64) -> tuple[str, i64]:
    """(text, offset after it). A length past the end is refused before it is added to an offset, so
    that the sum stays within 64 bits. The rest is decoded first, because the generated backend
    reports invalid UTF-8 before it reports a truncated text.
    """
    length, at = read_long(data, at)
    if length < 0:
        raise Undecodable("negative length")
    if length > len(data) - at:
        data[at:].decode()
        raise Undecodable("truncated")
    return data[at : at + length].decode(), at + length


def read_bytes(data: bytes, at: i64) -> tuple[bytes, i64]:
    """(content, offset after it)."""
    length, at = read_long(data, at)
    if length < 0:
        raise Undecodable("negative length")
    if length > len(data) - at:
        raise Undecodable("truncated")
    return data[at : at + length], at + length


def read_branch(data: bytes, at: i64) -> bool:
    byte: i64 = data[at]
    if byte == 0:
        return False
    if byte == 2:
        return True
    raise Undecodable("no such union branch")


def read_boolean(data: bytes, at: i64) -> bool:
    byte: i64 = data[at]
    if byte > 1:
        raise Undecodable("a boolean that is neither 0 nor 1")
    return byte == 1


def read_strings(data: bytes, at: i64) -> tuple[tuple[str, ...], i64]:
    items: list[str] = []
    while True:
        count, at = read_long(data, at)
        if count < 0:
            count = -count
            size, at = read_long(data, at)
            if size < 0 or size > len(data) - at:
                raise Undecodable("an array block larger than the value")
        if count < 0 or count > len(data) - at:
            raise Undecodable("an array with more items than the value has bytes")
        if count == 0:
            return tuple(items), at
        if len(items) + count > ITEMS_MAX:
            raise Undecodable(f"an array of more than {ITEMS_MAX} items")
        while count > 0:
            item, at = read_string(data, at)
            items.append(item)
            count -= 1


def end(data: bytes, at: i64) -> None:
    if at != len(data):
        raise Undecodable("truncated" if at > len(data) else "trailing bytes")
