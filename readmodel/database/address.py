"""The read model's address. It may hold a password, which no error and nothing shown repeats."""

from __future__ import annotations

from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

SECRET_PARTS: Final = ("password", "secret", "token")  # of the names after the ?
HIDDEN: Final = "not-shown"


def parsed(text: str) -> URL:
    """Raises ValueError, which says nothing of the address itself."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError("it is no address of a database") from None
    if url.get_backend_name() != "sqlite" and text.count("@") > 1:
        # The rest of a password would be taken for the host, and be named when it is not found.
        raise ValueError("an @ inside a user, password or name is written %40")
    return url


def shown(text: str) -> str:
    """Server, user and database without passwords. Raises ValueError as `parsed`."""
    url = parsed(text)
    secret = [name for name in url.query if any(part in name.lower() for part in SECRET_PARTS)]
    return url.update_query_dict(dict.fromkeys(secret, HIDDEN)).render_as_string(hide_password=True)
