"""Response bodies of commands."""

from __future__ import annotations

from api.edge.views import View
from api.payments.views_events import EventView


class DoneView(View):
    """The outcome of a command: ACCEPTED, DUPLICATE (then it is the first result) or NO_EFFECT.

    `events` are those it made, as GET …/events shows them; `projected` says whether the read model
    has them already: without it `events` is empty and the next GET may lag. `outcome` is where the
    outcome can be read again.
    """

    result: str
    duplicate: bool
    command_id: str
    payment_intent_id: str
    state: str | None
    money_outcome: str | None
    from_sequence: int
    to_sequence: int
    decided_at: str
    rule: str | None
    sentence: str | None
    approval_id: str | None
    projected: bool
    events: list[EventView]
    outcome: str


class LateView(View):
    """The outcome is not known yet. Until `notAfter` the command can still be decided, later it
    is rejected; null for a creation, which has no such time and is safe to repeat.
    """

    command_id: str
    payment_intent_id: str
    result: str
    not_after: str | None
    outcome: str
