"""`npp payment resume`: resume a parked payment, under dual control.

Both persons sign on the control topic; then the command that takes the payment up is given. Where
no API is named, the demo and test profiles write to Kafka by themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from app import settings
from app.cli.acting import Actor, PaymentAct, act
from app.cli.api_client import Api, Call
from app.cli.api_options import (
    ADMIN,
    ActAs,
    Confirm,
    Json,
    PaymentArgument,
    Request,
    Role,
    Why,
    answer,
    check_payment,
    open_api,
    require_one,
)
from app.cli.output import as_json
from app.cli.signing import Asked, Hand, Key, carry, hand, of_api, of_control
from app.cluster import Cluster
from app.exits import ExitCode, Problem
from core.payment import commands
from core.records import ActConfirmed, UnparkRequested
from core.values import PaymentIntentId
from engine.clock import SystemClock

OBEYED_SECONDS: Final = 2.5  # every process reads the control topic each second


def resume(
    payment: PaymentArgument,
    reason: Why,
    request: Request = False,
    confirm: Confirm = False,
    operator: ActAs = "",
    key: Key = None,
    role: Role = None,
    json: Json = False,
) -> None:
    """Resume a parked payment after the defect is fixed, under dual control.

    Each person signs with the own key.
    """
    require_one(request, confirm)
    check_payment(payment)
    environment = settings.load()
    if environment.settings.api_url:
        with open_api(operator, tuple(role or ADMIN)) as api:
            if request:
                _request_over_api(api, payment, operator, key, reason, json)
                return
            first = _confirm_over_api(api, payment, operator, key)
    else:
        environment.require_not_production("Acting on payments without the API")
        with Cluster(environment) as cluster:
            sequence = _sequence(cluster, payment)
            me = hand(of_control(cluster.control()[0]), operator, key)
            if request:
                record = me.sign(_new(payment, sequence, reason))
                cluster.publish_control(record)
                _say_requested(payment, as_json(record), json)
                return
            asked = _asked(me.asked, payment, sequence)
            cluster.publish_control(_agreed(me, *asked))
            first = asked[1].actor
        SystemClock().sleep(OBEYED_SECONDS)
        operator = operator or me.person
    wanted = PaymentAct(
        payment,
        "resume-processing",
        {"requestedBy": first, "reason": reason},
        commands.ResumeProcessing,
    )
    act(wanted, Actor(operator, tuple(role or ADMIN), False), json=json)


def _new(payment: str, sequence: int, reason: str) -> UnparkRequested:
    return UnparkRequested(
        payment_intent_id=PaymentIntentId(payment),
        sequence=sequence,
        reason=reason,
        requested_at=SystemClock().now_ms(),
        actor="",
    )


def _agreed(me: Hand, offset: int, asked: Any) -> Any:
    confirmed = ActConfirmed(
        request_offset=offset, confirmed_at=SystemClock().now_ms(), actor=me.person
    )
    return me.sign(confirmed, asked)


def _request_over_api(
    api: Api, payment: str, operator: str, key: Path | None, reason: str, json: bool
) -> None:
    me = hand(of_api(api), operator, key)
    sequence = api.ask(Call("GET", f"/api/payments/{payment}")).body["sequence"]
    path = f"/api/payments/{payment}/resume-requests"
    _say_requested(payment, carry(api, path, me.sign(_new(payment, sequence, reason))), json)


def _confirm_over_api(api: Api, payment: str, operator: str, key: Path | None) -> str:
    """The second person's signature; who asked."""
    me = hand(of_api(api), operator, key)
    sequence = api.ask(Call("GET", f"/api/payments/{payment}")).body["sequence"]
    offset, asked = _asked(me.asked, payment, sequence)
    path = f"/api/payments/{payment}/resume-requests/{offset}/confirm"
    carry(api, path, _agreed(me, offset, asked))
    first: str = asked.actor
    return first


def _say_requested(payment: str, done: dict[str, Any], json: bool) -> None:
    second = f"npp payment resume {payment} --confirm --reason … --as …"
    answer(done, json, f"{payment}: requested. A second person: {second}")


def _asked(asked: Asked, payment: str, sequence: int) -> tuple[int, Any]:
    """The request for this parking and its offset. Raises Problem when nobody asked."""
    for offset, each in asked.requests:
        if isinstance(each, UnparkRequested) and (
            (each.payment_intent_id, each.sequence) == (payment, sequence)
        ):
            return offset, each
    raise Problem(
        f"Nobody has requested to take {payment} up since its last event.",
        do=f"npp payment resume {payment} --request --reason … --as …",
    )


def _sequence(cluster: Cluster, payment: str) -> int:
    known = cluster.lifecycle(payment)
    if known is None:
        raise Problem(f"{payment} is not known.", code=ExitCode.NOT_FOUND)
    return known.sequence
