"""STOP, and RESUME under dual control: control records that every process obeys.

The same fold checks each act first, so nothing is written that the processes would refuse.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Final

from fastapi import Path
from pydantic import BaseModel

from api.actions import models, threads
from api.auth.guard import router as guarded
from api.auth.sign_in import Caller, Use
from api.control import signed
from api.control.signed import SignedAct
from api.edge import problems
from api.edge.paths import PLAIN, StopId
from api.edge.views import iso
from api.services import Principal, Services, Stopped
from control.fold import Control
from core import refusals
from core.control_records import ProcessingStopped, ResumeConfirmed, ResumeRequested
from core.refusals import refuse

router = guarded()

ID_BYTES: Final = 8
STOPS_OF_ONE_MAX: Final = 10  # open STOPs of one person
RequestOffset = Annotated[
    int, Path(ge=0, le=2**63 - 1, description="From the response to the request."), PLAIN
]


class Stop(BaseModel):
    """A stop that was written; every process obeys within a second."""

    stopId: str  # noqa: N815 the names on the wire, here and below
    reason: str
    stoppedAt: str  # noqa: N815
    actor: str


class ResumeRequest(BaseModel):
    """`offset` names the request; another person confirms it. `proofOffset` is the passed replay
    that it rests on.
    """

    stopId: str  # noqa: N815
    offset: int
    proofOffset: int  # noqa: N815
    requestedBy: str  # noqa: N815
    requestedAt: str  # noqa: N815
    duplicate: bool


class Resumed(BaseModel):
    """The stop is over; `stillStopped` lists the others that are open."""

    stopId: str  # noqa: N815
    requestedBy: str  # noqa: N815
    confirmedBy: str  # noqa: N815
    confirmedAt: str  # noqa: N815
    stillStopped: list[str]  # noqa: N815


@router.post("/api/control/stop", summary="Stop processing")
async def stop(who: Caller, use: Use, body: models.Reason) -> Stop:
    """Inputs wait and nothing is submitted until two people resume. Reading, evidence and
    verification go on. A STOP does not depend on the API: `npp control stop --kafka` does the
    same.
    """

    def work() -> Stop:
        _require_few(use, who)
        now = use.clock.now_ms()
        record = ProcessingStopped(
            stop_id="stp_" + secrets.token_hex(ID_BYTES),
            reason=body.reason,
            automatic=False,
            stopped_at=now,
            actor=who.id,
        )
        use.commands.write_control(record)
        return Stop(stopId=record.stop_id, reason=record.reason, stoppedAt=iso(now), actor=who.id)

    return await threads.CONTROL.run(who.id, work)


@router.post("/api/control/stops/{stop_id}/resume-requests", summary="Request to end a stop")
async def request_resume(who: Caller, use: Use, stop_id: StopId, body: SignedAct) -> ResumeRequest:
    """A signed `ResumeRequested`. Rests on the last replay that passed since the stop began (`npp
    replay verify --publish`); ends all stops of the same cause.
    """
    return await threads.CONTROL.run(who.id, _request, use, who, stop_id, body)


@router.post(
    "/api/control/stops/{stop_id}/resume-requests/{offset}/confirm",
    summary="End a stop, as the second person",
)
async def confirm_resume(
    who: Caller, use: Use, stop_id: StopId, offset: RequestOffset, body: SignedAct
) -> Resumed:
    """A signed `ResumeConfirmed`. The requester cannot confirm."""
    return await threads.CONTROL.run(who.id, _confirm, use, who, stop_id, offset, body)


def _require_few(use: Services, who: Principal) -> None:
    """Raises Problem (429) when STOPS_OF_ONE_MAX stops of this person are open. Not while a resume
    is requested, because a further stop stays open after it; nor when the control topic cannot be
    read.
    """
    try:
        control = use.commands.control()
    except Stopped:
        return
    resuming = any(control.resume_request(each.stop_id) is not None for each in control.stops())
    if control.stops_of(who.id) >= STOPS_OF_ONE_MAX and not resuming:
        raise problems.Problem(
            429,
            "RATE_LIMITED",
            "TOO_MANY_STOPS",
            f"Processing is already stopped, {STOPS_OF_ONE_MAX} times by you: no further stop was "
            "written.",
        )


def _request(use: Services, who: Principal, stop_id: str, body: SignedAct) -> ResumeRequest:
    record = signed.read(body, who, ResumeRequested)
    control = use.commands.control()
    _require_open(control, stop_id)
    if record.stop_id != stop_id:
        raise signed.refused("it names another stop")
    proof = control.latest_proof()
    if proof is None:
        raise _refused(stop_id, "no replay has passed yet")
    problem = control.proof_refusal(stop_id, record.proof_offset)
    if problem is not None:
        raise _refused(stop_id, problem)
    offset = signed.carry(use, record)
    return ResumeRequest(
        stopId=stop_id,
        offset=offset,
        proofOffset=record.proof_offset,
        requestedBy=who.id,
        requestedAt=iso(record.requested_at),
        duplicate=False,
    )


def _confirm(use: Services, who: Principal, stop_id: str, offset: int, body: SignedAct) -> Resumed:
    record = signed.read(body, who, ResumeConfirmed)
    control = use.commands.control()
    _require_open(control, stop_id)
    if (record.stop_id, record.request_offset) != (stop_id, offset):
        raise signed.refused("it names another request")
    problem = control.resume_refusal(record)
    if problem is not None:
        raise _refused(stop_id, problem)
    request = control.resume_requested(offset)
    signed.carry(use, record)
    left = [each.stop_id for each in use.commands.control().stops()]
    return Resumed(
        stopId=stop_id,
        requestedBy="" if request is None else request.actor,
        confirmedBy=who.id,
        confirmedAt=iso(record.confirmed_at),
        stillStopped=left,
    )


def _require_open(control: Control, stop_id: str) -> None:
    if not control.is_open(stop_id):
        raise problems.refused(refuse(refusals.STOP_NOT_OPEN, stop=stop_id))


def _refused(stop_id: str, problem: str) -> problems.Problem:
    return problems.refused(refuse(refusals.RESUME_NOT_POSSIBLE, stop=stop_id, problem=problem))
