"""What operators do to a payment: one function an action, for `npp payment retry` and `npp retry`.

The API is the way. Where none is named, the demo and test profiles publish the operator command
by themselves (`--as` says by whom), with a deadline of a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import typer

from app.cli.acting import PaymentAct, act, next_attempt
from app.cli.api_options import ActAs, Curl, Json, PaymentArgument, Role, Why, body
from app.cli.words import attempt_named, cents
from core.payment import commands
from core.payment.operator.gate import ROLES_OF_ACTION
from core.payment.operator.verdicts import VERDICTS
from core.values import Action, FundsOperation

OPERATOR: Final = ("operator",)
SENIOR: Final = ("senior_operator",)
APPROVER: Final = ("approver",)

Approval = Annotated[
    str | None, typer.Option("--approval", help="Approval to use; default: the one that matches.")
]
Attempt = Annotated[
    str, typer.Option(help="The attempt it speaks of: 1 or att_001.", callback=attempt_named)
]


def request(
    payment: PaymentArgument,
    action: Annotated[Action, typer.Option(help="What is to be allowed.")],
    reason: Why,
    operator: ActAs = "",
    role: Role = None,
    attempt: Annotated[
        str | None,
        typer.Option(help="1 or att_001; default: the present one.", callback=attempt_named),
    ] = None,
    failure_reason: Annotated[
        str | None, typer.Option(help="For MARK_FAILED: RAIL, TIMEOUT, FRAUD, …")
    ] = None,
    conflict: Annotated[str | None, typer.Option(help="For RESOLVE_RECONCILIATION.")] = None,
    verdict: Annotated[str | None, typer.Option(help="For RESOLVE_RECONCILIATION.")] = None,
    amount: Annotated[
        str | None, typer.Option(help="Dollars and cents, 12.50: for RETURNED and AMOUNT_ACCEPTED.")
    ] = None,
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
        amount=None if amount is None else cents(amount),
    )
    wanted = PaymentAct(payment, "approvals", asked, commands.RequestApproval)
    senior = "operator" not in ROLES_OF_ACTION[action]
    act(wanted, operator, role or (SENIOR if senior else OPERATOR), json=json, curl=curl)


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
    wanted = _decision(payment, approval, "approve", "APPROVED", reason)
    act(wanted, operator, role or APPROVER, json=json, curl=curl)


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
    wanted = _decision(payment, approval, "reject", "REJECTED", reason)
    act(wanted, operator, role or APPROVER, json=json, curl=curl)


def retry(
    payment: PaymentArgument,
    reason: Why,
    operator: ActAs = "",
    attempt: Annotated[
        str | None,
        typer.Option(
            help="The new attempt, 2 or att_002; default: the next.", callback=attempt_named
        ),
    ] = None,
    role: Role = None,
    approval: Approval = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Make the next attempt of a failed payment; needs an approval RETRY (or RETRY_UNCERTAIN)."""
    name = attempt or next_attempt(payment, operator, role or OPERATOR)
    asked = body(attempt_id=name, reason=reason, approval_id=approval)
    wanted = PaymentAct(payment, "retry", asked, commands.RetryPayment)
    act(wanted, operator, role or OPERATOR, json=json, curl=curl)


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
    wanted = PaymentAct(payment, "cancel", asked, commands.CancelPayment)
    act(wanted, operator, role or OPERATOR, json=json, curl=curl)


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
    wanted = PaymentAct(payment, "mark-failed", asked, commands.MarkPaymentFailed)
    act(wanted, operator, role or SENIOR, json=json, curl=curl)


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
    wanted = PaymentAct(
        payment, "expire", body(reason=reason, approval_id=approval), commands.ExpirePayment
    )
    act(wanted, operator, role or SENIOR, json=json, curl=curl)


def resolve(
    payment: PaymentArgument,
    conflict: Annotated[str, typer.Argument(help="conflict id, cnf_001")],
    verdict: Annotated[
        str, typer.Option(help=f"{', '.join(VERDICTS)}; `npp conflict show` says which fit")
    ],
    details: Annotated[str, typer.Option(help="What was found out, and how.")],
    operator: ActAs = "",
    attempt: Attempt = "att_001",
    amount: Annotated[
        str | None, typer.Option(help="For RETURNED: how much came back, dollars and cents.")
    ] = None,
    role: Role = None,
    approval: Approval = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Resolve an open conflict; needs an approval RESOLVE_RECONCILIATION of the same verdict."""
    asked = body(
        attempt_id=attempt,
        verdict=verdict,
        details=details,
        amount=None if amount is None else cents(amount),
        approval_id=approval,
    )
    path, named = f"conflicts/{conflict}/resolve", {"conflict_id": conflict}
    wanted = PaymentAct(payment, path, asked, commands.ResolveReconciliation, named)
    act(wanted, operator, role or SENIOR, json=json, curl=curl)


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
    wanted = PaymentAct(payment, "release", asked, commands.ReleaseFunds)
    act(wanted, operator, role or SENIOR, json=json, curl=curl)


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
    wanted = PaymentAct(payment, "reverse", asked, commands.ReverseCapture)
    act(wanted, operator, role or SENIOR, json=json, curl=curl)


def debit(
    payment: PaymentArgument,
    reason: Why,
    operator: ActAs = "",
    attempt: Attempt = "att_001",
    role: Role = None,
    approval: Approval = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Debit for a second settlement of the payment; needs an approval DEBIT_AGAIN."""
    asked = body(attempt_id=attempt, reason=reason, approval_id=approval)
    wanted = PaymentAct(payment, "debit", asked, commands.DebitFunds)
    act(wanted, operator, role or SENIOR, json=json, curl=curl)


def repeat_funds(
    payment: PaymentArgument,
    operation: Annotated[FundsOperation, typer.Option(help="What Deposits Core refused.")],
    reason: Why,
    operator: ActAs = "",
    attempt: Attempt = "att_001",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Ask Deposits Core again for what it refused; needs no approval."""
    asked = body(attempt_id=attempt, operation=str(operation), reason=reason)
    wanted = PaymentAct(payment, "funds/repeat", asked, commands.RepeatFundsRequest)
    act(wanted, operator, role or SENIOR, json=json, curl=curl)


OF_PAYMENT: Final[dict[str, Callable[..., None]]] = {
    "retry": retry,
    "cancel": cancel,
    "mark-failed": mark_failed,
    "expire": expire,
    "release": release,
    "reverse": reverse,
    "debit": debit,
    "repeat-funds": repeat_funds,
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


def _decision(payment: str, approval: str, word: str, verdict: str, reason: str) -> PaymentAct:
    named = {"approval_id": approval, "verdict": verdict}
    path = f"approvals/{approval}/{word}"
    return PaymentAct(payment, path, body(reason=reason), commands.DecideApproval, named)
