"""Identity: is each payment the one its source and idempotency key make, and are its references?

While every payment has its own computed id, no two can have come of one source and key (IDM-05).
While every reference is the computed one, the rail and Deposits Core know an instruction again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from core.payment import events as e
from core.payment.events import Event
from core.values import FUNDS_LETTER, external_ref, payment_intent_id

_TO_DO: Final = "Stop processing: one request may be paid twice. Report the defect."


def problems(key: bytes, events: Sequence[Event]) -> Iterator[tuple[int, str]]:
    """What is wrong as (sequence, sentence), in the order of the events; `key` is the record's."""
    for index, event in enumerate(events):
        for said in _problems(key, index, event):
            yield event.header.sequence, f"{said}. {_TO_DO}"


def _problems(key: bytes, index: int, event: Event) -> Iterator[str]:
    name = event.header.payment_intent_id
    if name.encode() != key:
        yield f"the record's key is {key.decode('utf-8', 'replace')}, the event says {name}"
    created = isinstance(event, e.PaymentIntentCreated)
    if created != (index == 0):
        kind = type(event).__name__
        yield f"a payment is created by its first event and by no other, this is a {kind}"
    if isinstance(event, e.PaymentIntentCreated):
        computed = _computed(event)
        if computed != name:
            yield f"its source and idempotency key are those of payment {computed}"
    given, expected = _references(event)
    if given != expected:
        yield f"its reference is {given}, computed it is {expected}"


def _computed(created: e.PaymentIntentCreated) -> str:
    try:
        return payment_intent_id(created.source, created.idempotency_key)
    except ValueError as error:
        return f"(none: {error})"


def _references(event: Event) -> tuple[str, str]:
    """The event's own reference, and the one that domain §2 computes."""
    name, attempt = event.header.payment_intent_id, event.header.attempt
    match event:
        case e.PaymentAttemptCreated() | e.PaymentSentToRail():
            return event.external_ref, external_ref(name, attempt)
        case e.FundsRequested():
            number = event.funds_ref[31:]
            counted = len(number) == 2 and number.isascii() and number.isdigit()
            letter = FUNDS_LETTER.get(event.operation, "?")
            expected = f"{external_ref(name, attempt)}{letter}{number if counted else '01'}"
            return event.funds_ref, expected
        case _:
            return "", ""
