"""Taking a parked payment up: one person asks for it on the control topic, another agrees, both
signed; then the command.

Who they are the control topic says, never a body.
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
from core.payment.commands import ResumeProcessing
from core.records import ActConfirmed, UnparkRequested
from core.refusals import refuse
from core.values import same_person
from readmodel.rows import PaymentRow

router = guarded()


class UnparkRequest(BaseModel):
    """What was asked for; another person confirms it. `sequence` is the event that parked the
    payment: the request serves that parking only."""

    offset: int
    paymentIntentId: str  # noqa: N815 the names on the wire, here and below
    sequence: int
    reason: str
    requestedBy: str = Field(examples=["ops_001"])  # noqa: N815
    requestedAt: str  # noqa: N815
    duplicate: bool


@router.post(f"{PAYMENT}/resume-requests", summary="Ask to take a parked payment up")
async def request_resume_processing(on: OnPayment, asked: SignedAct) -> UnparkRequest:
    """A signed `UnparkRequested`, after the defect is fixed. The first request stands: asking again
    shows it."""

    def work() -> UnparkRequest:
        use, payment_id = on.services, on.payment_intent_id
        record = signed.read(asked, on.principal, UnparkRequested)
        row = _parked(use, payment_id)
        if (record.payment_intent_id, record.sequence) != (payment_id, row.sequence):
            raise signed.refused("it names another payment or another parking")
        known = use.commands.control().unpark_request(payment_id, row.sequence)
        if known is not None:
            return _shown(known[0], known[1], duplicate=True)
        return _shown(signed.carry(use, record), record, duplicate=False)

    return await threads.CONTROL.run(on.principal.id, work)


@router.post(
    f"{PAYMENT}/resume-requests/{{offset}}/confirm", summary="Agree to take a parked payment up"
)
async def confirm_resume_processing(
    on: OnPayment, offset: RequestOffset, asked: SignedAct
) -> UnparkRequest:
    """A signed `ActConfirmed` of the second person; `resume-processing` then carries it out."""

    def work() -> UnparkRequest:
        use, payment_id = on.services, on.payment_intent_id
        record = signed.read(asked, on.principal, ActConfirmed)
        row = _parked(use, payment_id)
        known = use.commands.control().unpark_request(payment_id, row.sequence)
        if known is None:
            raise _refused("nobody has requested it since it was parked")
        if not record.request_offset == offset == known[0]:
            raise signed.refused("it names another request")
        signed.carry(use, record)
        return _shown(offset, known[1], duplicate=False)

    return await threads.CONTROL.run(on.principal.id, work)


@router.post(f"{PAYMENT}/resume-processing", summary="Take a parked payment up", **answers.TAKEN)
async def resume_processing(on: OnPayment, asked: models.ResumePayment) -> Response:
    """The caller is the second of two persons, and both have signed for it."""
    first = await threads.DECISIONS.run(
        on.principal.id,
        lambda: _first_person(on.services, on.principal, on.payment_intent_id, asked.requestedBy),
    )
    command = ResumeProcessing(**on.head(asked), requested_by=first, reason=asked.reason)
    return await on.send(asked, command, threads.DECISIONS)


def _first_person(use: Services, who: Principal, payment_id: str, named: str | None) -> str:
    """Who requested it, where the caller has agreed to it. Raises Problem."""
    row = _parked(use, payment_id)
    control = use.commands.control()
    persons = control.unparked(payment_id, row.sequence)
    if persons is None:
        asked = control.unpark_request(payment_id, row.sequence)
        if asked is not None and same_person(asked[1].actor, who.id):
            raise problems.refused(refuse(refusals.SELF_APPROVAL))
        nobody = "nobody has requested it since it was parked"
        raise _refused(nobody if asked is None else "no second person has signed for it")
    first, second = persons
    if named is not None and not same_person(named, first):
        raise _refused("requestedBy is not the person who requested it")
    if same_person(first, who.id):
        raise problems.refused(refuse(refusals.SELF_APPROVAL))
    if not same_person(second, who.id):
        raise _refused("the caller is not the person who has signed for it")
    return first


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


def _shown(offset: int, record: UnparkRequested, *, duplicate: bool) -> UnparkRequest:
    return UnparkRequest(
        offset=offset,
        paymentIntentId=record.payment_intent_id,
        sequence=record.sequence,
        reason=record.reason,
        requestedBy=record.actor,
        requestedAt=iso(record.requested_at),
        duplicate=duplicate,
    )
