"""`npp replay verify|rebuild`: prove the log, and rebuild the read model from it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from app.cli.api_options import PAYMENT_ID
from app.cli.output import console, error_console, print_json
from app.cli.words import epoch_ms, moment
from app.cluster import Cluster
from app.config import settings
from app.control.proof import ProofRequest, keyring_of, prove, publish_proof
from app.control.proof_states import proof_reporter
from app.exits import ExitCode, Problem, usage
from evidence.keys import Keyring
from processors.replay import Limit, Report
from processors.replay.reporter import ProofReporter

FAILURES_SHOWN_MAX: Final = 5  # of each strength; --json lists up to 100
app = typer.Typer(help="Replay the log and prove it.", no_args_is_help=True)


@app.callback()
def replay() -> None:
    """Replay the log and prove it."""


@app.command("verify")
def verify_command(
    payment: Annotated[str, typer.Option(help="Only this payment.")] = "",
    to_offset: Annotated[
        int | None, typer.Option(min=0, help="Up to this offset of each journal partition.")
    ] = None,
    to_time: Annotated[
        str | None,
        typer.Option(help="Up to decisions at this time: ISO 8601 with zone.", callback=moment),
    ] = None,
    to_sequence: Annotated[
        int | None, typer.Option(min=1, help="Up to this event number (with --payment).")
    ] = None,
    keyring: Annotated[
        Path | None,
        typer.Option(help="Public keys of the verifier; default: <data dir>/verifier/keyring.json"),
    ] = None,
    from_checkpoint: Annotated[
        bool,
        typer.Option(
            "--from-checkpoint",
            help="Fold and chain from each partition's last good checkpoint on; earlier breaks "
            "are listed, but do not fail it.",
        ),
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(help="With --from-checkpoint: exclude this payment; may be repeated."),
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="Write ProofPassed to the control topic, for resume.")
    ] = False,
    publish_state: Annotated[
        bool, typer.Option("--tell", help="Show progress and result on the operators' dashboard.")
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            min=0, max=64, help="Processes, at most; 0: NPP_REPLAY_WORKERS, else one per core."
        ),
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
) -> None:
    """Prove the log: fold, chain, re-decide, identity, money. Exit 1 names the first difference.

    fold: events give the state of the lifecycle topic. chain: hashes and signatures hold.
    redecide: the inputs give the recorded events again, byte for byte, and every input is
    accounted for. identity: one payment for each source and idempotency key. money: what was
    held, taken and given back adds up to what was settled. Reads only; sends no instructions.
    """
    left_out = tuple(without or ())
    for each in left_out:
        if not PAYMENT_ID.fullmatch(each):
            raise usage(f"{each} is no paymentIntentId.")
    if payment and not PAYMENT_ID.fullmatch(payment):
        raise usage(f"{payment} is no paymentIntentId.")
    if to_sequence is not None and not payment:
        raise usage("--to-sequence goes with --payment.")
    until = None if to_time is None else epoch_ms(to_time, "--to-time")
    limit = Limit(offset=to_offset, time_ms=until, sequence=to_sequence)
    if publish and (payment or limit):
        raise usage("Only a replay of the whole log can be published.")
    if publish_state and (payment or limit or from_checkpoint):
        raise usage("The dashboard shows replays of the whole log: --tell goes with no part of it.")
    if left_out and not from_checkpoint:
        raise usage("--without goes with --from-checkpoint.")
    if from_checkpoint and (payment or limit):
        raise usage(
            "--from-checkpoint proves the whole log from there on: no --payment, no --to-…."
        )
    environment = settings.load()
    file = keyring or environment.keyring_file()
    with Cluster(environment) as cluster:
        report = replay_log(
            cluster,
            keyring_of(file),
            ProofRequest(payment or None, limit, from_checkpoint, left_out),
            bar=sys.stderr.isatty(),
            reporter=proof_reporter(cluster) if publish_state else None,
            workers=workers or None,
        )
        require_offset(report, to_offset)
        if payment:
            _require_found(report, payment, limit)
        if publish and report.passed:
            for line in publish_proof(cluster, report):
                error_console().print(line)
    if json:
        print_json(report.to_dict(), indent=False)
    else:
        print_report(report)
    raise typer.Exit(int(ExitCode.OK if report.passed else ExitCode.FAILED))


def require_offset(report: Report, offset: int | None) -> None:
    """Raises Problem for an end `offset` that no partition which was read has reached."""
    end = max(report.offsets, default=0)  # of partitions that were not read: 0
    if offset is not None and offset >= end:
        raise Problem(
            f"There is no journal offset {offset}: the log ends before {end}.",
            do="Give an existing offset, or none.",
            code=ExitCode.NOT_FOUND,
        )


def _require_found(report: Report, payment: str, limit: Limit) -> None:
    """A replay of nothing proves nothing: raises Problem for a payment that is not on the log, or
    has no such event.
    """
    if report.first_failure is not None:
        return
    if report.view is None:
        within = " within these limits" if limit else ""
        raise Problem(
            f"{payment} is not on the log{within}.",
            do="npp payment list",
            code=ExitCode.NOT_FOUND,
        )
    if limit.sequence is not None and report.view.sequence < limit.sequence:
        raise Problem(
            f"{payment} has no event {limit.sequence}; its last one is {report.view.sequence}.",
            code=ExitCode.NOT_FOUND,
        )


@app.command("rebuild")
def rebuild_command(
    json: Annotated[bool, typer.Option("--json", help="What was done as one JSON object.")] = False,
) -> None:
    """Rebuild the read model from offset zero next to the live one, then switch to it.

    Reads continue meanwhile, and so does the projector, which switches to the new one. If
    it fails or is interrupted, nothing changes.
    """
    from app.read_model import rebuild_read_model

    with _bar(sys.stderr.isatty()) as progress:
        task = progress.add_task("rebuilding", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None)

        done = rebuild_read_model(settings.load(), show)
    if json:
        print_json(msgspec.to_builtins(done), indent=False)
        return
    console().print(
        f"generation {done.generation} is now live: {done.records} records, {done.events} of them "
        f"events, in {done.seconds:.1f} s; {done.skipped} could not be read"
    )


def replay_log(
    cluster: Cluster,
    keyring: Keyring | None,
    requested: ProofRequest | None = None,
    *,
    bar: bool = False,
    reporter: ProofReporter | None = None,
    workers: int | None = None,
) -> Report:
    """Run the replay; `bar` draws progress on standard error, `reporter` publishes it."""
    with _bar(bar) as progress:
        task: TaskID = progress.add_task("reading", total=None)

        def show(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total or None)
            if reporter is not None:
                reporter.progress(done, total)

        if reporter is not None:
            reporter.began()
        report = None
        try:
            report = prove(cluster, keyring, show, requested, workers)
        finally:
            if reporter is not None:
                reporter.ended(report)
        return report


def _bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not shown,
    )


def print_report(report: Report) -> None:
    """One line per strength with its first failures, then the first difference of all."""
    out = console()
    for each in report.strengths():
        shown: dict[str, Any] = each.to_dict()
        out.print(
            f"{each.name:<9} {each.verdict:<14} {shown['checked']} checked, "
            f"{each.failure_count} failures"
        )
        for failure in each.failures[:FAILURES_SHOWN_MAX]:
            out.print(f"{'':<9} {failure.sentence()}")
        for reason, count in shown["notCheckable"].items():
            out.print(f"{'':<9} not checkable: {reason} ({count})")
    if report.base is not None:
        out.print(f"scope     {report.scope()}")
        for past in report.excused.failures:
            out.print(f"{'':<9} not judged: {past.sentence()}")
    inputs = report.inputs
    out.print(
        f"inputs    {inputs.read} read: {inputs.by_events} by events, {inputs.by_outcome} by "
        f"outcome, {inputs.by_quarantine} in quarantine, {inputs.pending} not yet decided, "
        f"{inputs.unaccounted} unaccounted for"
    )
    if report.view is not None:
        view = report.view
        out.print(f"payment   {view.state}, money {view.money_outcome}, event {view.sequence}")
    first = report.first_failure
    if first is None:
        out.print(f"PASSED in {report.seconds:.1f} s")
    else:
        out.print(f"FAILED: {first.sentence()}")
