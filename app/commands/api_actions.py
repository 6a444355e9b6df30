"""What operators do to a payment: one function an action, for `npp payment retry` and `npp retry`.

The API is the way. Where none is named, the demo and test profiles publish the operator command
by themselves (`--as` says by whom), with a deadline of a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
import typer

from app import settings
from app.api_client import Api, Call, Refused
from app.cluster import Cluster, command_id
from app.commands.api_options import (
    ActAs,
    Curl,
    Json,
    PaymentArgument,
    Role,
    Why,
    body,
    check_payment,
    open_api,
    outcome_exit,
    print_curl,
    progress,
    show_outcome,
    told,
)
from app.exits import ExitCode, Problem, usage
from app.output import as_json
from app.settings import Environment
from core.header import InputHeader, OperatorHeader
from core.payment import commands
from core.values import Action, attempt_id
from processors.topology import OPERATOR_COMMANDS

NOT_AFTER_MS: Final = 60_000  # a command decided later is rejected COMMAND_EXPIRED
WAIT_SECONDS: Final = 15.0
OPERATOR: Final = ("operator",)
SENIOR: Final = ("senior_operator",)
APPROVER: Final = ("approver",)
ONLY_HTTP: Final = ("operator_id", "approval_id")  # of a body, that are no fields of the command

Approval = Annotated[
    str | None, typer.Option("--approval", help="Approval to use; default: the one that matches.")
]
Attempt = Annotated[str, typer.Option(help="The attempt it speaks of, att_001.")]


class Wish(msgspec.Struct, frozen=True):
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
            found["attempt"] = int(found.pop("attempt_id")[-3:])
        return {k: v for k, v in found.items() if k not in ONLY_HTTP} | self.of_path


def request(
    payment: PaymentArgument,
    action: Annotated[Action, typer.Option(help="What is to be allowed.")],
    reason: Why,
    operator: ActAs = "",
    role: Role = None,
    attempt: Annotated[str | None, typer.Option(help="Default: the present one.")] = None,
    failure_reason: Annotated[
        str | None, typer.Option(help="For MARK_FAILED: RAIL, TIMEOUT, FRAUD, …")
    ] = None,
    conflict: Annotated[str | None, typer.Option(help="For RESOLVE_RECONCILIATION.")] = None,
    verdict: Annotated[str | None, typer.Option(help="For RESOLVE_RECONCILIATION.")] = None,
    amount: Annotated[int | None, typer.Option(help="Cents, for AMOUNT_ACCEPTED.")] = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Ask Resolve to allow an action. It is bound to these parameters, this attempt and state."""
    asked = body(
        action=str(action),
        reason=reason,
        attempt_id=attempt,
        failure_reason=failure_reason,
        conflict_id=conflict,
        verdict=verdict,
        amount=amount,
    )
    wish = Wish(payment, "approvals", asked, commands.RequestApproval)
    senior = action in (Action.MARK_FAILED, Action.RESOLVE_RECONCILIATION, Action.EXPIRE)
    act(wish, operator, role or (SENIOR if senior else OPERATOR), json=json, curl=curl)


def approve(
    payment: PaymentArgument,
    approval: Annotated[str, typer.Argument(help="approval id, apr_001")],
    reason: Why,
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Approve a request that Resolve has referred to a person; not one's own."""
    wish = _decision(payment, approval, "approve", "APPROVED", reason)
    act(wish, operator, role or APPROVER, json=json, curl=curl)


def reject(
    payment: PaymentArgument,
    approval: Annotated[str, typer.Argument(help="approval id, apr_001")],
    reason: Why,
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Reject a request that Resolve has referred to a person."""
    wish = _decision(payment, approval, "reject", "REJECTED", reason)
    act(wish, operator, role or APPROVER, json=json, curl=curl)


def retry(
    payment: PaymentArgument,
    reason: Why,
    operator: ActAs = "",
    attempt: Annotated[
        str | None, typer.Option(help="The new attempt's id, att_002; default: the next.")
    ] = None,
    role: Role = None,
    approval: Approval = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Make the next attempt of a failed payment; needs an approval RETRY (or RETRY_UNCERTAIN)."""
    name = attempt or _next_attempt(payment, operator, role or OPERATOR)
    asked = body(attempt_id=name, reason=reason, approval_id=approval)
    wish = Wish(payment, "retry", asked, commands.RetryPayment)
    act(wish, operator, role or OPERATOR, json=json, curl=curl)


def cancel(
    payment: PaymentArgument,
    reason: Why,
    operator: ActAs = "",
    customer: Annotated[str | None, typer.Option(help="Customer who asked for it.")] = None,
    role: Role = None,
    approval: Approval = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Cancel a payment that is CREATED, AUTHORISED or SENT; needs an approval CANCEL."""
    asked = body(reason=reason, customer_id=customer, approval_id=approval)
    wish = Wish(payment, "cancel", asked, commands.CancelPayment)
    act(wish, operator, role or OPERATOR, json=json, curl=curl)


def mark_failed(
    payment: PaymentArgument,
    reason: Annotated[str, typer.Option(help="RAIL, TIMEOUT, INSUFFICIENT_FUNDS, …")],
    details: Annotated[str, typer.Option(help="What is known, in words.")],
    operator: ActAs = "",
    role: Role = None,
    approval: Approval = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Mark a SENT or ACKNOWLEDGED payment as failed; non-payment stays uncertain until enquired."""
    asked = body(reason=reason, details=details, approval_id=approval)
    wish = Wish(payment, "mark-failed", asked, commands.MarkPaymentFailed)
    act(wish, operator, role or SENIOR, json=json, curl=curl)


def expire(
    payment: PaymentArgument,
    reason: Why,
    operator: ActAs = "",
    role: Role = None,
    approval: Approval = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Expire a payment; from SENT on it needs an approval EXPIRE."""
    wish = Wish(
        payment, "expire", body(reason=reason, approval_id=approval), commands.ExpirePayment
    )
    act(wish, operator, role or SENIOR, json=json, curl=curl)


def resolve(
    payment: PaymentArgument,
    conflict: Annotated[str, typer.Argument(help="conflict id, cnf_001")],
    verdict: Annotated[
        str, typer.Option(help="SETTLED_AFTER_ALL, NOT_PAID, RETURNED or AMOUNT_ACCEPTED")
    ],
    details: Annotated[str, typer.Option(help="What was found out, and how.")],
    operator: ActAs = "",
    attempt: Attempt = "att_001",
    role: Role = None,
    approval: Approval = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Resolve an open conflict; needs an approval RESOLVE_RECONCILIATION of the same verdict."""
    asked = body(attempt_id=attempt, verdict=verdict, details=details, approval_id=approval)
    path, named = f"conflicts/{conflict}/resolve", {"conflict_id": conflict}
    wish = Wish(payment, path, asked, commands.ResolveReconciliation, named)
    act(wish, operator, role or SENIOR, json=json, curl=curl)


def release(
    payment: PaymentArgument,
    reason: Why,
    operator: ActAs = "",
    attempt: Attempt = "att_001",
    role: Role = None,
    approval: Approval = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Release a deferred hold before non-payment is certain; needs an approval RELEASE_EARLY."""
    asked = body(attempt_id=attempt, reason=reason, approval_id=approval)
    wish = Wish(payment, "release", asked, commands.ReleaseFunds)
    act(wish, operator, role or SENIOR, json=json, curl=curl)


def reverse(
    payment: PaymentArgument,
    reason: Why,
    operator: ActAs = "",
    attempt: Attempt = "att_001",
    role: Role = None,
    approval: Approval = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Reverse captured funds; needs an approval REVERSE."""
    asked = body(attempt_id=attempt, reason=reason, approval_id=approval)
    wish = Wish(payment, "reverse", asked, commands.ReverseCapture)
    act(wish, operator, role or SENIOR, json=json, curl=curl)


OF_PAYMENT: Final[dict[str, Callable[..., None]]] = {
    "retry": retry,
    "cancel": cancel,
    "mark-failed": mark_failed,
    "expire": expire,
    "release": release,
    "reverse": reverse,
}
OF_APPROVAL: Final[dict[str, Callable[..., None]]] = {
    "request": request,
    "approve": approve,
    "reject": reject,
}


def register(app: typer.Typer) -> None:
    """The short names: `npp retry` is `npp payment retry`."""
    for name, function in {**OF_APPROVAL, **OF_PAYMENT, "resolve": resolve}.items():
        app.command(name, rich_help_panel="Operators")(function)


# -- how it is done --------------------------------------------------------------------------------


def _decision(payment: str, approval: str, word: str, verdict: str, reason: str) -> Wish:
    named = {"approval_id": approval, "verdict": verdict}
    path = f"approvals/{approval}/{word}"
    return Wish(payment, path, body(reason=reason), commands.DecideApproval, named)


def act(
    wish: Wish, operator: str, roles: list[str] | tuple[str, ...], *, json: bool, curl: bool
) -> None:
    """Do it, show the outcome, end with its exit code."""
    check_payment(wish.payment)
    if curl:
        print_curl(wish.call())
        return
    environment = settings.load()
    if operator:
        environment.require_not_production("Acting on payments by --as")
    if environment.settings.api_url:
        with open_api(operator, tuple(roles)) as api:
            outcome = _through_api(api, wish, json)
    else:
        outcome = _by_hand(environment, wish, operator, tuple(roles))
    show_outcome(outcome, json)
    raise typer.Exit(int(outcome_exit(outcome)))


def _through_api(api: Api, wish: Wish, json: bool) -> dict[str, Any]:
    try:
        found = api.command(wish.call(), progress).body
    except Refused as refusal:
        raise told(refusal, json) from refusal
    assert isinstance(found, dict)
    return found


def _by_hand(
    environment: Environment, wish: Wish, operator: str, roles: tuple[str, ...]
) -> dict[str, Any]:
    """The command put on Kafka without the API, and its outcome."""
    environment.require_not_production("Acting on payments without the API")
    if not operator:
        raise usage(
            "No API is named (NPP_API_URL), so --as has to say who acts.",
            do="--as ID, or set NPP_API_URL and NPP_API_TOKEN.",
        )
    with Cluster(environment) as cluster:
        now = cluster.clock.now_ms()
        header = InputHeader(payment_intent_id=wish.payment, command_id=command_id(), sent_at=now)
        approval = wish.body.get("approvalId")
        who = OperatorHeader(operator, roles, "command-line", now + NOT_AFTER_MS, approval)
        command = wish.command(header=header, operator=who, **wish.fields())
        answer = cluster.ask(OPERATOR_COMMANDS, command, WAIT_SECONDS)
    if answer is None:
        raise Problem(
            f"No outcome of {type(command).__name__} within {WAIT_SECONDS:.0f} seconds.",
            means="Nobody decided it yet. It can still happen until a minute after it was given; "
            "later it is rejected COMMAND_EXPIRED.",
            do=f"`npp show {wish.payment}` shows what became of it. Is `npp run payments` running?",
            code=ExitCode.UNKNOWN,
        )
    if answer.outcome is not None:
        return dict(as_json(answer.outcome))
    assert answer.quarantined is not None
    held = answer.quarantined
    return {"result": "QUARANTINED", "rule": held.reason, "sentence": held.detail}


def _next_attempt(payment: str, operator: str, roles: list[str] | tuple[str, ...]) -> str:
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
    return int(payment["attemptId"][-3:])


def snake(name: str) -> str:
    """camelCase to snake_case."""
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name)
