"""`npp config`: the settings in force."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.table import Table

from app.cli.output import console, print_json
from app.config import settings
from app.config.shown import shown


def config(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Print the settings in force, secrets redacted, and unknown NPP variables.

    Business rules are not settings: they are in core/rules/<n>.yaml and are pinned by number.
    """
    environment = settings.load()
    rows = shown(environment)
    unknown = settings.unknown_variables(os.environ)
    if as_json:
        source = str(environment.env_file) if environment.env_file else None
        print_json({"settings": rows, "envFile": source, "unknown": unknown})
        return
    about = {
        settings.PREFIX + name.upper(): field.description or ""
        for name, field in settings.Settings.model_fields.items()
    }
    table = Table("variable", "value", "what it is", box=None)
    for name, value in rows.items():
        table.add_row(name, value or "-", about.get(name, "passed to the Kafka client"))
    console().print(table)
    if environment.env_file:
        console().print()
        console().print(f"A demo's settings were read from {environment.env_file}.")
    for name in unknown:
        console().print(f"Not a setting (misspelt?): {name}")
