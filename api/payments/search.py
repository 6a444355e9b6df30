"""Finds payments by any of their identifiers."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import Query
from starlette.responses import Response

from api.auth.guard import router as guarded
from api.auth.sign_in import Use
from api.edge.bodies import NO_NUL
from api.edge.params import gives, in_thread, json_answer
from api.edge.paths import PAYMENT_ID
from api.edge.views import amount_text
from api.queues.views import FoundList, FoundView
from api.services import Services
from core.values import payment_id_of_external_ref

router = guarded()

FOUND_COUNT_MAX: Final = 50
_PLACE: Final = re.compile(r"([a-zA-Z0-9._-]{1,249})/([0-9]{1,9})/([0-9]{1,18})", re.ASCII)
_PAYMENT: Final = re.compile(PAYMENT_ID, re.ASCII)


@router.get(
    "/api/search",
    operation_id="search",
    summary="Find payments by any identifier",
    **gives(FoundList),
)
async def search(
    services: Use,
    q: Annotated[
        str,
        Query(
            min_length=1,
            max_length=300,
            pattern=NO_NUL,
            description="Payment id, end-to-end id, externalRef, UETR, rail message or transaction "
            "id, idempotency key, or topic/partition/offset.",
        ),
    ],
) -> Response:
    """All payments with exactly this identifier; case is ignored for externalRef and UETR."""
    return json_answer(await in_thread(lambda: FoundList(_find(services, q), None)))


def _find(services: Services, text: str) -> list[FoundView]:
    reader = services.reader
    found: dict[tuple[str, str], None] = {}
    if _PAYMENT.fullmatch(text):
        found[("paymentIntentId", text)] = None
    computed = payment_id_of_external_ref(text)
    if computed is not None:
        found[("externalRef", computed)] = None
    place = _PLACE.fullmatch(text)
    if place is not None:
        row = reader.event_at(place[1], int(place[2]), int(place[3]))
        if row is not None:
            found[("place", row.payment_intent_id)] = None
    for kind, payment_id in reader.find(text, FOUND_COUNT_MAX):
        found[(kind, payment_id)] = None
    views = []
    for kind, payment_id in found:
        known = reader.payment(payment_id)
        if known is not None:
            views.append(
                FoundView(
                    kind,
                    payment_id,
                    known.state,
                    known.money_outcome,
                    known.amount,
                    amount_text(known.amount, known.currency),
                )
            )
    return views[:FOUND_COUNT_MAX]
