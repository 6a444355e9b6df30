"""The outcome of a command whose response was late or lost."""

from __future__ import annotations

from starlette.responses import Response

from api.actions.commands import created_by
from api.auth.guard import router as guarded
from api.auth.sign_in import Caller, Use, own_source
from api.edge.params import gives, in_thread, json_answer
from api.edge.paths import CommandId
from api.edge.problems import not_found
from api.edge.views import iso_or_none
from api.payments import views_outcomes
from api.payments.views_outcomes import OutcomeView, PendingView
from api.queues.routes import OfPayment
from api.services import Principal, Services
from core.header import InputHeader
from core.values import PaymentIntentId

router = guarded()


@router.get(
    "/api/outcomes/{command_id}",
    operation_id="outcome",
    summary="The outcome of a command",
    **gives(OutcomeView, also={202: PendingView}),
)
async def outcome(
    principal: Caller, services: Use, command_id: CommandId, payment_intent_id: OfPayment = None
) -> Response:
    """An accepted creation has no outcome record: it is found with `paymentIntentId`."""
    found = await in_thread(lambda: _outcome(principal, services, command_id, payment_intent_id))
    return json_answer(found, 202 if isinstance(found, PendingView) else 200)


def _outcome(
    principal: Principal, services: Services, command_id: str, payment_intent_id: str | None
) -> OutcomeView | PendingView:
    row = services.reader.outcome_of(command_id)
    if row is not None:
        _check_own(principal, services, row.payment_intent_id)
        return views_outcomes.outcome(row, services.codec)
    if payment_intent_id is not None:
        header = InputHeader(
            payment_intent_id=PaymentIntentId(payment_intent_id), command_id=command_id
        )
        made = created_by(services.reader, services.codec, header)
        if made is not None:
            _check_own(principal, services, payment_intent_id)
            return views_outcomes.of_record(made, None)
    not_after = services.commands.pending(command_id)
    if not_after is None:
        raise _unknown()
    place = f"/api/outcomes/{command_id}"
    return PendingView(command_id, "PENDING", iso_or_none(not_after), place)


def _check_own(principal: Principal, services: Services, payment_intent_id: str) -> None:
    """A submitter sees the outcomes of its own source only. Raises Problem (404)."""
    own = own_source(principal, services.sources)
    if own is None:
        return
    row = services.reader.payment(payment_intent_id)
    if row is None or row.source != own:
        raise _unknown()


def _unknown() -> Exception:
    return not_found("OUTCOME_UNKNOWN", "No outcome is known under this id, or not yet.")
