"""The read model's database URL. It may hold a password, which no error and no output repeats."""

from __future__ import annotations

from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

SECRET_PARTS: Final = ("password", "secret", "token")  # of the names after the ?
HIDDEN: Final = "not-shown"


def parsed(text: str) -> URL:
    """The URL. Raises ValueError, whose message repeats no part of the text."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError("it is not a database URL") from None
    if url.get_backend_name() != "sqlite" and text.count("@") > 1:
        # The rest of a password would be parsed as the host, and an error would show it.
        raise ValueError("an @ inside a user, password or name is written %40")
    return url


def shown(text: str) -> str:
    """The URL without its passwords, for output. Raises ValueError, as `parsed` does."""
    url = parsed(text)
    secret = [name for name in url.query if any(part in name.lower() for part in SECRET_PARTS)]
    return url.update_query_dict(dict.fromkeys(secret, HIDDEN)).render_as_string(hide_password=True)
