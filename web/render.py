"""Templates: Jinja2 with everything escaped, an undefined name an error, and our own filters."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
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


def environment() -> Environment:
    """The one environment of all pages."""
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


def since(stamp: str | None, now_ms: int) -> float | None:
    """Seconds from a time until now."""
    if not stamp:
        return None
    return now_ms / 1_000 - datetime.fromisoformat(stamp).astimezone(UTC).timestamp()


def count(number: int | None) -> str:
    """1,000,000."""
    return "—" if number is None else f"{number:,}"


def percent(value: float | None) -> str:
    """97.3 %; a dash for no traffic."""
    return "—" if value is None else f"{value * 100:.1f} %"


def short(text: str | None, characters: int = SHORT_CHARACTERS) -> Any:
    """The first characters of an id, all of it in its title."""
    if not text:
        return "—"
    if len(text) <= characters:
        return text
    return Markup('<span title="{}">{}…</span>').format(text, text[:characters])
