"""SQL as text for one database's driver: the named queries, and inserts and upserts by table.

It is built once, when a model is opened. No value is ever part of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
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
    """The queries of `queries.sql`: name to text."""
    parts = _NAMED.split(QUERIES.read_text(encoding="utf-8"))
    return {parts[at]: parts[at + 2].strip() for at in range(1, len(parts), _NAMED.groups + 1)}


def encoder(table: str) -> Callable[[msgspec.Struct], Values]:
    """A function from a table's struct to the values as they are stored, in column order."""
    texts = texts_of(table)
    astuple = msgspec.structs.astuple
    # Of fewer than two columns `itemgetter` makes no tuple: those texts are checked one by one.
    picked = itemgetter(*texts) if len(texts) > 1 else None

    def encode(row: msgspec.Struct) -> Values:
        values: Values = astuple(row)
        # One check for all texts of a row: nearly every text is stored unchanged.
        if picked is not None and "".join(filter(None, picked(values))).isprintable():
            return values
        return [to_stored(value) if type(value) is str else value for value in values]

    return encode


def texts_of(table: str) -> list[int]:
    """The positions of a table's text columns."""
    columns = tables.METADATA.tables[table].columns
    return [at for at, column in enumerate(columns) if isinstance(column.type, Text)]


def decoder(table: str) -> Callable[[Values], Any]:
    """A function from a row of the driver to the table's struct."""
    struct = STRUCTS[table]
    columns = list(tables.METADATA.tables[table].columns)
    names = [column.name for column in columns]
    texts = texts_of(table)
    flags = [at for at, column in enumerate(columns) if isinstance(column.type, Boolean)]
    picked = itemgetter(*texts) if len(texts) > 1 else None

    def decode(stored: Values) -> Any:
        values = list(stored)
        if picked is None or SUB in "".join(filter(None, picked(stored))):
            for at in texts:
                value = values[at]
                if value is not None:
                    values[at] = from_stored(value)
        for at in flags:
            values[at] = bool(values[at])
        return struct(**dict(zip(names, values, strict=True)))

    return decode


class Statements:
    """All SQL in the syntax of one driver. `any_of` is its condition for "one of a list"."""

    def __init__(self, dialect: Dialect, any_of: str) -> None:
        self._quote = dialect.identifier_preparer.quote
        self._format = dialect.paramstyle
        self._any_of = any_of
        self.named = {name: self.compiled(text) for name, text in named_queries().items()}

    def compiled(self, text: str) -> str:
        """A query of `queries.sql` in the driver's syntax."""
        text = _ANY.sub(lambda found: self._any_of.format(found[1]), text)
        text = _COLUMNS.sub(lambda found: self.columns(found[1]), text)
        if self._format == "pyformat":
            return _PARAMETER.sub(r"%(\1)s", text.replace("%", "%%"))
        return text

    def columns(self, table: str) -> str:
        """The column list of a table, in the order of its struct."""
        return ", ".join(self._quote(name) for name in STRUCTS[table].__struct_fields__)

    def insert(self, table: str) -> str:
        """SQL that adds a row; one whose key exists stays as it is."""
        return f"{self._adding(table)} {self.left_alone}"

    def upsert(self, table: str) -> str:
        """SQL that adds a row or replaces the one of its key."""
        return f"{self._adding(table)} {self.replacing(table)}"

    left_alone: Final = "ON CONFLICT DO NOTHING"

    def replacing(self, table: str) -> str:
        """The ON CONFLICT clause that replaces the row of the same key, except what is FIXED."""
        whole = tables.METADATA.tables[table]
        keys = [column.name for column in whole.primary_key]
        left = {*keys, *tables.FIXED.get(table, ())}
        names = [name for name in STRUCTS[table].__struct_fields__ if name not in left]
        changes = ", ".join(f"{self._quote(n)} = excluded.{self._quote(n)}" for n in names)
        then = f"DO UPDATE SET {changes}" if names else "DO NOTHING"
        return f"ON CONFLICT ({', '.join(map(self._quote, keys))}) {then}"

    def by_key(self, table: str) -> str:
        """SQL that reads the row of a key."""
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
