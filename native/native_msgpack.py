"""MessagePack's encoding of single values over machine integers: the compiled build's
`core.native_msgpack`. It writes what msgspec writes, the shortest form of each value.

It reads only what a packed state has. Anything else is an IndexError or a ValueError, and then
msgspec reads the whole state and says what is wrong with it. Every read of a byte is checked.
"""

from __future__ import annotations

from librt.strings import (
    BytesWriter,
    read_i16_be,
    read_i32_be,
    read_i64_be,
    write_i16_be,
    write_i32_be,
    write_i64_be,
)
from mypy_extensions import i16, i32, i64, u8


def write_none(out: BytesWriter) -> None:
    out.append(0xC0)


def write_bool(out: BytesWriter, yes: bool) -> None:
    out.append(0xC3 if yes else 0xC2)


def write_int(out: BytesWriter, number: int) -> None:
    if 0 <= number < 128:
        out.append(number)
    elif number > 0x7FFFFFFFFFFFFFFF:
        out.append(0xCF)
        out.write(number.to_bytes(8, "big"))
    else:
        _write_long(out, number)


def _write_long(out: BytesWriter, number: i64) -> None:
    if number >= 0:
        _write_size(out, number, 0xCC)
        if number > 0xFFFFFFFF:
            out.append(0xCF)
            write_i64_be(out, number)
    elif number >= -32:
        out.append(u8(number & 0xFF))
    elif number >= -128:
        out.append(0xD0)
        out.append(u8(number & 0xFF))
    elif number >= -32768:
        out.append(0xD1)
        write_i16_be(out, i16(number))
    elif number >= -2147483648:
        out.append(0xD2)
        write_i32_be(out, i32(number))
    else:
        out.append(0xD3)
        write_i64_be(out, number)


def _write_size(out: BytesWriter, size: i64, kind: u8) -> None:
    """`size` in one, two or four bytes after `kind`, the next or the one after it."""
    if size <= 0xFF:
        out.append(kind)
        out.append(u8(size))
    elif size <= 0xFFFF:
        out.append(kind + 1)
        out.append(u8(size >> 8))
        out.append(u8(size & 0xFF))
    elif size <= 0xFFFFFFFF:
        out.append(kind + 2)
        out.append(u8(size >> 24))
        out.append(u8((size >> 16) & 0xFF))
        out.append(u8((size >> 8) & 0xFF))
        out.append(u8(size & 0xFF))


def write_str(out: BytesWriter, text: str) -> None:
    content = text.encode()
    size: i64 = len(content)
    if size < 32:
        out.append(u8(0xA0 | size))
    else:
        _write_size(out, size, 0xD9)
    out.write(content)


def write_bytes(out: BytesWriter, content: bytes) -> None:
    _write_size(out, len(content), 0xC4)
    out.write(content)


def write_array(out: BytesWriter, size: i64) -> None:
    """The head of an array of that many items."""
    if size < 16:
        out.append(u8(0x90 | size))
    else:
        _write_long_head(out, size, 0xDC)


def write_map(out: BytesWriter, size: i64) -> None:
    """The head of a map of that many pairs."""
    if size < 16:
        out.append(u8(0x80 | size))
    else:
        _write_long_head(out, size, 0xDE)


def _write_long_head(out: BytesWriter, size: i64, kind: u8) -> None:
    if size > 0xFFFF:
        raise OverflowError("more items than a packed state has")
    out.append(kind)
    out.append(u8(size >> 8))
    out.append(u8(size & 0xFF))


def read_bool(data: bytes, at: i64) -> bool:
    byte: i64 = data[at]
    if byte == 0xC3:
        return True
    if byte == 0xC2:
        return False
    raise ValueError("not a boolean")


def read_int(data: bytes, at: i64) -> tuple[int, i64]:
    """(number, offset after it)."""
    byte: i64 = data[at]
    if byte < 128:
        return byte, at + 1
    if byte >= 0xE0:
        return byte - 256, at + 1
    if byte >= 0xCC and byte <= 0xCE:
        return _read_size(data, at, 0xCC)
    number: i64
    if byte == 0xCF:
        number = read_i64_be(data, at + 1)
        if number < 0:
            raise ValueError("more than 63 bits")
        return number, at + 9
    if byte == 0xD0:
        number = data[at + 1]
        return number - 256 if number > 127 else number, at + 2
    if byte == 0xD1:
        return i64(read_i16_be(data, at + 1)), at + 3
    if byte == 0xD2:
        return i64(read_i32_be(data, at + 1)), at + 5
    if byte == 0xD3:
        return read_i64_be(data, at + 1), at + 9
    raise ValueError("not an integer")


def _read_size(data: bytes, at: i64, kind: i64) -> tuple[i64, i64]:
    """(what one, two or four bytes say, offset after them): the byte before is `kind`, the next or
    the one after it.
    """
    byte: i64 = data[at]
    a: i64 = data[at + 1]
    if byte == kind:
        return a, at + 2
    b: i64 = data[at + 2]
    if byte == kind + 1:
        return a << 8 | b, at + 3
    if byte != kind + 2:
        raise ValueError("another kind of value")
    c: i64 = data[at + 3]
    d: i64 = data[at + 4]
    return a << 24 | b << 16 | c << 8 | d, at + 5


def read_str(data: bytes, at: i64) -> tuple[str, i64]:
    """(text, offset after it)."""
    byte: i64 = data[at]
    size: i64
    if byte & 0xE0 == 0xA0:
        size, at = byte & 0x1F, at + 1
    else:
        size, at = _read_size(data, at, 0xD9)
    if size > len(data) - at:
        raise ValueError("truncated")
    return data[at : at + size].decode(), at + size


def read_bytes(data: bytes, at: i64) -> tuple[bytes, i64]:
    """(content, offset after it)."""
    size, at = _read_size(data, at, 0xC4)
    if size > len(data) - at:
        raise ValueError("truncated")
    return data[at : at + size], at + size


def read_array(data: bytes, at: i64) -> tuple[i64, i64]:
    """(number of items, offset of the first)."""
    return _read_head(data, at, 0x90, 0xDC)


def read_map(data: bytes, at: i64) -> tuple[i64, i64]:
    """(number of pairs, offset of the first)."""
    return _read_head(data, at, 0x80, 0xDE)


def _read_head(data: bytes, at: i64, short: i64, long: i64) -> tuple[i64, i64]:
    byte: i64 = data[at]
    if byte & 0xF0 == short:
        return byte & 0x0F, at + 1
    if byte != long:
        raise ValueError("another kind of value")
    a: i64 = data[at + 1]
    b: i64 = data[at + 2]
    return a << 8 | b, at + 3


def expect_array(data: bytes, at: i64, size: i64) -> i64:
    """The offset of the first item of an array with exactly that many."""
    found, at = read_array(data, at)
    if found != size:
        raise ValueError("an array of another length")
    return at
