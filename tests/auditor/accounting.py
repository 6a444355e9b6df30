"""I1 every input has one outcome, I6 one key is one payment, L everything is drained."""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastavro

from tests.auditor.evidence import (
    INPUTS,
    OPERATOR_COMMANDS,
    OUTCOMES,
    QUARANTINE,
    UNREADABLE,
    Place,
    Record,
)
from tests.auditor.history import Event
from tests.auditor.wire import Unreadable, murmur2_partition, payment_of, sha256

if TYPE_CHECKING:
    from tests.auditor.auditor import Case

PARTIES = fastavro.parse_schema(
    json.loads((Path(__file__).parents[2] / "schemas" / "avro" / "Parties.avsc").read_text()),
    named_schemas={},
)
RESULTS = {"ACCEPTED", "DUPLICATE", "REJECTED", "NO_EFFECT", "MISROUTED", "QUARANTINED"}
SET_ASIDE = {"MISROUTED", "QUARANTINED"}  # with the record in quarantine, never without


def check_inputs(case: Case) -> None:
    """I1, and that each cause names an existing input, by offset and hash."""
    inputs = {record.place: record for name in INPUTS for record in case.topic(name)}
    made: dict[Place, list[Event]] = defaultdict(list)
    for event in case.events:
        made[event.cause].append(event)
        source = inputs.get(event.cause)
        payment = event.header["paymentIntentId"]
        if source is None:
            case.found("I1", f"no such input: {event.cause}", payment, event.place)
        elif event.header["cause"]["inputHash"] != sha256(source.value or b""):
            case.found("I1", "the cause's hash is not that of its input", payment, event.place)
        if event.cause[1] != event.place[1]:
            case.found("I1", "the event is in another partition than its input", payment,
                       event.place)  # fmt: skip
    outcomes = _outcomes(case, inputs)
    quarantined = _quarantined(case, inputs)
    for place, record in inputs.items():
        _one_outcome(case, record, made[place], outcomes[place], quarantined[place])


def _outcomes(case: Case, inputs: dict[Place, Record]) -> dict[Place, list[dict[str, Any]]]:
    found: dict[Place, list[dict[str, Any]]] = defaultdict(list)
    for record, _, fields in case.decoded(OUTCOMES, "I1"):
        cause = fields["cause"]
        place = (cause["topic"], cause["partition"], cause["offset"])
        found[place].append(fields)
        case.counters[f"outcome {fields['result']}"] += 1
        case.counters[f"{fields['inputType']} {fields['result']}"] += 1
        if fields["rule"]:
            case.counters[f"rule {fields['rule']}"] += 1
        if place not in inputs:
            case.found("I1", f"an outcome of {place}, which does not exist",
                       fields["paymentIntentId"], record.place)  # fmt: skip
        elif cause["inputHash"] != sha256(inputs[place].value or b""):
            case.found("I1", "the outcome's hash is not that of its input",
                       fields["paymentIntentId"], record.place)  # fmt: skip
        if fields["result"] not in RESULTS:
            case.found("I1", f"unknown result {fields['result']}", None, record.place)
    return found


def _quarantined(case: Case, inputs: dict[Place, Record]) -> dict[Place, list[str]]:
    found: dict[Place, list[str]] = defaultdict(list)
    for record in case.topic(QUARANTINE):
        by_reference = record.headers[:1] == (("npp-copy", b"REFERENCE"),)
        own = record.headers[: 12 if by_reference else 6]
        headers = {name: (value or b"").decode() for name, value in own}
        place = (
            headers.get("npp-origin-topic", ""),
            int(headers.get("npp-origin-partition", "-1")),
            int(headers.get("npp-origin-offset", "-1")),
        )
        if place[2] < 0:
            continue  # it was never on a topic: an unmatched callback
        found[place].append(headers["npp-reason"])
        case.counters[f"quarantined {headers['npp-reason']}"] += 1
        origin = inputs.get(place)
        if origin is None:
            case.found("I1", f"{place} is quarantined and does not exist", None, record.place)
        elif by_reference:
            case.counters["quarantined by reference"] += 1
            if not _refers_to(headers, record, origin):
                case.found("I1", "the reference is not to these bytes", None, record.place)
        elif (origin.key, origin.value) != (record.key, record.value):
            case.found("I1", "the quarantined bytes are not those of the input", None, record.place)
        elif tuple(record.headers[6:]) != origin.headers:
            case.found("I1", "the input's headers were not kept", None, record.place)
    return found


def _refers_to(headers: dict[str, str], record: Record, origin: Record) -> bool:
    """Sizes, SHA-256 and first KiB of key and value are the original's."""
    value, key = origin.value, origin.key
    sizes = [len(name.encode()) + len(content or b"") for name, content in origin.headers]
    readable = UNREADABLE not in origin.headers
    return (
        int(headers["npp-original-value-bytes"]) == (-1 if value is None else len(value))
        and headers["npp-original-value-sha256"] == sha256(value or b"").hex()
        and int(headers["npp-original-key-bytes"]) == (-1 if key is None else len(key))
        and int(headers["npp-original-headers-count"]) == (len(sizes) if readable else -1)
        and int(headers["npp-original-headers-bytes"]) == (sum(sizes) if readable else -1)
        and record.value == (None if value is None else value[:1024])
        and record.key == (None if key is None else key[:1024])
        and len(record.headers) == 12
    )


def _one_outcome(
    case: Case,
    record: Record,
    events: list[Event],
    outcomes: list[dict[str, Any]],
    quarantined: list[str],
) -> None:
    if not case.drained and not (events or outcomes or quarantined):
        return
    place = record.place
    payment = events[0].header["paymentIntentId"] if events else None
    results = [each["result"] for each in outcomes]
    if len(results) > 1:
        case.found("I1", f"{len(results)} outcomes: {results}", payment, place)
    if len(quarantined) > 1:
        case.found("I1", f"quarantined {len(quarantined)} times", payment, place)
    if quarantined:
        suspended = [e for e in events if e.name != "ProcessingSuspended"]
        if suspended or not SET_ASIDE.issuperset(results):
            case.found("I1", f"quarantined and decided as well: {results}", payment, place)
        return
    if not SET_ASIDE.isdisjoint(results):
        case.found("I1", f"{results}, and it is not in quarantine", payment, place)
        return
    if not events and not outcomes:
        case.found("I1", "nothing became of this input", None, place)
        return
    if not events:
        if "ACCEPTED" in results:
            case.found("I1", "accepted, but there is no event of it", None, place)
        return
    sequences = [e.header["sequence"] for e in events]
    if sequences != list(range(sequences[0], sequences[0] + len(sequences))):
        case.found("I1", f"decided more than once: sequences {sequences}", payment, place)
    if len({e.header["paymentIntentId"] for e in events}) > 1:
        case.found("I1", "one input made events of two payments", payment, place)
    if record.topic == OPERATOR_COMMANDS:
        if results != ["ACCEPTED"]:
            case.found("I1", f"an operator's command with events has {results}", payment, place)
        elif (outcomes[0]["fromSequence"], outcomes[0]["toSequence"]) != (
            sequences[0], sequences[-1],
        ):  # fmt: skip
            case.found("I1", "the outcome names other events than it made", payment, place)
    elif results:
        case.found("I1", f"events and an outcome as well: {results}", payment, place)


# -- I6 -------------------------------------------------------------------------------------------


def check_identity(case: Case) -> None:
    """The id follows from source and key; one key, one payment; other content has no effect."""
    keys: dict[tuple[str, str], str] = {}
    created: dict[str, Event] = {}
    counts = Counter(e.header["paymentIntentId"] for e in case.events)
    partitions = {n for topic in INPUTS for n in _partitions(case, topic)}
    for event in case.events:
        payment = event.header["paymentIntentId"]
        if partitions and event.place[1] != murmur2_partition(payment.encode(), len(partitions)):
            case.found("I6", "is in another partition than its key's", payment, event.place)
        if event.name != "PaymentIntentCreated":
            continue
        key = (event.fields["source"], event.fields["idempotencyKey"])
        if payment_of(*key) != payment:
            case.found("I6", "the id does not follow from source and key", payment, event.place)
        if keys.setdefault(key, payment) != payment:
            case.found("I6", f"the key also made {keys[key]}", payment, event.place)
        created.setdefault(payment, event)
    results = _result_by_place(case)
    for topic in (name for name in INPUTS if ".commands." in name):
        for record in case.topic(topic):
            _same_content(case, record, created, results)
    for payment, history in case.histories.items():
        if history[0].name != "PaymentIntentCreated" or counts[payment] != len(history):
            case.found("I2", f"begins with {history[0].name}", payment, history[0].place)


def _partitions(case: Case, topic: str) -> set[int]:
    return {n for name, n in case.evidence.stable if name == topic}


def _result_by_place(case: Case) -> dict[Place, str]:
    found = {}
    for record in case.topic(OUTCOMES):
        try:
            _, fields = case.decoder.decode(record.value)
        except Unreadable:
            continue
        cause = fields["cause"]
        place = (cause["topic"], cause["partition"], cause["offset"])
        invalid = fields["code"] == "VALIDATION_FAILED"  # checked before the payment is looked up
        found[place] = "INVALID" if invalid else fields["result"]
    return found


def _content(fields: dict[str, Any]) -> tuple[Any, ...]:
    sealed = fields["parties"]["bytes"]
    parties: Any = fastavro.schemaless_reader(io.BytesIO(sealed), PARTIES, None)
    debtor, creditor = parties["debtor"], parties["creditor"]
    return (
        fields["amount"], fields["currency"], debtor["bsb"], debtor["account"], creditor["bsb"],
        creditor["account"], creditor["payIdType"], creditor["payId"], fields["endToEndId"],
        parties["remittance"], fields["service"],
    )  # fmt: skip


def _same_content(
    case: Case, record: Record, created: dict[str, Event], results: dict[Place, str]
) -> None:
    """A CreatePayment for a payment that another input created."""
    try:
        name, fields = case.decoder.decode(record.value)
        content = _content(fields) if name == "CreatePayment" else ()
    except (Unreadable, EOFError, ValueError, IndexError, UnicodeDecodeError):
        return
    if name != "CreatePayment":
        return
    first = created.get(payment_of(fields["source"], fields["idempotencyKey"]))
    if first is None or first.cause == record.place:
        return
    result, payment = results.get(record.place), first.header["paymentIntentId"]
    same = _content(first.fields) == content
    if not same and result in ("ACCEPTED", "DUPLICATE"):
        case.found("I6", f"other content under a used key was {result}", payment, record.place)
    entitled = record.topic == first.cause[0] and fields["header"]["paymentIntentId"] == payment
    if result == "REJECTED" and same and entitled:
        case.found("I6", "the same content under a used key was refused", payment, record.place)


# -- L --------------------------------------------------------------------------------------------


def check_liveness(case: Case) -> None:
    """Nothing hangs: no open transaction, and every input is before its group's position."""
    for (topic, partition), (stable, high) in case.evidence.stable.items():
        if stable != high:
            case.found("L", f"last stable offset {stable}, high watermark {high}", None,
                       (topic, partition, stable))  # fmt: skip
    if case.evidence.positions is None:
        return
    for topic in INPUTS:
        last = {record.partition: record.offset for record in case.topic(topic)}
        for partition, offset in last.items():
            position = case.evidence.positions.get((topic, partition), -1)
            if position <= offset:
                case.found("L", f"input waits: the group is at {position}", None,
                           (topic, partition, offset))  # fmt: skip
