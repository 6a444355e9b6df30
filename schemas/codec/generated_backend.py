"""A backend of the codec: Python written once per record type, straight between struct and bytes.

Strict: malformed bytes are never read as good ones, and nothing is allocated that they do not hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from core.header import Cause
from schemas.codec.shape import Field, Shape
from schemas.errors import Undecodable

LONG_MIN: Final = -(2**63)
LONG_MAX: Final = 2**63 - 1
INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1
# Of one array: a megabyte of empty texts is a third of a second of work, a batch of them minutes.
# Far above what core takes (64) and what a recovery writes at once (5,000).
ITEMS_MAX: Final = 10_000
VARINT_SHIFT_MAX: Final = 63  # ten groups of seven bits; the tenth holds one
VARINTS_KEPT: Final = 4096  # lengths and small numbers
# Larger ones come in runs: a batch has few decision times, an input's offset stands in each of its
# events. Half a megabyte at most.
VARINTS_KEPT_MAX: Final = 2 * VARINTS_KEPT

Encoder = Callable[[Any], bytes]
Decoder = Callable[[bytes, int], Any]


# Two groups of seven bits at a time: all pairs that go on, and all shortest endings.
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
                self.pop(recent, None)  # another thread may have taken it already
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
    """(items in the block, offset of the first); no more items than bytes are left."""
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
    """Raises Undecodable for an array, over all its blocks, that nobody of ours writes."""
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
    raise Undecodable(reason)


def write_array(items: tuple[Any, ...], write_item: Callable[[Any], bytes]) -> bytes:
    """One block and the end."""
    if not items:
        return b"\0"
    return b"".join((zigzag(len(items)), *map(write_item, items), b"\0"))


def write_string(text: str) -> bytes:
    encoded = text.encode()
    return zigzag(len(encoded)) + encoded


READ_ITEM: Final = {"string": read_string, "long": read_long, "int": read_int}
WRITE_ITEM: Final = {"string": write_string, "long": LONGS.__getitem__, "int": INTS.__getitem__}


def remembering(encode: Encoder) -> Encoder:
    """`encode` for frozen structs, the last answer kept: all events of an input share a cause."""
    last: tuple[Any, bytes] = (None, b"")

    def encode_or_remember(record: Any) -> bytes:
        nonlocal last
        before, content = last
        if before is not record:
            content = encode(record)
            last = (record, content)
        return content

    return encode_or_remember


class GeneratedBackend:
    """Encoders and decoders as generated Python."""

    name = "generated"

    def __init__(self) -> None:
        self._causes: dict[str, Encoder] = {}

    def cause_encoder(self, shape: Shape) -> Encoder:
        """One for all records whose cause has this shape."""
        key = json.dumps(shape.schema, sort_keys=True)
        if key not in self._causes:
            self._causes[key] = remembering(self.encoder(shape, b""))
        return self._causes[key]

    def encoder(self, shape: Shape, prefix: bytes) -> Encoder:
        """A function struct → `prefix` and datum."""
        writer = _Writer(self)
        body = writer.lines_of(shape, "r")
        parts = ", ".join(["prefix", *writer.parts])
        source = ["def encode(r):", *(f" {each}" for each in body), f" return join(({parts},))"]
        names = {**writer.names, "prefix": prefix, "join": b"".join, "P": LONGS, "Q": INTS}
        encode: Encoder = _compiled(source, names, "encode", shape)
        return encode

    def decoder(self, shape: Shape) -> Decoder:
        """A function (value, offset of the datum) → struct."""
        reader = _Reader()
        expression = reader.lines_of(shape, " ")
        source = [
            "def decode(b, i):",
            *reader.lines,
            " if i != len(b):",
            "  fail('truncated' if i > len(b) else 'trailing bytes')",
            f" return {expression}",
        ]
        decode: Decoder = _compiled(source, reader.names, "decode", shape)
        return decode


def _compiled(source: list[str], names: dict[str, Any], function: str, shape: Shape) -> Any:
    code = compile("\n".join(source), f"<{function} {shape.struct.__name__}>", "exec")
    exec(code, names)  # noqa: S102 — our own text, made from our own schemas, no input in it
    return names[function]


class _Writer:
    """Collects the statements and the parts of one encode function."""

    def __init__(self, backend: GeneratedBackend) -> None:
        self.backend = backend
        self.names: dict[str, Any] = {}
        self.parts: list[str] = []
        self.count = 0

    def fresh(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def lines_of(self, shape: Shape, struct: str) -> list[str]:
        lines: list[str] = []
        for field in shape.fields:
            if field.record is not None and field.record.struct is Cause and not field.optional:
                self.names["encode_cause"] = self.backend.cause_encoder(field.record)
                self.parts.append(f"encode_cause({struct}.{field.attribute})")
            elif field.record is not None and not field.optional:
                nested = self.fresh()
                lines.append(f"{nested} = {struct}.{field.attribute}")
                lines += self.lines_of(field.record, nested)
            else:
                lines += self.leaf(field, f"{struct}.{field.attribute}")
        return lines

    def leaf(self, field: Field, value: str) -> list[str]:
        name = self.fresh()
        if field.optional:
            text = f"{name}u"
            self.parts.append(name)
            expression = self.expression(field, text)
            return [
                f"{text} = {value}",
                f"if {text} is None: {name} = b'\\0'",
                f"else: {name} = b'\\x02' + {expression}",
            ]
        if field.kind in ("string", "bytes"):
            self.parts += [f"P[len({name})]", name]
            return [f"{name} = {value}" + (".encode()" if field.kind == "string" else "")]
        self.parts.append(self.expression(field, value))
        return []

    def expression(self, field: Field, value: str) -> str:
        """An expression of the bytes of `value`, without the union's branch."""
        match field.kind:
            case "long":
                return f"P[{value}]"
            case "boolean":
                return f"(b'\\1' if {value} else b'\\0')"
            case "int":
                return f"Q[{value}]"
            case "string":
                return f"P[len(e := {value}.encode())] + e"
            case "bytes":
                return f"P[len({value})] + {value}"
            case "fixed":
                self.names["check_size"] = check_size
                return f"check_size({value}, {field.size})"
            case "array":
                item = f"item_{field.items}"
                self.names[item] = WRITE_ITEM[str(field.items)]
                self.names["write_array"] = write_array
                return f"write_array({value}, {item})"
            case "record":
                assert field.record is not None
                nested = f"encode_{field.record.struct.__name__}"
                self.names[nested] = self.backend.encoder(field.record, b"")
                return f"{nested}({value})"


def check_size(value: bytes, size: int) -> bytes:
    """Raises ValueError when a fixed has another size."""
    if len(value) != size:
        raise ValueError(f"{len(value)} bytes where {size} are fixed")
    return value


class _Reader:
    """Collects the statements of one decode function."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {
            "read_long": read_long,
            "read_length": read_length,
            "read_array": read_array,
            "check_int": check_int,
            "fail": fail,
        }
        self.lines: list[str] = []
        self.count = 0

    def lines_of(self, shape: Shape, indent: str) -> str:
        """Statements that read the record, and the expression that makes its struct."""
        values: dict[str, str] = {}
        for field in shape.fields:
            self.count += 1
            name = f"v{self.count}"
            if field.optional:
                self.lines.append(f"{indent}n = b[i]; i += 1")
                self.lines.append(f"{indent}if n == 0: {name} = None")
                self.lines.append(f"{indent}elif n == 2:")
                self.read(field, name, indent + " ")
                self.lines.append(f"{indent}else: fail('no such union branch')")
                values[field.attribute] = name
            elif field.kind == "record" and field.record is not None:
                values[field.attribute] = self.lines_of(field.record, indent)
            else:
                self.read(field, name, indent)
                values[field.attribute] = name
        for attribute, default in shape.unwritten.items():
            self.names[f"default_{shape.struct.__name__}_{attribute}"] = default
            values[attribute] = f"default_{shape.struct.__name__}_{attribute}"
        self.names[shape.struct.__name__] = shape.struct
        arguments = ", ".join(f"{each}={value}" for each, value in values.items())
        return f"{shape.struct.__name__}({arguments})"

    def read(self, field: Field, name: str, indent: str) -> None:
        add = self.lines.append
        match field.kind:
            case "string" | "bytes":
                add(f"{indent}n = b[i]; i += 1")
                add(f"{indent}if n & 0x81: n, i = read_length(b, i - 1)")
                add(f"{indent}else: n >>= 1")
                text = ".decode()" if field.kind == "string" else ""
                add(f"{indent}j = i + n; {name} = b[i:j]{text}; i = j")
            case "int" | "long":
                add(f"{indent}n = b[i]; i += 1")
                add(f"{indent}if n & 0x81: {name}, i = read_long(b, i - 1)")
                add(f"{indent}else: {name} = n >> 1")
                if field.kind == "int":
                    add(f"{indent}if {name} > {INT_MAX} or {name} < {INT_MIN}: check_int({name})")
            case "boolean":
                add(f"{indent}n = b[i]; i += 1")
                add(f"{indent}if n > 1: fail('a boolean that is neither 0 nor 1')")
                add(f"{indent}{name} = n == 1")
            case "fixed":
                add(f"{indent}j = i + {field.size}; {name} = b[i:j]; i = j")
            case "array":
                item = f"item_{field.items}"
                self.names[item] = READ_ITEM[str(field.items)]
                add(f"{indent}{name}, i = read_array(b, i, {item})")
            case "record":
                assert field.record is not None
                add(f"{indent}{name} = {self.lines_of(field.record, indent)}")
