"""Response bodies of a payment's events, with place, hash, cause and content.

Content is the event's own fields in camel case, free text as it was sent. Party details and the
customer's id are left out for roles that may not see them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from api.edge.views import View, iso, parties
from core.declared import camel_case, is_record
from core.dispositions import Disposition
from core.values import Sealed, attempt_id
from readmodel.rows import EventRow
from schemas.codec import Codec
from schemas.codec.parties import open_parties
from schemas.topology import EVENTS

# Fields that are epoch milliseconds, besides those that end in _at.
_TIMES: Final = frozenset({"submit_before", "frozen_until", "requested_execution_time"})
_PERSONAL: Final = frozenset({"customer_id"})


class PlaceView(View):
    """A place on the log."""

    topic: str
    partition: int
    offset: int


class CauseView(View):
    """The input that made the event; `inputHash` is the SHA-256 of its bytes, null as `hash`."""

    cluster_id: str
    topic: str
    partition: int
    offset: int
    input_hash: str | None
    command_id: str | None


class ActorView(View):
    """Who made it happen: upstream, operator, rail, deposits, resolve, customer, timer, system."""

    kind: str
    id: str


class EventView(View):
    """One event. `hash` is the SHA-256 of its raw bytes on the log, `previousHash` that of the
    payment's previous event; both are null for roles that may not see personal data, since a hash
    can confirm a guess. `data` are the event's fields without its header. `ruling` is
    TAKEN_AS_RECORDED where two people ruled on this record: the rules did not decide it."""

    payment_intent_id: str
    sequence: int
    type: str
    timestamp: str
    from_state: str | None
    to_state: str
    attempt_id: str
    reason: str | None
    external_ref: str | None
    approval_id: str | None
    actor: ActorView
    cause: CauseView
    rule_set: int
    hash: str | None
    previous_hash: str | None
    place: PlaceView
    ruling: str | None
    data: dict[str, Any]


class EventList(View):
    """In order of sequence; `next` is passed back as `cursor` where there are more."""

    items: list[EventView]
    next: str | None


def event(
    row: EventRow, codec: Codec, *, personal: bool, ruled: Sequence[Disposition] = ()
) -> EventView:
    """The event in the row's raw bytes; `ruled` are the rulings on the payment's records. Raises
    Undecodable, RegistryDown.
    """
    found = codec.decode(EVENTS, row.raw)
    header = found.header
    return EventView.of(
        row,
        timestamp=iso(row.decided_at),
        to_state=row.state,
        attempt_id=attempt_id(header.attempt),
        reason=header.reason,
        external_ref=getattr(found, "external_ref", None),
        approval_id=header.approval_id,
        actor=ActorView(header.actor.kind, header.actor.id),
        cause=CauseView(
            header.cause.cluster_id,
            header.cause.topic,
            header.cause.partition,
            header.cause.offset,
            header.cause.input_hash.hex() if personal else None,
            header.cause.command_id,
        ),
        rule_set=header.rule_set,
        hash=row.hash.hex() if personal else None,
        previous_hash=header.previous_hash.hex() if personal else None,
        place=PlaceView(EVENTS, row.partition, row.offset),
        ruling=_ruling(row, ruled),
        data=data(found, personal=personal),
    )


def _ruling(row: EventRow, ruled: Sequence[Disposition]) -> str | None:
    """The ruling on this offset and these bytes, or None."""
    mine = (row.partition, row.offset, row.hash)
    for each in ruled:
        requested = each.request
        if (requested.partition, requested.offset, requested.event_hash) == mine:
            return each.ruling
    return None


def data(record: msgspec.Struct, *, personal: bool) -> dict[str, Any]:
    """The record's fields without its header, as JSON values."""
    return {
        camel_case(name): _value(name, getattr(record, name), personal)
        for name in record.__struct_fields__
        if name != "header"
    }


def _value(name: str, value: Any, personal: bool) -> Any:
    if isinstance(value, Sealed):
        return parties(open_parties(value)) if personal else None
    if value is None or (name in _PERSONAL and not personal):
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and (name in _TIMES or name.endswith("_at")):
        return iso(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [_value("", each, personal) for each in value]
    if is_record(value):
        return data(value, personal=personal)
    return value
