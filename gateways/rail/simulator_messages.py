"""The simulated rail's messages, as docs/rail-gateway.md defines them: callbacks and answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from gateways.rail.messages import decimal
from gateways.rail.simulator_ledger import RailEntry

STATUS_OF_KIND: Final = {
    "RECEIVED": "RCVD",
    "PENDING": "PDNG",
    "ACCEPTED": "ACCP",
    "SETTLED": "ACSC",
    "REJECTED": "RJCT",
    "EXPIRED": "EXPD",
}
CANCELLATION_OF_KIND: Final = {"RECALL_ACCEPTED": "CNCL", "RECALL_REFUSED": "RJCR"}
TIMED_KINDS: Final = frozenset({*STATUS_OF_KIND, *CANCELLATION_OF_KIND, "RETURNED"})


def callback(entry: RailEntry, step: dict[str, Any], number: str, now_ms: int) -> dict[str, Any]:
    """A scripted step as the rail's message; `number` distinguishes a payment's messages."""
    kind = step["kind"]
    fields: dict[str, Any] = {
        "MsgId": step.get("messageId", f"SIM{entry.external_ref}-{number}"),
        "CreDtTm": datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(),
        "OrgnlInstrId": step.get("externalRef", entry.external_ref),
        "OrgnlTxId": step.get("transactionId", entry.transaction_id),
    }
    if "padBytes" in step:
        fields["SplmtryData"] = "x" * step["padBytes"]
    reason = _reason(step)
    if kind == "RETURNED":
        fields |= {"MsgType": "pacs.004", "RtrRsnInf": reason}
        return fields | _money("RtrdIntrBkSttlmAmt", entry, step)
    if kind in CANCELLATION_OF_KIND:
        status = CANCELLATION_OF_KIND[kind]
        return {**fields, "MsgType": "camt.029", "CxlSts": status, "StsRsnInf": reason}
    fields |= {"MsgType": "pacs.002", "TxSts": STATUS_OF_KIND[kind], "StsRsnInf": reason}
    if kind == "SETTLED" or "amount" in step:
        fields |= _money("IntrBkSttlmAmt", entry, step)
    if kind in ("ACCEPTED", "SETTLED"):
        fields["AccptncDtTm"] = fields["CreDtTm"]
    return fields


def _reason(step: dict[str, Any]) -> dict[str, Any] | None:
    """`code` is an ISO code, `prtry` the bank's own."""
    given = {"Cd": step.get("code"), "Prtry": step.get("prtry"), "AddtlInf": step.get("details")}
    found = {name: value for name, value in given.items() if value is not None}
    return found or None


def _money(name: str, entry: RailEntry, step: dict[str, Any]) -> dict[str, Any]:
    """The amount of a message; without one if the step's `amount` is null."""
    amount = step.get("amount", step.get("ledgerAmount", entry.amount))
    if amount is None:
        return {}
    return {name: {"Ccy": step.get("currency", entry.currency), "Value": decimal(amount)}}


def described(entry: RailEntry) -> dict[str, Any]:
    """A payment as the rail answers when it is asked."""
    status = entry.status()
    answer: dict[str, Any] = {
        "externalRef": entry.external_ref,
        "railRef": entry.transaction_id,
        "transactionId": entry.transaction_id,
        "messageId": f"SIM{entry.external_ref}-ENQ-{status}",
        "status": status,
        "code": entry.rejected,
        "currency": entry.currency,
    }
    if entry.settled_amount:
        answer["amount"] = entry.settled_amount
    if entry.returned_amount:
        answer["returnedAmount"] = entry.returned_amount
    return answer


def scripted(answer: dict[str, Any], step: dict[str, Any] | None) -> dict[str, Any]:
    """The answer with the step's `fields` in it; a field that is null is left out."""
    changed = {**answer, **({} if step is None else step.get("fields", {}))}
    return {name: value for name, value in changed.items() if value is not None}
