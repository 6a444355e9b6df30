"""`npp unpark`: a parked payment is taken up again by two persons, each by their own sign-in.

The first person is whom the control topic names. Where no API is named, the demo and test profiles
write to Kafka by themselves.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app import settings
from app.cli.acting import PaymentAct, act
from app.cli.api_options import (
    ADMIN,
    ActAs,
    Curl,
    Json,
    PaymentArgument,
    Role,
    Why,
    body,
    check_payment,
    post_as_admin,
)
from app.cli.output import console
from app.cluster import Cluster
from app.exits import ExitCode, Problem, usage
from app.settings import Environment
from core.payment import commands
from core.records import UnparkRequested
from core.values import same_person


def register(app: typer.Typer) -> None:
    app.command("unpark", rich_help_panel="Operators")(unpark)


def unpark(
    payment: PaymentArgument,
    reason: Why,
    request: Annotated[bool, typer.Option("--request", help="The first person asks.")] = False,
    confirm: Annotated[bool, typer.Option("--confirm", help="A second person agrees.")] = False,
    requested_by: Annotated[
        str | None, typer.Option(help="With --confirm: who must have asked; default: whoever did.")
    ] = None,
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Take a parked payment up again, after the defect is mended; two persons.

    --requested-by alone means --confirm.
    """
    if request == (confirm or requested_by is not None):
        raise usage("Say --request (first person) or --confirm (second person).")
    check_payment(payment)
    environment = settings.load()
    by_hand = not (curl or environment.settings.api_url)
    if request and by_hand:
        _request(environment, payment, operator, reason)
    elif request:
        path = f"/api/payments/{payment}/resume-requests"
        post_as_admin(path, body(reason=reason), operator, role, json=json, curl=curl)
    else:
        first = _first_person(environment, payment, requested_by) if by_hand else requested_by
        asked = body(requested_by=first, reason=reason)
        wanted = PaymentAct(payment, "resume-processing", asked, commands.ResumeProcessing)
        act(wanted, operator, role or ADMIN, json=json, curl=curl)


def _request(environment: Environment, payment: str, operator: str, reason: str) -> None:
    """The first person's request, put on the control topic without the API."""
    environment.require_not_production("Acting on payments without the API")
    if not operator:
        raise usage("No API is named (NPP_API_URL), so --as has to say who acts.", do="--as ID")
    with Cluster(environment) as cluster:
        sequence, now = _sequence(cluster, payment), cluster.clock.now_ms()
        cluster.publish_control(UnparkRequested(payment, sequence, reason, now, operator))
    console().print(f"{payment}: requested. A second person: npp unpark {payment} --confirm --as …")


def _first_person(environment: Environment, payment: str, named: str | None) -> str:
    """Who asked for it, as the control topic says. Raises Problem when nobody did."""
    environment.require_not_production("Acting on payments without the API")
    with Cluster(environment) as cluster:
        control, _ = cluster.control()
        asked = control.unpark_request(payment, _sequence(cluster, payment))
    if asked is None:
        raise Problem(
            f"Nobody has requested to take {payment} up since its last event.",
            do=f"npp unpark {payment} --request --reason … --as …",
        )
    if named is not None and not same_person(named, asked.actor):
        raise Problem(f"Not {named} but {asked.actor} requested to take {payment} up.")
    return asked.actor


def _sequence(cluster: Cluster, payment: str) -> int:
    known = cluster.lifecycle(payment)
    if known is None:
        raise Problem(f"{payment} is not known.", code=ExitCode.NOT_FOUND)
    return known.sequence
