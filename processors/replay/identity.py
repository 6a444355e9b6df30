"""Identity: is each payment's id, and each reference, the one computed from its source and
idempotency key? If every payment has its computed id, no two can come from one source and key
(IDM-05).

If every reference is the computed one, the rail and Deposits Core recognise a repeated instruction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from core.payment import events as e
from core.payment.events import Event
from core.values import FUNDS_LETTER, external_ref, payment_intent_id

_TO_DO: Final = "Stop processing: one request may be paid twice. Report the defect."


def problems(key: bytes, events: Sequence[Event]) -> Iterator[tuple[int, str]]:
    """Problems as (sequence, sentence), in event order; `key` is the record's."""
    for index, event in enumerate(events):
        for problem in _problems(key, index, event):
            yield event.header.sequence, f"{problem}. {_TO_DO}"


def _problems(key: bytes, index: int, event: Event) -> list[str]:
    found = []
    name = event.header.payment_intent_id
    if name.encode() != key:
        found.append(f"the record's key is {key.decode('utf-8', 'replace')}, the event says {name}")
    created = isinstance(event, e.PaymentIntentCreated)
    if created != (index == 0):
        kind = type(event).__name__
        found.append(f"a payment is created by its first event and by no other, this is a {kind}")
    if isinstance(event, e.PaymentIntentCreated):
        computed = _computed(event)
        if computed != name:
            found.append(f"its source and idempotency key are those of payment {computed}")
    given, expected = _references(event)
    if given != expected:
        found.append(f"its reference is {given}, computed it is {expected}")
    return found


def _computed(created: e.PaymentIntentCreated) -> str:
    try:
        return payment_intent_id(created.source, created.idempotency_key)
    except ValueError as error:
        return f"(none: {error})"


def _references(event: Event) -> tuple[str, str]:
    """The event's own reference, and the one that domain §2 computes."""
    name, attempt = event.header.payment_intent_id, event.header.attempt
    if isinstance(event, (e.PaymentAttemptCreated, e.PaymentSentToRail)):
        return event.external_ref, external_ref(name, attempt)
    if isinstance(event, e.FundsRequested):
        number = event.funds_ref[31:]
        counted = len(number) == 2 and number.isascii() and number.isdigit()
        letter = FUNDS_LETTER.get(event.operation, "?")
        expected = f"{external_ref(name, attempt)}{letter}{number if counted else '01'}"
        return event.funds_ref, expected
    return "", ""
