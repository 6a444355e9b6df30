"""`npp demo`: the whole product on this machine, under load, proven."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.config.settings import DEFAULT_DATA_DIR


def demo(
    payments: Annotated[
        int, typer.Option(min=1, help="Good payments; faulty records are added.")
    ] = 2000,
    rate: Annotated[float, typer.Option(min=0, help="Records per second; 0 = full speed.")] = 30,
    once: Annotated[
        bool, typer.Option("--once", help="End once everything is at rest and proved.")
    ] = False,
    chaos: Annotated[
        bool,
        typer.Option("--chaos", help="kill -9 processors and adapters at random during the load."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The last line is one JSON object.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Begin with an empty folder.")] = False,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for data and logs.")
    ] = DEFAULT_DATA_DIR,
    seed: Annotated[int, typer.Option(help="Seed of load, behaviour, operators and kills.")] = 1,
    api_port: Annotated[int, typer.Option(min=0, max=65535, help="0 = a free one.")] = 0,
    pager: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Alertmanager posts alerts there, under /level-1, -2 and -3."
        ),
    ] = "",
) -> None:
    """Run everything on this machine under load, then prove the history.

    Kafka, registry, processors, adapters and simulators are started. The load is mixed: duplicates,
    garbage, late, duplicate, contradicting and missing callbacks, declined holds, rejections;
    operators act meanwhile. Without --once it keeps running until Ctrl-C, and every other command
    finds it with --data and this folder.
    """
    from app.demo import Options, run_demo

    options = Options(
        payments=payments,
        rate=rate,
        once=once,
        chaos=chaos,
        json=json,
        reset=reset,
        data=data,
        seed=seed,
        api_port=api_port,
        pager=pager.rstrip("/"),
    )
    raise typer.Exit(run_demo(options))
