#!/usr/bin/env python3
"""Verify an evidence pack without us: python verify_evidence.py pack.json key.pem [--json]

A PDF of a pack is taken too: what is verified is the JSON attached to it.

Needs cryptography and fastavro and nothing of ours: this file may be copied away and read whole.
The key is the verifier's public key (PEM), or its keyring (JSON, as `GET /api/keys` gives it).
Exit code 0: VERIFIED, all of it is signed. 3: VERIFIED THROUGH n, what follows is not yet signed.
1: BROKEN, the first broken place is printed. 2: it could not be tried.
What a verified pack proves, and what not, is in docs/evidence.md.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import re
import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import fastavro
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

FORMAT: Final = "npp-evidence-pack"
VIEW_FORMAT: Final = "npp-evidence-view"
VERSION: Final = 1
PACK_BYTES_MAX: Final = 16_777_216  # larger packs are not made; an event takes some 1,500
# Limits that are checked before parsing: an event takes some 90 values; a pack is 15 deep.
PACK_VALUES_MAX: Final = 1_500_000
PACK_DEPTH_MAX: Final = 64
PDF_BYTES_MAX: Final = 2 * PACK_BYTES_MAX  # pages and attachment, both compressed
PDF_BEGIN: Final = b"%PDF-"
PDF_EMBEDDED: Final = b"/Type /EmbeddedFile"
PDF_LENGTH: Final = re.compile(rb"/Length ([0-9]{1,9}) ")
PDF_STREAM: Final = b">>\nstream\n"
PDF_DICTIONARY_BYTES_MAX: Final = 500  # of the attachment's own
PAGES_NOTE: Final = (
    "verified is the JSON attached to the PDF; its pages were not compared: save and read the JSON"
)
SHOWN_CHARACTERS_MAX: Final = 400  # of one line of the report
KEY_FILE_BYTES_MAX: Final = 1_048_576
PATH_HASHES_MAX: Final = 64  # a tree of 2**64 leaves
VERIFIED: Final = "VERIFIED"
VERIFIED_THROUGH: Final = "VERIFIED_THROUGH"
BROKEN: Final = "BROKEN"
EXIT_CODES: Final = {VERIFIED: 0, BROKEN: 1, VERIFIED_THROUGH: 3}
PAYMENT_ID: Final = re.compile(r"pi_[a-z0-9]{26}")
AS_OF: Final = re.compile(r"[0-9]{1,18}\.[0-9]{1,18}\.[0-9]{1,18}(\.[0-9]{1,18})?")
# A JSON string, or one bracket outside of strings; possessive, so that it never backtracks.
TOKENS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{}\]]', re.DOTALL)
OPERATOR_COMMANDS: Final = "npp.payment.operator-commands.v1"
REASON_IN_DETAILS: Final = ("MarkPaymentFailed", "ResolveReconciliation")
PREFIX_BYTES: Final = 5  # magic byte 0 and the schema id
SIGNATURE_FIELD_BYTES: Final = 66  # Avro length of 64, and the signature: a checkpoint's last field
SCHEMA_STATEMENT: Final = b"npp-schema-id.v1\x00"
CONFLICTS_LISTED_MAX: Final = 16  # further open conflicts are counted, not listed
ENDED: Final = ("FAILED", "EXPIRED")
FINAL_STATES: Final = ("SETTLED", "FAILED", "EXPIRED")
LIFECYCLE: Final = (
    "PaymentIntentCreated", "PaymentAuthorised", "PaymentAttemptCreated", "PaymentSentToRail",
    "PaymentAcknowledged", "PaymentSettled", "PaymentFailed", "PaymentExpired",
)  # fmt: skip
DECISIONS: Final = {
    "OperatorActionReferred": "REFERRED",
    "OperatorActionApproved": "APPROVED",
    "OperatorActionRejected": "REJECTED",
}
SUMS: Final = {
    "FundsHeld": "held", "FundsCaptured": "captured", "FundsReleased": "released",
    "FundsDebitForced": "debited", "FundsReversed": "reversed", "FundsCredited": "credited",
}  # fmt: skip
# Party details under scheme avro.1 are an Avro record of this schema without a prefix, forever.
PARTY: Final = [{"name": "name", "type": "string"}] + [
    {"name": name, "type": ["null", "string"], "default": None}
    for name in ("bsb", "account", "payIdType", "payId")
]
PARTIES: Final = fastavro.parse_schema(
    {
        "type": "record", "name": "Parties", "namespace": "au.npp.orchestrator.v1",
        "fields": [
            {"name": "debtor", "type": {"type": "record", "name": "Party", "fields": PARTY}},
            {"name": "creditor", "type": "Party"},
            {"name": "remittance", "type": ["null", "string"], "default": None},
        ],
    }
)  # fmt: skip
LEAF_VERSION: Final = 2
FOREIGN: Final = "FOREIGN"
TAKEN_AS_RECORDED: Final = "TAKEN_AS_RECORDED"
RULINGS: Final = (FOREIGN, TAKEN_AS_RECORDED)
ACT: Final = b"npp-control-act.v1\n"  # what a person signs of a control act begins with it
NOT_DECIDED: Final = "not decided by the rules: two people accepted it as recorded"
NOTHING: Final = bytes(32)  # head of no event, rolling hash over no outcome
EDGE_NOTE: Final = (
    "No checkpoint covers offsets: only the online verification compares them with the log. What "
    "was refused at the edge of the API never reached the engine: it is in the audit log."
)
UNREADABLE: Final = (
    EOFError, ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError,
    RecursionError, struct.error,
)  # fmt: skip

Json = Any


class Broken(Exception):
    """The first thing in the pack that does not verify: its kind, its place, one sentence."""

    def __init__(self, kind: str, place: str, sentence: str) -> None:
        super().__init__(f"{kind} at {place}: {sentence}")
        self.kind, self.place, self.sentence = kind, place, sentence

    def problem(self) -> dict[str, Json]:
        """As an answer has it."""
        return {"kind": self.kind, "place": self.place, "sentence": self.sentence}


@dataclass(frozen=True)
class Key:
    """A public key, and the period in which its signatures count (epoch ms); None is no limit."""

    public: Ed25519PublicKey
    valid_from: int | None = None
    valid_until: int | None = None
    revoked_at: int | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the raw key."""
        return sha256(self.public.public_bytes(Encoding.Raw, PublicFormat.Raw))

    def problem(self, signed_at: int) -> str | None:
        """Why a signature that says this time does not count."""
        if self.revoked_at is not None and signed_at >= self.revoked_at:
            return f"the key was revoked at {time_of(self.revoked_at)}, before it signed this"
        if self.valid_from is not None and signed_at < self.valid_from:
            return f"the key is valid from {time_of(self.valid_from)} on, after it signed this"
        if self.valid_until is not None and signed_at >= self.valid_until:
            return f"the key was valid until {time_of(self.valid_until)}, before it signed this"
        return None

    def note(self) -> str:
        """What the answer must say about this key although its signature counts."""
        if self.revoked_at is None:
            return ""
        return f"revoked at {time_of(self.revoked_at)}; this says that it was signed before"


@dataclass(frozen=True)
class Event:
    """One event, decoded from its raw bytes."""

    offset: int
    raw: bytes
    schema_id: int
    type: str
    record: dict[str, Json]
    hash: str

    @property
    def header(self) -> dict[str, Json]:
        return self.record["header"]  # type: ignore[no-any-return]

    def own(self) -> dict[str, Json]:
        """Its fields without the header."""
        return {name: value for name, value in self.record.items() if name != "header"}


@dataclass(frozen=True)
class Proof:
    """How the checkpoint covers the payment: its raw record, and the leaf's place in its tree."""

    raw: bytes
    record: dict[str, Json]
    schema_id: int
    index: int
    path: list[str]


@dataclass(frozen=True)
class Command:
    """An operator's command, decoded from its raw bytes."""

    raw: bytes
    schema_id: int
    type: str
    record: dict[str, Json]

    def described(self) -> dict[str, Json]:
        """Who gave it, why, and under which approval; nobody for one without an operator."""
        operator = self.record.get("operator")
        if operator is None:
            return {"operatorId": None, "reason": None, "approvalId": None}
        reason = "details" if self.type in REASON_IN_DETAILS else "reason"
        deciding = self.type == "DecideApproval"
        return {
            "operatorId": operator["operatorId"],
            "reason": self.record.get(reason),
            "approvalId": self.record["approvalId"] if deciding else operator["approvalId"],
        }


@dataclass(frozen=True)
class Ruling:
    """A ruling of two people on a journal record that names the payment, decoded from their raw
    acts; offsets are those of the control topic. `record`: the raw value that is skipped.

    `counted_after`: how many of the payment's operator outcomes come before it in the leaf; None
    for one that is in no leaf (yet).
    """

    request_offset: int
    request: Command
    confirm_offset: int
    confirmation: Command
    cluster: str
    record: bytes | None
    counted_after: int | None

    @property
    def offset(self) -> int:
        """Of the record that was ruled on, in the journal."""
        return self.request.record["offset"]  # type: ignore[no-any-return]

    @property
    def ruling(self) -> str:
        """FOREIGN or TAKEN_AS_RECORDED."""
        return self.request.record["ruling"]  # type: ignore[no-any-return]

    def request_hash(self) -> str:
        """SHA-256 of the signed request: what its confirmation names, and a leaf counts."""
        record = self.request.record
        fields = {name: value for name, value in record.items() if name != "signature"}
        fields["eventHash"] = base64_of(bytes.fromhex(record["eventHash"]))
        given = record["signature"]
        text = {
            "act": self.request.type, "cluster": self.cluster, "fields": fields,
            "keyId": given["keyId"], "number": given["number"], "request": given["requestHash"],
            "signedAt": given["signedAt"],
        }  # fmt: skip
        return sha256(ACT + canonical(text) + bytes.fromhex(given["signature"]))


@dataclass(frozen=True)
class Inputs:
    """All that a pack is made of; everything else in it follows from this by `assemble`."""

    payment: str
    partition: int
    events: list[Event]
    outcomes: list[tuple[int, int, bytes, dict[str, Json]]]  # partition, offset, raw, record
    commands: list[Command]  # those that were not executed, in the order of their outcomes
    proof: Proof | None
    schemas: dict[int, dict[str, Json]] = field(default_factory=dict)
    rulings: list[Ruling] = field(default_factory=list)  # in the order of the journal


# -- bytes ---------------------------------------------------------------------------------------


def canonical(value: Json) -> bytes:
    """The canonical JSON of a value: keys sorted, no spaces, UTF-8, no needless escapes."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def time_of(epoch_ms: int) -> str:
    """Epoch milliseconds as UTC, to the second; the number itself if it is not a valid time."""
    try:
        return f"{datetime.fromtimestamp(epoch_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return str(epoch_ms)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def plain(value: Json) -> Json:
    """A decoded Avro value as JSON: bytes in lower-case hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def parse_schema(schema: Json) -> Json:
    """A schema ready to decode with."""
    return fastavro.parse_schema(schema)


def schema_id_of(raw: bytes) -> int:
    """Raises ValueError unless the value begins with the magic byte and a schema id."""
    if len(raw) < PREFIX_BYTES or raw[0] != 0:
        raise ValueError("the value does not begin with the magic byte and a schema id")
    return int.from_bytes(raw[1:PREFIX_BYTES], "big")


def decode(raw: bytes, parsed: Json) -> dict[str, Json]:
    """The record in a raw value, by its writer's schema. Raises ValueError."""
    try:
        stream = io.BytesIO(raw[PREFIX_BYTES:])
        record = plain(fastavro.schemaless_reader(stream, parsed, None))
    except UNREADABLE as error:
        raise ValueError(f"its schema does not read it ({type(error).__name__})") from None
    if stream.tell() != len(raw) - PREFIX_BYTES or not isinstance(record, dict):
        raise ValueError("its schema does not read it to the end")
    return record


def event_of(offset: int, raw: bytes, parsed: Json) -> Event:
    """The event in a raw value. Raises ValueError when it is not an event of that schema."""
    record = decode(raw, parsed)
    if not isinstance(record.get("header"), dict):
        raise ValueError("it has no event header")
    name = str(parsed["name"]).rpartition(".")[2]
    return Event(offset, raw, schema_id_of(raw), name, record, sha256(raw))


def command_of(raw: bytes, parsed: Json) -> Command:
    """The command or act in a raw value. Raises ValueError when it is not of that schema."""
    name = str(parsed["name"]).rpartition(".")[2]
    return Command(raw, schema_id_of(raw), name, decode(raw, parsed))


def open_parties(sealed: Json) -> dict[str, Json]:
    """Party details decoded; those of another scheme than avro.1 unchanged."""
    if sealed["scheme"] != "avro.1":
        return {"scheme": sealed["scheme"], "keyId": sealed["keyId"], "bytes": sealed["bytes"]}
    try:
        opened = fastavro.schemaless_reader(
            io.BytesIO(bytes.fromhex(sealed["bytes"])), PARTIES, None
        )
    except UNREADABLE:
        return {"scheme": sealed["scheme"], "keyId": sealed["keyId"], "bytes": sealed["bytes"]}
    return {"scheme": "avro.1", **dict(opened)}  # type: ignore[arg-type]


# -- what a pack says, from its events -----------------------------------------------------------


def assemble(inputs: Inputs, *, with_proof: bool) -> dict[str, Json]:
    """The whole pack: the builder writes it with this function, the verification makes it again.

    It shows the payment at the last signed sequence, and lists later events separately. If nothing
    is signed yet, it shows everything, and its statement says so.
    """
    last = inputs.events[-1].header["sequence"]
    covered = covered_through(inputs)
    events, later = inputs.events[: covered or last], inputs.events[covered or last :]
    refused = refused_actions(inputs)
    signed = len(not_executed(answered(inputs)))
    number = 0 if inputs.proof is None else inputs.proof.record["number"]
    ends = [offset + 1 for _, offset, _, _ in inputs.outcomes]
    state = derive_state(events)
    rulings = rulings_of(inputs)
    as_of = f"{last}.{max(ends, default=0)}.{number}"
    taken = {each.offset for each in inputs.rulings if each.ruling == TAKEN_AS_RECORDED}
    pack: dict[str, Json] = {
        "format": FORMAT,
        "version": VERSION,
        "paymentIntentId": inputs.payment,
        "asOf": f"{as_of}.{len(rulings)}" if rulings else as_of,
        "includesReplayProof": with_proof,
        "statement": {
            "inFlight": state["state"] not in FINAL_STATES,
            "lastSequence": last,
            "checkpoint": number,
            "signedThrough": covered,
            "sentences": [
                *ruling_sentences(rulings),
                *sentences(state, last, number, covered, with_proof),
            ],
        },
        "paymentIntent": intent_of(events[0]),
        "railDecisions": rail_decisions(events),
        "lifecycleEvents": lifecycle_events(events, None, taken),
        "rulings": rulings,
        "operatorActions": operator_actions(events, refused[:signed]),
        "state": state,
        "notYetSigned": {
            "events": lifecycle_events(later, events[-1].header["stateAfter"], taken),
            "notExecuted": refused[signed:],
            "rulings": [each for each in rulings if each["signed"] == NOT_YET],
        },
    }
    if with_proof:
        pack["replayProof"] = replay_proof(inputs, refused)
    return pack


NOT_YET: Final = "NOT_YET"  # the next checkpoint counts it
IN_NO_LEAF: Final = "IN_NO_LEAF"  # a checkpoint had covered the record before the ruling
SIGNED: Final = "SIGNED"


def rulings_of(inputs: Inputs) -> list[dict[str, Json]]:
    """What two people ruled on records that name this payment, in the order of the journal."""
    end = -1 if inputs.proof is None else inputs.proof.record["toOffset"]
    shown = []
    for each in inputs.rulings:
        requested, agreed = each.request.record, each.confirmation.record
        signed = IN_NO_LEAF if each.offset <= end else NOT_YET
        shown.append(
            {
                "ruling": each.ruling, "partition": requested["partition"], "offset": each.offset,
                "eventHash": requested["eventHash"], "sequence": requested["sequence"],
                "eventType": requested["eventType"], "reason": requested["reason"],
                "requestedBy": requested["actor"], "requestedAt": requested["requestedAt"],
                "confirmedBy": agreed["actor"], "confirmedAt": agreed["confirmedAt"],
                "signed": signed if each.counted_after is None else SIGNED,
            }
        )  # fmt: skip
    return shown


def ruling_sentence(ruling: Mapping[str, Json]) -> str:
    """One ruling in words."""
    what = {FOREIGN: "is no event of this payment and is skipped", TAKEN_AS_RECORDED: NOT_DECIDED}
    signed = {
        SIGNED: "counted in the signed leaf", NOT_YET: "not yet signed",
        IN_NO_LEAF: "made after the record was signed: only the online verification compares it",
    }  # fmt: skip
    return (
        f"{ruling['ruling']}: {ruling['eventType'] or 'a record'} at journal partition "
        f"{ruling['partition']} offset {ruling['offset']} {what[ruling['ruling']]}; asked for by "
        f"{ruling['requestedBy']}, confirmed by {ruling['confirmedBy']}, "
        f"{signed[ruling['signed']]}; reason: {ruling['reason']}"
    )


def ruling_sentences(rulings: Sequence[Mapping[str, Json]]) -> list[str]:
    """What a pack says about all its rulings."""
    if not rulings:
        return []
    count = len(rulings)
    return [f"Two persons ruled on records that name this payment ({count}): see rulings."]


def covered_through(inputs: Inputs) -> int:
    """The last sequence that the checkpoint covers; 0 without one."""
    if inputs.proof is None:
        return 0
    end = inputs.proof.record["toOffset"]
    return max((e.header["sequence"] for e in inputs.events if e.offset <= end), default=0)


def by_operators(inputs: Inputs) -> list[tuple[int, int, bytes, dict[str, Json]]]:
    """The outcomes of operator commands, which checkpoints cover."""
    return [each for each in inputs.outcomes if each[3]["cause"]["topic"] == OPERATOR_COMMANDS]


def answered(inputs: Inputs) -> list[tuple[int, int, bytes, dict[str, Json]]]:
    """The outcomes of operator commands that the checkpoint covers."""
    if inputs.proof is None:
        return []
    where, last = inputs.proof.record["outcomesPartition"], inputs.proof.record["toOutcome"]
    return [each for each in by_operators(inputs) if each[0] == where and each[1] <= last]


def sentences(
    state: dict[str, Json], last: int, number: int, covered: int, with_proof: bool
) -> list[str]:
    """What the pack says about itself."""
    lines = []
    if state["state"] not in FINAL_STATES:
        lines.append(
            f"The payment is in flight: this pack covers it up to sequence {state['sequence']}, "
            f"state {state['state']}. More may follow."
        )
    if number:
        lines.append(f"Complete as of checkpoint {number}, up to sequence {covered}.")
    else:
        lines.append("No checkpoint covers this payment yet: nothing here is signed.")
    if covered < last:
        lines.append(f"Sequences {covered + 1} to {last} are chained but not yet signed.")
    if 0 < covered < last:
        lines.append(
            f"The state shown is the state at sequence {covered}; the rest is listed apart."
        )
    lines.append("That nothing came later, only the online verification proves.")
    if not with_proof:
        lines.append("The replay proof was left out on request: this can be read, not verified.")
    return lines


def intent_of(first: Event) -> dict[str, Json]:
    """The original details, as PaymentIntentCreated has them."""
    details = first.own()
    details["parties"] = open_parties(details["parties"])
    return {"createdAt": first.header["decidedAt"], **details}


def _shown(event: Event) -> dict[str, Json]:
    header = event.header
    return {
        "sequence": header["sequence"], "at": header["decidedAt"], "type": event.type,
        "attempt": header["attempt"], **event.own(),
    }  # fmt: skip


def rail_decisions(events: Sequence[Event]) -> dict[str, Json]:
    """What was checked before the payment was sent: policy, balance, and the authorisations."""
    hold = ("FundsHeld", "FundsHoldDeclined", "FundsHoldTransferred")
    return {
        "policyChecks": [_shown(e) for e in events if e.type == "PolicyChecked"],
        "balanceVerification": [
            _shown(e)
            for e in events
            if e.type in hold
            or (e.type == "FundsRequestFailed" and e.record["operation"] == "HOLD")
        ],
        "authorisations": [_shown(e) for e in events if e.type == "PaymentAuthorised"],
    }


def lifecycle_events(
    events: Sequence[Event], state: str | None, taken: set[int]
) -> list[dict[str, Json]]:
    """Every event in order, whole; `state` is the one before the first of them, `taken` the
    offsets of those that two people took as recorded.
    """
    shown = []
    for event in events:
        header = event.header
        shown.append(
            {
                "sequence": header["sequence"], "type": event.type,
                "lifecycle": event.type in LIFECYCLE, "fromState": state,
                "toState": header["stateAfter"], "offset": event.offset,
                "schemaId": event.schema_id, "hash": event.hash, "record": event.record,
                "note": NOT_DECIDED if event.offset in taken else None,
            }
        )  # fmt: skip
        state = header["stateAfter"]
    return shown


def operator_actions(
    events: Sequence[Event], refused: Sequence[dict[str, Json]]
) -> dict[str, Json]:
    """Executed by the engine, not executed by it, and the approvals behind them."""
    executed: list[dict[str, Json]] = []
    place: tuple[Json, ...] = ()
    for event in events:
        cause, header = event.header["cause"], event.header
        here = (cause["topic"], cause["partition"], cause["offset"])
        if cause["topic"] == OPERATOR_COMMANDS and here != place:
            executed.append({**_action(event), "events": []})
        if cause["topic"] == OPERATOR_COMMANDS:
            executed[-1]["events"].append({"sequence": header["sequence"], "type": event.type})
        place = here
    return {
        "executed": executed,
        "notExecuted": list(refused),
        "approvals": approvals_of(events),
        "note": EDGE_NOTE,
    }


def refused_actions(inputs: Inputs) -> list[dict[str, Json]]:
    """The operators' actions that the engine did not execute."""
    return [
        {
            **command.described(), "action": record["inputType"], "result": record["result"],
            "code": record["code"], "rule": record["rule"], "sentence": record["sentence"],
            "at": record["decidedAt"], "cause": record["cause"], "offset": offset,
        }
        for command, (offset, record) in zip(
            inputs.commands, not_executed(inputs.outcomes), strict=True
        )
    ]  # fmt: skip


def not_executed(
    outcomes: Sequence[tuple[int, int, bytes, dict[str, Json]]],
) -> list[tuple[int, dict[str, Json]]]:
    """Offset and record of the outcomes of operator commands that appended no event."""
    return [(offset, record) for _, offset, _, record in outcomes if is_refused(record)]


def is_refused(record: dict[str, Json]) -> bool:
    """Whether this is the outcome of an operator command that appended no event."""
    return bool(record["cause"]["topic"] == OPERATOR_COMMANDS and record["result"] != "ACCEPTED")


def _action(event: Event) -> dict[str, Json]:
    """The action whose first event this is."""
    header, record = event.header, event.record
    name = {
        "OperatorActionRequested": "REQUEST_APPROVAL", "OperatorActionApproved": "APPROVE",
        "OperatorActionRejected": "REJECT", "PaymentAttemptCreated": "RETRY",
        "PaymentExpired": "EXPIRE", "ReconciliationResolved": "RESOLVE_RECONCILIATION",
        "ProcessingResumed": "RESUME_PROCESSING",
    }.get(event.type, event.type)  # fmt: skip
    if event.type == "PaymentFailed":
        name = "CANCEL" if header["reason"] == "CANCELLED" else "MARK_FAILED"
    if event.type == "FundsRequested":
        name = "RELEASE_EARLY" if record["operation"] == "RELEASE" else record["operation"]
    return {
        "action": name, "operatorId": header["actor"]["id"], "at": header["decidedAt"],
        "attempt": header["attempt"], "reason": record.get("text"),
        "details": record.get("details"), "failureReason": header["reason"],
        "customerId": record.get("customerId"), "approvalId": header["approvalId"],
        "cause": header["cause"],
    }  # fmt: skip


def approvals_of(events: Sequence[Event]) -> list[dict[str, Json]]:
    """Each approval: what was asked, how it was decided and by whom, which event used it."""
    found: dict[str, dict[str, Json]] = {}
    for event in events:
        header, name = event.header, event.header["approvalId"]
        if event.type == "OperatorActionRequested":
            found[name] = {
                "approvalId": name, "requestedAt": header["decidedAt"],
                "attempt": header["attempt"], **event.own(), "decisions": [], "usedBy": None,
            }  # fmt: skip
        elif event.type in DECISIONS and name in found:
            found[name]["decisions"].append(
                {"decision": DECISIONS[event.type], "at": header["decidedAt"], **event.own()}
            )
        elif name in found and found[name]["usedBy"] is None:
            found[name]["usedBy"] = header["sequence"]
    return list(found.values())


def derive_state(events: Sequence[Event]) -> dict[str, Json]:
    """The payment's state after these events, computed here from the events alone."""
    fold = _Fold(events[0])
    for event in events:
        fold.take(event)
    return fold.state(events[-1])


class _Fold:
    def __init__(self, first: Event) -> None:
        self.payment = first.header["paymentIntentId"]
        self.amount = first.record["amount"]
        self.currency = first.record["currency"]
        self.created_at = first.header["decidedAt"]
        self.attempts: list[dict[str, Json]] = []
        self.reason: str | None = None
        self.last_lifecycle = first.type
        self.parked = False
        self.listed: dict[str, str] = {}  # open conflicts and their kinds
        self.unlisted = 0

    def take(self, event: Event) -> None:
        header, record, kind = event.header, event.record, event.type
        number = header["attempt"]
        if kind == "PaymentIntentCreated" or (
            kind == "PaymentAttemptCreated" and number == len(self.attempts) + 1
        ):
            self.attempts.append(_new_attempt(number))
            self.reason = None
        if not 1 <= number <= len(self.attempts):
            raise ValueError(f"there is no attempt {number}")
        mine = self.attempts[number - 1]
        if kind in LIFECYCLE:
            self.last_lifecycle = kind
            mine["state"] = header["stateAfter"]
        if kind in ("PaymentAuthorised", "PaymentAttemptCreated"):
            mine["externalRef"] = f"N{self.payment[3:].upper()}{number:03d}"
        elif kind in ("PaymentFailed", "PaymentExpired"):
            self.reason = mine["reason"] = header["reason"]
            mine["nonPaymentCertain"] = record["nonPaymentCertain"]
            mine["lateFailure"] = record.get("lateFailure", False)
            mine["endedAt"] = header["decidedAt"]
        elif kind == "PaymentSettled":
            mine["endedAt"] = header["decidedAt"]
            mine["settled"] = record["amount"]
            if mine["outcome"] != "RETURNED":
                mine["outcome"] = "PAID"
        elif kind == "NonPaymentConfirmed":
            mine["nonPaymentCertain"] = True
        elif kind == "PaymentReturned":
            mine["outcome"] = "RETURNED"
        elif kind in SUMS:
            mine[SUMS[kind]] += record["amount"]
        elif kind == "FundsHoldTransferred":
            self.attempts[record["fromAttempt"] - 1]["held"] -= record["amount"]
            self.attempts[record["toAttempt"] - 1]["held"] += record["amount"]
        elif kind in ("ProcessingSuspended", "ProcessingResumed"):
            self.parked = kind == "ProcessingSuspended"
        elif kind == "ReconciliationRequired":
            self._conflict(record)
        elif kind == "ReconciliationResolved":
            self._resolved(record, mine)

    def _conflict(self, record: dict[str, Json]) -> None:
        if len(self.listed) >= CONFLICTS_LISTED_MAX:
            self.unlisted += 1
        else:
            self.listed[record["conflictId"]] = record["kind"]

    def _resolved(self, record: dict[str, Json], mine: dict[str, Json]) -> None:
        kind = self.listed.pop(record["conflictId"], None)
        if kind is None:
            self.unlisted -= 1
        if kind == "FUNDS_CONTRADICTION":
            return
        if record["verdict"] == "NOT_PAID":
            mine["nonPaymentCertain"] = True
            if mine["endedAt"]:
                mine["outcome"] = "NOT_PAID"
        elif record["verdict"] == "RETURNED":
            mine["outcome"] = "RETURNED"
        else:
            mine["outcome"] = "PAID"
            mine["settled"] = record["amount"] or mine["settled"] or self.amount

    def _money(self, state: str) -> str:
        outcomes = [each["outcome"] for each in self.attempts]
        uncertain = any(
            each["state"] in ENDED
            and not each["nonPaymentCertain"]
            and each["outcome"] != "RETURNED"
            for each in self.attempts
        )
        if self.listed or self.unlisted:
            return "CONTRADICTED"
        if "PAID" in outcomes:
            return "PAID"
        if uncertain:
            return "UNCERTAIN"
        if "RETURNED" in outcomes:
            return "RETURNED"
        return "NOT_PAID" if state in FINAL_STATES else "OPEN"

    def state(self, last: Event) -> dict[str, Json]:
        header = last.header
        return {
            "state": header["stateAfter"], "reason": self.reason,
            "moneyOutcome": self._money(header["stateAfter"]), "amount": self.amount,
            "currency": self.currency, "sequence": header["sequence"],
            "createdAt": self.created_at, "decidedAt": header["decidedAt"],
            "ruleSet": header["ruleSet"], "lastLifecycleEvent": self.last_lifecycle,
            "openConflicts": len(self.listed) + self.unlisted, "parked": self.parked,
            "attempts": self.attempts,
        }  # fmt: skip


def _new_attempt(number: int) -> dict[str, Json]:
    return {
        "attempt": number, "externalRef": None, "state": None, "reason": None, "outcome": None,
        "nonPaymentCertain": False, "lateFailure": False, "endedAt": 0, "settled": 0, "held": 0,
        "captured": 0, "released": 0, "debited": 0, "reversed": 0, "credited": 0,
    }  # fmt: skip


# -- the proof -----------------------------------------------------------------------------------


def replay_proof(inputs: Inputs, refused: list[dict[str, Json]]) -> dict[str, Json]:
    """Raw bytes, schemas, the chain, and the checkpoint with this payment's audit path."""
    events = [
        {
            "sequence": e.header["sequence"], "offset": e.offset, "schemaId": e.schema_id,
            "previousHash": e.header["previousHash"], "hash": e.hash, "raw": base64_of(e.raw),
        }
        for e in inputs.events
    ]  # fmt: skip
    given = iter(inputs.commands)
    outcomes = [
        {
            "partition": p, "offset": offset, "raw": base64_of(raw),
            "command": base64_of(next(given).raw) if is_refused(record) else None,
        }
        for p, offset, raw, record in inputs.outcomes
    ]  # fmt: skip
    places = [inputs.partition, [e.offset for e in inputs.events]]
    rulings = [
        {
            "request": {"offset": r.request_offset, "raw": base64_of(r.request.raw)},
            "confirmation": {"offset": r.confirm_offset, "raw": base64_of(r.confirmation.raw)},
            "cluster": r.cluster, "requestHash": r.request_hash(),
            "record": None if r.record is None else base64_of(r.record),
            "countedAfter": r.counted_after,
        }
        for r in inputs.rulings
    ]  # fmt: skip
    return {
        "partition": inputs.partition,
        "events": events,
        "outcomes": outcomes,
        "rulings": rulings,
        # This detects damage, not forgery: no signature covers these.
        "unsignedSha256": sha256(canonical([places, outcomes, refused, rulings])),
        "schemas": {str(number): each for number, each in inputs.schemas.items()},
        "checkpoint": None if inputs.proof is None else _checkpoint(inputs, inputs.proof),
    }


def _checkpoint(inputs: Inputs, proof: Proof) -> dict[str, Json]:
    head = inputs.events[covered_through(inputs) - 1]
    return {
        "raw": base64_of(proof.raw), "sha256": sha256(proof.raw), "record": proof.record,
        "schemaId": proof.schema_id,
        "leaf": {
            "sequence": head.header["sequence"], "hash": head.hash, "index": proof.index,
            "outcomes": len(counted(inputs)), "outcomesHash": rolling(counted(inputs)).hex(),
            "leafHash": leaf_hash(inputs.payment, head, counted(inputs)).hex(),
            "path": proof.path,
        },
    }  # fmt: skip


def counted(inputs: Inputs) -> list[bytes]:
    """What the leaf counts: SHA-256 of each operator outcome that the checkpoint covers, and among
    them the hash of each signed request for a ruling.
    """
    after: dict[int, list[bytes]] = {}
    for each in inputs.rulings:
        if each.counted_after is not None:
            after.setdefault(each.counted_after, []).append(bytes.fromhex(each.request_hash()))
    hashes = list(after.get(0, []))
    for index, (_, _, raw, _) in enumerate(answered(inputs), start=1):
        hashes += [hashlib.sha256(raw).digest(), *after.get(index, [])]
    return hashes


def rolling(hashes: Sequence[bytes]) -> bytes:
    """The rolling hash: from 32 zero bytes, SHA-256(rolling hash before ‖ hash) for each hash."""
    digest = NOTHING
    for each in hashes:
        digest = hashlib.sha256(digest + each).digest()
    return digest


def leaf_hash(payment: str, head: Event, hashes: Sequence[bytes]) -> bytes:
    """SHA-256(0x00 ‖ id ‖ 0x00 ‖ sequence ‖ hash of the last event ‖ count of what `counted` gives
    ‖ its rolling hash), numbers as u64 big-endian.
    """
    sequence = int(head.header["sequence"]).to_bytes(8, "big")
    counted_part = len(hashes).to_bytes(8, "big") + rolling(hashes)
    data = b"\x00" + payment.encode() + b"\x00" + sequence + bytes.fromhex(head.hash) + counted_part
    return hashlib.sha256(data).digest()


def leads_to(root: bytes, leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bool:
    """Whether the audit path leads from the leaf to the root (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size or len(path) > PATH_HASHES_MAX:
        return False
    at, last, computed = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if at % 2 or at == last:
            computed = hashlib.sha256(b"\x01" + sibling + computed).digest()
            while at % 2 == 0 and at != 0:
                at, last = at >> 1, last >> 1
        else:
            computed = hashlib.sha256(b"\x01" + computed + sibling).digest()
        at, last = at >> 1, last >> 1
    return last == 0 and computed == root


# -- verification --------------------------------------------------------------------------------


def verify_file(content: bytes, keys: Mapping[str, Key]) -> dict[str, Json]:
    """Verify a file: a pack's JSON, or a PDF with it as an attachment. For a PDF, the answer's
    `note` says that the pages were not compared. `hash` is always the JSON's.
    """
    if not content.startswith(PDF_BEGIN):
        return verify(content, keys)
    try:
        return verify(attached(content), keys) | {"note": PAGES_NOTE}
    except Broken as broken:
        return {
            "verdict": BROKEN, "verified": False, "hash": sha256(content),
            "problem": broken.problem(),
        }  # fmt: skip


def attached(pdf: bytes) -> bytes:
    """The pack that a PDF carries as its one embedded file (ISO 32000-1, 7.11.4), as this product
    writes it. Raises Broken when there is none, another, or too large a one.
    """
    if len(pdf) > PDF_BYTES_MAX:
        raise Broken("PDF", "file", f"it has more than {PDF_BYTES_MAX} bytes")
    if pdf.count(PDF_EMBEDDED) != 1:
        raise Broken("PDF", "file", "it does not carry one evidence pack as an attachment")
    at = pdf.index(PDF_EMBEDDED)
    lengths = PDF_LENGTH.findall(pdf[max(0, at - PDF_DICTIONARY_BYTES_MAX) : at])
    begin = pdf.find(PDF_STREAM, at, at + PDF_DICTIONARY_BYTES_MAX) + len(PDF_STREAM)
    if len(lengths) == 0 or begin < at:
        raise Broken("PDF", "file", "its attachment is not as this product writes it")
    unpacking = zlib.decompressobj()
    try:
        packed = pdf[begin : begin + int(lengths[-1])]
        content = unpacking.decompress(packed, PACK_BYTES_MAX + 1)
    except zlib.error:
        raise Broken("PDF", "file", "its attachment cannot be unpacked") from None
    if len(content) > PACK_BYTES_MAX or not unpacking.eof:
        raise Broken("PDF", "file", "its attachment is cut off or too large")
    return content


def verify(content: bytes, keys: Mapping[str, Key]) -> dict[str, Json]:
    """Verify a pack; never raises for what is in it. `keys`: public keys by id.

    `verdict` is VERIFIED, VERIFIED_THROUGH (sequence `through`; `unsigned` more are listed), or
    BROKEN with its `problem`.
    """
    answer: dict[str, Json] = {
        "verdict": BROKEN, "verified": False, "hash": sha256(content), "problem": None,
    }  # fmt: skip
    try:
        pack = read_pack(content)
        answer |= _named(pack)
        inputs = _whole(pack, keys)
    except Broken as broken:
        return answer | {"problem": broken.problem()}
    through, unsigned = signed_extent(pack)
    answer |= {
        "events": pack["statement"]["lastSequence"], "through": through, "unsigned": unsigned,
        "checkpoint": pack["statement"]["checkpoint"], "state": pack["state"]["state"],
        "inFlight": pack["statement"]["inFlight"], "says": pack["statement"]["sentences"],
        "notYetSigned": [f"{e['sequence']} {e['type']}" for e in pack["notYetSigned"]["events"]]
        + [f"{a['action']}, not executed" for a in pack["notYetSigned"]["notExecuted"]]
        + [f"ruling {r['ruling']}" for r in pack["notYetSigned"]["rulings"]],
        "rulings": pack["rulings"],
        **_signer(inputs, keys),
    }  # fmt: skip
    if not through:
        answer["problem"] = {
            "kind": "NOT_SIGNED", "place": "replayProof.checkpoint",
            "sentence": "the chain holds by itself, but no checkpoint vouches for it yet",
        }  # fmt: skip
        return answer
    return answer | {"verified": True, "verdict": verdict_of(unsigned)}


def _whole(pack: dict[str, Json], keys: Mapping[str, Key]) -> Inputs:
    """The inputs of a pack, after everything in it was compared with them. Raises Broken."""
    inputs = read_inputs(pack, keys)
    try:
        check(inputs, keys)
        made = assemble(inputs, with_proof=True)
    except UNREADABLE as error:
        why = f"the records make no history ({type(error).__name__})"
        raise Broken("CONTENT", "replayProof.events", why) from None
    difference = first_difference(made, pack, "")
    if difference is not None:
        raise Broken("CONTENT", *difference)
    return inputs


def _named(pack: dict[str, Json]) -> dict[str, Json]:
    """The identifiers that the pack states, as far as they have the right form."""
    found = {}
    for name, form in (("paymentIntentId", PAYMENT_ID), ("asOf", AS_OF)):
        value = pack.get(name)
        found[name] = value if isinstance(value, str) and form.fullmatch(value) else None
    return found


def _signer(inputs: Inputs, keys: Mapping[str, Key]) -> dict[str, Json]:
    if inputs.proof is None:
        return {"keyId": None, "fingerprint": None, "keyNote": ""}
    name = inputs.proof.record["keyId"]
    return {"keyId": name, "fingerprint": keys[name].fingerprint, "keyNote": keys[name].note()}


def signed_extent(pack: Mapping[str, Json]) -> tuple[int, int]:
    """The last signed sequence of an assembled pack, and how many of its events, actions and
    rulings are not signed yet.
    """
    statement = pack["statement"]
    through = statement["signedThrough"]
    later = pack["notYetSigned"]
    return through, sum(len(later[name]) for name in ("notExecuted", "rulings")) + (
        statement["lastSequence"] - through
    )


def verdict_of(unsigned: int) -> str:
    """The verdict on a pack in which nothing is broken."""
    return VERIFIED_THROUGH if unsigned else VERIFIED


def read_pack(content: bytes) -> dict[str, Json]:
    """The pack in a file's bytes. Raises Broken if it cannot be verified."""
    pack = read_text(content)
    if pack.get("format") not in (FORMAT, VIEW_FORMAT):
        raise Broken("FORMAT", "format", "it is not an evidence pack")
    if pack["format"] == VIEW_FORMAT:
        raise Broken("VIEW", "format", "it is a masked view, not a proof: it cannot be verified")
    if pack.get("version") != VERSION:
        raise Broken("FORMAT", "version", f"only version {VERSION} is known here")
    if "replayProof" not in pack:
        raise Broken("NO_PROOF", "replayProof", "it was made without its replay proof")
    return pack


def read_text(content: bytes) -> dict[str, Json]:
    """The object in a file's bytes. Raises Broken when they are not its canonical JSON."""

    def pairs(items: list[tuple[str, Json]]) -> dict[str, Json]:
        found = dict(items)
        if len(found) != len(items):
            raise ValueError("a name occurs twice")
        return found

    def refuse(text: str) -> Json:
        raise ValueError(f"{text[:20]} is no integer")

    _check_size(content)
    try:
        found = json.loads(
            content.decode("utf-8"), object_pairs_hook=pairs, parse_float=refuse,
            parse_constant=refuse,
        )  # fmt: skip
        if canonical(found) != content:
            raise ValueError("another text than the canonical one of the same values")
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except (ValueError, RecursionError) as error:
        why = str(error) or type(error).__name__
        raise Broken("FILE", "file", f"it is not canonical JSON: {why}") from None
    return found


def _check_size(content: bytes) -> None:
    """Raises Broken for a text that would need more memory than any pack; before it is parsed."""
    if not content:
        raise Broken("FILE", "file", "it is empty")
    if len(content) > PACK_BYTES_MAX:
        raise Broken("FILE", "file", f"it has more than {PACK_BYTES_MAX} bytes")
    if sum(map(content.count, (b"[", b"{", b",", b":"))) > PACK_VALUES_MAX:
        raise Broken("FILE", "file", f"it has more than {PACK_VALUES_MAX} values")
    depth = 0
    for token in TOKENS.finditer(content):
        first = content[token.start()]
        if first in b"[{":
            depth += 1
        elif first in b"]}":
            depth -= 1
        if depth > PACK_DEPTH_MAX:
            raise Broken("FILE", "file", f"it is nested more than {PACK_DEPTH_MAX} deep")


def read_inputs(pack: dict[str, Json], keys: Mapping[str, Key]) -> Inputs:
    """The inputs of a pack, decoded with schemas that a key has signed. Raises Broken."""
    place = "replayProof"
    try:
        proof = pack["replayProof"]
        schemas, parsed = _schemas(proof["schemas"], keys)
        events = []
        for index, each in enumerate(proof["events"]):
            place = f"replayProof.events[{index}].raw"
            raw = base64.b64decode(each["raw"], validate=True)
            events.append(event_of(_int(each["offset"]), raw, parsed[schema_id_of(raw)]))
        outcomes, commands = [], []
        for index, each in enumerate(proof["outcomes"]):
            place = f"replayProof.outcomes[{index}].raw"
            raw = base64.b64decode(each["raw"], validate=True)
            record = decode(raw, parsed[schema_id_of(raw)])
            outcomes.append((_int(each["partition"]), _int(each["offset"]), raw, record))
            place = f"replayProof.outcomes[{index}].command"
            if is_refused(record):
                given = base64.b64decode(each["command"], validate=True)
                commands.append(command_of(given, parsed[schema_id_of(given)]))
        rulings = []
        for index, each in enumerate(proof["rulings"]):
            place = f"replayProof.rulings[{index}]"
            rulings.append(_read_ruling(each, parsed))
        place = "replayProof.checkpoint"
        checkpoint = _read_checkpoint(proof["checkpoint"], parsed)
        place = "paymentIntentId"
        payment = str(pack["paymentIntentId"])
        partition = _int(proof["partition"])
    except UNREADABLE as error:
        why = f"{type(error).__name__}: {error}"
        raise Broken("UNREADABLE", place, f"it cannot be read ({why})") from None
    return Inputs(payment, partition, events, outcomes, commands, checkpoint, schemas, rulings)


def _read_ruling(listed: Json, parsed: Mapping[int, Json]) -> Ruling:
    acts = []
    for name in ("request", "confirmation"):
        raw = base64.b64decode(listed[name]["raw"], validate=True)
        acts.append((_int(listed[name]["offset"]), command_of(raw, parsed[schema_id_of(raw)])))
    record = listed["record"]
    after = listed["countedAfter"]
    return Ruling(
        *acts[0], *acts[1], str(listed["cluster"]),
        None if record is None else base64.b64decode(record, validate=True),
        None if after is None else _int(after),
    )  # fmt: skip


def _int(value: Json) -> int:
    if type(value) is not int:
        raise ValueError("a number is expected")
    return value


def _schemas(
    listed: dict[str, Json], keys: Mapping[str, Key]
) -> tuple[dict[int, dict[str, Json]], dict[int, Json]]:
    """The schemas as in the pack, and parsed. Raises Broken unless a key has signed each id."""
    shown, parsed = {}, {}
    for text, each in listed.items():
        place, number = f"replayProof.schemas.{text}", int(text)
        if set(each) != {"schema", "sha256", "keyId", "signature"} or str(number) != text:
            raise Broken("SCHEMA", place, "it has other members than a schema's")
        fingerprint = sha256(canonical(each["schema"]))
        if each["sha256"] != fingerprint:
            raise Broken("SCHEMA", place, "the schema has another SHA-256 than is stated")
        if each["keyId"] is None:
            raise Broken("SCHEMA", place, "no key vouches for what this schema id means")
        message = SCHEMA_STATEMENT + number.to_bytes(4, "big") + bytes.fromhex(fingerprint)
        _signed_by(keys, each["keyId"], each["signature"], message, place)
        shown[number] = each
        parsed[number] = parse_schema(each["schema"])
    return shown, parsed


def _signed_by(
    keys: Mapping[str, Key], name: str, signature: str, message: bytes, place: str
) -> None:
    if name not in keys:
        known = ", ".join(sorted(keys)) or "none"
        raise Broken("KEY", place, f"it names key {name}; the key given is {known}")
    try:
        given = bytes.fromhex(signature)
        if given.hex() != signature:
            raise ValueError("not in lower-case hex")
        keys[name].public.verify(given, message)
    except (InvalidSignature, ValueError):
        raise Broken("SIGNATURE", place, f"key {name} did not sign this") from None


def _read_checkpoint(listed: Json, parsed: Mapping[int, Json]) -> Proof | None:
    if listed is None:
        return None
    raw = base64.b64decode(listed["raw"], validate=True)
    number = schema_id_of(raw)
    leaf = listed["leaf"]
    if not isinstance(leaf["path"], list):
        raise ValueError("the path is no list")
    record = decode(raw, parsed[number])
    if not {"number", "toOffset", "toOutcome", "merkleRoot", "keyId", "signature"} <= set(record):
        raise ValueError("it is not a checkpoint")
    path = [bytes.fromhex(each).hex() for each in leaf["path"]]
    return Proof(raw, record, number, _int(leaf["index"]), path)


def check(inputs: Inputs, keys: Mapping[str, Key]) -> int:
    """Check chain, ids, audit path, signature. Returns the last signed sequence. Raises Broken."""
    if not inputs.events:
        raise Broken("CHAIN", "replayProof.events", "there are no events")
    if inputs.events[0].type != "PaymentIntentCreated":
        raise Broken("CHAIN", "replayProof.events[0]", "a history begins with its intent")
    previous, before = "00" * 32, -1
    for index, event in enumerate(inputs.events):
        place, header = f"replayProof.events[{index}]", event.header
        if header["paymentIntentId"] != inputs.payment:
            raise Broken("CHAIN", place, f"it is an event of {header['paymentIntentId']}")
        if header["sequence"] != index + 1:
            found = header["sequence"]
            raise Broken("CHAIN", place, f"expected sequence {index + 1}, found {found}")
        if header["previousHash"] != previous:
            raise Broken("CHAIN", place, "it names another hash than that of the event before it")
        if event.offset <= before:
            raise Broken("CHAIN", f"{place}.offset", "offsets do not rise")
        previous, before = event.hash, event.offset
    before = -1
    for index, (_, offset, _, record) in enumerate(inputs.outcomes):
        place = f"replayProof.outcomes[{index}]"
        if record.get("paymentIntentId") != inputs.payment or "inputType" not in record:
            raise Broken("OUTCOME", place, "it is no outcome of this payment")
        if record["result"] == "MISROUTED":
            raise Broken("OUTCOME", place, "a misrouted record decided nothing about a payment")
        if offset <= before:
            raise Broken("OUTCOME", place, "offsets do not rise")
        before = offset
    refused = [each for each in inputs.outcomes if is_refused(each[3])]
    for command, (_, offset, _, record) in zip(inputs.commands, refused, strict=True):
        if sha256(command.raw) != record["cause"]["inputHash"]:
            place = f"replayProof.outcomes: the command of the outcome at offset {offset}"
            raise Broken("OUTCOME", place, "it is another command than the one that was refused")
    check_rulings(inputs)
    used = {e.schema_id for e in inputs.events}
    used |= {act.schema_id for r in inputs.rulings for act in (r.request, r.confirmation)}
    used |= {schema_id_of(raw) for _, _, raw, _ in inputs.outcomes}
    used |= {each.schema_id for each in inputs.commands}
    used |= set() if inputs.proof is None else {inputs.proof.schema_id}
    if set(inputs.schemas) != used:
        raise Broken("SCHEMA", "replayProof.schemas", "schemas that nothing is written in")
    return 0 if inputs.proof is None else _check_checkpoint(inputs, inputs.proof, keys)


def check_rulings(inputs: Inputs) -> None:
    """Check by hashes that each ruling is one request by one person, confirmed by another, on one
    record. Raises Broken.
    """
    chain = {event.offset: event for event in inputs.events}
    before, after = -1, 0
    for index, each in enumerate(inputs.rulings):
        place = f"replayProof.rulings[{index}]"
        requested, agreed = each.request.record, each.confirmation.record
        if each.request.type != "DispositionRequested" or each.ruling not in RULINGS:
            raise Broken("RULING", f"{place}.request", "it asks for no ruling")
        if (
            requested["paymentIntentId"] != inputs.payment
            or requested["partition"] != inputs.partition
        ):
            raise Broken("RULING", f"{place}.request", "it is about another payment's record")
        if each.confirmation.type != "ActConfirmed":
            raise Broken("RULING", f"{place}.confirmation", "it confirms nothing")
        if agreed["requestOffset"] != each.request_offset:
            raise Broken("RULING", f"{place}.confirmation", "it confirms another request")
        if agreed["signature"]["requestHash"] != each.request_hash():
            raise Broken("RULING", f"{place}.confirmation", "the other person signed another one")
        if requested["actor"].strip().casefold() == agreed["actor"].strip().casefold():
            raise Broken("RULING", f"{place}.confirmation", "one person alone rules nothing")
        if each.offset <= before:
            raise Broken("RULING", place, "the records ruled on do not rise in the journal")
        before = each.offset
        _check_ruled_record(each, chain.get(each.offset), place)
        if each.counted_after is not None:
            if not after <= each.counted_after <= len(answered(inputs)) or inputs.proof is None:
                raise Broken("RULING", f"{place}.countedAfter", "it cannot be counted there")
            after = each.counted_after


def _check_ruled_record(ruling: Ruling, event: Event | None, place: str) -> None:
    named = ruling.request.record["eventHash"]
    if ruling.ruling == FOREIGN:
        if ruling.record is None or sha256(ruling.record) != named:
            raise Broken("RULING", f"{place}.record", "it is not the record that was ruled on")
        if event is not None:
            raise Broken("RULING", place, "what is skipped is in the chain")
    elif ruling.record is not None or (event is not None and event.hash != named):
        raise Broken("RULING", place, "it is not the record that was ruled on")


def _check_checkpoint(inputs: Inputs, proof: Proof, keys: Mapping[str, Key]) -> int:
    place, record = "replayProof.checkpoint", proof.record
    if record["partition"] != inputs.partition:
        found = record["partition"]
        raise Broken(
            "CHECKPOINT", place, f"it is of partition {found}, the events of {inputs.partition}"
        )
    if record["leafVersion"] != LEAF_VERSION:
        found = record["leafVersion"]
        raise Broken("CHECKPOINT", place, f"it has leaves of version {found}, not {LEAF_VERSION}")
    covered, said = covered_through(inputs), answered(inputs)
    if not covered:
        raise Broken("CHECKPOINT", place, "no event of this payment is in its range")
    touched = inputs.events[covered - 1].offset >= record["fromOffset"]
    touched |= any(
        each.counted_after is not None and each.offset >= record["fromOffset"]
        for each in inputs.rulings
    )
    if not touched and not (said and said[-1][1] >= record["fromOutcome"]):
        raise Broken("CHECKPOINT", place, "nothing of this payment is in its range")
    leaf = leaf_hash(inputs.payment, inputs.events[covered - 1], counted(inputs))
    path = [bytes.fromhex(each) for each in proof.path]
    root = bytes.fromhex(record["merkleRoot"])
    if not leads_to(root, leaf, proof.index, record["leaves"], path):
        raise Broken("MERKLE", f"{place}.leaf", "the way from this payment does not lead to it")
    signed = proof.raw[PREFIX_BYTES:-SIGNATURE_FIELD_BYTES] + b"\x00"
    _signed_by(keys, record["keyId"], record["signature"], signed, place)
    problem = keys[record["keyId"]].problem(record["signedAt"])
    if problem is not None:
        raise Broken("KEY", place, problem)
    for number, stated in inputs.schemas.items():
        # A statement has no time of its own: a revoked key's counts beside its own checkpoint.
        key = keys.get(stated["keyId"])
        if stated["keyId"] != record["keyId"] and key is not None and key.revoked_at is not None:
            raise Broken("KEY", f"replayProof.schemas.{number}", "a revoked key states it")
    return covered


def first_difference(expected: Json, found: Json, place: str) -> tuple[str, str] | None:
    """The first place where two values differ, and how; None when they are equal."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in sorted(set(expected) | set(found)):
            here = f"{place}.{name}".lstrip(".")
            if name not in found:
                return here, "it is missing"
            if name not in expected:
                return here, "it does not belong there"
            difference = first_difference(expected[name], found[name], here)
            if difference is not None:
                return difference
        return None
    if isinstance(expected, list) and isinstance(found, list):
        for index, (one, other) in enumerate(zip(expected, found, strict=False)):
            difference = first_difference(one, other, f"{place}[{index}]")
            if difference is not None:
                return difference
        if len(expected) != len(found):
            return place, f"{len(found)} entries, the raw bytes give {len(expected)}"
        return None
    if type(expected) is type(found) and expected == found:
        return None
    return place, "the raw bytes say something else"


# -- the command ---------------------------------------------------------------------------------


def read_keys(content: bytes) -> dict[str, Key]:
    """Public keys by id from a PEM file or a keyring. Raises ValueError."""
    try:
        if content.startswith(b"-----BEGIN"):
            public = load_pem_public_key(content)
            if not isinstance(public, Ed25519PublicKey):
                raise ValueError("the key is not an Ed25519 key")
            listed = [Key(public)]
        else:
            listed = [_listed_key(each) for each in json.loads(content)["keys"]]
    except (*UNREADABLE, UnsupportedAlgorithm) as error:
        raise ValueError(f"neither a public key (PEM) nor a keyring (JSON): {error}") from None
    return {f"ed25519-{key.fingerprint[:16]}": key for key in listed}


def _listed_key(each: dict[str, Json]) -> Key:
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(each["publicKey"]))
    times = [each.get(name) for name in ("validFrom", "validUntil", "revokedAt")]
    return Key(public, *(None if time is None else _int(time) for time in times))


def report(answer: dict[str, Json]) -> list[str]:
    """The answer as lines of text, safe to print on a terminal."""
    lines = [f"SHA-256  {answer['hash']}"]
    if answer.get("paymentIntentId"):
        lines.append(f"payment  {answer['paymentIntentId']}, as of {answer['asOf']}")
    lines += [f"ruling   {ruling_sentence(each)}" for each in answer.get("rulings") or []]
    if answer["problem"] is not None:
        problem = answer["problem"]
        lines.append(f"         {problem['sentence']}")
        lines.append(f"BROKEN: {problem['kind']} at {problem['place']}")
        return [shown(line) for line in lines]
    if answer.get("note"):
        lines.append(f"note     {answer['note']}")
    lines.append(f"state    {answer['state']} at sequence {answer['through']}")
    lines.append(f"signed   up to {answer['through']}, by {answer['keyId']}")
    lines.append(f"         fingerprint {answer['fingerprint']}")
    if answer["keyNote"]:
        lines.append(f"         {answer['keyNote']}")
    lines += [f"         {sentence}" for sentence in answer["says"]]
    lines += [f"not yet signed: {each}" for each in answer["notYetSigned"]]
    lines.append(f"         {EDGE_NOTE}")
    verdict = VERIFIED
    if answer["verdict"] == VERIFIED_THROUGH:
        verdict = f"VERIFIED THROUGH {answer['through']}, {answer['unsigned']} not yet signed"
    return [shown(line) for line in [*lines, verdict]]


def shown(text: str) -> str:
    """One line that is safe to print: invisible and control characters are escaped."""
    safe = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:SHOWN_CHARACTERS_MAX])
    return safe if len(text) <= SHOWN_CHARACTERS_MAX else f"{safe} …"


def main(arguments: Sequence[str]) -> int:
    """The command. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="verify_evidence.py", description=__doc__)
    parser.add_argument("pack", type=Path)
    parser.add_argument("key", type=Path)
    parser.add_argument("--json", action="store_true", help="the answer as one JSON object")
    parser.add_argument("--sha256", help="also compare the JSON's SHA-256 with this one")
    options = parser.parse_args(arguments)
    try:
        if options.key.stat().st_size > KEY_FILE_BYTES_MAX:
            raise ValueError(f"{options.key} is too large for a key")
        keys = read_keys(options.key.read_bytes())
        with options.pack.open("rb") as file:
            content = file.read(PDF_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        print(shown(f"verify_evidence.py: {error}"), file=sys.stderr)
        return 2
    answer = verify_file(content, keys)
    if answer["verified"] and options.sha256 and options.sha256.lower() != answer["hash"]:
        place, why = "file", "it has another SHA-256 than the one given"
        answer |= {"verified": False, "verdict": BROKEN}
        answer["problem"] = {"kind": "SHA256", "place": place, "sentence": why}
    print(json.dumps(answer) if options.json else "\n".join(report(answer)))
    return EXIT_CODES[answer["verdict"]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
