"""The words of pages: one plain word or sentence for each name that the API uses."""

from __future__ import annotations

from typing import Final

_WORDS: Final[dict[str, str]] = {
    "NOT_PAID": "NOT PAID",
    "OVERDUE": "overdue at the rail",
    "OVERDUE_ESCALATED": "long overdue at the rail",
    "CONFLICT_OPEN": "open conflict",
    "APPROVAL_WAITS": "an approval waits",
    "PARKED": "parked after a defect",
    "RESEND_REJECTED": "the rail rejected a resend",
    "SECOND_SETTLEMENT": "settled twice",
    "FUNDS_REFUSED": "Deposits Core refused",
    "FUNDS_FORCED": "Deposits Core forced a debit",
    "FUNDS_SILENT": "Deposits Core is silent",
    "NO_ANSWER_LEFT": "no more answers are expected",
}

# Why a payment needs attention: what to do.
_DO: Final[dict[str, str]] = {
    "OVERDUE": "Ask NPP Support with the external reference; the system enquires automatically.",
    "OVERDUE_ESCALATED": "Escalate to NPP Support; mark failed only when they confirm it.",
    "CONFLICT_OPEN": "Look up the payment in the rail's records, then resolve the conflict.",
    "APPROVAL_WAITS": "An approver decides it, on the approval's page.",
    "PARKED": "Engineering finds the defect; then two administrators resume the payment.",
    "RESEND_REJECTED": "Ask NPP Support for the result of the first submission.",
    "SECOND_SETTLEMENT": "Decide with a second person whether to debit the customer again.",
    "FUNDS_REFUSED": "Clear the reason with Deposits Core, then repeat the request.",
    "FUNDS_FORCED": "Tell the account's owner: the debit went beyond the available funds.",
    "FUNDS_SILENT": "Ask Deposits Core; the system repeats the request automatically.",
    "NO_ANSWER_LEFT": "Ask the rail or Deposits Core by phone: no message is outstanding.",
}

# What takes a payment further.
_WAITS: Final[dict[str, str]] = {
    "RAIL": "the rail's answer",
    "DEPOSITS": "Deposits Core",
    "POLICY": "the policy check",
    "APPROVAL": "the approval that delays it",
    "APPROVER": "an approver's decision",
    "RECONCILIATION": "a person who resolves the conflict",
    "ENGINEERING": "engineering: it is parked after a defect",
    "DEBIT_DECISION": "the decision to debit a second time",
    "TIME": "its time",
}

_TONES: Final[dict[str, str]] = {
    **dict.fromkeys(("SETTLED", "PAID", "APPROVED", "ACCEPTED", "DONE", "USED"), "good"),
    **dict.fromkeys(("FAILED", "CONTRADICTED", "REJECTED", "REFUSED", "QUARANTINED"), "bad"),
    **dict.fromkeys(
        ("EXPIRED", "UNCERTAIN", "RETURNED", "REFERRED", "REQUESTED", "PENDING"), "warn"
    ),
    **dict.fromkeys(("SENT", "ACKNOWLEDGED", "AUTHORISED"), "busy"),
}


def word(name: str | None) -> str:
    """The name as people read it: `NOT PAID`, `open conflict`, `mark failed`."""
    if not name:
        return "—"
    return _WORDS.get(name, name.replace("_", " "))


def say(name: str | None, what: str) -> str:
    """The sentence for a name: `what` is `do` or `waits`."""
    table = {"do": _DO, "waits": _WAITS}[what]
    return table.get(name or "", word(name))


def tone(name: str | None) -> str:
    """good, bad, warn, busy or plain: the colour of a badge."""
    return _TONES.get(name or "", "plain")
