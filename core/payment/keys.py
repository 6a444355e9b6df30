"""Natural keys: what tells whether a result, a report or a conflict was there before.

They are short, since every packed state has them.
"""

from __future__ import annotations

import hashlib

from core.payment.state import Payment
from core.values import Cents, attempt_of_external_ref

COMPARED_CHARACTERS_MAX = 31  # fewer than the 32 hexadecimal digits of 16 bytes


def result_key(letter: str, subject: int | str) -> str:
    """Natural key of an accepted action: its letter and its attempt, conflict or parameters."""
    return f"{letter}{subject}"


def recovered_key(reference: str, report_kind: str | None) -> str:
    """Natural key of a conflict about an instruction that a lost log tail left behind."""
    return result_key("F", f"{attempt_of_external_ref(reference)}:{report_kind or ''}")


def conflict_key(attempt: int, kind: str | None, content: str) -> bytes:
    """What stands for the report behind a conflict that is only counted."""
    text = f"{attempt}:{kind}:{content}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def content_of(new: Payment, code: str | None, amount: Cents | None, currency: str | None) -> str:
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
