"""How a compiled class of the packed state writes and reads itself: methods as typed Python, made
from the struct's own fields. The bytes are those of msgspec; tests hold the two against each other.
"""

from __future__ import annotations

import ast
from typing import Final, get_args, get_origin, get_type_hints

IMPORTS: Final = (
    "from librt.strings import BytesWriter",
    "from mypy_extensions import i64",
    "from core.native_msgpack import expect_array, read_array, read_bool, read_bytes, read_int",
    "from core.native_msgpack import read_map, read_str, write_array, write_bool, write_bytes",
    "from core.native_msgpack import write_int, write_map, write_none, write_str",
)
PLAIN: Final[dict[object, str]] = {bool: "bool", int: "int", str: "str", bytes: "bytes"}
NONE: Final = 0xC0


def methods(struct: type, fields: list[ast.AnnAssign]) -> list[str]:
    """The lines of `write_to`, `packed`, `read_from` and `unpacked`. Raises ValueError for a field
    of a type that is not written here.
    """
    name, hints = struct.__name__, get_type_hints(struct)
    writes, reads, arguments = [], [], []
    for number, each in enumerate(fields):
        field = ast.unparse(each.target)
        local = f"v{number}"
        writes += _written(hints[field], f"self.{field}", local)
        reads += _read(hints[field], local, ast.unparse(each.annotation))
        arguments.append(f"{field}={local}")
    return [
        "    def write_to(self, out: BytesWriter) -> None:",
        f"        write_array(out, {len(fields)})",
        *(f"        {line}" for line in writes),
        "    def packed(self) -> bytes:",
        "        out = BytesWriter()",
        "        self.write_to(out)",
        "        return out.getvalue()",
        "    @staticmethod",
        f"    def read_from(data: bytes, at: i64) -> tuple[{name}, i64]:",
        f"        at = expect_array(data, at, {len(fields)})",
        *(f"        {line}" for line in reads),
        f"        return {name}({', '.join(arguments)}), at",
        "    @staticmethod",
        f"    def unpacked(data: bytes) -> {name} | None:",
        "        try:",
        f"            value, at = {name}.read_from(data, 0)",
        "        except (IndexError, ValueError):",
        "            return None",
        "        return value if at == len(data) else None",
    ]


def _plain(hint: object) -> str | None:
    """int, str, bytes or bool, also behind a NewType; None for others."""
    return PLAIN.get(getattr(hint, "__supertype__", hint))


def _optional(hint: object) -> str | None:
    """What a plain value or None is, if it is not None."""
    kinds = get_args(hint)
    if len(kinds) != 2 or type(None) not in kinds:
        return None
    return _plain(kinds[0])


def _written(hint: object, value: str, local: str) -> list[str]:
    if kind := _plain(hint):
        return [f"write_{kind}(out, {value})"]
    if kind := _optional(hint):
        return [
            f"{local} = {value}",
            f"if {local} is None:",
            "    write_none(out)",
            "else:",
            f"    write_{kind}(out, {local})",
        ]
    if get_origin(hint) is list:
        return [
            f"write_array(out, len({value}))",
            f"for {local} in {value}:",
            f"    {local}.write_to(out)",
        ]
    key, item = _pair(hint)
    return [
        f"write_map(out, len({value}))",
        f"for {local}, {local}_item in {value}.items():",
        f"    write_{key}(out, {local})",
        f"    write_{item}(out, {local}_item)",
    ]


def _read(hint: object, local: str, annotation: str) -> list[str]:
    if kind := _plain(hint):
        return _read_plain(kind, local)
    if kind := _optional(hint):
        return [
            f"{local}: {kind} | None = None",
            f"if data[at] == {NONE}:",
            "    at += 1",
            "else:",
            *(f"    {line}" for line in _read_plain(kind, local)),
        ]
    loop = [
        f"{local}: {annotation} = {'[]' if get_origin(hint) is list else '{}'}",
        f"while {local}_left > 0:",
        f"    {local}_left -= 1",
    ]
    if get_origin(hint) is list:
        (item,) = get_args(hint)
        return [
            f"{local}_left, at = read_array(data, at)",
            *loop,
            f"    {local}_item, at = {item.__name__}.read_from(data, at)",
            f"    {local}.append({local}_item)",
        ]
    key, value = _pair(hint)
    return [
        f"{local}_left, at = read_map(data, at)",
        *loop,
        f"    {local}_key, at = read_{key}(data, at)",
        f"    {local}_value, at = read_{value}(data, at)",
        f"    {local}[{local}_key] = {local}_value",
    ]


def _read_plain(kind: str, local: str) -> list[str]:
    if kind == "bool":
        return [f"{local} = read_bool(data, at)", "at += 1"]
    return [f"{local}, at = read_{kind}(data, at)"]


def _pair(hint: object) -> tuple[str, str]:
    """Key and value of a dict of plain values. Raises ValueError for anything else."""
    found = [_plain(each) for each in get_args(hint)]
    if get_origin(hint) is not dict or None in found:
        raise ValueError(f"a field of type {hint} is not written here")
    return str(found[0]), str(found[1])
