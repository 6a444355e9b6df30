"""`npp payment resume`: resume a parked payment, under dual control.

Both people sign on the control topic; then the command that resumes the payment is sent. Without an
API, the demo and test profiles write to Kafka directly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

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
from app.cli.signing import ActSigner, Key, SigningContext, carry, of_api, of_control, signer_of
from app.cluster import Cluster
from app.config import settings
from app.exits import ExitCode, Problem
from core.control_records import ActConfirmed, UnparkRequested
from core.payment import commands
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

    Each person signs with their own key.
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
            me = signer_of(of_control(cluster.control()[0]), operator, key)
            if request:
                record = me.sign(_new(payment, sequence, reason))
                cluster.publish_control(record)
                _say_requested(payment, as_json(record), json)
                return
            requested = _open_request(me.context, payment, sequence)
            cluster.publish_control(_agreed(me, *requested))
            first = requested[1].actor
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


def _agreed(me: ActSigner, offset: int, requested: Any) -> Any:
    confirmed = ActConfirmed(
        request_offset=offset, confirmed_at=SystemClock().now_ms(), actor=me.person
    )
    return me.sign(confirmed, requested)


def _request_over_api(
    api: Api, payment: str, operator: str, key: Path | None, reason: str, json: bool
) -> None:
    me = signer_of(of_api(api), operator, key)
    sequence = api.ask(Call("GET", f"/api/payments/{payment}")).body["sequence"]
    path = f"/api/payments/{payment}/resume-requests"
    _say_requested(payment, carry(api, path, me.sign(_new(payment, sequence, reason))), json)


def _confirm_over_api(api: Api, payment: str, operator: str, key: Path | None) -> str:
    """The second person's signature; returns the requester."""
    me = signer_of(of_api(api), operator, key)
    sequence = api.ask(Call("GET", f"/api/payments/{payment}")).body["sequence"]
    offset, requested = _open_request(me.context, payment, sequence)
    path = f"/api/payments/{payment}/resume-requests/{offset}/confirm"
    carry(api, path, _agreed(me, offset, requested))
    first: str = requested.actor
    return first


def _say_requested(payment: str, done: dict[str, Any], json: bool) -> None:
    second = f"npp payment resume {payment} --confirm --reason … --as …"
    answer(done, json, f"{payment}: requested. A second person: {second}")


def _open_request(requested: SigningContext, payment: str, sequence: int) -> tuple[int, Any]:
    """The request for this suspension and its offset. Raises Problem if there is none."""
    for offset, each in requested.requests:
        if isinstance(each, UnparkRequested) and (
            (each.payment_intent_id, each.sequence) == (payment, sequence)
        ):
            return offset, each
    raise Problem(
        f"There is no request to resume {payment} since its last event.",
        do=f"npp payment resume {payment} --request --reason … --as …",
    )


def _sequence(cluster: Cluster, payment: str) -> int:
    known = cluster.lifecycle(payment)
    if known is None:
        raise Problem(f"{payment} is not known.", code=ExitCode.NOT_FOUND)
    return known.sequence
