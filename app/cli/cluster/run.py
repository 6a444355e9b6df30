"""`npp run …`: the processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from app import logs
from app.config import settings
from app.config.settings import Environment
from app.exits import Problem, usage
from engine.clients.first_answer import topic_names
from engine.errors import EngineError
from schemas import topology

Json = Annotated[
    bool,
    typer.Option("--json", help="Log lines as JSON on a terminal too (elsewhere they always are)."),
]
app = typer.Typer(
    help="Run a process until SIGTERM; health and metrics on NPP_METRICS_PORT.",
    no_args_is_help=True,
)


def _with_topics(environment: Environment) -> Environment:
    """Raises Problem if the cluster answers but lacks our topics. The process itself reports other
    problems, and waits for dependencies.
    """
    try:
        found = topic_names(environment.connection())
    except (EngineError, Problem):
        return environment
    if topology.CONTROL not in found:
        raise Problem(
            f"The cluster has no topic {topology.CONTROL}, or this identity may not see it.",
            means="There are no topics yet, so nothing is started.",
            do="`npp schemas register && npp topics apply`. If the topics exist: access rules.",
        )
    return environment


def _run(json: bool, run: Callable[..., int], *options: Any, topics: bool = True) -> None:
    """Run the process of `app.wiring`; `topics`: it starts only where there are some."""
    logs.as_json_lines(json)
    environment = settings.load()
    raise typer.Exit(run(_with_topics(environment) if topics else environment, *options))


@app.command()
def payments(json: Json = False) -> None:
    """The payments processor. More instances = more partitions in parallel.

    Exactly once: state, events, instructions and offsets are one Kafka transaction. Each instance
    needs its own NPP_INSTANCE_ID, kept over restarts.
    """
    from app.wiring import run_payments

    _run(json, run_payments)


@app.command()
def adapters(
    only: Annotated[
        list[str] | None,
        typer.Option(help="rail, deposits, resolve, notifications or redriver; may be repeated."),
    ] = None,
    json: Json = False,
) -> None:
    """The adapters to the rail, Deposits Core, Resolve and notifications, and the redriver."""
    from app.wiring import ADAPTERS, run_adapters

    for name in only or ():
        if name not in ADAPTERS:
            raise usage(f"There is no adapter {name}.", do=f"One of {', '.join(ADAPTERS)}.")
    _run(json, run_adapters, only)


@app.command()
def verifier(json: Json = False) -> None:
    """The verifier: decides new events again and signs checkpoints."""
    from app.wiring import run_verifier

    _run(json, run_verifier)


@app.command()
def projector(json: Json = False) -> None:
    """The projector: fills the read model behind the API. A second one stands by."""
    from app.wiring import run_projector

    _run(json, run_projector)


@app.command()
def monitor(json: Json = False) -> None:
    """The monitor: opens and resolves incidents on the key metrics. A second one waits."""
    from app.wiring import run_monitor

    _run(json, run_monitor, topics=False)


@app.command()
def replay(
    every_hours: Annotated[
        float,
        typer.Option(
            min=0.01, max=24 * 31, help="From the start of one proof to the start of the next."
        ),
    ] = 24.0,
    json: Json = False,
) -> None:
    """Proves the whole log at once and again on a schedule. A failed proof is a STOP.

    A pass is published for `npp control resume`. It reads only, and needs NPP_PROCESS_KEY_FILE.
    """
    from app.wiring import run_replay

    _run(json, run_replay, every_hours * 3_600)


@app.command()
def api(json: Json = False) -> None:
    """The operators' HTTP interface, on NPP_API_HOST and NPP_API_PORT; OpenAPI at /openapi.json."""
    from app.wiring import run_api

    _run(json, run_api)
