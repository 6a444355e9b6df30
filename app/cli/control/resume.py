"""`npp control resume`: ends a STOP under dual control, after a passed replay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from app.cli.api_client import Api, Call
from app.cli.api_options import (
    ADMIN,
    ActAs,
    Confirm,
    Json,
    Kafka,
    Request,
    Role,
    answer,
    open_api,
    require_one,
    without_api,
)
from app.cli.output import as_json
from app.cli.signing import ActSigner, Key, carry, of_api, of_control, signer_of
from app.cluster import Cluster
from app.config import settings
from app.exits import ExitCode, Problem, usage
from control.fold import Control
from core.control_records import ResumeConfirmed, ResumeRequested
from engine.clock import SystemClock

SHOWN_SECONDS: Final = 2.0  # what the API shows of the control topic is a second old at most
LOOK_EVERY_SECONDS: Final = 0.5


def resume(
    request: Request = False,
    confirm: Confirm = False,
    stop_id: Annotated[
        str, typer.Option("--stop", help="Which stop, stp_…; default: the open one.")
    ] = "",
    reason: Annotated[str, typer.Option(help="With --request: why it is safe to continue.")] = "",
    offset: Annotated[
        int | None,
        typer.Option(
            min=0, help="With --confirm: the request's offset, from its output; default: the last."
        ),
    ] = None,
    operator: ActAs = "",
    key: Key = None,
    role: Role = None,
    kafka: Kafka = False,
    json: Json = False,
) -> None:
    """End a STOP and all others of its cause: one person requests, naming a replay that passed
    since; another confirms.

    Before the request run `npp replay verify --publish`. Each person signs with their own key.
    """
    require_one(request, confirm)
    if request and not reason:
        raise usage("A request to resume needs --reason.")
    if without_api(kafka, False):
        with Cluster(settings.load()) as cluster:
            control, _ = cluster.control()
            me = signer_of(of_control(control), operator, key)
            chosen = _chosen([each.stop_id for each in control.stops()], stop_id)
            if request:
                done = _request(cluster, control, chosen, me, reason)
            else:
                done = _confirm(cluster, control, chosen, me, offset)
    else:
        done = _over_api(stop_id, reason, offset, operator, key, role)
    answer(done, json, *(_requested(done) if request else _resumed(done)))


def _requested(done: dict[str, Any]) -> list[str]:
    requested = f"{done['stopId']}: resume requested at control offset {done['offset']}."
    return [
        f"It is based on the replay at control offset {done['proofOffset']}{done['proof']}.",
        f"{requested} A second person: npp control resume --confirm --as …",
    ]


def _resumed(done: dict[str, Any]) -> list[str]:
    left = done["stillStopped"]
    also = f" Still stopped by {', '.join(left)}." if left else ""
    rests = f"It is based on a replay{done['proof']}." if done["proof"] else ""
    return [f"{done['stopId']}: resumed, requested by {done['requestedBy']}.{also}", rests]


def _chosen(names: list[str], stop_id: str) -> str:
    """The open stop that is meant. Raises Problem."""
    if not names:
        raise Problem("No stop is open.", means="Processing runs.", code=ExitCode.NOT_FOUND)
    if stop_id and stop_id not in names:
        raise Problem(
            f"No stop {stop_id} is open.", do=f"Open: {', '.join(names)}", code=ExitCode.NOT_FOUND
        )
    if not stop_id and len(names) > 1:
        raise usage(f"{len(names)} stops are open.", do=f"--stop one of {', '.join(names)}")
    return stop_id or names[0]


def _over_api(
    stop_id: str,
    reason: str,
    offset: int | None,
    operator: str,
    key: Path | None,
    role: list[str] | None,
) -> dict[str, Any]:
    """Signed here and carried by the API; a `reason` makes it the request."""
    with open_api(operator, tuple(role or ADMIN)) as api:
        chosen, requested, proofs, latest = _looked_up(api, stop_id, confirm=not reason)
        me = signer_of(of_api(api), operator, key)
        path = f"/api/control/stops/{chosen}/resume-requests"
        now = SystemClock().now_ms()
        if reason:
            record: Any = ResumeRequested(
                stop_id=chosen, proof_offset=latest, reason=reason, requested_at=now, actor=""
            )
            answer = carry(api, path, me.sign(record))
            return answer | {"proof": proofs.get(answer["proofOffset"], "")}
        offset = requested if offset is None else offset
        if offset is None:
            raise _not_requested(chosen)
        record = ResumeConfirmed(stop_id=chosen, request_offset=offset, confirmed_at=now, actor="")
        signed = me.sign(record, me.context.request(offset))
        answer = carry(api, f"{path}/{offset}/confirm", signed)
        return answer | {"proof": proofs.get(offset, "")}


def _looked_up(
    api: Api, stop_id: str, *, confirm: bool
) -> tuple[str, int | None, dict[int, str], int]:
    """As the API shows them: the stop, the offset of the request to confirm, what the last proof
    proved (by the proof's offset, and by that of a request that refers to it), and its offset.
    """
    clock = SystemClock()
    until = clock.monotonic_s() + SHOWN_SECONDS
    while True:
        shown = api.ask(Call("GET", "/api/control")).body
        chosen = _chosen([each["stopId"] for each in shown["stops"]], stop_id)
        requested = next(
            each["resumeRequest"] for each in shown["stops"] if each["stopId"] == chosen
        )
        if requested is not None or not confirm or clock.monotonic_s() > until:
            break
        clock.sleep(LOOK_EVERY_SECONDS)
    latest = shown["latestProof"]
    if latest is None:
        return chosen, None if requested is None else requested["offset"], {}, 0
    answer = _proven(latest["scope"], latest["redecide"])
    proofs = {latest["offset"]: answer}
    if requested is not None and requested["proofOffset"] == latest["offset"]:
        proofs[requested["offset"]] = answer
    return chosen, None if requested is None else requested["offset"], proofs, latest["offset"]


def _not_requested(stop_id: str) -> Problem:
    return Problem(
        f"Nobody has requested to resume {stop_id}.",
        do="npp control resume --request --reason … --as …",
    )


def _request(
    cluster: Cluster, control: Control, stop_id: str, me: ActSigner, reason: str
) -> dict[str, Any]:
    proof = control.latest_proof()
    refusal = "no replay has passed yet" if proof is None else control.proof_refusal(stop_id, proof)
    if proof is None or refusal is not None:
        raise Problem(
            f"{stop_id} cannot be resumed: {refusal}.",
            means="A stop can be ended only after a passed replay made since it began.",
            do="`npp replay verify --publish`, then request again.",
        )
    record = me.sign(
        ResumeRequested(
            stop_id=stop_id,
            proof_offset=proof,
            reason=reason,
            requested_at=cluster.clock.now_ms(),
            actor="",
        )
    )
    placed = cluster.publish_control(record)
    return {**as_json(record), "offset": placed.offset, "proof": _said_of(control, proof)}


def _proven(scope: str, redecide: bool) -> str:
    """What the replay proved and what not: both people answer for it."""
    return f", {scope}{'' if redecide else ' (decisions were not proven)'}"


def _said_of(control: Control, offset: int | None) -> str:
    proof = None if offset is None else control.proof(offset)
    return "" if proof is None else _proven(proof.scope, proof.redecide)


def _confirm(
    cluster: Cluster, control: Control, stop_id: str, me: ActSigner, offset: int | None
) -> dict[str, Any]:
    requested = control.resume_request(stop_id) if offset is None else offset
    if requested is None:
        raise _not_requested(stop_id)
    record = ResumeConfirmed(
        stop_id=stop_id,
        request_offset=requested,
        confirmed_at=cluster.clock.now_ms(),
        actor=me.person,
    )
    refusal = control.resume_refusal(record)
    if refusal is not None:
        raise Problem(f"{stop_id} is not resumed: {refusal}.")
    request = control.resume_requested(requested)
    cluster.publish_control(me.sign(record, request))
    folded, _ = cluster.control()
    return {
        "stopId": stop_id,
        "requestedBy": "" if request is None else request.actor,
        "confirmedBy": me.person,
        "confirmedAt": as_json(record)["confirmedAt"],
        "proof": _said_of(control, None if request is None else request.proof_offset),
        "stillStopped": [each.stop_id for each in folded.stops()],
    }
