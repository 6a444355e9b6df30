"""I5: money by the histories and by both ledgers. Integers only."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tests.auditor.evidence import LIFECYCLE
from tests.auditor.history import Payment
from tests.auditor.wire import payment_of_reference

if TYPE_CHECKING:
    from tests.auditor.auditor import Case


def check_payments(case: Case) -> None:
    """What each history adds up to, once nothing in it is outstanding."""
    for payment, folded in case.payments.items():
        claims = [a for a in folded.attempts.values() if a.settled_amount is not None]
        if len(claims) > 1 and not folded.retry_uncertain:
            case.found("I5", "two attempts are settled", payment)
        for sentence in folded.funds.exposed():  # of the last decision
            case.found("I5", sentence, payment)
        if case.drained:
            for sentence in folded.funds.leak():
                case.found("I5", f"nothing is requested any more, and {sentence}", payment)


def check_rest(case: Case) -> None:
    """I5: a payment at rest holds nothing, requests nothing, awaits nothing.

    Each lifecycle record that says so is checked at its own sequence, and Deposits Core's ledger at
    the end.
    """
    last: dict[str, bool] = {}
    for record, _, fields in case.decoded(LIFECYCLE, "I4"):
        if not fields:
            continue
        payment = fields["paymentIntentId"]
        last[payment] = fields["atRest"]
        folded = case.payments.get(payment)
        if folded is None or not fields["atRest"]:
            continue
        case.counters["records at rest"] += 1
        reasons = list(folded.unrest.get(fields["sequence"], ["its history is not there"]))
        reasons += ["it waits for a person"] * fields["waitingForPerson"]
        reasons += ["a timer is to come"] * (fields["deadline"] is not None)
        for reason in reasons:
            case.found("I5", f"called at rest, and {reason}", payment, record.place)
    for payment, left in _left_in_ledger(case).items():
        if case.drained and last.get(payment) and left:
            case.found("I5", f"at rest, and Deposits Core holds {left}", payment)


def _left_in_ledger(case: Case) -> dict[str, int]:
    ledger = case.evidence.deposits or {}
    owner = {
        entry.get("holdRef"): payment_of_reference(entry["fundsRef"])
        for entry in ledger.get("entries", [])
        if entry["operation"] == "HOLD"
    }
    left: dict[str, int] = defaultdict(int)
    for name, hold in ledger.get("holds", {}).items():
        left[owner.get(name, "")] += hold["left"]
    return left


def check_rail(case: Case) -> None:
    """The rail's ledger: never two settled references, and each settlement is in the history."""
    settled: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in (case.evidence.rail or {}).get("payments", []):
        case.counters["rail references"] += 1
        case.counters["rail submissions"] += entry["submitted"]
        if entry["settledAmount"]:
            case.counters["rail settled"] += 1
            settled[payment_of_reference(entry["externalRef"])].append(entry)
    for payment, entries in settled.items():
        folded = case.payments.get(payment)
        if folded is None:
            continue  # I8 has reported it
        if len(entries) > 1:
            case.counters["settled twice"] += 1
            if not (folded.retry_uncertain and folded.conflicts):
                references = [entry["externalRef"] for entry in entries]
                case.found("I5", f"the rail settled two references: {references}", payment)
        if case.drained and folded.money_outcome() == "NOT_PAID":
            case.found("I5", "the rail settled what is called NOT_PAID", payment)
        amount = sum(entry["settledAmount"] for entry in entries)
        if folded.settled() not in (None, amount) and not folded.conflicts:
            case.found("I5", f"the rail settled {amount}, the history {folded.settled()}", payment)
    if case.evidence.rail is None:
        return
    for payment, folded in case.payments.items():
        if folded.settled() is not None and payment not in settled and not folded.conflicts:
            case.found("I5", "settled by the history, not by the rail", payment)


def check_deposits(case: Case) -> None:
    """Each movement in the ledger was requested and is in the history, once, with its amount."""
    if case.evidence.deposits is None:
        return
    done: dict[str, dict[str, Any]] = {}
    captures: dict[str, int] = defaultdict(int)
    for entry in case.evidence.deposits["entries"]:
        reference = entry["fundsRef"]
        payment = payment_of_reference(reference)
        folded = case.payments.get(payment)
        case.counters["deposits entries"] += 1
        if folded is None or reference not in folded.funds.orders:
            case.found("I8", f"the ledger has {reference}, which was never committed", payment)
            continue
        if not entry["done"]:
            continue
        done[reference] = entry
        captures[payment] += entry["operation"] == "CAPTURE"
        if reference not in folded.funds.moved and case.drained:
            case.found("I5", f"{reference} moved in the ledger, but not in the history", payment)
    for payment, count in captures.items():
        if count > 1:
            case.found("I5", f"captured {count} times in the ledger", payment)
    for payment, folded in case.payments.items():
        _in_ledger(case, payment, folded, done)
    for name, hold in case.evidence.deposits.get("holds", {}).items():
        if hold["amount"] - hold["captured"] - hold["released"] < 0:
            case.found("I5", f"hold {name} is overdrawn in the ledger")


def _in_ledger(case: Case, payment: str, folded: Payment, done: dict[str, dict[str, Any]]) -> None:
    for reference, (operation, amount, by_itself) in folded.funds.moved.items():
        if by_itself:
            continue  # Deposits Core had ended the hold: our request has no entry
        entry = done.get(reference, {})
        if (entry.get("operation"), entry.get("amount")) != (operation, amount):
            case.found("I5", f"{operation} {reference} of {amount} is not in the ledger", payment)
