"""`npp trial up|down|status`: what the product needs around it, for a trial on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.api_options import answer
from app.cli.output import console, print_json
from app.config.settings import DEFAULT_DATA_DIR
from app.exits import ExitCode, Problem

app = typer.Typer(
    help="Kafka, a schema registry and simulators on this machine, to run the product by hand.",
    no_args_is_help=True,
)
Data = Annotated[Path, typer.Option(metavar="DIR", help="Folder for data and logs, kept.")]
Json = Annotated[bool, typer.Option("--json", help="The answer as one JSON object.")]


@app.callback()
def trial() -> None:
    """Kafka, a schema registry and simulators on this machine, to run the product by hand."""


@app.command()
def up(data: Data = DEFAULT_DATA_DIR, json: Json = False) -> None:
    """Start them in the background, with topics, schemas and the demo's rule set.

    Not for production: one broker, no access control, simulated rail, ledger and policy.
    """
    from app.demo import trial

    _show(trial.up(data.absolute()), json=json)


@app.command()
def status(data: Data = DEFAULT_DATA_DIR, json: Json = False) -> None:
    """Where everything is; exit 3 when nothing runs in this folder."""
    from app.demo import trial

    found = trial.status(data.absolute())
    if found is None:
        raise Problem(
            f"No trial is up in {data}.", do="npp trial up starts one.", code=ExitCode.UNREACHABLE
        )
    _show(found, json=json)


@app.command()
def down(data: Data = DEFAULT_DATA_DIR, json: Json = False) -> None:
    """End them; the data stays, and `npp trial up` continues with it."""
    from app.demo import trial

    ended = trial.down(data.absolute())
    words = f"ended; the data stays in {data}" if ended else f"no trial is up in {data}"
    answer({"ended": ended, "data": str(data.absolute())}, json, words)


@app.command(hidden=True)
def hold(data: Data = DEFAULT_DATA_DIR) -> None:
    """What `up` starts: keeps everything up until SIGTERM."""
    from app.demo import trial

    raise typer.Exit(trial.hold(data.absolute()))


def _show(found: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(found, indent=False)
        return
    out = console()
    out.print(f"Kafka            {found['bootstrap']}")
    out.print(f"schema registry  {found['registry']}")
    for name, url in found["simulators"].items():
        out.print(f"{name:<16} {url} (simulator)")
    out.print(f"API              {found['api']} once `npp run api` runs")
    out.print("In each shell:")
    out.print(f"  {found['eval']}")
