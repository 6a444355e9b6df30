"""The rail's callback messages (pacs.002, pacs.004, camt.029 as JSON) mapped to RailReport. Pure.

ISO 20022 element names; amounts as decimal strings, read without floats. docs/rail-gateway.md.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from core.header import InputHeader
from core.payment.commands import AssignedFrom, RailReport
from core.payment.limits import CODE_CHARACTERS_MAX, OUTSIDE_ID_CHARACTERS_MAX
from core.values import Cents, ExternalRef, PaymentIntentId, payment_id_of_external_ref
from core.words import ReportKind
from schemas.strict_json import UnreadableJson, json_reader

# ISO 20022 ExternalPaymentTransactionStatus1Code -> what it says of the attempt.
# ACCEPTED means that the payee's side accepted; a mere receipt of the message changes nothing.
KIND_OF_STATUS: Final[dict[str, ReportKind]] = {
    "RCVD": "RECEIVED",
    "ACTC": "RECEIVED",
    "PDNG": "STATUS",
    "ACCP": "ACCEPTED",
    "ACSP": "ACCEPTED",
    "ACWC": "ACCEPTED",
    "ACSC": "SETTLED",
    "ACCC": "SETTLED",
    "RJCT": "REJECTED",
    "EXPD": "EXPIRED",  # the gateway's own: its time window elapsed
}
KIND_OF_CANCELLATION: Final[dict[str, ReportKind]] = {
    "CNCL": "RECALL_ACCEPTED",
    "RJCR": "RECALL_REFUSED",
    "PDCR": "STATUS",
}
TEXT_CHARACTERS_MAX: Final = 1_000
_REFERENCE: Final = re.compile(r"[Nn][A-Za-z2-7]{26}[0-9]{3}", re.ASCII)
_CURRENCY: Final = re.compile(r"[A-Z]{3}", re.ASCII)
_AMOUNT: Final = re.compile(r"[0-9]{1,13}(\.[0-9]{1,2})?", re.ASCII)


class StatusReason(msgspec.Struct, frozen=True):
    """A reason: `Cd` of an ISO code set, or the bank's own `Prtry`. Both are codes."""

    Cd: str | None = None
    Prtry: str | None = None
    AddtlInf: str | None = None


class Amount(msgspec.Struct, frozen=True):
    Ccy: str
    Value: str


class RailMessage(msgspec.Struct, frozen=True):
    """One message as the gateway sends it; unknown fields are ignored."""

    MsgType: str
    MsgId: str
    OrgnlInstrId: str
    CreDtTm: str | None = None
    OrgnlTxId: str | None = None
    TxSts: str | None = None
    CxlSts: str | None = None
    StsRsnInf: StatusReason | None = None
    RtrRsnInf: StatusReason | None = None
    IntrBkSttlmAmt: Amount | None = None
    RtrdIntrBkSttlmAmt: Amount | None = None


_read: Final = json_reader(RailMessage)


class UnreadableMessageError(ValueError):
    """The bytes are no message of the gateway; the text says why, without the message's content."""


def parse(raw: bytes) -> RailMessage:
    """Read a callback's body. Raises UnreadableMessageError."""
    try:
        return _read(raw)
    except UnreadableJson as error:
        raise UnreadableMessageError(f"no rail message: {error}") from error


def report_of(
    message: RailMessage,
    *,
    adapter: str,
    received_at: int,
    payment_intent_id: str | None = None,
    external_ref: str | None = None,
    assigned_from: AssignedFrom | None = None,
) -> RailReport | None:
    """The report that this message makes, or None if its OrgnlInstrId is not one of ours.

    A person may assign it to `payment_intent_id` and `external_ref`. A status that the table does
    not know becomes STATUS with that status as its code, which changes nothing. Raises
    UnreadableMessageError for an amount or a type that cannot be read, and for an id or a code
    that is too long: shortened it would be another one.
    """
    _check(message)
    reference = external_ref or message.OrgnlInstrId
    if not _REFERENCE.fullmatch(reference):
        return None
    payment_id = payment_intent_id or payment_id_of_external_ref(reference)
    if payment_id is None:
        return None
    kind, code, amount = _meaning(message)
    if code is not None:
        _check_text("a code", code, CODE_CHARACTERS_MAX)
    if amount is not None and not _CURRENCY.fullmatch(amount.Ccy):
        raise UnreadableMessageError("a currency is not three capital letters")
    reason = message.RtrRsnInf or message.StsRsnInf
    return RailReport(
        header=InputHeader(payment_intent_id=PaymentIntentId(payment_id), sent_at=received_at),
        external_ref=ExternalRef(reference.upper()),
        kind=kind,
        adapter=adapter,
        code=code or None,
        amount=None if amount is None else cents(amount.Value),
        currency=None if amount is None else amount.Ccy,
        # One message id has one kind and content; a report that changes nothing needs no id.
        rail_message_id=message.MsgId if kind not in ("STATUS", "RECEIVED") else None,
        transaction_id=message.OrgnlTxId or None,
        details=None if reason is None else _free_text(reason.AddtlInf),
        assigned_from=assigned_from,
    )


def _meaning(message: RailMessage) -> tuple[ReportKind, str | None, Amount | None]:
    match message.MsgType:
        case "pacs.002":
            status = message.TxSts or ""
            kind = KIND_OF_STATUS.get(status, "STATUS")
            code = _code(message.StsRsnInf)
            if kind == "STATUS":
                code = status
            return kind, code, message.IntrBkSttlmAmt
        case "pacs.004":
            code = _code(message.RtrRsnInf)
            return "RETURNED", code, message.RtrdIntrBkSttlmAmt
        case "camt.029":
            status = message.CxlSts or ""
            kind = KIND_OF_CANCELLATION.get(status, "STATUS")
            code = _code(message.StsRsnInf)
            return kind, status if kind == "STATUS" else code, None
        case _:
            raise UnreadableMessageError("MsgType is not pacs.002, pacs.004 or camt.029")


def _code(reason: StatusReason | None) -> str | None:
    """The reason's one code. Raises UnreadableMessageError for two: ISO 20022 allows one."""
    if reason is None:
        return None
    if reason.Cd and reason.Prtry:
        raise UnreadableMessageError("a reason has both Cd and Prtry")
    return reason.Cd or reason.Prtry


def _check(message: RailMessage) -> None:
    """Raises UnreadableMessageError for an id that is empty or too long to keep."""
    if not message.MsgId:
        raise UnreadableMessageError("MsgId is empty")
    _check_text("MsgId", message.MsgId, OUTSIDE_ID_CHARACTERS_MAX)
    _check_text("OrgnlInstrId", message.OrgnlInstrId, OUTSIDE_ID_CHARACTERS_MAX)
    _check_text("OrgnlTxId", message.OrgnlTxId or "", OUTSIDE_ID_CHARACTERS_MAX)


def _check_text(name: str, value: str, most: int) -> None:
    if len(value) > most:
        raise UnreadableMessageError(f"{name} has {len(value)} characters, at most {most} are kept")
    if "\0" in value:
        raise UnreadableMessageError(f"{name} holds NUL")


def cents(value: str) -> Cents:
    """Integer cents of an ISO decimal ("123.4" is 12340). Raises UnreadableMessageError."""
    if not _AMOUNT.fullmatch(value):
        raise UnreadableMessageError("an amount is no decimal with at most two places")
    whole, _, fraction = value.partition(".")
    amount = int(whole) * 100 + int(fraction.ljust(2, "0"))
    if amount == 0:
        raise UnreadableMessageError("an amount is zero")
    return Cents(amount)


def decimal(amount: int) -> str:
    """The ISO decimal of integer cents."""
    return f"{amount // 100}.{amount % 100:02d}"


def _free_text(value: str | None) -> str | None:
    """Free text for people: cut and without NUL; JSON decoding has refused lone surrogates."""
    return None if value is None else value.replace("\0", "")[:TEXT_CHARACTERS_MAX]
