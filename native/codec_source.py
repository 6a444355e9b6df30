"""The codec of the hot record types as typed Python, made from the same shapes as the generated
backend's and with the same rules; tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, assert_never

from core.values import Parties
from schemas import definitions
from schemas.catalogue import RECORD_BY_NAME
from schemas.codec.shape import Field, Shape, shape_of

STRUCTS: Final[dict[str, type]] = {**RECORD_BY_NAME, Parties.__name__: Parties}
WRITERS: Final = {
    "string": "write_string",
    "bytes": "write_bytes",
    "long": "write_long",
    "int": "write_int",
    "boolean": "write_boolean",
}
TYPES: Final = {
    "string": "str",
    "bytes": "bytes",
    "fixed": "bytes",
    "long": "int",
    "int": "int",
    "boolean": "bool",
    "array": "tuple[str, ...]",
}
HEAD: Final = '''# mypy: disable-error-code="arg-type"
"""Made by native/codec_source.py. A record's texts and numbers get their own types here."""

from __future__ import annotations

from typing import Any, final

from librt.strings import BytesWriter
from mypy_extensions import i64

from schemas.codec.native_binary import (
    end,
    read_boolean,
    read_branch,
    read_bytes,
    read_int,
    read_long,
    read_string,
    read_strings,
    write_boolean,
    write_bytes,
    write_fixed,
    write_int,
    write_long,
    write_string,
    write_strings,
)
'''


def source(names: Iterable[str]) -> str:
    """A module with `ENCODERS` and `DECODERS`: by record name, for its current schema."""
    made = _Source()
    names = sorted(names)
    for name in names:
        made.record(shape_of(STRUCTS[name], definitions.current(name)))
    imports = "\n".join(
        f"from {module} import {', '.join(sorted(found))}"
        for module, found in sorted(made.imports.items())
    )
    encoders = "".join(f'    "{name}": Encoder{name},\n' for name in names)
    decoders = "".join(f'    "{name}": decode_{name},\n' for name in names)
    tables = [
        f"ENCODERS: dict[str, Any] = {{\n{encoders}}}",
        f"DECODERS: dict[str, Any] = {{\n{decoders}}}\n",
    ]
    return "\n\n".join([HEAD + imports, *made.functions, *tables])


class _Source:
    """The functions made so far, and what they import."""

    def __init__(self) -> None:
        self.functions: list[str] = []
        self.imports: dict[str, set[str]] = {}
        self._made: set[str] = set()

    def record(self, shape: Shape) -> None:
        name = self._both(shape)
        self.functions.append(
            f"@final\n"
            f"class Encoder{name}:\n"
            f"    def __init__(self, prefix: bytes) -> None:\n"
            f"        self.prefix = prefix\n\n"
            f"    def __call__(self, record: {name}) -> bytes:\n"
            f"        out = BytesWriter()\n"
            f"        out.write(self.prefix)\n"
            f"        write_{name}(out, record)\n"
            f"        return out.getvalue()\n\n\n"
            f"def decode_{name}(data: bytes, at: int) -> {name}:\n"
            f"    start: i64 = at\n"
            f"    record, after = read_{name}(data, start)\n"
            f"    end(data, after)\n"
            f"    return record\n"
        )

    def _both(self, shape: Shape) -> str:
        name = shape.struct.__name__
        if name not in self._made:
            self._made.add(name)
            self.imports.setdefault(shape.struct.__module__, set()).add(name)
            for field in shape.fields:
                if field.record is not None:
                    self._both(field.record)
            self.functions += [_writer(shape, name), _reader(shape, name)]
        return name


def _writer(shape: Shape, name: str) -> str:
    lines = [f"def write_{name}(out: BytesWriter, record: {name}) -> None:"]
    for number, field in enumerate(shape.fields):
        value = f"record.{field.attribute}"
        if field.optional:
            lines += [
                f"    v{number} = {value}",
                f"    if v{number} is None:",
                "        out.append(0)",
                "    else:",
                "        out.append(2)",
                f"        {_written(field, f'v{number}')}",
            ]
        else:
            lines.append(f"    {_written(field, value)}")
    return "\n".join(lines) + "\n"


def _written(field: Field, value: str) -> str:
    if field.record is not None:
        return f"write_{field.record.struct.__name__}(out, {value})"
    if field.kind == "fixed":
        return f"write_fixed(out, {value}, {field.size})"
    if field.kind == "array":
        if field.items != "string":
            raise ValueError(f"{field.name}: an array of {field.items} is not written here")
        return f"write_strings(out, {value})"
    return f"{WRITERS[field.kind]}(out, {value})"


def _reader(shape: Shape, name: str) -> str:
    if shape.unwritten:
        raise ValueError(f"{name} has more than its current schema")
    lines = [f"def read_{name}(data: bytes, at: i64) -> tuple[{name}, i64]:"]
    values = []
    for number, field in enumerate(shape.fields):
        variable = f"v{number}"
        values.append(f"{field.attribute}={variable}")
        if not field.optional:
            lines += [f"    {each}" for each in _read(field, variable)]
            continue
        kind = field.record.struct.__name__ if field.record else TYPES[field.kind]
        lines += [
            f"    {variable}: {kind} | None = None",
            "    is_there = read_branch(data, at)",
            "    at += 1",
            "    if is_there:",
            *(f"        {each}" for each in _read(field, f"s{number}")),
            f"        {variable} = s{number}",
        ]
    lines.append(f"    return {name}({', '.join(values)}), at")
    return "\n".join(lines) + "\n"


def _read(field: Field, variable: str) -> list[str]:
    if field.record is not None:
        return [f"{variable}, at = read_{field.record.struct.__name__}(data, at)"]
    match field.kind:
        case "fixed":
            return [f"{variable} = data[at : at + {field.size}]", f"at += {field.size}"]
        case "array":
            return [f"{variable}, at = read_strings(data, at)"]
        case "boolean":
            return [f"{variable} = read_boolean(data, at)", "at += 1"]
        case "string" | "bytes" | "int" | "long":
            return [f"{variable}, at = read_{field.kind}(data, at)"]
        case "record":
            raise ValueError(f"{field.name} is a record without a shape")
        case _:
            assert_never(field.kind)
