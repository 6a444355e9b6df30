"""Ids, money and sealed party details: the values everything else is made of.

Identity by construction: every id here is computed, none is random (domain §2).
"""

from __future__ import annotations

import hashlib
import unicodedata
from enum import StrEnum
from typing import Final, NewType

import msgspec

from core.words import OperationName

PAYMENT_ID_PREFIX: Final = "pi_"
PAYMENT_ID_LENGTH: Final = 29  # "pi_" and 26 base32 characters of 16 bytes
EXTERNAL_REF_LENGTH: Final = 30  # "N", 26 characters, three digits; NPP allows 35
FUNDS_REF_LENGTH: Final = 33  # the external reference, a letter, two digits
ATTEMPTS_MAX: Final = 20
ATTEMPT_DIGITS: Final = 3
CURRENCY: Final = "AUD"
CENTS_PER_UNIT: Final = 100
ZERO_HASH: Final = bytes(32)
_TWO: Final = tuple(f"{number:02d}" for number in range(100))
_THREE: Final = tuple(f"{number:03d}" for number in range(1_000))
_NUMBERS: Final = {text: number for number, text in enumerate(_THREE)}

# Money and ids have types of their own, so that the type checker notices when two are swapped. At
# run time they are plain numbers and texts; outside input gets its type where it is parsed.
Cents = NewType("Cents", int)  # minor units of the currency
PaymentIntentId = NewType("PaymentIntentId", str)  # pi_…
ExternalRef = NewType("ExternalRef", str)  # of an attempt, on the rail
FundsRef = NewType("FundsRef", str)  # of an instruction to Deposits Core
ApprovalId = NewType("ApprovalId", str)  # apr_001 of a payment
ConflictId = NewType("ConflictId", str)  # cnf_001 of a payment
NO_CENTS: Final = Cents(0)

# Lower-case base32, two characters at a time: many times as fast as the standard library's.
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"
_BASE32_PAIRS: Final = tuple(a + b for a in _BASE32 for b in _BASE32)


class State(StrEnum):
    """State of a payment (runbook, appendix state machine)."""

    CREATED = "CREATED"
    AUTHORISED = "AUTHORISED"
    SENT = "SENT"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    SETTLED = "SETTLED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


class MoneyOutcome(StrEnum):
    """What happened to the money, over all attempts (ruling 6). If several apply: CONTRADICTED,
    PAID, UNCERTAIN, RETURNED, NOT_PAID, OPEN, in this order.
    """

    OPEN = "OPEN"
    PAID = "PAID"
    NOT_PAID = "NOT_PAID"
    UNCERTAIN = "UNCERTAIN"
    CONTRADICTED = "CONTRADICTED"
    RETURNED = "RETURNED"


class FailureReason(StrEnum):
    """The runbook's failure reasons; RAIL and TIMEOUT may be safe to retry, the others never."""

    RAIL = "RAIL"
    TIMEOUT = "TIMEOUT"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    INVALID_ACCOUNT = "INVALID_ACCOUNT"
    FRAUD = "FRAUD"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class Action(StrEnum):
    """Actions behind the Resolve gate."""

    RETRY = "RETRY"
    RETRY_UNCERTAIN = "RETRY_UNCERTAIN"
    CANCEL = "CANCEL"
    MARK_FAILED = "MARK_FAILED"
    EXPIRE = "EXPIRE"
    RESOLVE_RECONCILIATION = "RESOLVE_RECONCILIATION"
    RELEASE_EARLY = "RELEASE_EARLY"
    REVERSE = "REVERSE"
    DEBIT_AGAIN = "DEBIT_AGAIN"


class FundsOperation(StrEnum):
    """Instructions to Deposits Core; the letter is part of the funds reference."""

    HOLD = "HOLD"
    CAPTURE = "CAPTURE"
    RELEASE = "RELEASE"
    DEBIT_FORCED = "DEBIT_FORCED"
    REVERSE = "REVERSE"
    CREDIT = "CREDIT"


FUNDS_LETTER: Final[dict[str, str]] = {
    FundsOperation.HOLD: "H",
    FundsOperation.CAPTURE: "C",
    FundsOperation.RELEASE: "R",
    FundsOperation.DEBIT_FORCED: "D",
    FundsOperation.REVERSE: "V",
    FundsOperation.CREDIT: "K",
}


Bytes = bytes  # inside Sealed the field of that name hides the type from msgspec


class Sealed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Party details as they are transmitted and hashed: `avro.1` is the Avro binary of Parties
    version 1, no prefix.
    """

    scheme: str
    key_id: str | None
    bytes: Bytes


class Party(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One side of a payment: BSB and account, or (creditor only) a PayID."""

    name: str
    bsb: str | None = None
    account: str | None = None
    pay_id_type: str | None = None
    pay_id: str | None = None


class Parties(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Opened party details. Never in a log line or a metric label."""

    debtor: Party
    creditor: Party
    remittance: str | None = None


def payment_intent_id(source: str, idempotency_key: str) -> PaymentIntentId:
    """Id of the payment that `source` requested under `idempotency_key`.

    Raises ValueError when either holds NUL (two sources could otherwise share an id) or is not
    valid Unicode.
    """
    if "\0" in source or "\0" in idempotency_key:
        raise ValueError("NUL is not allowed in source or idempotencyKey")
    digest = hashlib.sha256(source.encode() + b"\0" + idempotency_key.encode()).digest()
    pairs, last = _BASE32_PAIRS, digest[15]
    letters = [PAYMENT_ID_PREFIX]
    for at in (0, 5, 10):  # 40 bits: eight characters of five
        number = int.from_bytes(digest[at : at + 5], "big")
        letters += [
            pairs[number >> 30], pairs[number >> 20 & 1023],
            pairs[number >> 10 & 1023], pairs[number & 1023],
        ]  # fmt: skip
    letters.append(pairs[last << 2])  # eight bits and two zeros: 26 characters in all
    return PaymentIntentId("".join(letters))


def three_digits(number: int) -> str:
    """The number with leading zeros: 001, 002, … 1000."""
    return _THREE[number] if 0 <= number < len(_THREE) else f"{number:03d}"


def attempt_id(number: int) -> str:
    """Name of the attempt: att_001, att_002, …"""
    return f"att_{three_digits(number)}"


def approval_id(number: int) -> ApprovalId:
    """Name of the payment's approval: apr_001, apr_002, …"""
    return ApprovalId(f"apr_{three_digits(number)}")


def conflict_id(number: int) -> ConflictId:
    """Name of the payment's conflict: cnf_001, cnf_002, …"""
    return ConflictId(f"cnf_{three_digits(number)}")


def attempt_number(text: str) -> int | None:
    """The attempt number that a person entered: 1 for `1` and for `att_001`; None if it is neither.

    The only parser for the command line and HTTP. On Kafka an attempt is a number, or its name
    `att_001`.
    """
    digits = text.removeprefix("att_")
    least = 1 if digits == text else ATTEMPT_DIGITS
    if not least <= len(digits) <= ATTEMPT_DIGITS or not ascii_digits(digits):
        return None
    return int(digits) or None


def external_ref(payment_id: str, attempt: int) -> ExternalRef:
    """Reference of an attempt on the rail (InstrId), computed before anything is sent."""
    return ExternalRef(f"N{payment_id[3:].upper()}{three_digits(attempt)}")


def payment_id_of_external_ref(reference: str) -> PaymentIntentId | None:
    """The payment whose attempt this reference names, or None if it is not one of ours. Case is
    ignored.
    """
    if attempt_of_external_ref(reference) is None:
        return None
    return PaymentIntentId(PAYMENT_ID_PREFIX + reference[1:27].lower())


def attempt_of_external_ref(reference: str) -> int | None:
    """The attempt's number in the reference, or None if it is not one of ours."""
    if len(reference) != EXTERNAL_REF_LENGTH or not reference.isascii() or reference[0] not in "Nn":
        return None
    return _NUMBERS.get(reference[27:])  # holds what is three digits 0 to 9 and nothing else


def funds_ref(
    payment_id: PaymentIntentId, attempt: int, operation: OperationName, number: int = 1
) -> FundsRef:
    """Reference of an instruction to Deposits Core: the same instruction always has the same
    reference.
    """
    digits = _TWO[number] if 0 <= number < len(_TWO) else f"{number:02d}"
    return FundsRef(f"{external_ref(payment_id, attempt)}{FUNDS_LETTER[operation]}{digits}")


def policy_ref(payment_id: PaymentIntentId, attempt: int) -> str:
    """Reference of an attempt's policy check."""
    return f"{external_ref(payment_id, attempt)}P01"


def format_amount(cents: Cents, currency: str) -> str:
    """An amount as people read it: 1858 and AUD is `AUD 18.58`, 123456789 is `AUD 1,234,567.89`.

    The only formatter of amounts: people never see minor units as a bare number. `cents` are
    hundredths for every currency, because the adapters read amounts that way.
    """
    whole, rest = divmod(abs(cents), CENTS_PER_UNIT)
    return f"{currency} {'-' if cents < 0 else ''}{whole:,}.{rest:02d}"


def ascii_digits(text: str) -> bool:
    """Whether `text` is digits 0 to 9 and nothing else, so that int() reads what a person sees.

    `isdigit` alone accepts "²", for which int() raises, and "٣", which int() reads as 3.
    """
    return text.isascii() and text.isdigit()


def same_person(a: str, b: str) -> bool:
    """Whether two operator ids mean one person: compared in NFKC, case folded, without surrounding
    space.
    """
    return _person(a) == _person(b)


def person_digest(operator_id: str) -> bytes:
    """16 bytes of SHA-256 that represent a person, however the id is written: see same_person."""
    return hashlib.sha256(_person(operator_id).encode("utf-8", "surrogatepass")).digest()[:16]


def _person(operator_id: str) -> str:
    return unicodedata.normalize("NFKC", operator_id).strip().casefold()
