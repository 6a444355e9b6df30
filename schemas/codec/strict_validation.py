"""Strict validation of Avro bytes of any schema before a lenient reader gets them.

It finds truncated, out-of-range or oversized fields, and allocates nothing.
"""

from __future__ import annotations

from typing import Final

from schemas.codec.avro_binary import read_block, read_int, read_length, read_long
from schemas.codec.shape import Json
from schemas.errors import Undecodable

DEPTH_MAX: Final = 16
NODES_MAX: Final = 2_000
VISITS_MAX: Final = 100_000  # values in one datum: a tenth of a second; ours have fewer than 100
FIXED_BYTES: Final = {"boolean": 1, "float": 4, "double": 8}


def check_schema(schema: Json) -> None:
    """Raises Undecodable for a schema that is recursive, too deep or too large, or that has arrays
    of items without bytes (null, empty records): five bytes can stand for fifty million of those.
    """
    try:
        _SchemaCheck().visit(schema, (), 0)
    except (KeyError, TypeError, AttributeError):  # parts that are missing, or of another type
        raise Undecodable("a schema that is none") from None


class _SchemaCheck:
    def __init__(self) -> None:
        self.nodes = 0
        self.named: dict[str, Json] = {}

    def visit(self, schema: Json, inside: tuple[str, ...], depth: int) -> int:
        """Least number of bytes a datum of `schema` has."""
        self.nodes += 1
        if depth > DEPTH_MAX or self.nodes > NODES_MAX:
            raise Undecodable("a schema that is nested too deep or too large")
        if isinstance(schema, list):
            if not schema:
                raise Undecodable("an empty union in the schema")
            return 1 + min(self.visit(each, inside, depth + 1) for each in schema)
        if isinstance(schema, str):
            name = schema.rpartition(".")[2]
            if name in inside:
                raise Undecodable("a recursive schema")
            if name in self.named:
                return self.visit(self.named[name], inside, depth + 1)
            return _least_bytes(schema)
        if not isinstance(schema, dict) or "type" not in schema:
            raise Undecodable("a schema that is none")
        return self._visit_dict(schema, inside, depth)

    def _visit_dict(self, schema: Json, inside: tuple[str, ...], depth: int) -> int:
        kind = schema["type"]
        if kind in ("record", "error"):
            name = str(schema["name"]).rpartition(".")[2]
            if name in inside:
                raise Undecodable("a recursive schema")
            self.named[name] = schema
            return sum(
                self.visit(each["type"], (*inside, name), depth + 1) for each in schema["fields"]
            )
        if kind in ("array", "map"):
            item = self.visit(schema["items" if kind == "array" else "values"], inside, depth + 1)
            if kind == "array" and item == 0:
                raise Undecodable("an array of items without bytes in the schema")
            return 1
        if kind == "fixed":
            self.named[str(schema["name"]).rpartition(".")[2]] = schema
            size = schema["size"]
            if type(size) is not int or size < 0:
                raise Undecodable("a schema that is none")
            return size
        if kind == "enum":
            self.named[str(schema["name"]).rpartition(".")[2]] = schema
            return 1
        return self.visit(kind, inside, depth + 1)


def _least_bytes(kind: str) -> int:
    if kind == "null":
        return 0
    if kind in ("int", "long", "bytes", "string"):
        return 1
    if kind in FIXED_BYTES:
        return FIXED_BYTES[kind]
    raise Undecodable("an unknown type in the schema")


def check_datum(schema: Json, value: bytes, at: int) -> None:
    """Raises Undecodable or IndexError unless value[at:] is one datum of a checked `schema`."""
    walk = _DatumCheck(value)
    end = walk.visit(schema, at)
    if end != len(value):
        raise Undecodable("truncated" if end > len(value) else "trailing bytes")


class _DatumCheck:
    def __init__(self, value: bytes) -> None:
        self.value = value
        self.named: dict[str, Json] = {}
        self.visits = 0

    def visit(self, schema: Json, at: int) -> int:
        """Offset after the datum of `schema` that starts at `at`."""
        self.visits += 1
        if self.visits > VISITS_MAX:
            raise Undecodable(f"more than {VISITS_MAX} values in one record")
        if at > len(self.value):
            raise Undecodable("truncated")
        if isinstance(schema, list):
            branch = self.value[at]
            if branch & 0x81 or branch >> 1 >= len(schema):
                raise Undecodable("no such union branch")
            return self.visit(schema[branch >> 1], at + 1)
        if isinstance(schema, str):
            named = self.named.get(schema.rpartition(".")[2])
            return self._leaf(schema, at) if named is None else self.visit(named, at)
        kind = schema["type"]
        if "name" in schema:
            self.named[str(schema["name"]).rpartition(".")[2]] = schema
        if kind in ("record", "error"):
            for field in schema["fields"]:
                at = self.visit(field["type"], at)
            return at
        if kind == "fixed":
            return at + int(schema["size"])
        if kind == "enum":
            symbol, at = read_int(self.value, at)
            if not 0 <= symbol < len(schema["symbols"]):
                raise Undecodable("no such enum symbol")
            return at
        if kind in ("array", "map"):
            return self._blocks(schema, kind, at)
        return self.visit(kind, at)

    def _blocks(self, schema: Json, kind: str, at: int) -> int:
        while True:
            count, at = read_block(self.value, at)
            if count == 0:
                return at
            for _ in range(count):
                if kind == "map":
                    at = self._leaf("string", at)
                at = self.visit(schema["items" if kind == "array" else "values"], at)

    def _leaf(self, kind: str, at: int) -> int:
        if kind == "null":
            return at
        if kind in ("string", "bytes"):
            length, at = read_length(self.value, at)
            if length > len(self.value) - at:
                raise Undecodable("truncated")
            if kind == "string":
                self.value[at : at + length].decode()
            return at + length
        if kind == "boolean" and self.value[at] > 1:
            raise Undecodable("a boolean that is neither 0 nor 1")
        if kind in FIXED_BYTES:
            return at + FIXED_BYTES[kind]
        return (read_int if kind == "int" else read_long)(self.value, at)[1]
