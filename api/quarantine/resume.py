"""Taking a parked payment up: one person requests it on the control topic, another confirms.

The first person is whom the control topic names, never whom the second person's body names.
"""

from __future__ import annotations

from pydantic import BaseModel, Field
from starlette.responses import Response

from api.actions import answers, models, threads
from api.actions.routes import PAYMENT, OnPayment
from api.auth.guard import router as guarded
from api.edge import problems
from api.edge.views import iso
from api.services import Principal, Services
from core import refusals
from core.payment.commands import ResumeProcessing
from core.records import UnparkRequested
from core.refusals import refuse
from core.values import PaymentIntentId, same_person
from readmodel.rows import PaymentRow

router = guarded()


class UnparkRequest(BaseModel):
    """What was asked for; another person confirms it. `sequence` is the event that parked the
    payment: the request serves that parking only."""

    paymentIntentId: str  # noqa: N815 the names on the wire, here and below
    sequence: int
    reason: str
    requestedBy: str = Field(examples=["ops_001"])  # noqa: N815
    requestedAt: str  # noqa: N815
    duplicate: bool


@router.post(f"{PAYMENT}/resume-requests", summary="Ask to take a parked payment up")
async def request_resume_processing(on: OnPayment, asked: models.RequestResume) -> UnparkRequest:
    """After the defect is fixed. The first request stands: asking again shows it."""

    def work() -> UnparkRequest:
        on.check_operator(asked)
        use, payment_id = on.services, on.payment_intent_id
        row = _parked(use, payment_id)
        known = use.commands.control().unpark_request(payment_id, row.sequence)
        if known is not None:
            return _shown(known, duplicate=True)
        now, actor = use.clock.now_ms(), on.principal.id
        record = UnparkRequested(
            payment_intent_id=PaymentIntentId(payment_id),
            sequence=row.sequence,
            reason=asked.reason,
            requested_at=now,
            actor=actor,
        )
        use.commands.write_control(record)
        return _shown(record, duplicate=False)

    return await threads.CONTROL.run(on.principal.id, work)


@router.post(f"{PAYMENT}/resume-processing", summary="Take a parked payment up", **answers.TAKEN)
async def resume_processing(on: OnPayment, asked: models.ResumePayment) -> Response:
    """The caller is the second of two persons; the first one has requested it."""
    first = await threads.DECISIONS.run(
        on.principal.id,
        lambda: _first_person(on.services, on.principal, on.payment_intent_id, asked.requestedBy),
    )
    command = ResumeProcessing(
        header=on.header(), operator=on.operator(asked), requested_by=first, reason=asked.reason
    )
    return await on.send(asked, command, threads.DECISIONS)


def _first_person(use: Services, who: Principal, payment_id: str, named: str | None) -> str:
    """Who requested it, another person than the caller. Raises Problem."""
    row = _parked(use, payment_id)
    known = use.commands.control().unpark_request(payment_id, row.sequence)
    if known is None:
        raise _refused("nobody has requested it since it was parked")
    if named is not None and not same_person(named, known.actor):
        raise _refused("requestedBy is not the person who requested it")
    if same_person(known.actor, who.id):
        raise problems.refused(refuse(refusals.SELF_APPROVAL))
    return known.actor


def _parked(use: Services, payment_id: str) -> PaymentRow:
    row = use.reader.payment(payment_id)
    if row is None:
        raise problems.payment_not_found()
    if not row.parked:
        refusal = refuse(refusals.STATE_PRECONDITION, expected="parked", actual="not parked")
        raise problems.refused(refusal)
    return row


def _refused(problem: str) -> problems.Problem:
    return problems.refused(refuse(refusals.UNPARK_NOT_POSSIBLE, problem=problem))


def _shown(record: UnparkRequested, *, duplicate: bool) -> UnparkRequest:
    return UnparkRequest(
        paymentIntentId=record.payment_intent_id,
        sequence=record.sequence,
        reason=record.reason,
        requestedBy=record.actor,
        requestedAt=iso(record.requested_at),
        duplicate=duplicate,
    )
