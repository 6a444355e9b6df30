"""Who calls: the signed-in principal of a request, as a dependency of routes.

Sign-in and the check against `api.auth.access` happen in `api.auth.guard`, before the body is read.
"""

from __future__ import annotations

from typing import Annotated, Final, Protocol

import msgspec
from fastapi import Depends
from starlette.requests import Request

from api.auth.access import PERSONAL, SUBMITTER
from api.services import Principal, Services

PRINCIPAL: Final = "npp.principal"
SCHEME: Final = "bearer"


class NotSignedIn(Exception):
    """The token does not count. `reason` is a word for the log and the audit, never a part of the
    token."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class KeysDown(Exception):
    """The key server does not answer and the token's key is not known (anymore)."""


class Claimed(msgspec.Struct, frozen=True):
    """What a token says of itself before it is verified. `remembered`: it was verified before, and
    only the issuer's keys are due to be read again; `key_id` is empty for a key that is not known;
    `person` is set for who has signed in here before."""

    remembered: bool = False
    key_id: str = ""
    person: str | None = None


class SignIn(Protocol):
    """Turns a bearer token into who calls."""

    def known(self, token: str) -> Principal | None:
        """From memory alone: a token that was verified before and still holds."""

    def claimed(self, token: str) -> Claimed:
        """What it says of itself; from memory alone."""

    def verify(self, token: str) -> Principal:
        """May ask the key server: call it from a worker thread. Raises NotSignedIn, KeysDown."""

    def revoked(self, token: str) -> bool:
        """Whether a token that was verified before has been revoked since; from memory alone."""

    def malformed_keys(self) -> int:
        """How many of the issuer's keys cannot be read and are left out."""


async def caller(request: Request) -> Principal:
    """Who calls, signed in and with a role that may call this."""
    principal: Principal = request.scope[PRINCIPAL]
    return principal


async def services(request: Request) -> Services:
    """What the routes work with."""
    found: Services = request.app.state.services
    return found


Caller = Annotated[Principal, Depends(caller)]
Use = Annotated[Services, Depends(services)]


def sees_personal(principal: Principal) -> bool:
    """Whether names, accounts and the customer's id are shown unmasked."""
    return not principal.roles.isdisjoint(PERSONAL)


def own_source(principal: Principal, sources: dict[str, str]) -> str | None:
    """The one source whose payments a caller is held to; None for those who may read all.

    A submitter whose client has no source is held to "", which no payment has.
    """
    if principal.roles - {SUBMITTER}:
        return None
    return sources.get(principal.client_id or "", "")
