"""Struct ↔ Avro datum (dicts, as fastavro has them), by functions written once per shape.

Beside it the upcasters: what a record of an earlier schema becomes before it is a struct.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from schemas.codec.shape import Shape

Datum = dict[str, Any]
Upcaster = Callable[[Datum], Datum]

# Record name → what to do to a datum that another than the current schema wrote, after its fields
# were resolved to the current ones. Only for changes of meaning that no default can express.
UPCASTERS: Final[Mapping[str, Upcaster]] = {}


def datum_writer(shape: Shape) -> Callable[[Any], Datum]:
    """A function struct → datum of `shape`."""
    names: dict[str, Any] = {}
    source = f"lambda r: {_datum_expression(shape, 'r', names)}"
    writer: Callable[[Any], Datum] = _evaluated(source, names)
    return writer


def struct_reader(shape: Shape) -> Callable[[Datum], Any]:
    """A function datum of `shape` → struct."""
    names: dict[str, Any] = {}
    source = f"lambda d: {_struct_expression(shape, 'd', names)}"
    reader: Callable[[Datum], Any] = _evaluated(source, names)
    return reader


def _datum_expression(shape: Shape, struct: str, names: dict[str, Any]) -> str:
    items = []
    for field in shape.fields:
        value = f"{struct}.{field.attribute}"
        if field.record is not None:
            inner = f"write_{field.record.struct.__name__}"
            names[inner] = datum_writer(field.record)
            expression = f"{inner}({value})"
            value = f"(None if {value} is None else {expression})" if field.optional else expression
        items.append(f"{field.name!r}: {value}")
    return "{" + ", ".join(items) + "}"


def _struct_expression(shape: Shape, datum: str, names: dict[str, Any]) -> str:
    values: dict[str, str] = {}
    for field in shape.fields:
        value = f"{datum}[{field.name!r}]"
        if field.record is not None:
            inner = f"read_{field.record.struct.__name__}"
            names[inner] = struct_reader(field.record)
            expression = f"{inner}({value})"
            value = f"(None if {value} is None else {expression})" if field.optional else expression
        elif field.kind == "array":
            value = f"tuple({value})"
        values[field.attribute] = value
    struct = shape.struct.__name__
    names[struct] = shape.struct
    for attribute, default in shape.unwritten.items():
        names[f"default_{struct}_{attribute}"] = default
        values[attribute] = f"default_{struct}_{attribute}"
    return f"{struct}({', '.join(f'{name}={value}' for name, value in values.items())})"


def _evaluated(source: str, names: dict[str, Any]) -> Any:
    return eval(source, names)  # noqa: S307 — our own text, made from our own schemas
