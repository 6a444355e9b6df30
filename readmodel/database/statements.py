"""SQL as text for one database's driver: the named queries, and inserts and upserts by table.

Made once when a model is opened; no value is ever part of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Boolean, Table, Text
from sqlalchemy.engine import Dialect

from readmodel import tables
from readmodel.database.texts import SUB, from_stored, to_stored
from readmodel.tables import STRUCTS

QUERIES: Final = Path(__file__).with_name("queries.sql")

_NAMED: Final = re.compile(r"^-- name: (\w+)\n((?:--.*\n)*)", re.MULTILINE | re.ASCII)
_PARAMETER: Final = re.compile(r"(?<![:\w]):([a-z_]+)", re.ASCII)
_ANY: Final = re.compile(r"\{=any (\w+)\}", re.ASCII)
_COLUMNS: Final = re.compile(r"\{(\w+)\}", re.ASCII)

Values = Sequence[Any]


def named_queries() -> dict[str, str]:
    """Name → text as it is in `queries.sql`."""
    parts = _NAMED.split(QUERIES.read_text(encoding="utf-8"))
    return {parts[at]: parts[at + 2].strip() for at in range(1, len(parts), _NAMED.groups + 1)}


def encode(row: msgspec.Struct) -> Values:
    """The values of a row as they are stored."""
    return [
        to_stored(value) if type(value) is str else value for value in msgspec.structs.astuple(row)
    ]


def decoder(table: str) -> Callable[[Values], Any]:
    """Makes rows of a table's struct from what the driver gives."""
    struct = STRUCTS[table]
    columns = list(tables.METADATA.tables[table].columns)
    texts = [at for at, column in enumerate(columns) if isinstance(column.type, Text)]
    flags = [at for at, column in enumerate(columns) if isinstance(column.type, Boolean)]

    def decode(stored: Values) -> Any:
        values = list(stored)
        for at in texts:
            value = values[at]
            if value is not None and SUB in value:
                values[at] = from_stored(value)
        for at in flags:
            values[at] = bool(values[at])
        return struct(*values)

    return decode


class Statements:
    """All SQL of one database's driver. `any_of` says how it asks for one of a list."""

    def __init__(self, dialect: Dialect, any_of: str) -> None:
        self._quote = dialect.identifier_preparer.quote
        self._format = dialect.paramstyle
        self._any_of = any_of
        self.named = {name: self.compiled(text) for name, text in named_queries().items()}

    def compiled(self, text: str) -> str:
        """The text as the driver wants it."""
        text = _ANY.sub(lambda found: self._any_of.format(found[1]), text)
        text = _COLUMNS.sub(lambda found: self.columns(found[1]), text)
        if self._format == "pyformat":
            return _PARAMETER.sub(r"%(\1)s", text.replace("%", "%%"))
        return text

    def columns(self, table: str) -> str:
        """The columns of the table's struct."""
        return ", ".join(self._quote(name) for name in STRUCTS[table].__struct_fields__)

    def insert(self, table: str) -> str:
        """Adds a row; one whose key exists is left as it is."""
        return f"{self._adding(table)} ON CONFLICT DO NOTHING"

    def upsert(self, table: str) -> str:
        """Adds a row or replaces the one of its key."""
        whole = tables.METADATA.tables[table]
        keys = [column.name for column in whole.primary_key]
        names = [name for name in STRUCTS[table].__struct_fields__ if name not in keys]
        changes = ", ".join(f"{self._quote(n)} = excluded.{self._quote(n)}" for n in names)
        then = f"DO UPDATE SET {changes}" if names else "DO NOTHING"
        return f"{self._adding(table)} ON CONFLICT ({', '.join(map(self._quote, keys))}) {then}"

    def by_key(self, table: str) -> str:
        """The row of a key."""
        keys = key_of(tables.METADATA.tables[table])
        where = " AND ".join(f"{self._quote(key)} = {self._mark}" for key in keys)
        return f"SELECT {self.columns(table)} FROM {table} WHERE {where}"  # noqa: S608 — names of ours

    def _adding(self, table: str) -> str:
        marks = ", ".join([self._mark] * len(STRUCTS[table].__struct_fields__))
        return f"INSERT INTO {table} ({self.columns(table)}) VALUES ({marks})"  # noqa: S608 — ours

    @property
    def _mark(self) -> str:
        return "%s" if self._format == "pyformat" else "?"


def key_of(table: Table) -> list[str]:
    """Names of the columns of a table's primary key."""
    return [column.name for column in table.primary_key]
