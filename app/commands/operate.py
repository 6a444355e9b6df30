"""What operators do to a payment, by hand: demo and test profiles only, until the API is the way.

Each command is published with a deadline of a minute, and its outcome is waited for and shown.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import typer

from app import settings
from app.cluster import Answer, Cluster, command_id
from app.exits import ExitCode, Problem, usage
from app.output import as_json, console, print_json
from core.header import InputHeader, OperatorHeader
from core.payment import commands
from core.values import Action, attempt_id
from processors.topology import OPERATOR_COMMANDS

NOT_AFTER_MS: Final = 60_000  # a command decided later is rejected COMMAND_EXPIRED
WAIT_SECONDS: Final = 15.0
WAIT_SECONDS_MAX: Final = 120.0
PAYMENT_ID: Final = re.compile(r"pi_[a-z2-7]{26}")

PaymentArgument = Annotated[str, typer.Argument(help="paymentIntentId, pi_…", show_default=False)]
As = Annotated[str, typer.Option("--as", help="Id of the operator who acts.", show_default=False)]
Role = Annotated[list[str], typer.Option("--role", help="Role of that operator; may be repeated.")]
Why = Annotated[str, typer.Option("--reason", help="Why, in words: it stays in the history.")]
Approval = Annotated[
    str | None, typer.Option("--approval", help="Approval to use; default: the one that matches.")
]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait for the outcome.")]
Json = Annotated[bool, typer.Option("--json", help="The outcome as one JSON object.")]


def register(app: typer.Typer) -> None:
    group = "Operators (demo and test profiles)"
    for name, function in (
        ("request", request),
        ("approve", approve),
        ("reject", reject),
        ("retry", retry),
        ("cancel", cancel),
        ("mark-failed", mark_failed),
        ("expire", expire),
        ("resolve", resolve),
        ("release", release),
        ("reverse", reverse),
        ("unpark", unpark),
    ):
        app.command(name, rich_help_panel=group)(function)


def request(
    payment: PaymentArgument,
    operator: As,
    action: Annotated[Action, typer.Option(help="What is to be allowed.")],
    reason: Why,
    role: Role = ["operator"],  # noqa: B006 — typer copies it
    attempt: Annotated[int | None, typer.Option(help="Attempt; default: the present one.")] = None,
    failure_reason: Annotated[
        str | None, typer.Option(help="For MARK_FAILED: RAIL, TIMEOUT, FRAUD, …")
    ] = None,
    conflict: Annotated[str | None, typer.Option(help="For RESOLVE_RECONCILIATION.")] = None,
    verdict: Annotated[str | None, typer.Option(help="For RESOLVE_RECONCILIATION.")] = None,
    amount: Annotated[int | None, typer.Option(help="Cents, for AMOUNT_ACCEPTED.")] = None,
    wait: Wait = WAIT_SECONDS,
    json: Json = False,
) -> None:
    """Ask Resolve to allow an action. It is bound to these parameters, this attempt and state."""

    def make(header: InputHeader, who: OperatorHeader) -> Any:
        return commands.RequestApproval(
            header=header,
            operator=who,
            action=str(action),
            reason=reason,
            attempt=attempt,
            failure_reason=failure_reason,
            conflict_id=conflict,
            verdict=verdict,
            amount=amount,
        )

    act(payment, operator, role, make, wait=wait, json=json)


def approve(
    payment: PaymentArgument,
    approval: Annotated[str, typer.Argument(help="approval id, apr_001")],
    operator: As,
    reason: Why,
    role: Role = ["approver"],  # noqa: B006
    wait: Wait = WAIT_SECONDS,
    json: Json = False,
) -> None:
    """Approve a request that Resolve has referred to a person; not one's own."""
    _decide(payment, approval, "APPROVED", operator, reason, role, wait, json)


def reject(
    payment: PaymentArgument,
    approval: Annotated[str, typer.Argument(help="approval id, apr_001")],
    operator: As,
    reason: Why,
    role: Role = ["approver"],  # noqa: B006
    wait: Wait = WAIT_SECONDS,
    json: Json = False,
) -> None:
    """Reject a request that Resolve has referred to a person."""
    _decide(payment, approval, "REJECTED", operator, reason, role, wait, json)


def retry(
    payment: PaymentArgument,
    operator: As,
    reason: Why,
    attempt: Annotated[
        str | None, typer.Option(help="The new attempt's id, att_002; default: the next.")
    ] = None,
    role: Role = ["operator"],  # noqa: B006
    approval: Approval = None,
    wait: Wait = WAIT_SECONDS,
    json: Json = False,
) -> None:
    """Make the next attempt of a failed payment; needs an approval RETRY (or RETRY_UNCERTAIN)."""
    cluster = _open()
    name = attempt or attempt_id(_attempt(cluster, payment) + 1)

    def make(header: InputHeader, who: OperatorHeader) -> Any:
        return commands.RetryPayment(header=header, operator=who, attempt_id=name, reason=reason)

    act(payment, operator, role, make, approval=approval, wait=wait, json=json, cluster=cluster)


def cancel(
    payment: PaymentArgument,
    operator: As,
    reason: Why,
    customer: Annotated[str | None, typer.Option(help="Customer who asked for it.")] = None,
    role: Role = ["operator"],  # noqa: B006
    approval: Approval = None,
    wait: Wait = WAIT_SECONDS,
    json: Json = False,
) -> None:
    """Cancel a payment that is CREATED, AUTHORISED or SENT; needs an approval CANCEL."""

    def make(header: InputHeader, who: OperatorHeader) -> Any:
        return commands.CancelPayment(
            header=header, operator=who, reason=reason, customer_id=customer
        )

    act(payment, operator, role, make, approval=approval, wait=wait, json=json)


def mark_failed(
    payment: PaymentArgument,
    operator: As,
    reason: Annotated[str, typer.Option(help="RAIL, TIMEOUT, INSUFFICIENT_FUNDS, …")],
    details: Annotated[str, typer.Option(help="What is known, in words.")],
    role: Role = ["senior_operator"],  # noqa: B006
    approval: Approval = None,
    wait: Wait = WAIT_SECONDS,
    json: Json = False,
) -> None:
    """Mark a SENT or ACKNOWLEDGED payment as failed; non-payment stays uncertain until enquired."""

    def make(header: InputHeader, who: OperatorHeader) -> Any:
        return commands.MarkPaymentFailed(
            header=header, operator=who, reason=reason, details=details
        )

    act(payment, operator, role, make, approval=approval, wait=wait, json=json)


def expire(
    payment: PaymentArgument,
    operator: As,
    reason: Why,
    role: Role = ["senior_operator"],  # noqa: B006
    approval: Approval = None,
    wait: Wait = WAIT_SECONDS,
    json: Json = False,
) -> None:
    """Expire a payment; from SENT on it needs an approval EXPIRE."""

    def make(header: InputHeader, who: OperatorHeader) -> Any:
        return commands.ExpirePayment(header=header, operator=who, reason=reason)

    act(payment, operator, role, make, approval=approval, wait=wait, json=json)


def resolve(
    payment: PaymentArgument,
    conflict: Annotated[str, typer.Argument(help="conflict id, cnf_001")],
    operator: As,
    verdict: Annotated[
        str, typer.Option(help="SETTLED_AFTER_ALL, NOT_PAID, RETURNED or AMOUNT_ACCEPTED")
    ],
    details: Annotated[str, typer.Option(help="What was found out, and how.")],
    attempt: Annotated[int, typer.Option(help="Attempt that the verdict speaks of.")] = 1,
    role: Role = ["senior_operator"],  # noqa: B006
    approval: Approval = None,
    wait: Wait = WAIT_SECONDS,
    json: Json = False,
) -> None:
    """Resolve an open conflict; needs an approval RESOLVE_RECONCILIATION of the same verdict."""

    def make(header: InputHeader, who: OperatorHeader) -> Any:
        return commands.ResolveReconciliation(
            header=header,
            operator=who,
            conflict_id=conflict,
            attempt=attempt,
            verdict=verdict,
            details=details,
        )

    act(payment, operator, role, make, approval=approval, wait=wait, json=json)


def release(
    payment: PaymentArgument,
    operator: As,
    reason: Why,
    attempt: Annotated[int, typer.Option(help="Attempt whose hold is released.")] = 1,
    role: Role = ["senior_operator"],  # noqa: B006
    approval: Approval = None,
    wait: Wait = WAIT_SECONDS,
    json: Json = False,
) -> None:
    """Release a deferred hold before non-payment is certain; needs an approval RELEASE_EARLY."""

    def make(header: InputHeader, who: OperatorHeader) -> Any:
        return commands.ReleaseFunds(header=header, operator=who, attempt=attempt, reason=reason)

    act(payment, operator, role, make, approval=approval, wait=wait, json=json)


def reverse(
    payment: PaymentArgument,
    operator: As,
    reason: Why,
    attempt: Annotated[int, typer.Option(help="Attempt whose capture is reversed.")] = 1,
    role: Role = ["senior_operator"],  # noqa: B006
    approval: Approval = None,
    wait: Wait = WAIT_SECONDS,
    json: Json = False,
) -> None:
    """Reverse captured funds; needs an approval REVERSE."""

    def make(header: InputHeader, who: OperatorHeader) -> Any:
        return commands.ReverseCapture(header=header, operator=who, attempt=attempt, reason=reason)

    act(payment, operator, role, make, approval=approval, wait=wait, json=json)


def unpark(
    payment: PaymentArgument,
    operator: As,
    requested_by: Annotated[str, typer.Option(help="The first person, who asked for it.")],
    reason: Why,
    role: Role = ["admin"],  # noqa: B006
    wait: Wait = WAIT_SECONDS,
    json: Json = False,
) -> None:
    """Take a parked payment up again, after the defect is mended; two persons."""

    def make(header: InputHeader, who: OperatorHeader) -> Any:
        return commands.ResumeProcessing(
            header=header, operator=who, requested_by=requested_by, reason=reason
        )

    act(payment, operator, role, make, wait=wait, json=json)


# -- how it is done --------------------------------------------------------------------------------


def _decide(
    payment: str,
    approval: str,
    verdict: str,
    operator: str,
    reason: str,
    role: list[str],
    wait: float,
    json: bool,
) -> None:
    def make(header: InputHeader, who: OperatorHeader) -> Any:
        return commands.DecideApproval(
            header=header, operator=who, approval_id=approval, verdict=verdict, reason=reason
        )

    act(payment, operator, role, make, wait=wait, json=json)


def act(
    payment: str,
    operator: str,
    roles: list[str],
    make: Any,
    *,
    approval: str | None = None,
    wait: float,
    json: bool,
    cluster: Cluster | None = None,
) -> None:
    """Publish what `make` gives, wait for its outcome, show it, and end with its exit code."""
    if not PAYMENT_ID.fullmatch(payment):
        raise usage(f"{payment} is no paymentIntentId.", do="It is pi_ and 26 characters a-z, 2-7.")
    if not 0 < wait <= WAIT_SECONDS_MAX:
        raise usage(f"--wait is more than 0 and at most {WAIT_SECONDS_MAX:.0f} seconds.")
    with cluster or _open() as cluster:
        command = make(*headers(cluster, payment, operator, roles, approval))
        answer = cluster.ask(OPERATOR_COMMANDS, command, wait)
    if answer is None:
        raise Problem(
            f"No outcome of {type(command).__name__} within {wait:.0f} seconds.",
            means="Nobody decided it yet. It can still happen until a minute after it was given; "
            "later it is rejected COMMAND_EXPIRED.",
            do=f"`npp show {payment}` shows what became of it. Is `npp run payments` running?",
            code=ExitCode.UNKNOWN,
        )
    show(answer, json)
    raise typer.Exit(int(exit_code(answer)))


def headers(
    cluster: Cluster, payment: str, operator: str, roles: list[str], approval: str | None = None
) -> tuple[InputHeader, OperatorHeader]:
    """Who acts on which payment, from now for a minute."""
    now = cluster.clock.now_ms()
    return (
        InputHeader(payment_intent_id=payment, command_id=command_id(), sent_at=now),
        OperatorHeader(
            operator_id=operator,
            roles=tuple(roles),
            token_id="command-line",  # noqa: S106 — says that there was none
            not_after=now + NOT_AFTER_MS,
            approval_id=approval,
        ),
    )


def show(answer: Answer, json: bool) -> None:
    """The outcome for people, or as JSON."""
    outcome, held = answer.outcome, answer.quarantined
    if json:
        print_json(as_json(outcome if outcome is not None else held), indent=False)
        return
    if outcome is None:
        assert held is not None
        console().print(f"QUARANTINED {held.reason}: {held.detail}")
        return
    refusal = f" {outcome.code} {outcome.rule}" if outcome.code else f" {outcome.rule or ''}"
    console().print(f"{outcome.result}{refusal}".rstrip())
    if outcome.sentence:
        console().print(outcome.sentence)
    if outcome.expected or outcome.actual:
        console().print(f"expected {outcome.expected}, actual {outcome.actual}")
    console().print(
        f"state {outcome.state}, money {outcome.money_outcome}, "
        f"events {outcome.from_sequence}..{outcome.to_sequence}"
    )


def exit_code(answer: Answer) -> ExitCode:
    if answer.outcome is None:
        return ExitCode.FAILED
    if answer.outcome.code == "PAYMENT_NOT_FOUND":
        return ExitCode.NOT_FOUND
    done = answer.outcome.result in ("ACCEPTED", "DUPLICATE")
    return ExitCode.OK if done else ExitCode.FAILED


def _open() -> Cluster:
    environment = settings.load()
    environment.require_not_production("Acting on payments from the command line")
    return Cluster(environment)


def _attempt(cluster: Cluster, payment: str) -> int:
    known = cluster.lifecycle(payment)
    if known is None:
        raise Problem(f"{payment} is not known.", code=ExitCode.NOT_FOUND)
    return known.attempt
