"""Records of the control topic: what is in force, STOP, and acts under dual control.

`signature` proves who acts (docs/decisions/0017). Times are epoch milliseconds.
"""

from __future__ import annotations

from typing import Final, get_args

import msgspec

from core import closed_sets
from core.values import PaymentIntentId
from core.words import Ruling

# Rulings on a journal record, see DispositionRequested.
FOREIGN: Final = "FOREIGN"
TAKEN_AS_RECORDED: Final = "TAKEN_AS_RECORDED"
RULINGS: Final[frozenset[Ruling]] = frozenset(get_args(closed_sets.Ruling))


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts is the record's `actor`; this proves it. See docs/decisions/0017.

    Core carries signatures without checking them; `control.acts` checks them.

    `number` rises with each act of the person and is used once. `request_hash` is the SHA-256 of
    the request that the act confirms, empty for an act that confirms none.
    """

    key_id: str
    number: int
    signed_at: int
    request_hash: bytes = b""
    signature: bytes = b""


class ClusterRecorded(msgspec.Struct, frozen=True, kw_only=True):
    """Written once by `npp topics apply`: the cluster, and the payments' partition count (never
    changes).
    """

    cluster_id: str
    partitions: int
    recorded_at: int
    actor: str


class InputAdded(msgspec.Struct, frozen=True, kw_only=True):
    """An input topic was added after the first start: its partitions are read from offset zero."""

    topic: str
    recorded_at: int
    actor: str
    signature: Signature | None = None


class RuleSetActivated(msgspec.Struct, frozen=True, kw_only=True):
    """The rule set in force from here on. Numbers only rise. The file's SHA-256 pins its
    content.
    """

    number: int
    sha256: bytes
    state_version: int
    event_schema_version: int
    activated_at: int
    actor: str
    signature: Signature | None = None


class SourceMapActivated(msgspec.Struct, frozen=True, kw_only=True):
    """Which sources each command topic may carry, made from topics.yaml. `sources[i]` belong to
    `topics[i]`, comma separated.
    """

    number: int
    topics: tuple[str, ...]
    sources: tuple[str, ...]
    activated_at: int
    actor: str
    signature: Signature | None = None


class ProcessingStopped(msgspec.Struct, frozen=True, kw_only=True):
    """STOP: every process that obeys ends its batch and waits. Written by a person, or after a
    failed proof (`automatic`).
    """

    stop_id: str
    reason: str
    automatic: bool
    stopped_at: int
    actor: str
    cause: str = ""  # of an automatic one: the kind of failure
    signature: Signature | None = None


class ResumeRequested(msgspec.Struct, frozen=True, kw_only=True):
    stop_id: str
    proof_offset: int  # control offset of the ProofPassed that it relies on
    reason: str
    requested_at: int
    actor: str
    signature: Signature | None = None


class ResumeConfirmed(msgspec.Struct, frozen=True, kw_only=True):
    stop_id: str
    request_offset: int
    confirmed_at: int
    actor: str
    signature: Signature | None = None


class ProofPassed(msgspec.Struct, frozen=True, kw_only=True):
    """A replay passed. `scope` names what was proven; `offsets[i]` is the end of partition i's
    journal that it covers.
    """

    scope: str
    fold: bool
    chain: bool
    redecide: bool
    offsets: tuple[int, ...]
    passed_at: int
    actor: str
    identity: bool = False
    money: bool = False
    signature: Signature | None = None


class RedriveRequested(msgspec.Struct, frozen=True, kw_only=True):
    """Redrive quarantined records: `offsets` of `partition` of the quarantine topic. With
    `payment_intent_id` it assigns them to that payment.
    """

    request_id: str
    partition: int
    offsets: tuple[int, ...]
    reason: str
    requested_at: int
    actor: str
    payment_intent_id: PaymentIntentId | None = None
    signature: Signature | None = None


class RedriveConfirmed(msgspec.Struct, frozen=True, kw_only=True):
    request_id: str
    confirmed_at: int
    actor: str
    signature: Signature | None = None


class RedriveDone(msgspec.Struct, frozen=True, kw_only=True):
    """The redriver carried out a confirmed request, or refused it; signed by that process."""

    request_id: str
    redriven: int
    refused: str | None
    done_at: int
    actor: str
    signature: Signature | None = None


class RecoverRequested(msgspec.Struct, frozen=True, kw_only=True):
    """Committed offsets or a log's tail are lost: continue from the journal. Dual control.

    With a `topic`: only skip one unreadable batch of one partition, the offsets `first_offset` to
    `last_offset`.
    """

    request_id: str
    partitions: tuple[int, ...]
    reason: str
    requested_at: int
    actor: str
    topic: str | None = None
    first_offset: int = -1
    last_offset: int = -1
    signature: Signature | None = None


class RecoverConfirmed(msgspec.Struct, frozen=True, kw_only=True):
    """A second person confirmed; written last. `journal_ends[i]` is the end of partition i's
    journal, -1 when it is not recovered; `checkpoints[i]` the number of its last checkpoint, 0 for
    none.

    A record without `journal_ends` comes before that last one and only lists `submissions`:
    references of instructions to pay that are on the log without their event. The confirmation of a
    request to skip a batch has neither.
    """

    request_id: str
    confirmed_at: int
    actor: str
    journal_ends: tuple[int, ...] = ()
    checkpoints: tuple[int, ...] = ()
    submissions: tuple[str, ...] = ()
    signature: Signature | None = None


class UnparkRequested(msgspec.Struct, frozen=True, kw_only=True):
    """Request to resume a parked payment. `sequence` is the payment's last event, which parked it:
    a request is valid for that suspension only. Another person confirms it (ActConfirmed), and
    ResumeProcessing carries it out.
    """

    payment_intent_id: PaymentIntentId
    sequence: int
    reason: str
    requested_at: int
    actor: str
    signature: Signature | None = None


class OperatorsActivated(msgspec.Struct, frozen=True, kw_only=True):
    """The operators file in force from its confirmation on: people, roles and public keys.

    `content` is the whole file, `sha256` its hash. The first one is unsigned.
    """

    number: int
    sha256: bytes
    content: bytes
    activated_at: int
    actor: str
    signature: Signature | None = None


class DispositionRequested(msgspec.Struct, frozen=True, kw_only=True):
    """How readers treat one journal record that the rules do not produce (domain §10). FOREIGN:
    every reader skips it. TAKEN_AS_RECORDED: it stays in fold and chain and is not decided again.

    `event_hash` is the SHA-256 of its raw value; payment, sequence and type are those that it
    names, empty and 0 where it cannot be read. Another person confirms it (ActConfirmed).
    """

    ruling: Ruling
    partition: int
    offset: int
    event_hash: bytes
    payment_intent_id: str
    sequence: int
    event_type: str
    reason: str
    requested_at: int
    actor: str
    signature: Signature | None = None


class ActConfirmed(msgspec.Struct, frozen=True, kw_only=True):
    """A second person confirms the act at this control offset."""

    request_offset: int
    confirmed_at: int
    actor: str
    signature: Signature | None = None


# In force from their confirmation on; the first of each kind needs none.
Activation = RuleSetActivated | SourceMapActivated | OperatorsActivated
PutInForce = ClusterRecorded | Activation | InputAdded
# Confirmed by ActConfirmed.
Act = Activation | InputAdded | UnparkRequested | DispositionRequested
Request = ResumeRequested | RedriveRequested | RecoverRequested | Act
Confirmation = ResumeConfirmed | RedriveConfirmed | RecoverConfirmed | ActConfirmed
PersonsAct = Request | Confirmation
SignedRecord = (
    InputAdded
    | RuleSetActivated
    | SourceMapActivated
    | ProcessingStopped
    | ResumeRequested
    | ResumeConfirmed
    | ProofPassed
    | RedriveRequested
    | RedriveConfirmed
    | RedriveDone
    | RecoverRequested
    | RecoverConfirmed
    | UnparkRequested
    | OperatorsActivated
    | DispositionRequested
    | ActConfirmed
)
ControlRecord = ClusterRecorded | SignedRecord

CONTROL_RECORDS: tuple[type[msgspec.Struct], ...] = get_args(ControlRecord)
