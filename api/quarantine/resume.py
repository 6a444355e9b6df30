"""Resuming a parked payment: one person requests it on the control topic, another confirms, both
signed; then the command.

The control topic names both people, never a request body.
"""

from __future__ import annotations

from pydantic import BaseModel, Field
from starlette.responses import Response

from api.actions import answers, models, threads
from api.actions.routes import PAYMENT, OnPayment
from api.auth.guard import router as guarded
from api.control import signed
from api.control.actions import RequestOffset
from api.control.signed import SignedAct
from api.edge import problems
from api.edge.views import iso
from api.services import Principal, Services
from core import refusals
from core.control_records import ActConfirmed, UnparkRequested
from core.payment.commands import ResumeProcessing
from core.refusals import refuse
from core.values import PaymentIntentId, same_person
from readmodel.rows import PaymentRow

router = guarded()


class ResumeProcessingRequest(BaseModel):
    """The request; another person confirms it. `sequence` is the event that parked the payment: the
    request is valid for that suspension only.
    """

    offset: int
    paymentIntentId: str  # noqa: N815 the names on the wire, here and below
    sequence: int
    reason: str
    requestedBy: str = Field(examples=["ops_001"])  # noqa: N815
    requestedAt: str  # noqa: N815
    duplicate: bool


@router.post(f"{PAYMENT}/resume-requests", summary="Request to resume a parked payment")
async def request_resume_processing(on: OnPayment, body: SignedAct) -> ResumeProcessingRequest:
    """A signed `UnparkRequested`, after the defect is fixed. Only the first request counts: a
    further one returns it, as `duplicate`.
    """

    def work() -> ResumeProcessingRequest:
        use, payment_id = on.services, on.payment_intent_id
        record = signed.read(body, on.principal, UnparkRequested)
        row = _parked(use, payment_id)
        if (record.payment_intent_id, record.sequence) != (payment_id, row.sequence):
            raise signed.refused("it names another payment or another parking")
        known = use.commands.control().resume_processing_request(payment_id, row.sequence)
        if known is not None:
            return _shown(known[0], known[1], duplicate=True)
        return _shown(signed.carry(use, record), record, duplicate=False)

    return await threads.CONTROL.run(on.principal.id, work)


@router.post(
    f"{PAYMENT}/resume-requests/{{offset}}/confirm",
    summary="Confirm the resume of a parked payment",
)
async def confirm_resume_processing(
    on: OnPayment, offset: RequestOffset, body: SignedAct
) -> ResumeProcessingRequest:
    """A signed `ActConfirmed` of the second person; `resume-processing` then carries it out."""

    def work() -> ResumeProcessingRequest:
        use, payment_id = on.services, on.payment_intent_id
        record = signed.read(body, on.principal, ActConfirmed)
        row = _parked(use, payment_id)
        known = use.commands.control().resume_processing_request(payment_id, row.sequence)
        if known is None:
            raise _refused("it has not been requested since it was parked")
        if not record.request_offset == offset == known[0]:
            raise signed.refused("it names another request")
        signed.carry(use, record)
        return _shown(offset, known[1], duplicate=False)

    return await threads.CONTROL.run(on.principal.id, work)


@router.post(f"{PAYMENT}/resume-processing", summary="Resume a parked payment", **answers.TAKEN)
async def resume_processing(on: OnPayment, body: models.ResumePayment) -> Response:
    """The caller is the second of two people, and both have signed for it."""
    first = await threads.DECISIONS.run(
        on.principal.id,
        _first_person,
        on.services,
        on.principal,
        on.payment_intent_id,
        body.requestedBy,
    )
    command = ResumeProcessing(**on.head(body), requested_by=first, reason=body.reason)
    return await on.send(body, command, threads.DECISIONS)


def _first_person(
    use: Services, who: Principal, payment_id: PaymentIntentId, named: str | None
) -> str:
    """Who requested it, where the caller has agreed to it. Raises Problem."""
    row = _parked(use, payment_id)
    control = use.commands.control()
    persons = control.resumption(payment_id, row.sequence)
    if persons is None:
        request = control.resume_processing_request(payment_id, row.sequence)
        if request is not None and same_person(request[1].actor, who.id):
            raise problems.refused(refuse(refusals.SELF_APPROVAL))
        problem = "it has not been requested since it was parked"
        raise _refused(problem if request is None else "no second person has signed for it")
    first, second = persons
    if named is not None and not same_person(named, first):
        raise _refused("requestedBy is not the person who requested it")
    if same_person(first, who.id):
        raise problems.refused(refuse(refusals.SELF_APPROVAL))
    if not same_person(second, who.id):
        raise _refused("the caller is not the person who has signed for it")
    return first


def _parked(use: Services, payment_id: PaymentIntentId) -> PaymentRow:
    row = use.reader.payment(payment_id)
    if row is None:
        raise problems.payment_not_found()
    if not row.parked:
        refusal = refuse(refusals.STATE_PRECONDITION, expected="parked", actual="not parked")
        raise problems.refused(refusal)
    return row


def _refused(problem: str) -> problems.Problem:
    return problems.refused(refuse(refusals.UNPARK_NOT_POSSIBLE, problem=problem))


def _shown(offset: int, record: UnparkRequested, *, duplicate: bool) -> ResumeProcessingRequest:
    return ResumeProcessingRequest(
        offset=offset,
        paymentIntentId=record.payment_intent_id,
        sequence=record.sequence,
        reason=record.reason,
        requestedBy=record.actor,
        requestedAt=iso(record.requested_at),
        duplicate=duplicate,
    )
