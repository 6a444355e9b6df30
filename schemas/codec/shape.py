"""The common shape of a struct in `core` and its Avro schema: what every backend is generated from.

A schema may be an older version: a field it lacks is not written and takes the struct's default.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterator
from typing import Any, Final, Literal, cast

import msgspec

from core.declared import camel_case, compiled, declared
from schemas.errors import SchemaMismatch

Kind = Literal["string", "bytes", "fixed", "int", "long", "boolean", "record", "array"]
Json = Any
"""A parsed .avsc, or a part of one."""

HASH_BYTES: Final = 32
PYTHON_TYPE: Final[dict[str, type]] = {
    "string": str,
    "bytes": bytes,
    "fixed": bytes,
    "int": int,
    "long": int,
    "boolean": bool,
}


class Field(msgspec.Struct, frozen=True):
    """One field. `items` is the kind of an array's items, `record` the shape of a nested record."""

    name: str
    attribute: str
    kind: Kind
    optional: bool
    size: int = 0
    items: Kind | None = None
    record: Shape | None = None


class Shape(msgspec.Struct, frozen=True):
    """A record as one schema writes it: `fields` in the schema's order.

    `unwritten` are the struct's attributes that the schema lacks, with the value they take.
    """

    struct: type
    schema: Json
    fields: tuple[Field, ...]
    unwritten: dict[str, Any]


def full_name(schema: Json) -> str:
    """Name of a record schema with its namespace."""
    name = str(schema["name"])
    namespace = schema.get("namespace")
    return f"{namespace}.{name}" if namespace and "." not in name else name


def shape_of(struct: type, schema: Json) -> Shape:
    """The shape of `struct` in `schema`. Raises SchemaMismatch naming every difference."""
    walk = _Walk()
    shape = walk.record(struct, schema)
    if walk.differences:
        raise SchemaMismatch("; ".join(walk.differences))
    return shape


def unwritten(shape: Shape) -> Iterator[str]:
    """Struct attributes anywhere in `shape` that its schema lacks: none, for a current schema."""
    for attribute in shape.unwritten:
        yield f"{shape.struct.__name__}.{attribute} is in the struct, not in the schema"
    for field in shape.fields:
        if field.record is not None:
            yield from unwritten(field.record)


class _Walk:
    """One walk over a struct and its schema, side by side."""

    def __init__(self) -> None:
        self.named: dict[str, Json] = {}
        self.differences: list[str] = []

    def record(self, struct: type, schema: Json) -> Shape:
        name = str(schema["name"])
        if name != struct.__name__:
            self.differences.append(f"struct {struct.__name__} is called {name} in the schema")
        self.named[name] = schema
        hints, of_struct = _declared(struct)
        attributes = dict(of_struct)
        fields = []
        for entry in schema["fields"]:
            attribute = attributes.pop(entry["name"], None)
            where = f"{name}.{entry['name']}"
            if attribute is None:
                self.differences.append(f"{where} is in the schema, not in the struct")
            else:
                fields.append(
                    self.field(where, attribute.name, hints[attribute.name], entry["type"])
                )
        rest: dict[str, Any] = {}
        for each in attributes.values():
            optional, _ = _without_none(hints[each.name])
            if each.default is not msgspec.NODEFAULT:
                rest[each.name] = each.default
            elif optional:
                rest[each.name] = None
            else:
                self.differences.append(f"{name}.{camel_case(each.name)} is not in the schema")
        return Shape(struct, schema, tuple(fields), rest)

    def field(self, where: str, attribute: str, hint: Any, schema: Json) -> Field:
        optional, python = _without_none(hint)
        if isinstance(schema, list):
            if len(schema) != 2 or schema[0] != "null" or not optional:
                self.differences.append(f"{where}: {hint} is written as {schema}")
            schema = schema[-1]
        elif optional:
            self.differences.append(f"{where}: {hint} is written as {schema}, never null")
        name = where.rpartition(".")[2]
        schema = self.named.get(schema, schema) if isinstance(schema, str) else schema
        kind = cast(Kind, schema if isinstance(schema, str) else schema["type"])
        if kind == "record":
            python = compiled(python)
            if not (isinstance(python, type) and issubclass(declared(python), msgspec.Struct)):
                self.differences.append(f"{where}: {hint} is written as a record")
                return Field(name, attribute, kind, optional)
            record = self.record(python, schema)
            return Field(name, attribute, kind, optional, record=record)
        if kind == "array":
            items = cast(Kind, schema["items"] if isinstance(schema["items"], str) else "record")
            if typing.get_args(python) != (PYTHON_TYPE.get(items), ...) or optional:
                self.differences.append(f"{where}: {hint} is written as an array of {items}")
            return Field(name, attribute, kind, optional, items=items)
        if PYTHON_TYPE.get(kind) is not python:
            self.differences.append(f"{where}: {hint} is written as {kind}")
        if kind == "fixed":
            self.named[schema["name"]] = schema
            return Field(name, attribute, kind, optional, size=int(schema["size"]))
        return Field(name, attribute, kind, optional)


@functools.cache
def _declared(
    struct: type,
) -> tuple[dict[str, Any], dict[str, msgspec.structs.FieldInfo]]:
    """Types by attribute, and fields by their names in schemas; read, never changed."""
    declaration = declared(struct)
    fields = {camel_case(each.name): each for each in msgspec.structs.fields(declaration)}
    return typing.get_type_hints(declaration), fields


def _without_none(hint: Any) -> tuple[bool, Any]:
    """(optional, the type without None). Money and ids of a type of their own are written as what
    they are at run time: a number, a text.
    """
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [each for each in typing.get_args(hint) if each is not type(None)]
        return len(rest) < len(typing.get_args(hint)), _plain(rest[0]) if len(rest) == 1 else hint
    return False, _plain(hint)


def _plain(hint: Any) -> Any:
    return getattr(hint, "__supertype__", hint)
