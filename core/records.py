"""Records beside a payment's history: outcomes, the lifecycle record, control, checkpoints, audit,
the adapter's own record.

Times are epoch milliseconds.
"""

from __future__ import annotations

from typing import Final

import msgspec

from core.header import Cause
from core.values import Cents, ExternalRef, PaymentIntentId
from core.words import FailureReasonName, FundsStatus, MoneyOutcomeName, Overdue, StateName

STATE_VERSION = 1  # of the snapshot inside PaymentLifecycle
SENTENCE_MAX = 1_000  # characters
# Rulings on a journal record, see DispositionRequested.
FOREIGN: Final = "FOREIGN"
TAKEN_AS_RECORDED: Final = "TAKEN_AS_RECORDED"
RULINGS: Final = frozenset({FOREIGN, TAKEN_AS_RECORDED})


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an input: result ACCEPTED, DUPLICATE, REJECTED, NO_EFFECT, MISROUTED or
    QUARANTINED.

    `code` and `rule` name a refusal; `from_sequence`..`to_sequence` the events it made, or, for a
    duplicate, those of the first result.
    """

    payment_intent_id: PaymentIntentId
    cause: Cause
    input_type: str
    result: str
    code: str | None
    rule: str | None
    sentence: str | None
    first_difference: str | None
    decided_at: int
    rule_set: int
    from_sequence: int
    to_sequence: int
    state: str | None
    money_outcome: str | None
    expected: str | None = None
    actual: str | None = None


class PaymentLifecycle(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The compacted record of a payment: what others may read by name, and the engine's packed
    `snapshot`.

    The first two fields are read by themselves during a restore. `head_hash` is the SHA-256 of the
    last event's raw value.
    """

    at_rest: bool
    deadline: int | None
    payment_intent_id: PaymentIntentId
    state_version: int
    sequence: int
    head_hash: bytes
    last_lifecycle_event: str
    state: StateName
    money_outcome: MoneyOutcomeName
    reason: FailureReasonName | None
    attempt: int
    external_ref: ExternalRef | None
    amount: Cents
    currency: str
    funds: FundsStatus
    open_conflicts: int
    overdue: Overdue | None
    waiting_for_person: bool
    rule_set: int
    decided_at: int
    snapshot: bytes


# --- control topic --------------------------------------------------------------------------------


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts is the record's `actor`; this proves it. See docs/decisions/0017.

    Core carries signatures and never judges them: `control.acts` does.

    `number` rises with each act of the person and is used once. `request_hash` is the SHA-256 of
    the request that the act confirms, empty for an act that confirms none.
    """

    key_id: str
    number: int
    signed_at: int
    request_hash: bytes = b""
    signature: bytes = b""


class ClusterRecorded(msgspec.Struct, frozen=True, kw_only=True):
    """Written once by `npp topics apply`: the cluster, the payments' partition count (fixed for
    life).
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
    """STOP: everything that obeys ends its batch and waits. By a person, or by a failed proof
    (`automatic`).
    """

    stop_id: str
    reason: str
    automatic: bool
    stopped_at: int
    actor: str
    cause: str = ""  # of an automatic one: what failed, in one word
    signature: Signature | None = None


class ResumeRequested(msgspec.Struct, frozen=True, kw_only=True):
    stop_id: str
    proof_offset: int  # of the ProofPassed on the control topic that it rests on
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
    """A replay passed. `scope` names what was proven; `offsets[i]` is the journal end of partition
    i it covers.
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
    """Put quarantined records back: `offsets` of `partition` of the quarantine topic. Assignment
    when `payment_intent_id` is set.
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
    """The redriver carried out a confirmed request, or refused; signed by that process."""

    request_id: str
    redriven: int
    refused: str | None
    done_at: int
    actor: str
    signature: Signature | None = None


class RecoverRequested(msgspec.Struct, frozen=True, kw_only=True):
    """Committed offsets or a log's tail are lost: go on from what the journal records. Two
    persons.

    With a `topic`: pass over one batch of its one partition that nobody can read, the offsets
    from `first_offset` to `last_offset`, and nothing else.
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
    """A second person agreed; written last. `journal_ends[i]` is the end of partition i's journal,
    -1 when it is not recovered; `checkpoints[i]` the number of its last checkpoint, 0 for none.

    A record without `journal_ends` comes before that last one and only lists `submissions`:
    references of instructions to pay that are on the log without their event. That of a request
    to pass a batch over has neither.
    """

    request_id: str
    confirmed_at: int
    actor: str
    journal_ends: tuple[int, ...] = ()
    checkpoints: tuple[int, ...] = ()
    submissions: tuple[str, ...] = ()
    signature: Signature | None = None


class UnparkRequested(msgspec.Struct, frozen=True, kw_only=True):
    """Take a parked payment up again. `sequence` is the payment's last event, which parked it: a
    request serves that parking and no later one. Another person confirms it (ActConfirmed), and
    ResumeProcessing carries it out.
    """

    payment_intent_id: PaymentIntentId
    sequence: int
    reason: str
    requested_at: int
    actor: str
    signature: Signature | None = None


class OperatorsActivated(msgspec.Struct, frozen=True, kw_only=True):
    """The operators file in force from its confirmation on: persons, roles and public keys.

    `content` is the whole file, `sha256` its hash. The first one is unsigned.
    """

    number: int
    sha256: bytes
    content: bytes
    activated_at: int
    actor: str
    signature: Signature | None = None


class DispositionRequested(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one journal record that the rules do not give (domain §10). FOREIGN: every
    reader skips it. TAKEN_AS_RECORDED: it stays in fold and chain and is not decided again.

    `event_hash` is the SHA-256 of its raw value; payment, sequence and type are those that it
    names, empty and 0 where it cannot be read. Another person confirms it (ActConfirmed).
    """

    ruling: str
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
    """A second person agrees to the act at this control offset that waits for one."""

    request_offset: int
    confirmed_at: int
    actor: str
    signature: Signature | None = None


# --- proof ----------------------------------------------------------------------------------------


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The verifier's signed statement about journal offsets `from_offset`..`to_offset` (inclusive)
    of one partition, and about the outcomes of its operator commands among the offsets
    `from_outcome`..`to_outcome`. An empty range ends one before it begins.

    `signature` is Ed25519 over the checkpoint's Avro bytes with an empty signature; leaves as in
    RFC 6962.
    """

    partition: int
    number: int
    leaf_version: int
    from_offset: int
    to_offset: int
    outcomes_partition: int
    from_outcome: int
    to_outcome: int
    leaves: int
    merkle_root: bytes
    previous_checkpoint: (
        bytes  # SHA-256 of the previous checkpoint's raw value, 32 zero bytes for number 1
    )
    signed_at: int
    key_id: str
    signature: bytes


# --- audit ----------------------------------------------------------------------------------------


class OperatorAudit(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was asked of the API and did not become a command: refused at the edge, an
    export, a look at personal data, a refused sign-in. Commands are audited by their own record.

    `operator_id` is the authenticated principal, `anonymous` when there was none. `status` is the
    HTTP status answered; `detail` is JSON text of what else is known. It never holds tokens,
    account numbers or names of parties.
    """

    audit_id: str
    at: int
    operator_id: str
    roles: tuple[str, ...]
    action: str
    method: str
    path: str
    status: int
    token_id: str | None = None
    client_id: str | None = None
    payment_intent_id: str | None = None
    reason: str | None = None
    approval_id: str | None = None
    code: str | None = None
    rule: str | None = None
    sentence: str | None = None
    command_id: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    detail: str | None = None


# --- rail adapter ---------------------------------------------------------------------------------


class RailSubmission(msgspec.Struct, frozen=True, kw_only=True):
    """The rail adapter's own record of one externalRef.

    phase SUBMITTING is written (acks=all) before the HTTP call; then SUBMITTED, REFUSED, WITHDRAWN,
    NOT_SUBMITTED.
    """

    external_ref: ExternalRef
    payment_intent_id: PaymentIntentId
    phase: str
    submit_before: int
    at: int
    tries: int
    rail_ref: str | None = None
    technical_result: str | None = None


CONTROL_RECORDS: tuple[type[msgspec.Struct], ...] = (
    ClusterRecorded,
    InputAdded,
    RuleSetActivated,
    SourceMapActivated,
    ProcessingStopped,
    ResumeRequested,
    ResumeConfirmed,
    ProofPassed,
    RedriveRequested,
    RedriveConfirmed,
    RedriveDone,
    RecoverRequested,
    RecoverConfirmed,
    UnparkRequested,
    OperatorsActivated,
    DispositionRequested,
    ActConfirmed,
)
