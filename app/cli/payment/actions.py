"""`npp payment retry|cancel|…`: operators' actions on a payment, one function per action.

They use the API. Without an API, the demo and test profiles publish the operator command directly
(`--as` names the operator), with a deadline of a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from app.cli.acting import (
    OPERATOR,
    SENIOR,
    Actor,
    PaymentAct,
    action,
    next_attempt,
    require_attempt_for_curl,
)
from app.cli.api_options import PaymentArgument, Why, body
from app.cli.words import attempt_named
from core.payment import commands
from core.values import FundsOperation

Attempt = Annotated[str, typer.Option(help="The attempt: 1 or att_001.", callback=attempt_named)]


@action(OPERATOR)
def retry(
    payment: PaymentArgument,
    reason: Why,
    attempt: Annotated[
        str | None,
        typer.Option(
            help="The new attempt, 2 or att_002; default: the next.", callback=attempt_named
        ),
    ] = None,
    *,
    actor: Actor,
) -> PaymentAct:
    """Make the next attempt of a failed payment; needs an approval RETRY (or RETRY_UNCERTAIN)."""
    require_attempt_for_curl(attempt, actor)
    requested = body(attempt_id=attempt or next_attempt(payment, actor), reason=reason)
    return PaymentAct(payment, "retry", requested, commands.RetryPayment)


@action(OPERATOR)
def cancel(
    payment: PaymentArgument,
    reason: Why,
    customer: Annotated[str | None, typer.Option(help="The customer who requested it.")] = None,
) -> PaymentAct:
    """Cancel a payment that is CREATED, AUTHORISED or SENT; needs an approval CANCEL."""
    requested = body(reason=reason, customer_id=customer)
    return PaymentAct(payment, "cancel", requested, commands.CancelPayment)


@action(SENIOR)
def mark_failed(
    payment: PaymentArgument,
    reason: Annotated[str, typer.Option(help="RAIL, TIMEOUT, INSUFFICIENT_FUNDS, …")],
    details: Annotated[str, typer.Option(help="Details, as text.")],
) -> PaymentAct:
    """Mark a SENT or ACKNOWLEDGED payment as failed; non-payment stays uncertain until enquired."""
    requested = body(reason=reason, details=details)
    return PaymentAct(payment, "mark-failed", requested, commands.MarkPaymentFailed)


@action(SENIOR)
def expire(payment: PaymentArgument, reason: Why) -> PaymentAct:
    """Expire a payment; from SENT on it needs an approval EXPIRE."""
    return PaymentAct(payment, "expire", body(reason=reason), commands.ExpirePayment)


def _of_attempt(name: str, command: type[Any], help_: str) -> Callable[..., None]:
    """An action on one attempt's funds."""

    def wanted(payment: PaymentArgument, reason: Why, attempt: Attempt) -> PaymentAct:
        return PaymentAct(payment, name, body(attempt_id=attempt, reason=reason), command)

    wanted.__name__, wanted.__doc__ = name, help_
    return action(SENIOR)(wanted)


release = _of_attempt(
    "release",
    commands.ReleaseFunds,
    "Release a deferred hold before non-payment is certain; needs an approval RELEASE_EARLY.",
)
reverse = _of_attempt(
    "reverse", commands.ReverseCapture, "Reverse captured funds; needs an approval REVERSE."
)
debit = _of_attempt(
    "debit",
    commands.DebitFunds,
    "Debit for a second settlement of the payment; needs an approval DEBIT_AGAIN.",
)


@action(SENIOR, gated=False)
def repeat_funds(
    payment: PaymentArgument,
    operation: Annotated[
        FundsOperation, typer.Option(help="The operation that Deposits Core refused.")
    ],
    reason: Why,
    attempt: Attempt,
) -> PaymentAct:
    """Repeat a request that Deposits Core refused; needs no approval."""
    requested = body(attempt_id=attempt, operation=str(operation), reason=reason)
    return PaymentAct(payment, "funds/repeat", requested, commands.RepeatFundsRequest)
