"""Request bodies: strict JSON read once, and the base of their models. Unknown fields, wrong types,
duplicate keys, NaN, deep nesting, NUL and lone surrogates are refused before anything is done.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, StringConstraints

from api.edge.problems import Problem, invalid
from core.payment.operator.checks import ID_CHARACTERS_MAX

DEPTH_COUNT_MAX: Final = 8
TEXT_CHARACTERS_MAX: Final = 1_000  # free text (domain §7)

NO_NUL: Final = r"^[^\x00]*$"

Text = Annotated[
    str, StringConstraints(min_length=1, max_length=TEXT_CHARACTERS_MAX, pattern=NO_NUL)
]
Identifier = Annotated[
    str, StringConstraints(min_length=1, max_length=ID_CHARACTERS_MAX, pattern=NO_NUL)
]


class Body(BaseModel):
    """A request body: every field is declared, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def read_json(content: bytes) -> Any:
    """The value of a JSON text. Raises Problem (VALIDATION_FAILED), naming the field if it can."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise invalid("body", "is not UTF-8") from None
    try:
        value = json.loads(
            text, object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_float
        )
    except Problem:
        raise
    except (ValueError, RecursionError):
        raise invalid("body", "is not valid JSON") from None
    _check(value, "body", 0)
    return value


def check_text(value: str, name: str) -> None:
    """Raises Problem for a NUL or a lone surrogate: neither can be kept as text everywhere."""
    if "\x00" in value:
        raise invalid(name, "holds a NUL")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise invalid(name, "contains half of a surrogate pair") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise invalid(_name(name), "is given twice")
        found[name] = value
    return found


def _constant(_text: str) -> Any:
    raise invalid("body", "contains a number that JSON does not allow")


def _float(text: str) -> float | int:
    """1.0 is a whole number in JSON, and stays one without a float's rounding."""
    whole, _, fraction = text.partition(".")
    if fraction and not fraction.strip("0"):
        return int(whole)
    value = float(text)
    if not math.isfinite(value):
        raise invalid("body", "contains a number out of range")
    return value


def _name(name: str) -> str:
    """A field's name, safe for a response: anything else is not repeated."""
    short = name[:ID_CHARACTERS_MAX]
    return short if short.isascii() and short.isprintable() and short else "body"


def _check(value: Any, name: str, depth: int) -> None:
    if depth > DEPTH_COUNT_MAX:
        raise invalid("body", "is nested too deeply")
    if isinstance(value, str):
        check_text(value, name)
    elif isinstance(value, dict):
        for key, inner in value.items():
            check_text(key, "body")
            _check(inner, _name(key), depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, name, depth + 1)
