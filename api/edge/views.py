"""The base of response bodies: structs that are encoded as JSON with camel-case names.

Times are ISO 8601 in UTC with milliseconds, amounts integer cents; `amountText` beside one is for
people. The schemas of the OpenAPI document are made from these structs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, Self

import msgspec

from core.payment.operator.verdicts import fitting
from core.payment.state import Conflict, Payment
from core.values import CURRENCY, Cents, Parties, format_amount
from engine.clock import MS_PER_S
from readmodel.lists import CAN_EXPIRE, EXPIRED

TIMES_COUNT_MAX: Final = 16_384  # formatted and cached: the same few are requested
VIEWS_COUNT_MAX: Final = 256  # one for each place in the code that makes a view
JSON: Final = "application/json"
_encode: Final = msgspec.json.Encoder().encode


@lru_cache(TIMES_COUNT_MAX)
def iso(at_ms: int) -> str:
    """Epoch milliseconds as ISO 8601 in UTC with milliseconds."""
    stamp = datetime.fromtimestamp(at_ms / MS_PER_S, UTC)
    return stamp.isoformat(timespec="milliseconds")[:-6] + "Z"


def iso_or_none(at_ms: int | None) -> str | None:
    """As `iso`; None for 0 and None."""
    return iso(at_ms) if at_ms else None


def amount_text(cents: int | None, currency: str | None = None) -> str | None:
    """Cents as a person reads them, `AUD 18.58`; None for None."""
    return None if cents is None else format_amount(Cents(cents), currency or CURRENCY)


def encode(view: Any) -> bytes:
    """The JSON of a view."""
    return _encode(view)


class View(msgspec.Struct, rename="camel", gc=False):
    """Base of response bodies."""

    @classmethod
    def of(cls, source: Any, **own: Any) -> Self:
        """Its `own` fields, and the others from the fields of the same name in `source`."""
        names, values_of = _besides(cls, tuple(own))
        own.update(zip(names, values_of(source), strict=True))
        return cls(**own)


@lru_cache(VIEWS_COUNT_MAX)
def _besides(
    view: type[View], own: tuple[str, ...]
) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """The view's fields that are not its own, and what takes them from a source."""
    names = tuple(name for name in view.__struct_fields__ if name not in own)
    if len(names) > 1:
        return names, attrgetter(*names)
    return names, lambda source: tuple(getattr(source, name) for name in names)


class VerdictView(View):
    """A verdict that fits the conflict now, and its consequence for the money."""

    verdict: str
    consequence: str


def verdicts(state: Payment, conflict: Conflict | None) -> list[VerdictView]:
    """The verdicts that fit, for a person to choose from; None means a conflict that was only
    counted.
    """
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
    """The status at this time (epoch ms): an unused approval expires without an event."""
    return EXPIRED if status in CAN_EXPIRE and expires_at <= now_ms else status


def _party(side: Any) -> PartyView:
    return PartyView(side.name, side.bsb, side.account, side.pay_id_type, side.pay_id)
