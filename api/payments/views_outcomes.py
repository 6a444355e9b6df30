"""Response bodies of outcomes."""

from __future__ import annotations

from api.edge.views import View, iso
from api.payments.views_events import PlaceView
from core.records import Outcome
from readmodel.rows import OutcomeRow
from schemas.codec import Codec
from schemas.topology import OUTCOMES


class OutcomeView(View):
    """The outcome of an input: result ACCEPTED, DUPLICATE (then fromSequence..toSequence are the
    events of the first result), REJECTED (with code, rule and sentence), NO_EFFECT, MISROUTED or
    QUARANTINED. `state` and `moneyOutcome` are those after it; `place` is null for an accepted
    creation.
    """

    payment_intent_id: str
    command_id: str | None
    input_type: str
    result: str
    duplicate: bool
    code: str | None
    rule: str | None
    sentence: str | None
    first_difference: str | None
    expected: str | None
    actual: str | None
    decided_at: str
    from_sequence: int
    to_sequence: int
    state: str | None
    money_outcome: str | None
    rule_set: int
    cause: PlaceView
    place: PlaceView | None


class OutcomeList(View):
    """In log order."""

    items: list[OutcomeView]
    next: str | None


class PendingView(View):
    """No outcome is known yet. Until `notAfter` the command can still be decided, later it is
    rejected; null for a creation, which has no such time.
    """

    command_id: str
    result: str
    not_after: str | None
    outcome: str


def outcome(row: OutcomeRow, codec: Codec) -> OutcomeView:
    """The outcome in the row's raw bytes. Raises Undecodable, RegistryDown."""
    found: Outcome = codec.decode(OUTCOMES, row.raw)
    return of_record(found, PlaceView(OUTCOMES, row.partition, row.offset))


def of_record(found: Outcome, place: PlaceView | None) -> OutcomeView:
    """`place`: the outcome record's topic, partition and offset."""
    return OutcomeView.of(
        found,
        command_id=found.cause.command_id,
        duplicate=found.result == "DUPLICATE",
        decided_at=iso(found.decided_at),
        cause=PlaceView(found.cause.topic, found.cause.partition, found.cause.offset),
        place=place,
    )
