"""The actions on a payment: each with its requirements and its consequence.

The texts are for people; the API and the engine decide whether an action is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from api.auth.access import ACCESS
from control.acts.roles import ROLES
from core.payment.operator.actions import MARK_FAILED_REASONS
from core.values import FundsOperation, attempt_id, attempt_number
from web.words import word

PAYMENT: Final = "/api/payments/{payment_intent_id}"
WAITING: Final = ("REQUESTED", "REFERRED")
APPROVED: Final = "APPROVED"
ENDED: Final = ("PaymentFailed", "PaymentExpired", "NonPaymentConfirmed")  # of an attempt
DOLLARS_DIGITS_MAX: Final = 15
CENTS_DIGITS: Final = 2
REASONS: Final = tuple(sorted(MARK_FAILED_REASONS))
OPERATIONS: Final = tuple(each.value for each in FundsOperation)


class Act(msgspec.Struct, frozen=True):
    """An action. `path` is below the payment's; `gated`: it needs an approval. `needs` is shown if
    the payment's state does not allow it; `asks` are the fields of its form.
    """

    name: str
    title: str
    path: str
    needs: str
    asks: tuple[str, ...] = ()
    gated: bool = True
    grave: bool = False

    @property
    def roles(self) -> frozenset[str]:
        """Who may do it, by the API's own table."""
        return ACCESS["POST", f"{PAYMENT}/{self.path}"]


ACTS: Final = (
    Act("RETRY", "Retry", "retry", "a FAILED payment whose failure is safe to retry, not paid"),
    Act(
        "RETRY_UNCERTAIN",
        "Retry although it may have been paid",
        "retry",
        "a FAILED payment whose non-payment is not certain",
        grave=True,
    ),
    Act("CANCEL", "Cancel", "cancel", "CREATED, AUTHORISED or SENT", ("customerId",), grave=True),
    Act(
        "MARK_FAILED",
        "Mark failed",
        "mark-failed",
        "SENT or ACKNOWLEDGED",
        ("failureReason",),
        grave=True,
    ),
    Act("EXPIRE", "Expire", "expire", "AUTHORISED, SENT or ACKNOWLEDGED", grave=True),
    Act(
        "RELEASE_EARLY",
        "Release the hold early",
        "release",
        "an attempt whose hold waits for certainty",
        ("attemptId",),
        grave=True,
    ),
    Act("REVERSE", "Reverse the capture", "reverse", "captured funds", ("attemptId",), grave=True),
    Act(
        "DEBIT_AGAIN",
        "Debit for the second settlement",
        "debit",
        "a second settlement confirmed by a verdict",
        ("attemptId",),
        grave=True,
    ),
    Act(
        "REPEAT_FUNDS_REQUEST",
        "Repeat the request to Deposits Core",
        "funds/repeat",
        "a funds request that Deposits Core refused",
        ("attemptId", "operation"),
        gated=False,
    ),
)
BY_NAME: Final = {act.name: act for act in ACTS}


class Choice(msgspec.Struct, frozen=True):
    """What this person can do about an action on this payment. `step`: request (an approval), waits
    (for one), act, or no with `why`.
    """

    act: Act
    step: str
    why: str = ""
    approval: Mapping[str, Any] | None = None
    consequence: str = ""
    default_attempt: str = ""


def choices(
    payment: Mapping[str, Any], approvals: Sequence[Mapping[str, Any]], roles: frozenset[str]
) -> list[Choice]:
    """All actions; those that are not possible now come last."""
    made = [_choice(act, payment, approvals, roles) for act in ACTS]
    return sorted(made, key=lambda each: each.step == "no")


def _choice(
    act: Act,
    payment: Mapping[str, Any],
    approvals: Sequence[Mapping[str, Any]],
    roles: frozenset[str],
) -> Choice:
    if act.name not in payment["nextActions"]:
        return Choice(act, "no", why=f"It needs {act.needs}.")
    says = consequence(act.name, payment)
    attempt = default_attempt(act.name, payment)
    mine = [each for each in approvals if each["action"] == act.name]
    ready = next((each for each in mine if each["status"] == APPROVED), None)
    waits = next((each for each in mine if each["status"] in WAITING), None)
    gated = act.gated and not (act.name == "EXPIRE" and payment["state"] == "AUTHORISED")
    may = not roles.isdisjoint(act.roles)
    if gated and ready is None:
        if waits is not None:
            return Choice(act, "waits", approval=waits, consequence=says)
        if roles.isdisjoint(ACCESS["POST", f"{PAYMENT}/approvals"]):
            return Choice(act, "no", why=_role_words("approvals"))
        return Choice(act, "request", consequence=says, default_attempt=attempt)
    if not may:
        return Choice(act, "no", why=_role_words(act.path), approval=ready)
    return Choice(act, "act", approval=ready, consequence=says, default_attempt=attempt)


def _role_words(path: str) -> str:
    return who_may(ACCESS["POST", f"{PAYMENT}/{path}"])


def who_may(roles: frozenset[str]) -> str:
    """A sentence for a user without the role."""
    named = " or ".join(word(each) for each in sorted(roles & ROLES))
    return f"Your role does not allow this; {named} may."


def default_attempt(name: str, payment: Mapping[str, Any]) -> str:
    """The attempt that an action most likely means."""
    for each in payment["attempts"]:
        funds = each["funds"]
        second = each["outcome"] == "PAID" and not funds["captured"]
        if (
            (name == "RELEASE_EARLY" and funds["releaseDeferred"])
            or (name == "REVERSE" and funds["state"] == "CAPTURED")
            or (name == "DEBIT_AGAIN" and second)
        ):
            return str(each["attemptId"])
    return str(payment["attemptId"])


def next_attempt(payment: Mapping[str, Any]) -> str:
    """att_002 after att_001."""
    return attempt_id((attempt_number(payment["attemptId"]) or 0) + 1)


def with_codes(payment: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The payment, with the `code` of the event that ended each attempt, or None."""
    codes = {
        each["attemptId"]: each["data"].get("code")
        for each in events
        if each["type"] in ENDED and each["data"].get("code")
    }
    attempts = [each | {"code": codes.get(each["attemptId"])} for each in payment["attempts"]]
    return {**payment, "attempts": attempts}


def consequence(
    name: str, payment: Mapping[str, Any], approval: Mapping[str, Any] | None = None
) -> str:
    """The consequence of the action as text, also for the person who decides on `approval`."""
    amount, last = payment["amountText"], payment["attempts"][-1]
    attempt = (approval or {}).get("attemptId") or default_attempt(name, payment)
    if name == "RETRY":
        return (
            f"Will send {amount} again, as {next_attempt(payment)}. {_certainty(last)} "
            "The customer's account is held for it once."
        )
    if name == "RETRY_UNCERTAIN":
        return (
            f"Will send {amount} again, as {next_attempt(payment)}, although {last['attemptId']} "
            "may still be paid: the payee may receive it twice."
        )
    if name == "CANCEL":
        sent = payment["state"] == "SENT"
        rail = " The rail is asked to withdraw it; it may still settle." if sent else ""
        return f"Ends the payment of {amount} as FAILED, CANCELLED. It cannot be undone.{rail}"
    if name == "MARK_FAILED":
        reason = (approval or {}).get("failureReason")
        named = f", reason {reason}" if reason else ""
        return (
            f"Records {attempt} of {amount} as FAILED{named}, although the rail has not said so. "
            "The hold stays until non-payment is certain."
        )
    if name == "EXPIRE":
        return f"Ends {attempt} of {amount} as EXPIRED. It cannot be undone."
    if name == "RELEASE_EARLY":
        return (
            f"Releases the hold of {amount} for {attempt} before non-payment is certain. If the "
            "rail settles it after all, Deposits Core debits the account without a hold."
        )
    if name == "REVERSE":
        return f"Credits the customer with {amount}, which was captured for {attempt}."
    if name == "DEBIT_AGAIN":
        return (
            f"Debits the customer a second time with {amount}: the rail settled {attempt}, too, "
            "and the payee has the money twice."
        )
    if name == "REPEAT_FUNDS_REQUEST":
        return "Sends the same funds request again. It moves the same money once."
    return ""


def _certainty(attempt: Mapping[str, Any]) -> str:
    if attempt["certain"]:
        by = f", ended by the {attempt['endedBy']}" if attempt["endedBy"] else ""
        why = attempt["reason"] or "it ended"
        if attempt.get("code"):
            why = f"{why}, code {attempt['code']}"
        return f"Non-payment of {attempt['attemptId']} is certain: {why}{by}."
    return f"Non-payment of {attempt['attemptId']} is NOT certain."


def body(name: str, fields: Mapping[str, str], payment: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an action's request, from its form."""
    reason, approval = fields.get("reason", ""), fields.get("approvalId", "")
    made: dict[str, Any] = {"reason": reason, "approvalId": approval}
    if name in ("RETRY", "RETRY_UNCERTAIN"):
        made["attemptId"] = fields.get("attemptId") or next_attempt(payment)
    elif name == "CANCEL":
        made["customerId"] = fields.get("customerId", "")
    elif name == "MARK_FAILED":
        made = {
            "reason": fields.get("failureReason", ""),
            "details": reason,
            "approvalId": approval,
        }
    elif name in ("RELEASE_EARLY", "REVERSE", "DEBIT_AGAIN"):
        made["attemptId"] = fields.get("attemptId", "")
    elif name == "REPEAT_FUNDS_REQUEST":
        made = {
            "reason": reason,
            "attemptId": fields.get("attemptId", ""),
            "operation": fields.get("operation", ""),
        }
    return made


def request_body(fields: Mapping[str, str]) -> dict[str, Any]:
    """The body of a request for approval. Raises ValueError for an amount that is not one."""
    made: dict[str, Any] = {
        name: fields.get(name, "")
        for name in ("action", "reason", "attemptId", "failureReason", "conflictId", "verdict")
    }
    made["amount"] = cents(fields.get("amount", ""))
    return made


def cents(text: str) -> int | None:
    """The cents of an amount as people write it: 12550 for 125.50; None for an empty text. Raises
    ValueError.
    """
    if not text:
        return None
    whole, _, rest = text.replace(",", "").partition(".")
    digits = whole + rest
    if not (digits.isascii() and digits.isdigit() and whole):
        raise ValueError("no amount")
    if len(whole) > DOLLARS_DIGITS_MAX or len(rest) > CENTS_DIGITS:
        raise ValueError("no amount")
    return int(whole + rest.ljust(CENTS_DIGITS, "0"))
