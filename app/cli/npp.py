"""The command line `npp`. Each group of commands has its file in app/cli.

Exit codes: 0 done · 1 a check failed or a command was refused · 2 usage or settings · 3 Kafka, the
registry or a gateway does not answer · 4 not found · 5 no answer in time, it may still happen ·
130 interrupted.
"""

from __future__ import annotations

import functools
import signal
import sys
import threading
import traceback
from typing import Any, Final

import typer
import typer.main

from app import logs, redaction
from app.cli.cluster import broker, config, demo, doctor, replay, run, schemas, topics, trial
from app.cli.control import group as control
from app.cli.data_option import give_data_option
from app.cli.operators import (
    approval,
    audit,
    conflict,
    evidence,
    incident,
    keys,
    quarantine,
    token,
    top,
)
from app.cli.output import error_console, print_json
from app.cli.payment import group as payment
from app.exits import ExitCode, Problem, usage
from engine.errors import EngineError

HELP: Final = (
    "Payments over Kafka. Start with `npp demo`; on your own cluster, with `npp topics apply`.\n\n"
    "Settings come from NPP_* variables (`npp config`), or from a demo's folder (--data DIR). Exit "
    "codes: 0 done, 1 failed or refused, 2 usage, 3 unreachable, 4 not found, 5 no answer in time."
)
BEGIN: Final = "Begin"
OPERATE: Final = "Operate"
SET_UP: Final = "Set up and run"

app = typer.Typer(
    name="npp",
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command(rich_help_panel=BEGIN)(demo.demo)
app.command(rich_help_panel=BEGIN)(doctor.doctor)
app.command(rich_help_panel=BEGIN)(config.config)
app.command(rich_help_panel=OPERATE)(top.top)
app.add_typer(payment.app, name="payment", rich_help_panel=OPERATE)
app.add_typer(approval.app, name="approval", rich_help_panel=OPERATE)
app.add_typer(conflict.app, name="conflict", rich_help_panel=OPERATE)
app.add_typer(quarantine.app, name="quarantine", rich_help_panel=OPERATE)
app.add_typer(evidence.app, name="evidence", rich_help_panel=OPERATE)
app.add_typer(incident.app, name="incident", rich_help_panel=OPERATE)
app.command(rich_help_panel=OPERATE)(audit.audit)
app.add_typer(control.app, name="control", rich_help_panel=OPERATE)
app.add_typer(keys.app, name="keys", rich_help_panel=OPERATE)
app.add_typer(replay.app, name="replay", rich_help_panel=OPERATE)
app.add_typer(schemas.app, name="schemas", rich_help_panel=SET_UP)
app.add_typer(topics.app, name="topics", rich_help_panel=SET_UP)
app.add_typer(run.app, name="run", rich_help_panel=SET_UP)
app.add_typer(broker.app, name="broker", rich_help_panel=SET_UP)
app.add_typer(trial.app, name="trial", rich_help_panel=SET_UP)
app.command(rich_help_panel=SET_UP)(token.token)


@functools.cache
def parser() -> Any:
    """The parser of every command, built once for a process."""
    root = typer.main.get_command(app)
    give_data_option(root)
    return root


def main() -> None:
    """Entry point: run a command, print a problem in words, exit with its code."""
    interrupted = threading.Event()

    def interrupt(_: int, frame: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        code = run_cli(sys.argv[1:])
    except Exception as error:  # noqa: BLE001 a defect: its text may quote anything
        if isinstance(error, SystemError) and interrupted.is_set():
            code = int(ExitCode.INTERRUPTED)  # Kafka's client can lose the KeyboardInterrupt
        else:
            say_defect(error)
            code = int(ExitCode.FAILED)
    sys.exit(code)


def run_cli(arguments: list[str]) -> int:
    """The exit code of `npp` with these arguments; nothing but a defect raises. With --json a
    refusal is JSON too, for every command.
    """
    logs.for_commands()
    tell = say_json if "--json" in arguments else say
    try:
        _refuse_empty_values(arguments)
        result = parser()(args=arguments, standalone_mode=False)
    except Problem as problem:
        tell(problem)
        return int(problem.code)
    except EngineError as error:
        tell(unreachable(error))
        return int(ExitCode.UNREACHABLE)
    except (KeyboardInterrupt, typer.Abort):
        return int(ExitCode.INTERRUPTED)
    except typer.Exit as stop:
        return stop.exit_code
    except Exception as error:
        if not (hasattr(error, "format_message") and hasattr(error, "exit_code")):
            raise
        # A usage error of the parser.
        context = getattr(error, "ctx", None)
        do = "" if context is None else f"{context.command_path} --help"
        tell(usage(error.format_message(), do=do))
        return int(error.exit_code)
    return result if isinstance(result, int) else int(ExitCode.OK)


def _refuse_empty_values(arguments: list[str]) -> None:
    """An empty value is a variable that was not set, and never means "all". Raises Problem."""
    for before, word in zip(["", *arguments], arguments, strict=False):
        if word == "" or (word.startswith("--") and word.endswith("=")):
            name = word.rstrip("=") or (before if before.startswith("-") else "an argument")
            raise usage(f"The value of {name} is empty.", do="Is a variable of the shell not set?")


def say_defect(error: BaseException) -> None:
    """Where a defect is; on standard error, without what acts on a terminal and without secrets."""
    console = error_console()
    for line in "".join(traceback.format_exception(error)).rstrip("\n").split("\n"):
        console.print(redaction.text(line))


def say(problem: Problem) -> None:
    """What happened, what it means, what to do; on standard error."""
    console = error_console()
    for line in redaction.text(f"npp: {problem.what}").split("\n"):
        console.print(line, style="bold red")
    if problem.means:
        console.print(redaction.text(problem.means))
    if problem.do:
        console.print(f"→ {redaction.text(problem.do)}")


def say_json(problem: Problem) -> None:
    """The problem as one line of JSON on standard output, where the answer would be."""
    print_json(problem.document(), indent=False)


def unreachable(error: EngineError) -> Problem:
    """An error of the client library as a Problem."""
    return Problem(
        f"Kafka: {error}",
        means="The cluster did not answer, or denied the request.",
        do="NPP_BOOTSTRAP_SERVERS, NPP_KAFKA_*, access rules; `npp doctor` checks them.",
        code=ExitCode.UNREACHABLE,
    )


if __name__ == "__main__":
    main()
