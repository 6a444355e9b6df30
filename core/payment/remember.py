"""Parts of `evolve`: copies of what an event touches, and what is remembered to know a duplicate.

Natural keys of accepted results are short, since they stand in every packed state.
"""

from __future__ import annotations

import hashlib

from core.payment.corrupt import CorruptHistory
from core.payment.state import Attempt, Payment, Remembered
from core.values import attempt_of_external_ref

# Reports of which only the last is kept; of all others the first. NOTED: our own resend rejected.
LAST_ONLY = frozenset({"STATUS", "RECEIVED", "NOTED"})
COMPARED_CHARACTERS_MAX = 31  # fewer than the 32 hexadecimal digits of 16 bytes


def own_attempt(new: Payment, number: int) -> Attempt:
    """A fresh copy of the attempt, already standing in `new`. Raises CorruptHistory when there is
    none.
    """
    attempts = new.attempts
    if not 0 < number <= len(attempts):
        raise CorruptHistory(f"no attempt {number} at sequence {new.sequence}")
    mine = attempts[number - 1].__copy__()
    new.attempts = attempts = attempts.copy()
    attempts[number - 1] = mine
    return mine


def remember_result(new: Payment, key: str) -> None:
    """The current decision is the result of the natural key `key`: the first one stays."""
    if key not in new.results:
        new.results = {**new.results, key: new.decision_from}
    new.decision_remembered = True


def remember_report(
    new: Payment, attempt: Attempt, kind: str, message_id: str | None, content: str | None
) -> None:
    """Keep the first report of this kind (the last, for STATUS and RECEIVED)."""
    new.decision_remembered = True
    memory = Remembered(kind, digest(message_id), content, new.decision_from)
    for index, known in enumerate(attempt.reports):
        if known.kind == kind:
            if kind in LAST_ONLY:
                reports = attempt.reports.copy()
                reports[index] = memory
                attempt.reports = reports
            return
    attempt.reports = [*attempt.reports, memory]


def content_of(new: Payment, code: str | None, amount: int | None, currency: str | None) -> str:
    """What a report says, without times and ids: two of one kind with equal content are the same.

    An amount or currency that is not given, or is the payment's own, says nothing of its own.
    """
    if (amount is None or amount == new.amount) and (currency is None or currency == new.currency):
        return compared(code or "")
    own_amount = new.amount if amount is None else amount
    return compared(f"{code or ''}|{own_amount}|{currency or new.currency}")


def compared(text: str) -> str:
    """A text that is only ever compared: itself, or what stands for it when it is longer."""
    if text.isascii() and len(text) <= COMPARED_CHARACTERS_MAX:
        return text
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def digest(outside_id: str | None) -> bytes | None:
    """16 bytes of SHA-256 that stand for an id of the outside: its length is not ours to bound."""
    if outside_id is None:
        return None
    return hashlib.sha256(outside_id.encode("utf-8", "surrogatepass")).digest()[:16]


def conflict_key(attempt: int, kind: str | None, content: str) -> bytes:
    """What stands for the report behind a conflict that is only counted."""
    text = f"{attempt}:{kind}:{content}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def found_key(reference: str, report_kind: str | None) -> str:
    """Natural key of a conflict about an instruction that a lost log tail left behind."""
    return result_key("F", f"{attempt_of_external_ref(reference)}:{report_kind or ''}")


def result_key(letter: str, subject: int | str) -> str:
    """Natural key of an accepted action: its letter and its attempt, conflict or parameters."""
    return f"{letter}{subject}"


def without_unnamed_ends(new: Payment, ends: dict[int, int]) -> dict[int, int]:
    """The ends of those decisions that some memory of the payment still names."""
    named = {1, *new.results.values(), *new.conflicts_unlisted_keys.values()}
    named.update(conflict.from_sequence for conflict in new.conflicts)
    named.update(note.from_sequence for note in new.notifications)
    for approval in new.approvals:
        named.update((approval.requested_from, approval.decided_from))
    for attempt in new.attempts:
        named.add(attempt.policy_from)
        named.update(report.from_sequence for report in attempt.reports)
        named.update(ask.answered_from for ask in attempt.asks)
    return {first: last for first, last in ends.items() if first in named}
