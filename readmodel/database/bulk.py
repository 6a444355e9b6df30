"""Writes many rows to PostgreSQL at once: COPY into a temporary table, then INSERT from there.

A statement for each row costs the client more than the server; binary COPY avoids that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from sqlalchemy import BigInteger, Boolean, LargeBinary, Text

from readmodel.database.session import Cursor
from readmodel.database.statements import Statements, Values, key_of
from readmodel.tables import METADATA

BULK_ROWS: Final = 20  # fewer are faster one by one
_TYPES: Final = ((Text, "text"), (BigInteger, "int8"), (Boolean, "bool"), (LargeBinary, "bytea"))


class Bulk:
    """Uses one temporary table per table and connection, which each commit empties."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    def distinct(self, table: str, values: Sequence[Values]) -> bool:
        """Whether all rows have different keys: one upsert statement cannot write a row twice."""
        whole = METADATA.tables[table]
        keys = key_of(whole)
        places = [at for at, column in enumerate(whole.columns) if column.name in keys]
        return len({tuple(row[at] for at in places) for row in values}) == len(values)

    def copy(self, cursor: Cursor, table: str, values: Sequence[Values]) -> None:
        """Copy rows into the temporary table. Once in each transaction for each table."""
        columns = self._statements.columns(table)
        cursor.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS bulk_{table} (LIKE {table}) "
            "ON COMMIT DELETE ROWS"
        )
        with cast(Any, cursor).copy(
            f"COPY bulk_{table} ({columns}) FROM STDIN (FORMAT BINARY)"
        ) as copy:
            copy.set_types(_types(table))
            write = copy.write_row
            for row in values:
                write(row)

    def insert(self, table: str) -> str:
        """SQL that inserts the copied rows; a row whose key exists stays as it is."""
        return f"{self._taking(table)} {self._statements.left_alone}"

    def upsert(self, table: str) -> str:
        """SQL that inserts the copied rows, or replaces those of their keys."""
        return f"{self._taking(table)} {self._statements.replacing(table)}"

    def _taking(self, table: str) -> str:
        columns = self._statements.columns(table)
        return f"INSERT INTO {table} ({columns}) SELECT {columns} FROM bulk_{table}"  # noqa: S608 — names of ours


def _types(table: str) -> list[str]:
    return [
        next(name for kind, name in _TYPES if isinstance(column.type, kind))
        for column in METADATA.tables[table].columns
    ]
