"""`npp payment resume`: resume a parked payment under dual control, each person with
their own sign-in.

The control topic names the first person. Where no API is named, the demo and test profiles
write to Kafka by themselves.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app import settings
from app.cli.acting import Actor, PaymentAct, act
from app.cli.api_options import (
    ADMIN,
    ActAs,
    Confirm,
    Curl,
    Json,
    PaymentArgument,
    Request,
    Role,
    Why,
    answer,
    ask_as_admin,
    body,
    check_payment,
    require_actor,
    require_one,
)
from app.cli.output import as_json
from app.cluster import Cluster
from app.exits import ExitCode, Problem
from app.settings import Environment
from core.payment import commands
from core.records import UnparkRequested
from core.values import PaymentIntentId, same_person


def resume(
    payment: PaymentArgument,
    reason: Why,
    request: Request = False,
    confirm: Confirm = False,
    requested_by: Annotated[
        str | None, typer.Option(help="With --confirm: who must have asked; default: whoever did.")
    ] = None,
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Resume a parked payment after the defect is fixed, under dual control.

    --requested-by alone means --confirm.
    """
    require_one(request, confirm or requested_by is not None)
    check_payment(payment)
    environment = settings.load()
    by_hand = not (curl or environment.settings.api_url)
    if request and by_hand:
        _request(environment, payment, operator, reason, json)
    elif request:
        path = f"/api/payments/{payment}/resume-requests"
        done = ask_as_admin(path, body(reason=reason), operator, role, curl=curl)
        if done is not None:
            _say_requested(payment, done, json)
    else:
        first = _first_person(environment, payment, requested_by) if by_hand else requested_by
        asked = body(requested_by=first, reason=reason)
        wanted = PaymentAct(payment, "resume-processing", asked, commands.ResumeProcessing)
        act(wanted, Actor(operator, tuple(role or ADMIN), curl), json=json)


def _request(
    environment: Environment, payment: str, operator: str, reason: str, json: bool
) -> None:
    """The first person's request, put on the control topic without the API."""
    environment.require_not_production("Acting on payments without the API")
    require_actor(operator)
    with Cluster(environment) as cluster:
        sequence, now = _sequence(cluster, payment), cluster.clock.now_ms()
        record = UnparkRequested(
            payment_intent_id=PaymentIntentId(payment),
            sequence=sequence,
            reason=reason,
            requested_at=now,
            actor=operator,
        )
        cluster.publish_control(record)
    _say_requested(payment, as_json(record), json)


def _say_requested(payment: str, done: dict[str, Any], json: bool) -> None:
    second = f"npp payment resume {payment} --confirm --reason … --as …"
    answer(done, json, f"{payment}: requested. A second person: {second}")


def _first_person(environment: Environment, payment: str, named: str | None) -> str:
    """Who asked for it, as the control topic says. Raises Problem when nobody did."""
    environment.require_not_production("Acting on payments without the API")
    with Cluster(environment) as cluster:
        control, _ = cluster.control()
        asked = control.unpark_request(payment, _sequence(cluster, payment))
    if asked is None:
        raise Problem(
            f"Nobody has requested to take {payment} up since its last event.",
            do=f"npp payment resume {payment} --request --reason … --as …",
        )
    if named is not None and not same_person(named, asked.actor):
        raise Problem(f"Not {named} but {asked.actor} requested to take {payment} up.")
    return asked.actor


def _sequence(cluster: Cluster, payment: str) -> int:
    known = cluster.lifecycle(payment)
    if known is None:
        raise Problem(f"{payment} is not known.", code=ExitCode.NOT_FOUND)
    return known.sequence
