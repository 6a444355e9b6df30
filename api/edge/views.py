"""The base of what people are shown: camel-case structs that are the JSON, and times.

Times are ISO 8601 in UTC with milliseconds, amounts integer cents; `amountText` beside one is for
people. The OpenAPI document has its schemas from these structs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Self

import msgspec

from core.payment.operator.verdicts import fitting
from core.payment.state import Conflict, Payment
from core.values import CURRENCY, Cents, Parties, format_amount
from engine.clock import MS_PER_S
from readmodel.lists import CAN_EXPIRE, EXPIRED

TIMES_COUNT_MAX: Final = 16_384  # written out and remembered: the same few are asked for
JSON: Final = "application/json"
_encode: Final = msgspec.json.Encoder().encode


@lru_cache(TIMES_COUNT_MAX)
def iso(at_ms: int) -> str:
    """Epoch milliseconds as people and machines read them."""
    stamp = datetime.fromtimestamp(at_ms / MS_PER_S, UTC)
    return stamp.isoformat(timespec="milliseconds")[:-6] + "Z"


def iso_or_none(at_ms: int | None) -> str | None:
    """As `iso`; 0 and None are no times."""
    return iso(at_ms) if at_ms else None


def amount_text(cents: int | None, currency: str | None = None) -> str | None:
    """An amount as a person reads it, `AUD 18.58`; None of None."""
    return None if cents is None else format_amount(Cents(cents), currency or CURRENCY)


def encode(view: Any) -> bytes:
    """The JSON of a view."""
    return _encode(view)


class View(msgspec.Struct, rename="camel", gc=False):
    """Base of what is answered."""

    @classmethod
    def of(cls, source: Any, **own: Any) -> Self:
        """Its `own` fields, and the others from the fields of the same name in `source`."""
        names = cls.__struct_fields__
        return cls(**{name: own[name] if name in own else getattr(source, name) for name in names})


class VerdictView(View):
    """A verdict that fits the conflict now, and what follows from it for the money."""

    verdict: str
    consequence: str


def verdicts(state: Payment, conflict: Conflict | None) -> list[VerdictView]:
    """Those that fit, before anybody chooses; None stands for a conflict that was only counted."""
    return [VerdictView(*each) for each in fitting(state, conflict)]


class PartyView(View):
    """One side of the payment."""

    name: str
    bsb: str | None
    account: str | None
    pay_id_type: str | None
    pay_id: str | None


class PartiesView(View):
    """Personal data: shown to operator, senior_operator and auditor only."""

    debtor: PartyView
    creditor: PartyView
    remittance: str | None


def parties(opened: Parties) -> PartiesView:
    """Names and accounts, for those who may see them."""
    return PartiesView(
        debtor=_party(opened.debtor),
        creditor=_party(opened.creditor),
        remittance=opened.remittance,
    )


def approval_status(status: str, expires_at: int, now_ms: int) -> str:
    """An approval that nobody uses expires without an event: the reader compares the time."""
    return EXPIRED if status in CAN_EXPIRE and expires_at <= now_ms else status


def _party(side: Any) -> PartyView:
    return PartyView(side.name, side.bsb, side.account, side.pay_id_type, side.pay_id)
