"""Fields of a pack as people read them: times in UTC, amounts with their currency."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from core.values import CURRENCY, Cents, format_amount

TIMES: Final = frozenset(
    {
        "at", "createdAt", "decidedAt", "endedAt", "requestedAt", "expiresAt", "verifiedAt",
        "submitBefore", "signedAt", "requestedExecutionTime", "submittedAt", "answeredAt",
        "frozenUntil", "deadline", "since", "deliveredAt", "confirmedAt",
    }
)  # fmt: skip
AMOUNTS: Final = frozenset(
    {
        *("amount", "settled", "held", "captured", "released", "debited", "reversed", "credited"),
        *("waived", "returned", "total"),
    }
)
EMPTY: Final[tuple[object, ...]] = (None, [], {}, "")


def flat(values: Any, name: str = "", currency: str = CURRENCY) -> Iterator[tuple[str, str]]:
    """Names and values of nested content, in their order, without empty ones. An amount is in the
    `currency` of the object that it is in, else of the nearest one around it.
    """
    if isinstance(values, dict):
        currency_value = values.get("currency")
        currency = (
            currency_value if isinstance(currency_value, str) and currency_value else currency
        )
        for key, value in values.items():
            yield from flat(value, f"{name}.{key}" if name else key, currency)
    elif isinstance(values, list):
        if all(isinstance(each, str) for each in values):
            if values:
                yield name, ", ".join(values)
            return
        for index, value in enumerate(values):
            yield from flat(value, f"{name}[{index + 1}]", currency)
    elif values not in EMPTY:
        yield name, _shown(name.rpartition(".")[2], values, currency)


def _shown(name: str, value: Any, currency: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name in TIMES:
        return time_of(value)
    if isinstance(value, int) and name in AMOUNTS:
        return format_amount(Cents(value), currency)
    return str(value)


def time_of(epoch_ms: int) -> str:
    """Epoch milliseconds as UTC, to the millisecond; a number that is not a valid time stays as it
    is.
    """
    try:
        stamp = datetime.fromtimestamp(epoch_ms // 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return str(epoch_ms)
    return stamp.strftime("%Y-%m-%d %H:%M:%S.") + f"{epoch_ms % 1000:03d}Z"
