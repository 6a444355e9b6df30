"""How the rail signs its callbacks: in a header, so that no body is read from an unknown sender.

    npp-signature: t=<epoch seconds>,sha256=<hex of the body>,v1=<hex HMAC-SHA256>[,v1=<hex>]

Each v1 is over `t.sha256` with one secret. Sender and receiver may know two secrets each while they
change them. A time stamp outside the window is refused, even if it is signed: a recorded callback
can be sent again for that long, and means the same then (docs/rail-gateway.md).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final

HEADER: Final = "npp-signature"
WINDOW_S: Final = 300  # clocks of both sides differ, and a callback may wait for its connection
HEADER_CHARACTERS_MAX: Final = 400
_FORM: Final = re.compile(
    r"t=([0-9]{1,12}),sha256=([0-9a-f]{64}),v1=([0-9a-f]{64})(?:,v1=([0-9a-f]{64}))?", re.ASCII
)


def sign(secrets: Sequence[bytes], digest: str, at_s: int) -> str:
    """The header's value; `digest` is the body's SHA-256 in hex, `at_s` epoch seconds."""
    macs = ",".join(f"v1={_mac(secret, str(at_s), digest)}" for secret in secrets)
    return f"t={at_s},sha256={digest},{macs}"


def signed_digest(header: str, secrets: Sequence[bytes], now_s: int) -> str | None:
    """The body's SHA-256 in hex that the header states, if it is signed with one of the secrets and
    at most WINDOW_S from `now_s` (epoch seconds); else None.
    """
    found = _FORM.fullmatch(header) if len(header) <= HEADER_CHARACTERS_MAX else None
    if found is None or abs(now_s - int(found[1])) > WINDOW_S:
        return None
    good = False
    for secret in secrets:
        expected = _mac(secret, found[1], found[2]).encode()
        for given in (found[3], found[4]):
            good |= hmac.compare_digest(expected, (given or "").encode())
    return found[2] if good else None


def _mac(secret: bytes, at_s: str, digest: str) -> str:
    return hmac.new(secret, f"{at_s}.{digest}".encode(), hashlib.sha256).hexdigest()
