"""How an operator's action is done: through the API, or, in demo and test without one, as a command
on Kafka.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Final

import msgspec
import typer

from app.cli.api_client import Call
from app.cli.api_options import (
    ActAs,
    Curl,
    Json,
    Role,
    body,
    check_payment,
    open_api,
    outcome_exit,
    outcome_of,
    print_curl,
    require_actor,
    show_outcome,
)
from app.cli.output import as_json
from app.cluster import Cluster, command_id
from app.config import settings
from app.config.settings import Environment
from app.exits import ExitCode, Problem, usage
from core.header import InputHeader, OperatorHeader
from core.values import PaymentIntentId, attempt_id, attempt_number
from schemas.topology import OPERATOR_COMMANDS

FROM_COMMAND_LINE: Final = "command-line"  # in place of a token: there is no sign-in
NOT_AFTER_MS: Final = 60_000  # a command decided later is rejected COMMAND_EXPIRED
WAIT_SECONDS: Final = 15.0
OPERATOR: Final = ("operator",)
SENIOR: Final = ("senior_operator",)
ONLY_HTTP: Final = ("operator_id", "approval_id")  # of a body, that are no fields of the command

Approval = Annotated[
    str | None, typer.Option("--approval", help="Approval to use; default: the one that matches.")
]


class PaymentAct(msgspec.Struct, frozen=True):
    """An action: the API call under /api/payments/{id}/, and the command it becomes.

    `of_path` are fields of the command that are in the path.
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


Wanted = Callable[..., PaymentAct]


class Actor(msgspec.Struct, frozen=True):
    """Who acts: `operator` by --as, or "" for the person who signed in."""

    operator: str
    roles: tuple[str, ...]
    curl: bool = False


def _shared(
    operator: ActAs = "",
    role: Role = None,
    approval: Approval = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Never run: what every action has beside its own parameters."""


def action(
    roles: tuple[str, ...], *, gated: bool = True
) -> Callable[[Wanted], Callable[..., None]]:
    """The command of an action: its own parameters and the shared ones, --approval only where the
    action is `gated`. `roles` are those of --as. A function with a parameter `actor` gets who
    acts.
    """
    shared = dict(signature(_shared, eval_str=True).parameters)
    if not gated:
        del shared["approval"]

    def made(wanted: Wanted) -> Callable[..., None]:
        own = dict(signature(wanted, eval_str=True).parameters)
        needs_actor = own.pop("actor", None) is not None

        def command(**given: Any) -> None:
            common = {name: given.pop(name) for name in shared}
            actor = Actor(common["operator"], tuple(common["role"] or roles), common["curl"])
            requested = wanted(**given, actor=actor) if needs_actor else wanted(**given)
            requested.body.update(body(approval_id=common.get("approval")))
            act(requested, actor, json=common["json"])

        shown = [
            *(each for each in own.values() if each.default is Parameter.empty),
            shared["operator"],
            *(each for each in own.values() if each.default is not Parameter.empty),
            *(each for name, each in shared.items() if name != "operator"),
        ]
        command.__signature__ = Signature(  # type: ignore[attr-defined]
            [each.replace(kind=Parameter.KEYWORD_ONLY) for each in shown]
        )
        command.__annotations__ = {each.name: each.annotation for each in shown}
        command.__name__, command.__doc__ = wanted.__name__, wanted.__doc__
        return command

    return made


def act(
    wanted: PaymentAct,
    actor: Actor,
    *,
    json: bool,
    then: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Do it, show the outcome, end with its exit code. `then` adds what people want to know of an
    outcome of the API.
    """
    check_payment(wanted.payment)
    if actor.curl:
        print_curl(wanted.call())
        return
    environment = settings.load()
    if actor.operator:
        environment.require_not_production("Acting on payments by --as")
    if environment.settings.api_url:
        outcome = outcome_of(wanted.call(), actor.operator, actor.roles)
    else:
        outcome = _by_hand(environment, wanted, actor)
    show_outcome(outcome, json)
    if then is not None and not json and environment.settings.api_url:
        then(outcome)
    raise typer.Exit(int(outcome_exit(outcome)))


def _by_hand(environment: Environment, wanted: PaymentAct, actor: Actor) -> dict[str, Any]:
    """The command put on Kafka without the API, and its outcome."""
    environment.require_not_production("Acting on payments without the API")
    require_actor(actor.operator)
    with Cluster(environment) as cluster:
        now = cluster.clock.now_ms()
        header = InputHeader(
            payment_intent_id=PaymentIntentId(wanted.payment), command_id=command_id(), sent_at=now
        )
        approval = wanted.body.get("approvalId")
        who = OperatorHeader(
            operator_id=actor.operator,
            roles=actor.roles,
            token_id=FROM_COMMAND_LINE,
            not_after=now + NOT_AFTER_MS,
            approval_id=approval,
        )
        command = wanted.command(header=header, operator=who, **wanted.fields())
        answer = cluster.ask(OPERATOR_COMMANDS, command, WAIT_SECONDS)
    if answer is None:
        raise Problem(
            f"No outcome of {type(command).__name__} within {WAIT_SECONDS:.0f} seconds.",
            means="It is not decided yet. It can still happen until a minute after it was sent; "
            "later it is rejected COMMAND_EXPIRED.",
            do=f"`npp payment show {wanted.payment}` shows its outcome. "
            "Is `npp run payments` running?",
            code=ExitCode.UNKNOWN,
        )
    if answer.outcome is not None:
        return dict(as_json(answer.outcome))
    assert answer.quarantined is not None
    held = answer.quarantined
    return {"result": "QUARANTINED", "rule": held.reason, "sentence": held.detail}


def require_attempt_for_curl(attempt: str | None, actor: Actor) -> None:
    """With --curl the attempt must be given, because nothing is looked up. Raises Problem."""
    if actor.curl and attempt is None:
        raise usage("--curl makes no call, so --attempt must say which attempt is meant.")


def next_attempt(payment: str, actor: Actor) -> str:
    """The attempt after the payment's present one."""
    check_payment(payment)
    environment = settings.load()
    if environment.settings.api_url:
        with open_api(actor.operator, actor.roles) as api:
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
