"""How an operator's action is done: through the API, or, in demo and test without one, as a command
on Kafka.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import typer

from app import settings
from app.cli.api_client import Api, Call, Refused
from app.cli.api_options import (
    check_payment,
    open_api,
    outcome_exit,
    print_curl,
    progress,
    require_actor,
    show_outcome,
    told,
)
from app.cli.output import as_json
from app.cluster import Cluster, command_id
from app.exits import ExitCode, Problem, usage
from app.settings import Environment
from core.header import InputHeader, OperatorHeader
from core.values import PaymentIntentId, attempt_id, attempt_number
from schemas.topology import OPERATOR_COMMANDS

FROM_COMMAND_LINE: Final = "command-line"  # in place of a token: nobody signed in
NOT_AFTER_MS: Final = 60_000  # a command decided later is rejected COMMAND_EXPIRED
WAIT_SECONDS: Final = 15.0
OPERATOR: Final = ("operator",)
SENIOR: Final = ("senior_operator",)
ONLY_HTTP: Final = ("operator_id", "approval_id")  # of a body, that are no fields of the command

Approval = Annotated[
    str | None, typer.Option("--approval", help="Approval to use; default: the one that matches.")
]


class PaymentAct(msgspec.Struct, frozen=True):
    """What is wanted: the call to the API behind /api/payments/{id}/, and the command it becomes.

    `of_path` are fields of the command that stand in the path.
    """

    payment: str
    path: str
    body: dict[str, Any]
    command: type[Any]
    of_path: dict[str, str] = {}

    def call(self) -> Call:
        return Call("POST", f"/api/payments/{self.payment}/{self.path}", body=self.body)

    def fields(self) -> dict[str, Any]:
        """The command's own fields."""
        found = {snake(name): value for name, value in self.body.items()}
        if "attempt" in self.command.__struct_fields__ and "attempt_id" in found:
            found["attempt"] = attempt_number(found.pop("attempt_id"))
        return {k: v for k, v in found.items() if k not in ONLY_HTTP} | self.of_path


def act(
    wanted: PaymentAct, operator: str, roles: list[str] | tuple[str, ...], *, json: bool, curl: bool
) -> None:
    """Do it, show the outcome, end with its exit code."""
    check_payment(wanted.payment)
    if curl:
        print_curl(wanted.call())
        return
    environment = settings.load()
    if operator:
        environment.require_not_production("Acting on payments by --as")
    if environment.settings.api_url:
        with open_api(operator, tuple(roles)) as api:
            outcome = _through_api(api, wanted, json)
    else:
        outcome = _by_hand(environment, wanted, operator, tuple(roles))
    show_outcome(outcome, json)
    raise typer.Exit(int(outcome_exit(outcome)))


def _through_api(api: Api, wanted: PaymentAct, json: bool) -> dict[str, Any]:
    try:
        found = api.command(wanted.call(), progress).body
    except Refused as refusal:
        raise told(refusal, json) from refusal
    assert isinstance(found, dict)
    return found


def _by_hand(
    environment: Environment, wanted: PaymentAct, operator: str, roles: tuple[str, ...]
) -> dict[str, Any]:
    """The command put on Kafka without the API, and its outcome."""
    environment.require_not_production("Acting on payments without the API")
    require_actor(operator)
    with Cluster(environment) as cluster:
        now = cluster.clock.now_ms()
        header = InputHeader(
            payment_intent_id=PaymentIntentId(wanted.payment), command_id=command_id(), sent_at=now
        )
        approval = wanted.body.get("approvalId")
        who = OperatorHeader(
            operator_id=operator,
            roles=roles,
            token_id=FROM_COMMAND_LINE,
            not_after=now + NOT_AFTER_MS,
            approval_id=approval,
        )
        command = wanted.command(header=header, operator=who, **wanted.fields())
        answer = cluster.ask(OPERATOR_COMMANDS, command, WAIT_SECONDS)
    if answer is None:
        raise Problem(
            f"No outcome of {type(command).__name__} within {WAIT_SECONDS:.0f} seconds.",
            means="Nobody decided it yet. It can still happen until a minute after it was given; "
            "later it is rejected COMMAND_EXPIRED.",
            do=f"`npp payment show {wanted.payment}` shows what became of it. "
            "Does `npp run payments` run?",
            code=ExitCode.UNKNOWN,
        )
    if answer.outcome is not None:
        return dict(as_json(answer.outcome))
    assert answer.quarantined is not None
    held = answer.quarantined
    return {"result": "QUARANTINED", "rule": held.reason, "sentence": held.detail}


def require_attempt_for_curl(attempt: str | None, curl: bool) -> None:
    """--curl asks nobody which attempt is meant. Raises Problem."""
    if curl and attempt is None:
        raise usage("--curl calls nothing, so --attempt has to say which attempt is meant.")


def next_attempt(payment: str, operator: str, roles: list[str] | tuple[str, ...]) -> str:
    """The attempt after the payment's present one."""
    check_payment(payment)
    environment = settings.load()
    if environment.settings.api_url:
        with open_api(operator, tuple(roles)) as api:
            return attempt_id(_number(api.ask(Call("GET", f"/api/payments/{payment}")).body) + 1)
    with Cluster(environment) as cluster:
        known = cluster.lifecycle(payment)
    if known is None:
        raise Problem(f"{payment} is not known.", code=ExitCode.NOT_FOUND)
    return attempt_id(known.attempt + 1)


def _number(payment: dict[str, Any]) -> int:
    number = attempt_number(payment["attemptId"])
    assert number is not None
    return number


def snake(name: str) -> str:
    """camelCase to snake_case."""
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name)
