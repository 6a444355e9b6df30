"""Redrives of quarantined records, and assignments of unmatched reports, under dual control.

The redriver carries out a confirmed request. What it would refuse is already refused here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import msgspec
from fastapi import Query
from pydantic import BaseModel

from api.actions import models, threads
from api.auth.guard import router as guarded
from api.auth.sign_in import Caller, Use
from api.control import signed
from api.control.signed import SignedAct
from api.edge import problems
from api.edge.params import LIMIT, Limit
from api.edge.paths import RequestId
from api.edge.views import iso
from api.services import Principal, Services
from control.redrive_plan import Planned, RedrivePlan, RefusedError
from core import control_records as records
from core import refusals
from core.refusals import refuse
from core.values import PaymentIntentId, same_person
from engine.records import LogRecord
from readmodel.rows import ControlRow
from schemas import catalogue, topology
from schemas.errors import RegistryDown, Undecodable

router = guarded()

QUARANTINE: Final = "/api/quarantine/redrives"
SECOND_PERSON: Final = "(second person)"
ADAPTER: Final = "npp-gateway"  # the reason table of assigned callbacks
PREVIEW_ID: Final = "rdr_preview"
CONTROL_ROWS_MAX: Final = 200  # read at once
PAGES_MAX: Final = 500
Cursor = Annotated[str | None, Query(pattern="^[0-9]{1,18}$")]

REQUESTED: Final = "REQUESTED"
CONFIRMED: Final = "CONFIRMED"
DONE: Final = "DONE"
REFUSED: Final = "REFUSED"


class Target(BaseModel):
    """Where one quarantined record would go: topic and partition, null if its key decides. `bytes`
    is the length of the whole value, which is not shown. With `byReference` the redriver reads the
    original when it redrives it, and refuses if it is gone.
    """

    offset: int
    reason: str
    topic: str
    partition: int | None
    key: str | None
    bytes: int
    assigned: bool
    byReference: bool = False  # noqa: N815


class Preview(BaseModel):
    """What a redrive would publish; nothing was done."""

    partition: int
    records: list[Target]


class Redrive(BaseModel):
    """A request and what happened to it. `status` REQUESTED, CONFIRMED, DONE or REFUSED by the
    redriver: `refused` says why, and `redriven` of its records were redriven before that, in order.
    """

    requestId: str  # noqa: N815 the names on the wire, here and below
    status: str
    partition: int
    offsets: list[int]
    paymentIntentId: str | None  # noqa: N815
    reason: str
    requestedBy: str  # noqa: N815
    requestedAt: str  # noqa: N815
    confirmedBy: str | None = None  # noqa: N815
    confirmedAt: str | None = None  # noqa: N815
    redriven: int | None = None
    refused: str | None = None
    doneAt: str | None = None  # noqa: N815
    duplicate: bool = False


class Redrives(BaseModel):
    """Newest first."""

    items: list[Redrive]
    next: str | None


@router.post(f"{QUARANTINE}/preview", summary="What a redrive would publish, and where")
async def preview_redrive(who: Caller, use: Use, body: models.QuarantinedRecords) -> Preview:
    """By the redriver's own rules; nothing is done."""

    def work() -> Preview:
        planned = _planned(use, _previewed(use, who, body), SECOND_PERSON)
        shown = [_target(each, body.paymentIntentId is not None) for each in planned]
        return Preview(partition=body.partition, records=shown)

    return await threads.CONTROL.run(who.id, work)


@router.post(QUARANTINE, summary="Request a redrive")
async def request_redrive(who: Caller, use: Use, body: SignedAct) -> Redrive:
    """A signed `RedriveRequested`; a second person confirms."""

    def work() -> Redrive:
        request = signed.read(body, who, records.RedriveRequested)
        _planned(use, request, SECOND_PERSON)
        signed.carry(use, request)
        return _shown(request)

    return await threads.CONTROL.run(who.id, work)


@router.post(f"{QUARANTINE}/{{request_id}}/confirm", summary="Confirm a redrive")
async def confirm_redrive(who: Caller, use: Use, request_id: RequestId, body: SignedAct) -> Redrive:
    """A signed `RedriveConfirmed` of the second person; then the redriver carries it out. For a
    request that is confirmed already: `duplicate`, with what happened to it.
    """
    return await threads.CONTROL.run(who.id, _confirm, use, who, request_id, body)


@router.get(QUARANTINE, summary="Requested redrives")
def list_redrives(use: Use, limit: Limit = LIMIT, cursor: Cursor = None) -> Redrives:
    """With what happened to them, newest first."""
    found = list(reversed(_all(use).values()))
    start = int(cursor) if cursor is not None else 0
    items = found[start : start + limit]
    more = start + limit < len(found)
    return Redrives(items=items, next=str(start + limit) if more else None)


def _previewed(
    use: Services, who: Principal, body: models.QuarantinedRecords
) -> records.RedriveRequested:
    return records.RedriveRequested(
        request_id=PREVIEW_ID,
        partition=body.partition,
        offsets=tuple(sorted(set(body.offsets))),
        reason="preview",
        requested_at=use.clock.now_ms(),
        actor=who.id,
        payment_intent_id=None
        if body.paymentIntentId is None
        else PaymentIntentId(body.paymentIntentId),
    )


def _planned(use: Services, request: records.RedriveRequested, confirmer: str) -> list[Planned]:
    """What it would publish. Raises Problem when the redriver would refuse it."""

    def read(partition: int, offsets: Sequence[int]) -> Iterator[LogRecord]:
        for offset in offsets:
            row = use.reader.quarantined(partition, offset)
            if row is None:
                continue
            headers = msgspec.msgpack.decode(row.headers, type=list[tuple[str, bytes | None]])
            yield LogRecord(
                topology.QUARANTINE, partition, offset, row.at, row.key, row.value, headers
            )

    plan = RedrivePlan(
        read=read, codec=use.codec, clock=use.clock, adapter=ADAPTER, origins=origins()
    )
    try:
        return plan.of(request, confirmer)
    except RefusedError as error:
        raise problems.refused(refuse(refusals.REDRIVE_NOT_POSSIBLE, problem=str(error))) from error
    except RegistryDown as error:
        raise problems.unavailable(
            "REGISTRY_DOWN", "The schema registry does not answer; try again later."
        ) from error


def origins() -> frozenset[str]:
    """Topics that the redriver may write to."""
    return frozenset(
        each.name for each in catalogue.load().inputs() if "redriver" in each.producers
    )


def _target(planned: Planned, assigned: bool) -> Target:
    return Target(
        offset=planned.offset,
        reason=planned.reason,
        topic=planned.topic,
        partition=planned.partition,
        key=None if planned.key is None else planned.key.decode("utf-8", "replace"),
        bytes=planned.value_bytes,
        assigned=assigned,
        byReference=planned.reference is not None,
    )


def _confirm(use: Services, who: Principal, request_id: str, body: SignedAct) -> Redrive:
    record = signed.read(body, who, records.RedriveConfirmed)
    if record.request_id != request_id:
        raise signed.refused("it names another request")
    known = _all(use).get(request_id)
    if known is not None and known.status != REQUESTED:
        return known.model_copy(update={"duplicate": True})
    control = use.commands.control()
    request = control.redrives.requests.get(request_id)
    if request is None:
        raise problems.refused(
            refuse(refusals.REDRIVE_NOT_POSSIBLE, problem=f"nobody requested {request_id}")
        )
    if same_person(request.actor, who.id):
        raise problems.refused(refuse(refusals.SELF_APPROVAL))
    shown = _shown(request)
    done = control.redrives.done.get(request_id)
    if done is not None:
        return _ended(shown, done).model_copy(update={"duplicate": True})
    confirmed = control.redrives.confirmed.get(request_id)
    if confirmed is not None:
        update = {"status": CONFIRMED, "confirmedBy": confirmed[1], "duplicate": True}
        return shown.model_copy(update=update)
    _planned(use, request, who.id)
    signed.carry(use, record)
    confirmation = {"confirmedBy": who.id, "confirmedAt": iso(record.confirmed_at)}
    return shown.model_copy(update={"status": CONFIRMED, **confirmation})


def _shown(request: records.RedriveRequested) -> Redrive:
    return Redrive(
        requestId=request.request_id,
        status=REQUESTED,
        partition=request.partition,
        offsets=list(request.offsets),
        paymentIntentId=request.payment_intent_id,
        reason=request.reason,
        requestedBy=request.actor,
        requestedAt=iso(request.requested_at),
    )


def _all(use: Services) -> dict[str, Redrive]:
    """Every request in the read model by id, in order, with what happened to it."""
    found: dict[str, Redrive] = {}
    after = -1
    for _ in range(PAGES_MAX):
        rows = use.reader.control(after, CONTROL_ROWS_MAX)
        for row in rows:
            _fold(found, use, row)
        if len(rows) < CONTROL_ROWS_MAX:
            break
        after = rows[-1].offset
    return found


def _fold(found: dict[str, Redrive], use: Services, row: ControlRow) -> None:
    if row.refused is not None or not row.type.startswith("Redrive"):
        return
    try:
        record: Any = use.codec.decode(topology.CONTROL, row.raw)
    except Undecodable:
        return  # unreadable control records are refused
    if isinstance(record, records.RedriveRequested):
        found[record.request_id] = _shown(record)
        return
    known = found.get(record.request_id)
    if known is None:
        return
    if isinstance(record, records.RedriveConfirmed):
        if known.status == REQUESTED and not same_person(known.requestedBy, record.actor):
            confirmation = {"confirmedBy": record.actor, "confirmedAt": iso(record.confirmed_at)}
            found[record.request_id] = known.model_copy(
                update={"status": CONFIRMED, **confirmation}
            )
        return
    found[record.request_id] = _ended(known, record)


def _ended(known: Redrive, done: records.RedriveDone) -> Redrive:
    status = DONE if done.refused is None else REFUSED
    confirmation = {"redriven": done.redriven, "refused": done.refused, "doneAt": iso(done.done_at)}
    return known.model_copy(update={"status": status, **confirmation})
