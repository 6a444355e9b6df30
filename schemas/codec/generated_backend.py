"""A backend of the codec: it generates Python for each record type, from struct to bytes and back.

Strict: malformed bytes are refused, and nothing is allocated that they do not hold.
"""

from __future__ import annotations

import json
from functools import lru_cache
from types import CodeType
from typing import Any, Final, assert_never

from core.header import Cause
from schemas.codec import Decoder, Encoder
from schemas.codec.avro_binary import (
    INT_MAX,
    INT_MIN,
    INTS,
    LONGS,
    READ_ITEM,
    WRITE_ITEM,
    check_int,
    check_size,
    fail,
    read_array,
    read_length,
    read_long,
    write_array,
)
from schemas.codec.shape import Field, Shape

CODES_MAX: Final = 1_024  # some two hundred record types, a reader and a writer each


def remembering(encode: Encoder) -> Encoder:
    """`encode` for frozen structs; keeps the last result: all events of an input share a cause."""
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
    code = _code("\n".join(source), f"<{function} {shape.struct.__name__}>")
    exec(code, names)  # noqa: S102 — generated from our own schemas, without any input
    return names[function]


@lru_cache(maxsize=CODES_MAX)
def _code(source: str, name: str) -> CodeType:
    """Compiling costs most of a codec; a record type is on several topics, in several codecs."""
    return compile(source, name, "exec")


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
            case _:
                assert_never(field.kind)


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
            case _:
                assert_never(field.kind)
