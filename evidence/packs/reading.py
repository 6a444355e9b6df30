"""A pack's content in words: summary, timeline, money, people. Nothing is inferred here: each line
shows a field of the JSON, which the PDF prints in full afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from core.values import CURRENCY, Cents, attempt_id, format_amount
from evidence.packs.words import time_of

Row = Sequence[str]
MONEY: Final = {  # docs/runbook.md has the same
    "OPEN": "in progress",
    "PAID": "the rail settled it",
    "NOT_PAID": "it is certain that no attempt was paid",
    "UNCERTAIN": "the payment ended, but an attempt may still be paid",
    "CONTRADICTED": "a report contradicts the record; it waits for a person",
    "RETURNED": "it was paid and came back",
}
MOVEMENTS: Final = {
    "FundsHeld": "held",
    "FundsHoldDeclined": "hold declined",
    "FundsHoldTransferred": "hold taken over from the attempt before",
    "FundsCaptured": "captured: debited from what was held",
    "FundsReleased": "released: given back from what was held",
    "FundsDebitForced": "debited without a hold",
    "FundsReversed": "reversed: given back after capture",
    "FundsCredited": "credited to the debtor",
    "PaymentSettled": "settled by the rail",
    "PaymentReturned": "returned by the payee's side",
}
TOTALS: Final = ("settled", "held", "captured", "released", "debited", "reversed", "credited")
DETAILS: Final = ("operation", "verdict", "action", "code", "kind", "template", "text", "details")
REFERENCES: Final = ("ledgerRef", "holdRef", "transactionId", "railTransactionId", "externalRef")


def headline(pack: dict[str, Any]) -> str:
    """One sentence: amount, state, and what happened to the money."""
    state = pack["state"]
    money = str(state["moneyOutcome"])
    return f"{_total(pack)}: {state['state']}. Money {money}: {MONEY.get(money, 'see the state')}."


def summary(pack: dict[str, Any]) -> Iterator[Row]:
    """Names and values of the payment itself."""
    intent, state = pack["paymentIntent"], pack["state"]
    parties = intent.get("parties") or {}
    if not isinstance(parties, dict):  # in a view
        yield "parties", str(parties)
        parties = {}
    yield "payment", str(pack["paymentIntentId"])
    yield "amount", _total(pack)
    for side in ("debtor", "creditor"):
        party = parties.get(side)
        if isinstance(party, dict):
            yield side, _party(party)
    if parties.get("remittance"):
        yield "remittance", str(parties["remittance"])
    yield "asked for by", f"{intent.get('source')}, key {intent.get('idempotencyKey')}"
    for name in ("endToEndId", "uetr", "customerId", "service"):
        if intent.get(name):
            yield name, str(intent[name])
    yield "created", _time(intent.get("createdAt"))
    yield "last decision", _time(state.get("decidedAt"))
    for attempt in state.get("attempts") or ():
        reason = f", {attempt['reason']}" if attempt.get("reason") else ""
        ref = attempt.get("externalRef") or "not sent"
        yield attempt_id(attempt["attempt"]), f"{attempt['state']}{reason}, {ref}"
    if state.get("openConflicts"):
        yield "open conflicts", str(state["openConflicts"])
    yield "complete", f"as of {pack['asOf']}: event, outcome, checkpoint"


def timeline(events: Sequence[dict[str, Any]], currency: str) -> Iterator[Row]:
    """Every event in order."""
    yield "#", "time (UTC)", "what happened", "state after", "by"
    for event in events:
        header = event["record"]["header"]
        yield (
            str(event["sequence"]),
            _time(header["decidedAt"]),
            _happened(event, currency),
            state_change(event),
            _actor(header),
        )


def state_change(event: dict[str, Any]) -> str:
    """The state after an event, and the one before it where they differ."""
    before, after = event["fromState"], event["toState"]
    return str(after) if before in (None, after) else f"{before} to {after}"


def money(pack: dict[str, Any]) -> Iterator[Row]:
    """Every movement of money that Deposits Core or the rail reported."""
    currency = _currency(pack)
    yield "#", "time (UTC)", "attempt", "movement", "amount", "reference"
    for event in pack["lifecycleEvents"]:
        movement = MOVEMENTS.get(event["type"])
        if movement is None:
            continue
        record = event["record"]
        header = record["header"]
        yield (
            str(event["sequence"]),
            _time(header["decidedAt"]),
            attempt_id(header["attempt"]),
            movement,
            _amount(record.get("amount"), currency),
            next((str(record[name]) for name in REFERENCES if record.get(name)), ""),
        )


def totals(pack: dict[str, Any]) -> Iterator[Row]:
    """The total of each kind of movement, by attempt."""
    currency = _currency(pack)
    yield "attempt", *TOTALS
    for attempt in pack["state"].get("attempts") or ():
        yield (
            attempt_id(attempt["attempt"]),
            *(
                _amount(attempt.get(name), currency) if attempt.get(name) else "-"
                for name in TOTALS
            ),
        )


def people(actions: dict[str, Any]) -> Iterator[Row]:
    """Requests, decisions and actions in the order of their times."""
    rows: list[tuple[int, Row]] = []
    for kind, words in (("executed", "done"), ("notExecuted", "refused")):
        for action in actions[kind]:
            what = f"{_phrase(str(action['action']))}, {words}"
            rule = action.get("rule")
            rows.append(_row(action, action["operatorId"], f"{what}{f' ({rule})' if rule else ''}"))
    for approval in actions["approvals"]:
        requested = f"{approval['approvalId']}: {_phrase(str(approval['action']))}"
        for decision in approval["decisions"]:
            what = f"{requested}, asked for by {approval['requester']}: {decision['decision']}"
            rows.append(_row(decision, decision["decidedBy"], what))
    yield "time (UTC)", "who", "what", "their words"
    for _, row in sorted(rows, key=lambda each: each[0]):
        yield row


def proof(pack: dict[str, Any]) -> Iterator[str]:
    """What the replay proof consists of, in sentences."""
    found = pack.get("replayProof")
    if found is None:
        yield "It has no replay proof: nothing of it can be verified."
        return
    count = len(pack["lifecycleEvents"])
    yield (
        f"The {count} events are on journal partition {found['partition']}. Each names the SHA-256 "
        "of the bytes of the event before it; all bytes, and the schemas that read them, are in "
        "the JSON."
    )
    checkpoint = found["checkpoint"]
    if checkpoint is None:
        yield "No checkpoint covers this payment yet: nothing is signed."
        return
    record = checkpoint["record"]
    yield (
        "The verifier decided these events again from their recorded inputs, and signed checkpoint "
        f"{record['number']} at {_time(record['signedAt'])} with the key {record['keyId']}. This "
        f"payment is leaf {checkpoint['leaf']['index']} of {record['leaves']} in it, up to event "
        f"{checkpoint['leaf']['sequence']}."
    )


HOW_TO_VERIFY: Final = """\
1. The proof is the JSON that is attached to this PDF; a PDF reader saves it.
2. Get the verifier's public keys from where its owner publishes them (`npp evidence keys`), not \
from the person who gave you this file.
3. Offline, without the product: `python verify_evidence.py FILE keyring.json`, with the JSON or \
this PDF. VERIFIED means that every byte, hash and signature fits.
4. That nothing came later only the running system can say: `npp evidence verify` with the \
payment's id.
""".splitlines()


def _party(party: dict[str, Any]) -> str:
    """Name, and BSB and account or PayID."""
    account = " ".join(str(party[name]) for name in ("bsb", "account") if party.get(name))
    pay_id = " ".join(str(party[name]) for name in ("payIdType", "payId") if party.get(name))
    return ", ".join(str(each) for each in (party.get("name"), account, pay_id) if each)


def _row(entry: dict[str, Any], who: object, what: str) -> tuple[int, Row]:
    at = entry.get("at") or 0
    text = entry.get("reason") or entry.get("text") or entry.get("sentence") or ""
    return at, (_time(at), str(who), what, str(text))


def _happened(event: dict[str, Any], currency: str) -> str:
    """The event's name in words, its amount, and the fields that tell it from similar events."""
    record = event["record"]
    header = record["header"]
    words = _phrase(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", event["type"]))
    more = [attempt_id(header["attempt"])] if header["attempt"] > 1 else []
    if isinstance(record.get("amount"), int):
        more.append(_amount(record["amount"], currency))
    if header.get("reason"):
        more.append(str(header["reason"]))
    more += [str(record[name]) for name in DETAILS if isinstance(record.get(name), str)]
    return f"{words}: {', '.join(more)}" if more else words


def _phrase(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _actor(header: dict[str, Any]) -> str:
    actor = header["actor"]
    kind, name = str(actor["kind"]), str(actor["id"])
    return name if kind in ("system", name) else f"{name} ({kind})"


def _currency(pack: dict[str, Any]) -> str:
    return str(pack["state"].get("currency") or CURRENCY)


def _total(pack: dict[str, Any]) -> str:
    return _amount(pack["state"]["amount"], _currency(pack))


def _amount(cents: Any, currency: str) -> str:
    return format_amount(Cents(cents), currency) if isinstance(cents, int) else ""


def _time(at: Any) -> str:
    return time_of(at) if isinstance(at, int) else ""
