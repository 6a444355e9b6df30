"""Migrates the tables of a generation to the newest revision, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from readmodel.database.session import down

REVISIONS: Final = Path(__file__).with_name("migrations")


def migrate(engine: Engine, begin: Sequence[str]) -> None:
    """Migrate; a no-op on up-to-date tables. The engine's connections autocommit, so the statements
    `begin` start the transaction. The tables go to the connection's search path or file. Raises
    ReadModelDown.
    """
    config = Config()
    config.set_main_option("script_location", str(REVISIONS).replace("%", "%%"))
    try:
        with engine.connect() as connection:
            for statement in begin:
                connection.exec_driver_sql(statement)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except (OperationalError, InterfaceError) as error:
        raise down(error.orig or error) from error
