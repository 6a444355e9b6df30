"""The end of every accepted decision: follow-ups, the deadline, the work for the outside."""

from __future__ import annotations

from core.decider import Accepted
from core.payment.deadlines import next_deadline
from core.payment.draft import Draft
from core.payment.flow import outstanding
from core.payment.flow.instruct import instructions


def finish(draft: Draft) -> Accepted:
    """What was decided, with all that follows from it. At least one event must have been
    appended.
    """
    outstanding(draft)
    state = draft.state  # our own copy: the last event made it
    state.deadline, state.deadline_kind = next_deadline(state, draft.rules)
    return Accepted(draft.events, state, instructions(draft.before, draft.events, state))
