"""`npp broker start`: the embedded Kafka in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.output import print_json
from app.config.settings import DEFAULT_DATA_DIR
from app.exits import ExitCode, Problem
from app.platform.broker import BrokerError, run_foreground

app = typer.Typer(help="The embedded Kafka, for trials on this machine.", no_args_is_help=True)
DEFAULT_PORT = 9092


@app.callback()
def broker() -> None:
    """The embedded Kafka, for trials on this machine."""


def _print_place(bootstrap: str, folder: Path) -> None:
    print_json({"bootstrapServers": bootstrap, "data": str(folder)}, indent=False)


@app.command()
def start(
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Data folder; its own is DIR/kafka, kept.")
    ] = DEFAULT_DATA_DIR,
    port: Annotated[int, typer.Option(help="Port on loopback; 0 takes a free one.")] = DEFAULT_PORT,
    heap_mb: Annotated[int, typer.Option(help="Java heap in MB.")] = 512,
    json: Annotated[
        bool, typer.Option("--json", help="Print its address as JSON once it is up.")
    ] = False,
) -> None:
    """Start one Kafka node (KRaft) on loopback and keep it until Ctrl-C.

    Not for production: one node, no access control.
    """
    try:
        code = run_foreground(
            data / "kafka", port, heap_mb=heap_mb, up=_print_place if json else None
        )
    except BrokerError as error:
        raise Problem(
            str(error),
            means="Kafka did not start or ended by itself.",
            do=f"Is port {port} taken? Another folder: --data; a free port: --port 0.",
            code=ExitCode.UNREACHABLE,
        ) from error
    raise typer.Exit(code)
