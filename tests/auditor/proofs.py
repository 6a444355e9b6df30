"""I3 chain, checkpoints and whole transactions; I4 lifecycle = fold; I8 nothing aborted is used."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.auditor.evidence import (
    CHECKPOINTS,
    CONTROL,
    DEPOSITS_REQUESTS,
    LIFECYCLE,
    OPERATOR_COMMANDS,
    OUTCOMES,
    SUBMISSIONS,
    SUBMITTED,
    Record,
)
from tests.auditor.history import Event
from tests.auditor.wire import merkle_root, payment_of_reference, reference_of, sha256

if TYPE_CHECKING:
    from tests.auditor.auditor import Case

ZERO = bytes(32)


def check_chain(case: Case) -> None:
    for payment, history in case.histories.items():
        previous = ZERO
        for event in history:
            if event.header["previousHash"] != previous:
                case.found("I3", "previousHash is not the hash of the event before", payment,
                           event.place)  # fmt: skip
            previous = sha256(event.raw)


def check_control(case: Case) -> None:
    """Counts the automatic STOPs; the test decides how many are allowed."""
    for _, name, fields in case.decoded(CONTROL, "I3"):
        if name == "ProcessingStopped":
            case.counters["automatic stops"] += bool(fields["automatic"])


def check_torn(case: Case) -> None:
    """Instructions and their events are both there, or neither."""
    requested = {
        "SUBMIT": {e.fields["externalRef"] for e in case.events if e.name == "PaymentSentToRail"},
        "RECALL": {e.fields["externalRef"] for e in case.events if e.name == "RecallRequested"},
    }
    given: dict[str, dict[str, Record]] = defaultdict(dict)
    for record, _, fields in case.decoded(SUBMISSIONS, "I3"):
        given[fields["kind"]].setdefault(fields["externalRef"], record)
    for kind, references in requested.items():
        for reference in references - given[kind].keys():
            case.found("I3", f"no {kind} instruction for {reference}: torn",
                       payment_of_reference(reference))  # fmt: skip
        for reference in given[kind].keys() - references:
            case.found("I3", f"{kind} of {reference} without its event: torn",
                       payment_of_reference(reference), given[kind][reference].place)  # fmt: skip
    wanted = {
        (e.fields["fundsRef"], e.fields["repeat"])
        for e in case.events
        if e.name == "FundsRequested"
    }
    sent = {
        (fields["fundsRef"], fields["repeat"])
        for _, _, fields in case.decoded(DEPOSITS_REQUESTS, "I3")
    }
    for reference, repeat in wanted ^ sent:
        case.found("I3", f"deposits request {reference} ({repeat}) on one side only: torn",
                   payment_of_reference(reference))  # fmt: skip


def check_lifecycle(case: Case) -> None:
    """I4: the compacted topic's last record of a payment equals the sum of its history."""
    last: dict[str, tuple[Record, dict[str, Any]]] = {}
    for record, _, fields in case.decoded(LIFECYCLE, "I4"):
        if not fields:
            last.pop((record.key or b"").decode(), None)  # removed after a lost tail
            continue
        last[fields["paymentIntentId"]] = (record, fields)
        if (record.key or b"").decode() != fields["paymentIntentId"]:
            case.found("I4", "key and record differ", fields["paymentIntentId"], record.place)
    for payment in case.payments.keys() - last.keys():
        case.found("I4", "no lifecycle record", payment)
    for payment, (record, fields) in last.items():
        folded = case.payments.get(payment)
        if folded is None or folded.last is None:
            case.found("I4", "a lifecycle record without a history", payment, record.place)
            continue
        expected = {
            "sequence": folded.sequence,
            "headHash": sha256(folded.last.raw),
            "state": folded.state,
            "lastLifecycleEvent": folded.last_lifecycle,
            "attempt": folded.number,
            "currency": folded.currency,
            "openConflicts": len(folded.open_conflicts),
            "decidedAt": folded.last.header["decidedAt"],
            "ruleSet": folded.last.header["ruleSet"],
        }
        if folded.state in ("FAILED", "EXPIRED"):
            expected["reason"] = folded.reason
        if not folded.accepted_amount:
            expected["amount"] = folded.amount
        if (outcome := folded.money_outcome()) is not None:
            expected["moneyOutcome"] = outcome
        if fields["externalRef"] is not None:
            expected["externalRef"] = reference_of(payment, folded.number)
        for name, value in expected.items():
            if fields[name] != value:
                case.found("I4", f"{name} is {fields[name]!r}, the history says {value!r}",
                           payment, record.place)  # fmt: skip


# -- checkpoints ----------------------------------------------------------------------------------


def check_checkpoints(case: Case) -> None:
    """I3: numbered, chained, signed, and the root is that of the covered events.

    A checkpoint over a lost tail that was recovered under dual control is a link and covers
    nothing.
    """
    lost = [
        (fields["journalEnds"], fields["checkpoints"])
        for _, name, fields in case.decoded(CONTROL, "I3")
        if name == "RecoverConfirmed" and fields["journalEnds"]
    ]
    chains: dict[int, list[tuple[Record, dict[str, Any]]]] = defaultdict(list)
    for record, name, fields in case.decoded(CHECKPOINTS, "I3"):
        if name == "Checkpoint":
            chains[fields["partition"]].append((record, fields))
    by_partition: dict[int, list[Event]] = defaultdict(list)
    for event in case.events:
        by_partition[event.place[1]].append(event)
    answered: dict[int, list[tuple[Record, str]]] = defaultdict(list)
    for record, _, fields in case.decoded(OUTCOMES, "I3"):
        cause = fields["cause"]
        if cause["topic"] == OPERATOR_COMMANDS and fields["result"] != "MISROUTED":
            answered[cause["partition"]].append((record, fields["paymentIntentId"]))
    for partition, chain in chains.items():
        previous, next_offset, next_outcome = ZERO, 0, 0
        written = (
            0,
            0,
        )  # after the previous checkpoint, void or not: it was valid when it was signed
        heads: dict[str, Event] = {}
        said: dict[str, list[bytes]] = defaultdict(list)
        for number, (record, fields) in enumerate(chain, start=1):
            wrong = []
            if fields["number"] != number or fields["previousCheckpoint"] != previous:
                wrong.append("does not follow the one before")
            void = any(
                number <= numbers[partition] and 0 <= ends[partition] <= fields["toOffset"]
                for ends, numbers in lost
            )
            begin_offset, begin_outcome = written if void else (next_offset, next_outcome)
            if (
                fields["fromOffset"] > fields["toOffset"] + 1
                or fields["fromOffset"] < begin_offset
                or fields["fromOutcome"] != begin_outcome
                or fields["fromOutcome"] > fields["toOutcome"] + 1
            ):
                wrong.append("covers a wrong range")
            covered = [
                e for e in by_partition[partition]
                if next_offset <= e.place[2] <= fields["toOffset"]
            ]  # fmt: skip
            outcomes = [
                (r, payment) for r, payment in answered[partition]
                if r.partition == fields["outcomesPartition"]
                and next_outcome <= r.offset <= fields["toOutcome"]
            ]  # fmt: skip
            if void:
                case.counters["void checkpoints"] += 1
                covered, outcomes = [], []
            if covered and covered[0].place[2] < fields["fromOffset"]:
                wrong.append("leaves out events before its range")
            heads |= {e.header["paymentIntentId"]: e for e in covered}
            for outcome, payment in outcomes:
                said[payment].append(sha256(outcome.value or b""))
            touched = {e.header["paymentIntentId"] for e in covered} | {p for _, p in outcomes}
            roots = (fields["merkleRoot"], fields["leaves"])
            if not void and roots != (_root(touched, heads, said), len(touched)):
                wrong.append("has another root than its events")
            if not _signed(case, record, fields):
                wrong.append("is not signed by a known key")
            for sentence in wrong:
                case.found("I3", f"checkpoint {number} {sentence}", None, record.place)
            previous = sha256(record.value or b"")
            written = (fields["toOffset"] + 1, fields["toOutcome"] + 1)
            if not void:
                next_offset, next_outcome = fields["toOffset"] + 1, fields["toOutcome"] + 1
        case.counters["checkpointed events"] += sum(
            e.place[2] < next_offset for e in by_partition[partition]
        )


def _root(touched: set[str], heads: dict[str, Event], said: dict[str, list[bytes]]) -> bytes:
    leaves = []
    for payment in sorted(touched, key=str.encode):
        head, rolling = heads.get(payment), ZERO
        for outcome in said.get(payment, []):
            rolling = sha256(rolling + outcome)
        leaves.append(
            sha256(
                b"\x00" + payment.encode() + b"\x00"
                + (0 if head is None else head.header["sequence"]).to_bytes(8, "big")
                + (ZERO if head is None else sha256(head.raw))
                + len(said.get(payment, [])).to_bytes(8, "big") + rolling
            )
        )  # fmt: skip
    return merkle_root(leaves)


def _signed(case: Case, record: Record, fields: dict[str, Any]) -> bool:
    raw_key = case.evidence.keys.get(fields["keyId"])
    if raw_key is None:
        return not case.evidence.keys  # no keys were given: signatures are not checked
    unsigned = case.decoder.encode_again(record.value or b"", {"signature": b""})
    try:
        Ed25519PublicKey.from_public_bytes(raw_key).verify(fields["signature"], unsigned)
    except InvalidSignature:
        return False
    return True


# -- I8 -------------------------------------------------------------------------------------------


def check_aborted(case: Case) -> None:
    """What only a read_uncommitted reader sees was used by no process."""
    hidden = case.evidence.uncommitted
    for records in case.evidence.records.values():
        for record in records:
            if record.place in hidden:
                case.found("I8", "an aborted record is given to a read_committed reader", None,
                           record.place)  # fmt: skip
    sent = {e.fields["externalRef"] for e in case.events if e.name == "PaymentSentToRail"}
    for record, _, fields in case.decoded(SUBMITTED, "I8"):
        if fields["externalRef"] not in sent:
            case.found("I8", "the adapter took an instruction that was never committed",
                       fields["paymentIntentId"], record.place)  # fmt: skip
    for entry in (case.evidence.rail or {}).get("payments", []):
        if entry["externalRef"] not in sent:
            case.found("I8", f"the rail has {entry['externalRef']}, which was never committed",
                       payment_of_reference(entry["externalRef"]))  # fmt: skip
    heads = {sha256(e.raw) for e in case.events}
    aborted = {sha256(r.value or b"") for r in hidden.values()} - heads
    for record, _, fields in case.decoded(LIFECYCLE, "I4"):
        if fields and fields["headHash"] in aborted:
            case.found("I8", "the head is an aborted event", fields["paymentIntentId"],
                       record.place)  # fmt: skip
