"""STOP and its end, rule sets, recovery: records on the control topic that every process obeys."""

from __future__ import annotations

import secrets
from typing import Annotated, Final

import typer

from app import control_records, rule_files, settings
from app.cli.api_options import As
from app.cli.cluster import pass_over
from app.cli.output import console
from app.cluster import Cluster
from app.exits import ExitCode, Problem, usage
from app.recovery import carry_out, work_out
from control.fold import Control
from core.records import (
    ProcessingStopped,
    RecoverConfirmed,
    RecoverRequested,
    ResumeConfirmed,
    ResumeRequested,
)

PANEL: Final = "Control"
ID_BYTES: Final = 4

rules = typer.Typer(help="Rule sets: which numbered file of rules is in force.")


def register(app: typer.Typer) -> None:
    app.command("stop", rich_help_panel=PANEL)(stop)
    app.command("resume", rich_help_panel=PANEL)(resume)
    app.command("recover", rich_help_panel=PANEL)(recover)


def stop(
    reason: Annotated[str, typer.Option(help="Why, in words.")],
    operator: As,
) -> None:
    """Stop processing: inputs wait, nothing is submitted, until two persons resume.

    Takes effect within a second. Reading, evidence and verification go on.
    """
    stop_id = "stp_" + secrets.token_hex(ID_BYTES)
    with Cluster(settings.load()) as cluster:
        now = cluster.clock.now_ms()
        cluster.publish_control(ProcessingStopped(stop_id, reason, False, now, operator))
    console().print(f"{stop_id}: stopped. `npp replay verify --publish`, then `npp resume`.")


def resume(
    operator: As,
    request: Annotated[bool, typer.Option("--request", help="The first person asks.")] = False,
    confirm: Annotated[bool, typer.Option("--confirm", help="A second person agrees.")] = False,
    stop_id: Annotated[
        str, typer.Option("--stop", help="Which stop; default: the one that is open.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why it is safe to go on.")] = "",
) -> None:
    """End a STOP: one person requests, naming a replay passed since; another confirms.

    Before the request run `npp replay verify --publish`.
    """
    if request == confirm:
        raise usage("Say --request (first person) or --confirm (second person).")
    with Cluster(settings.load()) as cluster:
        control, _ = cluster.control()
        chosen = _open_stop(control, stop_id)
        if request:
            _request(cluster, control, chosen, operator, reason)
        else:
            _confirm(cluster, control, chosen, operator)


def _open_stop(control: Control, stop_id: str) -> str:
    open_stops = control.stops()
    if not open_stops:
        raise Problem("No stop is open.", means="Processing runs.", code=ExitCode.NOT_FOUND)
    names = [each.stop_id for each in open_stops]
    if stop_id and stop_id not in names:
        raise Problem(
            f"No stop {stop_id} is open.", do=f"Open: {', '.join(names)}", code=ExitCode.NOT_FOUND
        )
    if not stop_id and len(names) > 1:
        raise usage(f"{len(names)} stops are open.", do=f"--stop one of {', '.join(names)}")
    return stop_id or names[0]


def _request(cluster: Cluster, control: Control, stop_id: str, operator: str, reason: str) -> None:
    if not reason:
        raise usage("A request to resume needs --reason.")
    proof = control.latest_proof()
    refusal = "no replay has passed yet" if proof is None else control.proof_refusal(stop_id, proof)
    if proof is None or refusal is not None:
        raise Problem(
            f"{stop_id} cannot be resumed: {refusal}.",
            means="A stop ends only after the history has been proven since it began.",
            do="`npp replay verify --publish`, then ask again.",
        )
    now = cluster.clock.now_ms()
    cluster.publish_control(ResumeRequested(stop_id, proof, reason, now, operator))
    _show_proof(control, proof)
    console().print(f"{stop_id}: resume requested. A second person: npp resume --confirm --as …")


def _show_proof(control: Control, offset: int) -> None:
    """What the replay proved and what not: both persons answer for it."""
    proof = control.proof(offset)
    if proof is not None:
        again = "" if proof.redecide else " (decisions were not proven)"
        console().print(f"It rests on a replay, {proof.scope}{again}.")


def _confirm(cluster: Cluster, control: Control, stop_id: str, operator: str) -> None:
    offset = control.resume_request(stop_id)
    if offset is None:
        raise Problem(f"Nobody asked to resume {stop_id}.", do="npp resume --request --as …")
    record = ResumeConfirmed(stop_id, offset, cluster.clock.now_ms(), operator)
    refusal = control.resume_refusal(record)
    if refusal is not None:
        raise Problem(f"{stop_id} is not resumed: {refusal}.")
    request = control.resume_requested(offset)
    if request is not None:
        _show_proof(control, request.proof_offset)
    cluster.publish_control(record)
    folded, _ = cluster.control()
    left = [each.stop_id for each in folded.stops()]
    console().print(
        f"{stop_id}: resumed." + (f" Still stopped by {', '.join(left)}." if left else "")
    )


@rules.callback()
def _rules() -> None:
    """Rule sets: which numbered file of rules is in force."""


@rules.command("activate")
def activate(
    number: Annotated[int, typer.Argument(help="Of core/rules/<number>.yaml; numbers only rise.")],
    operator: As,
) -> None:
    """Put the next rule set in force, from the next batch of every instance on."""
    environment = settings.load()
    chosen = rule_files.chosen(number, environment.settings.profile)
    with Cluster(environment) as cluster:
        control, _ = cluster.control()
        if not control_records.next_rules(control, chosen):
            console().print(f"rule set {number} is in force already")
            return
        record = control_records.activation(chosen, cluster.clock.now_ms(), operator)
        cluster.publish_control(record)
    console().print(f"rule set {number} is in force (SHA-256 {chosen.sha256.hex()[:16]}…)")


def recover(
    operator: As,
    request: Annotated[bool, typer.Option("--request", help="The first person asks.")] = False,
    confirm: Annotated[str, typer.Option("--confirm", help="Request to confirm, rec_…")] = "",
    partition: Annotated[
        list[int] | None, typer.Option(help="Partition; may be repeated; default: all.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, in words.")] = "",
    passing: Annotated[
        str,
        typer.Option("--pass-over", help="With --request: topic:partition:offset of a batch."),
    ] = "",
) -> None:
    """After lost offsets or a lost log tail: go on from what the journal records. Two persons.

    Committed offsets are set to the first input of each topic and partition that neither journal,
    outcomes nor quarantine record, and the lifecycle topic is brought back to what the journal
    says. Every payments processor must be ended first.

    With --pass-over one batch that no client can read is passed over by the group that reads its
    topic, and nothing else is done; every process of that group must be ended before the
    confirmation.
    """
    if request == bool(confirm):
        raise usage("Say --request (first person) or --confirm rec_… (second person).")
    if request and not reason:
        raise usage("A request to recover needs --reason.")
    if passing and (confirm or partition):
        raise usage("--pass-over goes with --request, and without --partition: it names one.")
    with Cluster(settings.load()) as cluster:
        if passing:
            pass_over.request(cluster, operator, passing, reason)
        elif request:
            _request_recovery(cluster, operator, tuple(partition or ()), reason)
        else:
            _confirm_recovery(cluster, operator, confirm)


def _request_recovery(
    cluster: Cluster, operator: str, partitions: tuple[int, ...], reason: str
) -> None:
    request_id = "rec_" + secrets.token_hex(ID_BYTES)
    now = cluster.clock.now_ms()
    cluster.publish_control(RecoverRequested(request_id, partitions, reason, now, operator))
    console().print(f"{request_id}: requested. A second person: --confirm {request_id} --as …")


def _confirm_recovery(cluster: Cluster, operator: str, request_id: str) -> None:
    """Everything is worked out and written first, the confirmation last: until it stands on the
    control topic, a processor that has missed the log's tail stays halted.
    """
    control, _ = cluster.control()
    request = control.recover_request(request_id)
    if request is None:
        raise Problem(f"Nobody requested {request_id}.", code=ExitCode.NOT_FOUND)
    passes = request.topic is not None
    ends = ((), ()) if passes else ((-1,), (0,))
    draft = RecoverConfirmed(request_id, cluster.clock.now_ms(), operator, *ends)
    refusal = control.recover_refusal(draft)
    if refusal is not None:
        raise Problem(f"{request_id} is not carried out: {refusal}.")
    if passes:
        pass_over.confirm(cluster, operator, request)
        return
    recovery = work_out(cluster, request)
    carry_out(cluster, recovery, request_id, operator)
    cluster.publish_control(
        RecoverConfirmed(
            request_id,
            cluster.clock.now_ms(),
            operator,
            recovery.journal_ends,
            recovery.checkpoints,
        )
    )
    for line in recovery.lines():
        console().print(line)
