"""Natural keys: they identify an earlier result, report or conflict.

They are short, because every packed state contains them.
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
    """The key of the report behind a conflict that is only counted."""
    text = f"{attempt}:{kind}:{content}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def content_of(new: Payment, code: str | None, amount: Cents | None, currency: str | None) -> str:
    """A report's content, without times and ids: two of one kind with equal content are the same.

    A missing amount or currency equals the payment's own.
    """
    if (amount is None or amount == new.amount) and (currency is None or currency == new.currency):
        return compared(code or "")
    own_amount = new.amount if amount is None else amount
    return compared(f"{code or ''}|{own_amount}|{currency or new.currency}")


def compared(text: str) -> str:
    """A text that is only compared: itself, or a digest if it is longer."""
    if text.isascii() and len(text) <= COMPARED_CHARACTERS_MAX:
        return text
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def digest(outside_id: str | None) -> bytes | None:
    """16 bytes of SHA-256 that represent an external id, whose length we do not control."""
    if outside_id is None:
        return None
    return hashlib.sha256(outside_id.encode("utf-8", "surrogatepass")).digest()[:16]
