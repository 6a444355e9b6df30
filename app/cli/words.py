"""What a person writes on the command line, as values: amounts, parties, attempts, times."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import typer

from app.cli.output import time_of
from app.exits import usage
from core.values import CENTS_PER_UNIT, attempt_id, attempt_number

AMOUNT: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,2})?", re.ASCII)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def cents(text: str) -> int:
    """Dollars and cents as integer cents, without a float. Raises Problem."""
    if AMOUNT.fullmatch(text):
        whole, _, fraction = text.removeprefix("-").partition(".")
        amount = int(whole) * CENTS_PER_UNIT + int(fraction.ljust(2, "0"))
        return -amount if text.startswith("-") else amount  # refused by the engine, with its rule
    raise usage(f"--amount {text!r} is no amount.", do="Dollars and cents: --amount 12.50")


def party(text: str) -> dict[str, Any]:
    parts = text.split("/", 2)
    if len(parts) != 3:
        raise usage(f"{text!r} is no party.", do="NAME/BSB/ACCOUNT, or NAME/TYPE/PAYID.")
    name, second, third = parts
    if second in ("TELI", "EMAL", "AUBN", "ORGN"):
        return {"name": name, "payIdType": second, "payId": third}
    return {"name": name, "bsb": second, "account": third}


def attempt_named(given: str | None) -> str | None:
    """att_001 of `1` and `att_001`, None of nothing. Raises Problem for what names no attempt."""
    if given is None:
        return None
    number = attempt_number(given)
    if number is None:
        raise usage(
            f"--attempt {given!a} is no attempt.", do="Its number or its name: 1 or att_001."
        )
    return attempt_id(number)


def moment(param: typer.CallbackParam, given: str | None) -> str | None:
    """A time as ISO 8601 in UTC, to the millisecond; None of nothing. Raises Problem for what is no
    time, or has no zone.
    """
    return None if given is None else time_of(epoch_ms(given, param.opts[0]))


def epoch_ms(given: str, what: str) -> int:
    """Epoch milliseconds of an ISO 8601 time with its zone. Raises Problem that names `what`."""
    try:
        stamp = datetime.fromisoformat(given)
        if stamp.tzinfo is not None and "T" in given.upper():
            return (stamp - EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        pass
    raise usage(
        f"{what} {given!a} is no time.",
        do="ISO 8601 with its zone: 2026-03-01T09:30:00+11:00, or 2026-02-28T22:30:00Z.",
    )
