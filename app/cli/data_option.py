"""`--data DIR`, which every command has: the folder that leads to a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main

from app.config import settings


def give_data_option(command: Any) -> None:
    """Add the option to every command below that does not have it."""
    for child in getattr(command, "commands", {}).values():
        give_data_option(child)
    if not hasattr(command, "commands") and all(
        "--data" not in each.opts for each in command.params
    ):
        command.params.append(_option())


def _option() -> Any:
    pattern = typer.Typer(add_completion=False)
    pattern.command()(_pattern)
    return typer.main.get_command(pattern).params[0]


def _lead(context: typer.Context, folder: Path | None) -> Path | None:
    """For as long as the command runs, settings are read as from this folder."""
    if folder is not None:
        context.with_resource(settings.led_by(folder))
    return folder


def _pattern(
    data: Annotated[
        Path | None,
        typer.Option(
            callback=_lead,
            expose_value=False,
            metavar="DIR",
            help="Data folder; if a demo runs in it, the command goes to that demo.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Never run: its one parameter is what every command is given."""
