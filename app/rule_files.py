"""The rule sets this release carries: core/rules/<n>.yaml, read once per process."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import core.rules
from app.exits import usage
from core.rules import Rules, parse
from core.values import ascii_digits

FOLDER: Final = Path(core.rules.__file__).parent / "rules"
FILE_BYTES_MAX: Final = 1_000_000
PRODUCTION_RULES: Final = 1
DEMO_RULES: Final = 9001


@cache
def rules_of(number: int) -> Rules:
    """Rule set `number`. Raises KeyError if this release does not carry it, ValueError if its file
    is invalid or states another number.
    """
    file = FOLDER / f"{number}.yaml"
    if not file.is_file() or file.stat().st_size > FILE_BYTES_MAX:
        raise KeyError(number)
    rules = parse(file.read_bytes())
    if rules.number != number:
        raise ValueError(f"{file.name} says that it is number {rules.number}")
    return rules


def carried() -> list[int]:
    """Numbers of the rule sets in this release."""
    return sorted(int(file.stem) for file in FOLDER.glob("*.yaml") if ascii_digits(file.stem))


def chosen(number: int, profile: str) -> Rules:
    """The rule set a person names. Raises Problem when it is not there, or not for this profile."""
    try:
        rules = rules_of(number)
    except KeyError:
        numbers = ", ".join(str(each) for each in carried())
        raise usage(
            f"This release has no rule set {number}.", do=f"It has {numbers} (core/rules)."
        ) from None
    if profile == "production" and rules.profile != "production":
        raise usage(
            f"Rule set {number} is for {rules.profile}: its windows are seconds.",
            do="Activate one whose file says `profile: production`.",
        )
    return rules
