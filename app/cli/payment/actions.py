"""`npp payment retry|cancel|…`: what operators do to a payment, one function an action.

The API is the way. Where none is named, the demo and test profiles publish the operator command
by themselves (`--as` says by whom), with a deadline of a minute.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.acting import (
    OPERATOR,
    SENIOR,
    Approval,
    PaymentAct,
    act,
    next_attempt,
    require_attempt_for_curl,
)
from app.cli.api_options import ActAs, Curl, Json, PaymentArgument, Role, Why, body
from app.cli.words import attempt_named
from core.payment import commands
from core.values import FundsOperation

Attempt = Annotated[
    str, typer.Option(help="The attempt it speaks of: 1 or att_001.", callback=attempt_named)
]


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
    require_attempt_for_curl(attempt, curl)
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


def release(
    payment: PaymentArgument,
    reason: Why,
    attempt: Attempt,
    operator: ActAs = "",
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
    attempt: Attempt,
    operator: ActAs = "",
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
    attempt: Attempt,
    operator: ActAs = "",
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
    attempt: Attempt,
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Ask Deposits Core again for what it refused; needs no approval."""
    asked = body(attempt_id=attempt, operation=str(operation), reason=reason)
    wanted = PaymentAct(payment, "funds/repeat", asked, commands.RepeatFundsRequest)
    act(wanted, operator, role or SENIOR, json=json, curl=curl)
