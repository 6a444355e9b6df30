"""Who calls: the signed-in principal of a request, as a dependency of routes.

Sign-in and the check against `api.auth.access` happen in `api.auth.guard`, before the body is read.
"""

from __future__ import annotations

from typing import Annotated, Final, Protocol

import msgspec
from fastapi import Depends
from starlette.requests import Request

from api.auth.access import PERSONAL
from api.services import Principal, Services
from control.acts.roles import SUBMITTER

PRINCIPAL: Final = "npp.principal"
PAYMENT: Final = "npp.payment"  # in the scope: which one the request is about, for the log
SCHEME: Final = "bearer"


class NotSignedIn(Exception):
    """The token is not accepted. `reason` goes into the response, the log and the audit log; it
    contains no part of the token.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class KeysDown(Exception):
    """The key server does not answer, and the token's key is unknown or too old."""


class Claimed(msgspec.Struct, frozen=True):
    """What a token claims before it is verified. `remembered`: it was verified before, and only the
    issuer's keys are due to be read again. `key_id` is empty for an unknown key. `person` is set
    for a user who has signed in here before.
    """

    remembered: bool = False
    key_id: str = ""
    person: str | None = None


class SignIn(Protocol):
    """Turns a bearer token into who calls."""

    def known(self, token: str) -> Principal | None:
        """Who sent a token that was verified before and is still valid; from memory alone."""

    def claimed(self, token: str) -> Claimed:
        """What the token claims, not verified; without I/O."""

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
    """The only source whose payments this caller may read; None for a caller who may read all.

    For a submitter whose client has no source it is "", which no payment has.
    """
    if principal.roles - {SUBMITTER}:
        return None
    return sources.get(principal.client_id or "", "")
