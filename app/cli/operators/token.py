"""`npp token`: a bearer token for demo and test, from a key in the data folder."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app.cli.output import console, print_json
from app.config import settings
from app.exits import usage
from engine.clock import SystemClock

MINUTES: Final = 480


def token(
    role: Annotated[
        list[str], typer.Option(help="viewer, operator, senior_operator, approver, auditor, …")
    ],
    operator: Annotated[str, typer.Option("--as", help="Who it is for: the operator's id.")],
    client: Annotated[
        str | None, typer.Option(help="Client id of a submitter; NPP_API_CLIENTS has its source.")
    ] = None,
    minutes: Annotated[int, typer.Option(min=1, help="Life; a day at most.")] = MINUTES,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Issue a token from the local key; demo and test only, production refuses it.

    In production tokens come from the organisation's own issuer (NPP_JWKS).
    """
    from api.auth.local import LOCAL_AUDIENCE, LOCAL_ISSUER, LocalIssuer  # slow to import

    environment = settings.load()
    environment.require_not_production("Issuing tokens from a local key")
    found = environment.settings
    try:
        issued = LocalIssuer(found.data_dir, SystemClock()).issue(
            operator,
            role,
            client_id=client,
            minutes=minutes,
            issuer=found.token_issuer or LOCAL_ISSUER,
            audience=found.token_audience or LOCAL_AUDIENCE,
        )
    except ValueError as error:
        raise usage(f"No such token: {error}.") from error
    if json:
        print_json({"token": issued, "operatorId": operator, "roles": role, "minutes": minutes})
    else:
        console().print(issued, soft_wrap=True, markup=False, highlight=False)
