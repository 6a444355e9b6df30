"""Brings the tables of a generation to the newest revision."""

from __future__ import annotations

from sqlalchemy import Engine

from adapters.readmodel.tables import METADATA


def migrate(engine: Engine) -> None:
    """Safe to call on a database that is up to date."""
    METADATA.create_all(engine)
