"""Templates: Jinja2 that escapes everything, with an error for undefined names, and our filters."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from web import words

TEMPLATES: Final = Path(__file__).with_name("templates")
SYDNEY: Final = ZoneInfo("Australia/Sydney")
SECONDS_PER_MINUTE: Final = 60
SECONDS_PER_HOUR: Final = 3_600
SECONDS_PER_DAY: Final = 86_400
SHORT_CHARACTERS: Final = 12

# Options of the command line whose names differ from the API's parameters.
_OPTIONS: Final[dict[str, str]] = {
    "moneyOutcome": "money",
    "operatorId": "operator",
    "paymentIntentId": "payment",
}
_SWITCHES: Final[dict[tuple[str, str], str]] = {
    ("attention", "true"): "--attention",
    ("attention", "false"): "--no-attention",
    ("open", "true"): "--open",
    ("open", "false"): "--all",
}


def environment() -> Environment:
    """The environment of all pages."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "time": time,
        "age": age,
        "minutes": minutes,
        "curl": curl,
        "npp": npp,
        "count": count,
        "percent": percent,
        "short": short,
        "word": words.word,
        "say": words.say,
        "tone": words.tone,
    }
    return made


def time(stamp: str | None) -> Markup | str:
    """A time in Sydney; the browser rewrites it for the zone that was chosen there."""
    if not stamp:
        return "—"
    at = datetime.fromisoformat(stamp).astimezone(SYDNEY)
    text = f"{at:%-d %b %Y} {at:%H:%M:%S}.{at.microsecond // 1000:03d} {at:%Z}"
    return Markup('<time datetime="{}">{}</time>').format(stamp, text)


def age(seconds: float | None) -> str:
    """`41 s`, `3 min`, `2 h 05 min`, `4 d`."""
    if seconds is None:
        return "—"
    whole = max(0, int(seconds))
    if whole < SECONDS_PER_MINUTE:
        return f"{whole} s"
    if whole < SECONDS_PER_HOUR:
        return f"{whole // SECONDS_PER_MINUTE} min"
    if whole < SECONDS_PER_DAY:
        hours, rest = divmod(whole, SECONDS_PER_HOUR)
        return f"{hours} h {rest // SECONDS_PER_MINUTE:02d} min"
    return f"{whole // SECONDS_PER_DAY} d"


def minutes(seconds: float) -> str:
    """As `age`, but without seconds, so that live parts change once a minute at most."""
    return age(seconds) if seconds >= SECONDS_PER_MINUTE else "less than a minute"


def count(number: int | None) -> str:
    """A number as `1,000,000`; a dash for None."""
    return "—" if number is None else f"{number:,}"


def percent(value: float | None) -> str:
    """A share as `97.3 %`; a dash for None."""
    return "—" if value is None else f"{value * 100:.1f} %"


def short(text: str | None, characters: int = SHORT_CHARACTERS) -> Any:
    """The first characters of an id, with all of it as the title."""
    if not text:
        return "—"
    if len(text) <= characters:
        return text
    return Markup('<span title="{}">{}…</span>').format(text, text[:characters])


def curl(path: str, requested: Mapping[str, str]) -> str:
    """For "Copy as curl": the address of the page's data. It is safe within a shell's double
    quotes.
    """
    given = {name: value for name, value in requested.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def npp(words: str, requested: Mapping[str, str]) -> str:
    """For "Copy as npp": the command with an option for each filter, quoted for a shell."""
    return " ".join(
        [
            words,
            *(
                _SWITCHES.get(pair) or f"--{_OPTIONS.get(pair[0], pair[0])}={shlex.quote(pair[1])}"
                for pair in requested.items()
                if pair[1]
            ),
        ]
    )
