"""One corruption each: what a broken or dishonest system could have left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.auditor.evidence import (
    CHECKPOINTS,
    EVENTS,
    LIFECYCLE,
    OUTCOMES,
    QUARANTINE,
    SUBMISSIONS,
    SUBMITTED,
)
from tests.auditor.forger import Forger
from tests.auditor.wire import reference_of
from tests.processors.payments.clean_history import AMOUNT


def event_dropped(f: Forger) -> None:
    f.drop(f.find(EVENTS, "PolicyChecked", f.names["paid"]))


def event_doubled(f: Forger) -> None:
    f.append(f.find(EVENTS, "PaymentSettled", f.names["paid"]))


def events_swapped(f: Forger) -> None:
    first, second = f.history(f.names["paid"])[-2:]
    f.put(first, replace(second, offset=first.offset))
    f.put(second, replace(first, offset=second.offset))
    f.evidence.records[EVENTS].sort(key=lambda r: r.place)


def bit_flipped(f: Forger) -> None:
    record = f.find(EVENTS, "FundsHeld", f.names["rejected"])
    raw = bytearray(record.value or b"")
    raw[-1] ^= 1
    f.put(record, replace(record, value=bytes(raw)))


def tail_cut(f: Forger) -> None:
    for record in f.history(f.names["paid"])[-3:]:
        f.drop(record)


def chain_rewritten(f: Forger) -> None:
    """Consistent in itself, but the signed checkpoint has another history."""
    kept = list(f.evidence.records[CHECKPOINTS])
    f.rewrite(f.find(EVENTS, "PaymentSentToRail", f.names["paid"]), submitBefore=1)
    f.evidence.records[CHECKPOINTS] = kept


def checkpoint_forged(f: Forger) -> None:
    record = f.evidence.records[CHECKPOINTS][0]
    f.put(record, f.changed(record, signedAt=99))


def aborted_record_leaked(f: Forger) -> None:
    record = f.append(f.find(EVENTS, "CustomerNotificationRequested", f.names["rejected"]))
    f.evidence.uncommitted[record.place] = record


def aborted_instruction_obeyed(f: Forger) -> None:
    record = f.find(SUBMITTED, "RailSubmission")
    other = reference_of(f.names["paid"], 7)
    f.append(f.changed(record, externalRef=other, paymentIntentId=f.names["paid"]))


def rail_has_what_was_never_sent(f: Forger) -> None:
    assert f.evidence.rail is not None
    entry = dict(f.evidence.rail["payments"][0])
    f.evidence.rail["payments"].append(entry | {"externalRef": reference_of(f.names["paid"], 9)})


def double_capture(f: Forger) -> None:
    captured = f.find(EVENTS, "FundsCaptured", f.names["paid"])
    last = f.fields(f.history(f.names["paid"])[-1])["header"]["sequence"]
    reference = f.fields(captured)["fundsRef"][:-2] + "02"
    new = f.append(f.changed(captured, header__sequence=last + 1, fundsRef=reference))
    assert new.value is not None
    f.rechain(f.names["paid"])


def ledger_captured_twice(f: Forger) -> None:
    assert f.evidence.deposits is not None
    entries = f.evidence.deposits["entries"]
    first = next(e for e in entries if e["operation"] == "CAPTURE")
    entries.append(dict(first))


def two_settled_references(f: Forger) -> None:
    assert f.evidence.rail is not None
    for entry in f.evidence.rail["payments"]:
        if entry["externalRef"] == reference_of(f.names["retried"], 1):
            entry["settledAmount"] = AMOUNT


def settlement_forgotten(f: Forger) -> None:
    assert f.evidence.rail is not None
    for entry in f.evidence.rail["payments"]:
        if entry["externalRef"] == reference_of(f.names["rejected"], 1):
            entry["settledAmount"] = AMOUNT


def amount_changed(f: Forger) -> None:
    f.rewrite(f.find(EVENTS, "PaymentSettled", f.names["paid"]), amount=AMOUNT + 1)


def hold_leak(f: Forger) -> None:
    """The release and its request vanish without a trace, also from the ledger."""
    assert f.evidence.deposits is not None
    for name in ("FundsReleased", "FundsRequested"):
        f.drop(f.find(EVENTS, name, f.names["rejected"], -1))
    entries = f.evidence.deposits["entries"]
    f.evidence.deposits["entries"] = [
        e for e in entries
        if e["operation"] != "RELEASE" or e["fundsRef"][1:27].lower() != f.names["rejected"][3:]
    ]  # fmt: skip


def released_uncertain(f: Forger) -> None:
    f.rewrite(f.find(EVENTS, "PaymentFailed", f.names["rejected"]), nonPaymentCertain=False)


def illegal_transition(f: Forger) -> None:
    record = f.find(EVENTS, "PaymentAcknowledged", f.names["paid"])
    f.rewrite(record, header__stateAfter="SETTLED")


def retry_without_certainty(f: Forger) -> None:
    f.rewrite(f.find(EVENTS, "PaymentFailed", f.names["retried"]), nonPaymentCertain=False)


def sent_without_funds(f: Forger) -> None:
    record = f.find(EVENTS, "PolicyChecked", f.names["paid"])
    f.rewrite(record, verdict="DECLINED")


def approval_by_the_requester(f: Forger) -> None:
    f.rewrite(f.find(EVENTS, "OperatorActionApproved", f.names["retried"]), decidedBy="OPS_001")


def key_with_two_payments(f: Forger) -> None:
    record = f.find(EVENTS, "PaymentIntentCreated", f.names["rejected"])
    f.rewrite(record, idempotencyKey="paid")


def wrong_id(f: Forger) -> None:
    """A payment whose source and key give another id, which no other payment has."""
    record = f.find(EVENTS, "PaymentIntentCreated", f.names["rejected"])
    f.rewrite(record, idempotencyKey="nobody")


def called_at_rest_too_early(f: Forger) -> None:
    """A lifecycle record of a payment in progress says that nothing is outstanding."""
    record = next(r for r in f.evidence.records[LIFECYCLE] if f.fields(r)["state"] == "SENT")
    f.put(record, f.changed(record, atRest=True))


def at_rest_and_waiting(f: Forger) -> None:
    record = next(r for r in f.evidence.records[LIFECYCLE] if f.fields(r)["atRest"])
    f.put(record, f.changed(record, waitingForPerson=True))


def hold_left_in_the_ledger(f: Forger) -> None:
    """Deposits Core still holds money of a payment at rest, which the history has released."""
    assert f.evidence.deposits is not None
    entry = next(
        e for e in f.evidence.deposits["entries"]
        if e["operation"] == "HOLD" and e["fundsRef"][1:27].lower() == f.names["rejected"][3:]
    )  # fmt: skip
    entry["holdRef"] = "HOLD-9"
    hold = {"amount": AMOUNT, "captured": 0, "released": 0, "left": AMOUNT}
    f.evidence.deposits["holds"]["HOLD-9"] = hold


def altered_duplicate_accepted(f: Forger) -> None:
    record = next(
        r for r in f.evidence.records[OUTCOMES] if f.fields(r)["rule"] == "IDEMPOTENCY_KEY_REUSED"
    )
    f.put(record, f.changed(record, result="DUPLICATE", code=None, rule=None))


def outcome_missing(f: Forger) -> None:
    f.drop(f.evidence.records[OUTCOMES][0])


def outcome_doubled(f: Forger) -> None:
    f.append(f.evidence.records[OUTCOMES][0])


def quarantine_lost(f: Forger) -> None:
    f.drop(f.evidence.records[QUARANTINE][0])


def quarantined_bytes_changed(f: Forger) -> None:
    record = f.evidence.records[QUARANTINE][0]
    f.put(record, replace(record, value=b"other"))


def input_decided_twice(f: Forger) -> None:
    """A second event of the settlement's input, later in the history."""
    record = f.find(EVENTS, "CustomerNotificationRequested", f.names["rejected"])
    cause = f.fields(f.history(f.names["rejected"])[0])["header"]["cause"]
    f.rewrite(record, header__cause=cause)


def input_changed_after_the_fact(f: Forger) -> None:
    topic = "npp.payment.commands.v1"
    record = f.evidence.records[topic][0]
    f.put(record, replace(record, value=(record.value or b"") + b"\0"))


def lifecycle_stale(f: Forger) -> None:
    payment = f.names["paid"]
    records = [
        r for r in f.evidence.records[LIFECYCLE] if f.fields(r)["paymentIntentId"] == payment
    ]
    f.drop(records[-1])


def lifecycle_lies(f: Forger) -> None:
    payment = f.names["conflict"]
    records = [
        r for r in f.evidence.records[LIFECYCLE] if f.fields(r)["paymentIntentId"] == payment
    ]
    f.put(records[-1], f.changed(records[-1], moneyOutcome="NOT_PAID"))


def instruction_torn_off(f: Forger) -> None:
    f.drop(f.evidence.records[SUBMISSIONS][0])


def hanging_transaction(f: Forger) -> None:
    place = next(iter(f.evidence.stable))
    stable, high = f.evidence.stable[place]
    f.evidence.stable[place] = (stable, high + 3)


def input_waits(f: Forger) -> None:
    assert f.evidence.positions is not None
    record = f.evidence.records["npp.payment.commands.v1"][0]
    f.evidence.positions[(record.topic, record.partition)] = 0


CORRUPTIONS: list[tuple[Callable[[Forger], None], str]] = [
    (event_dropped, "I2"),
    (event_doubled, "I2"),
    (events_swapped, "I2"),
    (bit_flipped, "I3"),
    (tail_cut, "I4"),
    (chain_rewritten, "I3"),
    (checkpoint_forged, "I3"),
    (aborted_record_leaked, "I8"),
    (aborted_instruction_obeyed, "I8"),
    (rail_has_what_was_never_sent, "I8"),
    (double_capture, "I5"),
    (ledger_captured_twice, "I5"),
    (two_settled_references, "I5"),
    (settlement_forgotten, "I5"),
    (amount_changed, "I5"),
    (hold_leak, "I5"),
    (released_uncertain, "I5"),
    (illegal_transition, "I2"),
    (retry_without_certainty, "I5"),
    (sent_without_funds, "I5"),
    (approval_by_the_requester, "I2"),
    (key_with_two_payments, "I6"),
    (wrong_id, "I6"),
    (called_at_rest_too_early, "I5"),
    (at_rest_and_waiting, "I5"),
    (hold_left_in_the_ledger, "I5"),
    (altered_duplicate_accepted, "I6"),
    (outcome_missing, "I1"),
    (outcome_doubled, "I1"),
    (quarantine_lost, "I1"),
    (quarantined_bytes_changed, "I1"),
    (input_decided_twice, "I1"),
    (input_changed_after_the_fact, "I1"),
    (lifecycle_stale, "I4"),
    (lifecycle_lies, "I4"),
    (instruction_torn_off, "I3"),
    (hanging_transaction, "L"),
    (input_waits, "L"),
]
