"""`npp control recover`: continue after lost offsets, a lost log tail, or one unreadable batch."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.api_options import ActAs, Json, Request, answer, require_one
from app.cli.control import pass_over
from app.cli.output import as_json
from app.cli.signing import ActSigner, Key, of_control, signer_of
from app.cluster import Cluster, act_id
from app.config import settings
from app.exits import ExitCode, Problem, usage
from app.recovery import carry_out, work_out
from control.fold import Control
from core.control_records import RecoverConfirmed, RecoverRequested


def recover(
    request: Request = False,
    confirm: Annotated[str, typer.Option("--confirm", help="Request to confirm, rec_…")] = "",
    partition: Annotated[
        list[int] | None, typer.Option(help="Partition; may be repeated; default: all.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, in words.")] = "",
    passing: Annotated[
        str,
        typer.Option("--pass-over", help="With --request: topic:partition:offset of a batch."),
    ] = "",
    operator: ActAs = "",
    key: Key = None,
    json: Json = False,
) -> None:
    """Recover from lost offsets or a lost log tail, from the journal. Dual control.

    Committed offsets are set to the first input of each topic and partition that neither journal,
    outcomes nor quarantine record, and the lifecycle topic is restored from the journal. Every
    payments processor must be stopped first.

    With --pass-over one batch that no client can read is passed over by the group that reads its
    topic, and nothing else is done; every process of that group must be ended before the
    confirmation.
    """
    require_one(request, bool(confirm), "rec_…")
    if request and not reason:
        raise usage("A request to recover needs --reason.")
    if passing and (confirm or partition):
        raise usage("--pass-over goes with --request, and without --partition: it names one.")
    with Cluster(settings.load()) as cluster:
        control, _ = cluster.control()
        me = signer_of(of_control(control), operator, key)
        if passing:
            done, lines = pass_over.request(cluster, me, passing, reason)
        elif request:
            done, lines = _request(cluster, me, tuple(partition or ()), reason)
        else:
            done, lines = _confirm(cluster, control, me, confirm)
    if request:
        second = f"npp control recover --confirm {done['requestId']} --as …"
        lines = [*lines, f"{done['requestId']}: requested. A second person: {second}"]
    answer(done, json, *lines)


def _request(
    cluster: Cluster, me: ActSigner, partitions: tuple[int, ...], reason: str
) -> tuple[dict[str, Any], list[str]]:
    request_id = act_id("rec")
    now = cluster.clock.now_ms()
    record = RecoverRequested(
        request_id=request_id,
        partitions=partitions,
        reason=reason,
        requested_at=now,
        actor=me.person,
    )
    cluster.publish_control(me.sign(record))
    return as_json(record), []


def _confirm(
    cluster: Cluster, control: Control, me: ActSigner, request_id: str
) -> tuple[dict[str, Any], list[str]]:
    """Compute and write everything first, and the confirmation last: until it is on the control
    topic, a processor that found the log's tail lost stays halted.
    """
    request = control.recover_request(request_id)
    if request is None:
        raise Problem(f"Nobody requested {request_id}.", code=ExitCode.NOT_FOUND)
    passes = request.topic is not None
    draft = RecoverConfirmed(
        request_id=request_id,
        confirmed_at=cluster.clock.now_ms(),
        actor=me.person,
        journal_ends=() if passes else (-1,),
        checkpoints=() if passes else (0,),
    )
    refusal = control.recover_refusal(draft)
    if refusal is not None:
        raise Problem(f"{request_id} is not carried out: {refusal}.")
    if passes:
        return pass_over.confirm(cluster, me, request)
    recovery = work_out(cluster, request)
    carry_out(cluster, recovery, request, me)
    record = RecoverConfirmed(
        request_id=request_id,
        confirmed_at=cluster.clock.now_ms(),
        actor=me.person,
        journal_ends=recovery.journal_ends,
        checkpoints=recovery.checkpoints,
    )
    cluster.publish_control(me.sign(record, request))
    lines = recovery.lines()
    return {**as_json(record), "says": lines}, lines
