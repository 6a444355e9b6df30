"""I5: money by the histories and by both ledgers. Integers only."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tests.auditor.history import Payment
from tests.auditor.wire import payment_of_reference

if TYPE_CHECKING:
    from tests.auditor.auditor import Case


def check_payments(case: Case) -> None:
    """What each history adds up to, once nothing of it is outstanding."""
    for payment, folded in case.payments.items():
        held = folded.still_held()
        if held < 0:
            case.found("I5", f"{-held} more captured and released than held", payment)
        if folded.times("CAPTURE") and folded.money_outcome() in ("NOT_PAID", "OPEN"):
            case.found("I5", "captured, though nothing was settled", payment)
        settled = [a for a in folded.attempts.values() if a.settled_amount is not None]
        if len(settled) > 1 and not folded.retry_uncertain:
            case.found("I5", "two attempts are settled", payment)
        released = folded.times("RELEASE") and not folded.times("CAPTURE")
        uncertain = folded.money_outcome() in ("UNCERTAIN", "OPEN") and folded.number == 1
        if released and uncertain and not folded.release_early:
            case.found("I5", "released while non-payment is not certain", payment)
        if case.drained and not folded.open_conflicts and not folded.outstanding():
            _at_rest(case, payment, folded)


def _at_rest(case: Case, payment: str, folded: Payment) -> None:
    held = folded.still_held()
    if folded.money_outcome() == "NOT_PAID" and held:
        case.found("I5", f"{held} is still held, though nothing was paid: a leak", payment)
    settled, paid = folded.settled(), folded.total("CAPTURE") + folded.total("DEBIT_FORCED")
    if folded.refused & {ref for ref, _ in folded.requested if ref[30] in "CD"}:
        return  # Deposits Core refused: a person sees it, and it is repeated
    if settled is not None and paid != settled and not folded.conflicts:
        case.found("I5", f"settled {settled}, captured and debited {paid}", payment)
    if settled is None and paid and not any(a.paid_by_verdict for a in folded.attempts.values()):
        case.found("I5", f"captured and debited {paid} of a payment that never settled", payment)


def check_rail(case: Case) -> None:
    """The rail's ledger: never two settled references; and each settlement is known here."""
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
            continue  # I8 has said so
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
    """Each movement in the ledger was asked for and is known here, once, with its amount."""
    if case.evidence.deposits is None:
        return
    done: dict[str, dict[str, Any]] = {}
    captures: dict[str, int] = defaultdict(int)
    for entry in case.evidence.deposits["entries"]:
        reference = entry["fundsRef"]
        payment = payment_of_reference(reference)
        folded = case.payments.get(payment)
        case.counters["deposits entries"] += 1
        if folded is None or not any(ref == reference for ref, _ in folded.requested):
            case.found("I8", f"the ledger has {reference}, which was never committed", payment)
            continue
        if not entry["done"]:
            continue
        done[reference] = entry
        captures[payment] += entry["operation"] == "CAPTURE"
        if reference not in folded.moved and case.drained:
            case.found("I5", f"{reference} moved in the ledger, the history has not heard", payment)
    for payment, count in captures.items():
        if count > 1:
            case.found("I5", f"captured {count} times in the ledger", payment)
    for payment, folded in case.payments.items():
        for reference, (operation, amount) in folded.moved.items():
            entry = done.get(reference, {})
            if (entry.get("operation"), entry.get("amount")) != (operation, amount):
                case.found("I5", f"{operation} {reference} of {amount} is not in the ledger",
                           payment)  # fmt: skip
    for name, hold in case.evidence.deposits.get("holds", {}).items():
        if hold["amount"] - hold["captured"] - hold["released"] < 0:
            case.found("I5", f"hold {name} is overdrawn in the ledger")
