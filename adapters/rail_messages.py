"""The rail's callback messages (pacs.002, pacs.004, camt.029 as JSON) mapped to RailReport. Pure.

ISO 20022 element names; amounts as decimal strings, read without floats. docs/rail-gateway.md.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from core.header import InputHeader
from core.payment.commands import AssignedFrom, RailReport
from core.values import payment_id_of_external_ref

# ISO 20022 ExternalPaymentTransactionStatus1Code -> what it says of the attempt.
# ACCEPTED is "the payee's side accepted"; what only says that the message arrived changes nothing.
KIND_OF_STATUS: Final[dict[str, str]] = {
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
KIND_OF_CANCELLATION: Final[dict[str, str]] = {
    "CNCL": "RECALL_ACCEPTED",
    "RJCR": "RECALL_REFUSED",
    "PDCR": "STATUS",
}
TEXT_CHARACTERS_MAX: Final = 1_000
ID_CHARACTERS_MAX: Final = 64
CODE_CHARACTERS_MAX: Final = 35
_REFERENCE: Final = re.compile(r"[Nn][A-Za-z2-7]{26}[0-9]{3}", re.ASCII)
_CURRENCY: Final = re.compile(r"[A-Z]{3}", re.ASCII)
_AMOUNT: Final = re.compile(r"[0-9]{1,13}(\.[0-9]{1,2})?", re.ASCII)


class StatusReason(msgspec.Struct, frozen=True):
    Cd: str | None = None
    AddtlInf: str | None = None


class Amount(msgspec.Struct, frozen=True):
    Ccy: str
    Value: str


class RailMessage(msgspec.Struct, frozen=True):
    """One message as the gateway sends it; unknown fields are left alone."""

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


_decode: Final = msgspec.json.Decoder(RailMessage).decode


class UnreadableMessageError(ValueError):
    """The bytes are no message of the gateway: for people, without its content."""


def parse(raw: bytes) -> RailMessage:
    """Read a callback's body. Raises UnreadableMessageError."""
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableMessageError(f"no rail message: {type(error).__name__}") from error


def report_of(
    message: RailMessage,
    *,
    adapter: str,
    received_at: int,
    payment_intent_id: str | None = None,
    external_ref: str | None = None,
    assigned_from: AssignedFrom | None = None,
) -> RailReport | None:
    """The report this message makes, or None when its OrgnlInstrId is none of ours.

    A person may assign it to `payment_intent_id` and `external_ref`. A status that the table does
    not know becomes STATUS with that status as its code, which changes nothing. Raises
    UnreadableMessageError for an amount or a type that can not be read.
    """
    reference = external_ref or message.OrgnlInstrId
    if not _REFERENCE.fullmatch(reference):
        return None
    payment_id = payment_intent_id or payment_id_of_external_ref(reference)
    if payment_id is None:
        return None
    kind, code, amount = _meaning(message)
    if len(message.MsgId) > ID_CHARACTERS_MAX or "\0" in message.MsgId:
        raise UnreadableMessageError("MsgId is too long")
    if amount is not None and not _CURRENCY.fullmatch(amount.Ccy):
        raise UnreadableMessageError("a currency is not three capital letters")
    reason = message.RtrRsnInf or message.StsRsnInf
    return RailReport(
        header=InputHeader(payment_intent_id=payment_id, sent_at=received_at),
        external_ref=reference.upper(),
        kind=kind,
        adapter=adapter,
        code=_text(code, CODE_CHARACTERS_MAX),
        amount=None if amount is None else cents(amount.Value),
        currency=None if amount is None else amount.Ccy,
        # One message id stands for one kind and content; what changes nothing needs none.
        rail_message_id=message.MsgId if kind not in ("STATUS", "RECEIVED") else None,
        transaction_id=_text(message.OrgnlTxId, CODE_CHARACTERS_MAX),
        details=None if reason is None else _text(reason.AddtlInf, TEXT_CHARACTERS_MAX),
        assigned_from=assigned_from,
    )


def _meaning(message: RailMessage) -> tuple[str, str | None, Amount | None]:
    match message.MsgType:
        case "pacs.002":
            status = message.TxSts or ""
            kind = KIND_OF_STATUS.get(status, "STATUS")
            code = message.StsRsnInf.Cd if message.StsRsnInf else None
            if kind == "STATUS":
                code = status
            return kind, code, message.IntrBkSttlmAmt
        case "pacs.004":
            code = message.RtrRsnInf.Cd if message.RtrRsnInf else None
            return "RETURNED", code, message.RtrdIntrBkSttlmAmt
        case "camt.029":
            status = message.CxlSts or ""
            kind = KIND_OF_CANCELLATION.get(status, "STATUS")
            code = message.StsRsnInf.Cd if message.StsRsnInf else None
            return kind, status if kind == "STATUS" else code, None
        case _:
            raise UnreadableMessageError("MsgType is not pacs.002, pacs.004 or camt.029")


def cents(value: str) -> int:
    """Integer cents of an ISO decimal ("123.4" is 12340). Raises UnreadableMessageError."""
    if not _AMOUNT.fullmatch(value):
        raise UnreadableMessageError("an amount is no decimal with at most two places")
    whole, _, fraction = value.partition(".")
    amount = int(whole) * 100 + int(fraction.ljust(2, "0"))
    if amount == 0:
        raise UnreadableMessageError("an amount is zero")
    return amount


def decimal(amount: int) -> str:
    """The ISO decimal of integer cents."""
    return f"{amount // 100}.{amount % 100:02d}"


def _text(value: str | None, characters_max: int) -> str | None:
    """Text, bounded and without NUL; lone surrogates never get past JSON decoding."""
    return None if value is None else value.replace("\0", "")[:characters_max]
