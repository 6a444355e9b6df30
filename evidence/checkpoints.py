"""Signed checkpoints: what a verifier states about a range of one journal partition.

A checkpoint says "complete up to here"; only the log itself can show that nothing came later
(domain §10). The signature covers the record's Avro bytes (no wire prefix) with an empty signature
field. That field stays the last of the schema, so the signed bytes can be computed from the raw
ones without the schema.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from control.acts.key_file import SigningKey
from core.records import Checkpoint
from core.recovery_point import RecoveryPoint, is_void
from evidence.chain import WIRE_PREFIX_BYTES, ZERO_HASH
from evidence.keys import SIGNATURE_BYTES, Keyring
from evidence.merkle import LEAF_VERSION, LeafData, payments_root
from schemas.codec import Codec
from schemas.codec.wire import Headers
from schemas.errors import Undecodable
from schemas.topology import CHECKPOINTS

EMPTY_SIGNATURE: Final = b"\x00"  # Avro bytes of length 0
SIGNATURE_LENGTH: Final = b"\x80\x01"  # Avro length 64, zigzag
SIGNATURE_FIELD_BYTES: Final = len(SIGNATURE_LENGTH) + SIGNATURE_BYTES

UNREADABLE: Final = "CHECKPOINT_UNREADABLE"
WRONG_PARTITION: Final = "CHECKPOINT_WRONG_PARTITION"
UNKNOWN_KEY: Final = "CHECKPOINT_UNKNOWN_KEY"
SIGNATURE: Final = "CHECKPOINT_SIGNATURE"
KEY_PERIOD: Final = "CHECKPOINT_KEY_PERIOD"
NUMBER: Final = "CHECKPOINT_NUMBER"
PREVIOUS: Final = "CHECKPOINT_PREVIOUS"
RANGE: Final = "CHECKPOINT_RANGE"
LEAVES: Final = "CHECKPOINT_LEAF_VERSION"
ROOT: Final = "CHECKPOINT_ROOT"
MISSING: Final = "CHECKPOINT_MISSING"
ALTERED: Final = "CHECKPOINT_ALTERED"


class CheckpointProblem(msgspec.Struct, frozen=True):
    """The first thing wrong with a chain of checkpoints; `number` is the checkpoint's."""

    kind: str
    partition: int
    number: int
    first_difference: str

    def sentence(self) -> str:
        """One line that names partition, checkpoint number and first difference."""
        return (
            f"{self.kind}: partition {self.partition} checkpoint {self.number}: "
            f"{self.first_difference}"
        )


class Sealed(msgspec.Struct, frozen=True):
    """A checkpoint and its raw value, as it is (or will be) on the log."""

    checkpoint: Checkpoint
    raw: bytes

    @property
    def hash(self) -> bytes:
        """SHA-256 of the raw value: the next checkpoint's `previous_checkpoint`."""
        return hashlib.sha256(self.raw).digest()


def decode_checkpoint(
    codec: Codec, raw: bytes | None, headers: Headers | None = None
) -> Checkpoint:
    """The record of the checkpoint topic. Raises ValueError for anything but a checkpoint."""
    try:
        record = codec.decode(CHECKPOINTS, raw, headers)
    except Undecodable as error:
        raise ValueError(error.reason) from error
    if not isinstance(record, Checkpoint):
        raise ValueError(f"a {type(record).__name__} on the checkpoint topic")
    return record


class Range:
    """The payments touched since the last checkpoint, each in its latest state.

    `before(payment)` gives a payment as of the last checkpoint, None for one that was never
    touched. Without it, all payments are kept in memory.
    """

    def __init__(self, before: Callable[[str], LeafData | None] | None = None) -> None:
        self._leaves: dict[str, LeafData] = {}
        self._rulings: list[tuple[int, str, bytes]] = []
        self._kept: dict[str, LeafData] = {}
        self._before = before or self._kept.get

    def __len__(self) -> int:
        ruled = {payment for _, payment, _ in self._rulings}
        return len(self._leaves) + len(ruled - self._leaves.keys())

    def touch(self, payment: str, sequence: int, event_hash: bytes) -> None:
        """An event of the range, in log order."""
        self._leaves[payment] = self._now(payment).with_event(sequence, event_hash)

    def answer(self, payment: str, outcome_hash: bytes) -> None:
        """The outcome of an operator command in the range, in log order."""
        self._leaves[payment] = self._now(payment).with_outcome(outcome_hash)

    def rule(self, payment: str, request_hash: bytes, ruled_at: int) -> None:
        """A ruling on a record of the range that names this payment, in log order. `ruled_at`: the
        append time of its confirmation, epoch ms.
        """
        self._rulings.append((ruled_at, payment, request_hash))

    def ruled_at(self) -> int:
        """The append time of the last of these rulings (epoch ms); 0 for none."""
        return max((at for at, _, _ in self._rulings), default=0)

    def apply_rulings(self, signed_at: int) -> None:
        """Count rulings like outcomes, and after them. One that is later than `signed_at` (epoch
        ms) is in no leaf: its record was signed before the ruling.
        """
        for at, payment, request_hash in self._rulings:
            if at <= signed_at:
                self.answer(payment, request_hash)
        self._rulings.clear()

    def get(self, payment: str) -> LeafData | None:
        """The payment in its current state, if it was touched."""
        return self._leaves.get(payment)

    def _now(self, payment: str) -> LeafData:
        return self._leaves.get(payment) or self._before(payment) or LeafData(payment)

    def leaves(self) -> list[LeafData]:
        """The touched payments, not sorted."""
        return list(self._leaves.values())

    def by_payment(self) -> dict[str, LeafData]:
        """The leaves, as they are now."""
        return dict(self._leaves)

    def root(self) -> bytes:
        """Merkle root over the touched payments."""
        return payments_root(self.leaves())

    def clear(self) -> None:
        """Begin the next range."""
        if self._before == self._kept.get:
            self._kept.update(self._leaves)
        self._leaves.clear()
        self._rulings.clear()


class Begin(msgspec.Struct, frozen=True):
    """The first offset of the next checkpoint, in the journal and among the outcomes."""

    offset: int = 0
    outcome: int = 0


class End(msgspec.Struct, frozen=True):
    """The last offset that a checkpoint covers, in the journal and among the outcomes; -1 if it
    covers none and none was covered before.
    """

    offset: int
    outcome: int = -1
    outcomes_partition: int = 0


def build(
    partition: int,
    previous: Sealed | None,
    touched: Range,
    end: End,
    signed_at: int,
    key_id: str,
    begin: Begin | None = None,
) -> Checkpoint:
    """The next checkpoint, not yet signed. It begins at `begin`; without that, directly after
    `previous`. `signed_at` (epoch ms) is raised to the previous checkpoint's and to that of the
    last ruling.
    """
    before = None if previous is None else previous.checkpoint
    if begin is None:
        begin = _behind(before)
    signed_at = max(signed_at, touched.ruled_at(), 0 if before is None else before.signed_at)
    touched.apply_rulings(signed_at)
    return Checkpoint(
        partition=partition,
        number=1 if before is None else before.number + 1,
        leaf_version=LEAF_VERSION,
        from_offset=begin.offset,
        to_offset=end.offset,
        outcomes_partition=end.outcomes_partition,
        from_outcome=begin.outcome,
        to_outcome=end.outcome,
        leaves=len(touched),
        merkle_root=touched.root(),
        previous_checkpoint=ZERO_HASH if previous is None else previous.hash,
        signed_at=signed_at,
        key_id=key_id,
        signature=b"",
    )


def _behind(checkpoint: Checkpoint | None) -> Begin:
    if checkpoint is None:
        return Begin()
    return Begin(checkpoint.to_offset + 1, checkpoint.to_outcome + 1)


def seal(draft: Checkpoint, key: SigningKey, encode: Callable[[Checkpoint], bytes]) -> Sealed:
    """Sign a draft. `encode` gives the whole value: wire prefix and Avro bytes. Raises ValueError
    when the signature is not the schema's last field.
    """
    unsigned = encode(msgspec.structs.replace(draft, signature=b""))
    if unsigned[-1:] != EMPTY_SIGNATURE:
        raise ValueError("the signature is not the checkpoint schema's last field")
    signature = key.sign(unsigned[WIRE_PREFIX_BYTES:])
    signed = msgspec.structs.replace(draft, signature=signature)
    return Sealed(signed, encode(signed))


def signed_bytes(raw: bytes) -> bytes:
    """What the signature of this raw checkpoint covers. Raises ValueError when it has none."""
    avro = raw[WIRE_PREFIX_BYTES:]
    field = avro[-SIGNATURE_FIELD_BYTES:]
    if len(field) < SIGNATURE_FIELD_BYTES or not field.startswith(SIGNATURE_LENGTH):
        raise ValueError("the value does not end with a 64-byte signature")
    return avro[:-SIGNATURE_FIELD_BYTES] + EMPTY_SIGNATURE


def signature_problem(sealed: Sealed, keyring: Keyring) -> CheckpointProblem | None:
    """What is wrong with a checkpoint's key or signature, or None."""
    checkpoint = sealed.checkpoint
    partition, number = checkpoint.partition, checkpoint.number
    if checkpoint.key_id not in keyring:
        return CheckpointProblem(
            UNKNOWN_KEY, partition, number, f"key {checkpoint.key_id} is not in the keyring"
        )
    try:
        message = signed_bytes(sealed.raw)
    except ValueError as error:
        return CheckpointProblem(SIGNATURE, partition, number, str(error))
    if not keyring.verifies(checkpoint.key_id, checkpoint.signature, message):
        return CheckpointProblem(
            SIGNATURE, partition, number, f"key {checkpoint.key_id} did not sign these bytes"
        )
    problem = keyring.problem(checkpoint.key_id, checkpoint.signed_at)
    return None if problem is None else CheckpointProblem(KEY_PERIOD, partition, number, problem)


class CheckpointChain:
    """Checks a partition's checkpoints in order, from number 1 or after a known one."""

    def __init__(
        self,
        partition: int,
        keyring: Keyring | None,
        last: Sealed | None = None,
        recovery_points: Sequence[RecoveryPoint] = (),
    ) -> None:
        """Without a keyring, everything except the signatures is checked. `last` must not be void:
        a checkpoint is void when the records that it covers were lost (`npp control recover`).
        """
        self.partition = partition
        self.last = last
        self.covering = last  # the last one that is not void
        self.recovery_points = recovery_points
        self._keyring = keyring

    def begin(self) -> Begin:
        """Where the next checkpoint starts: after the last one. If that is the last void checkpoint
        of a recovery, after the last one that is not void.
        """
        last = None if self.last is None else self.last.checkpoint
        if last is None:
            return Begin()
        if not any(g.checkpoint == last.number and g.voids(last) for g in self.recovery_points):
            return _behind(last)
        return _behind(None if self.covering is None else self.covering.checkpoint)

    def feed(self, sealed: Sealed) -> CheckpointProblem | None:
        """Check the next checkpoint. Returns the first problem, or None; then it is `last`."""
        problem = self._position(sealed.checkpoint)
        if problem is None and self._keyring is not None:
            problem = signature_problem(sealed, self._keyring)
        if problem is None:
            self.last = sealed
            if not is_void(sealed.checkpoint, self.recovery_points):
                self.covering = sealed
        return problem

    def _position(self, found: Checkpoint) -> CheckpointProblem | None:
        def problem(kind: str, difference: str) -> CheckpointProblem:
            return CheckpointProblem(kind, self.partition, found.number, difference)

        before = None if self.last is None else self.last.checkpoint
        number = 1 if before is None else before.number + 1
        if found.partition != self.partition:
            return problem(WRONG_PARTITION, f"it speaks of partition {found.partition}")
        if found.number != number:
            return problem(NUMBER, f"expected number {number}, found {found.number}")
        if found.previous_checkpoint != (ZERO_HASH if self.last is None else self.last.hash):
            return problem(PREVIOUS, "it names another checkpoint before it than the one there")
        if found.leaf_version != LEAF_VERSION:
            return problem(LEAVES, f"expected version {LEAF_VERSION}, found {found.leaf_version}")
        begin = self.begin()
        events = found.to_offset - begin.offset + 1  # none is allowed, when there are outcomes
        outcomes = found.to_outcome - begin.outcome + 1
        if (
            (found.from_offset, found.from_outcome) != (begin.offset, begin.outcome)
            or min(events, outcomes) < 0
            or max(events, outcomes) < 1
        ):
            return problem(
                RANGE,
                f"expected a range from offset {begin.offset} and outcome {begin.outcome}, found "
                f"{found.from_offset} to {found.to_offset} and {found.from_outcome} to "
                f"{found.to_outcome}",
            )
        return None


def root_problem(checkpoint: Checkpoint, touched: Range) -> CheckpointProblem | None:
    """Compare a checkpoint with the payments that the log has in its range."""
    touched.apply_rulings(checkpoint.signed_at)
    computed = touched.root()
    if (checkpoint.leaves, checkpoint.merkle_root) == (len(touched), computed):
        return None
    return CheckpointProblem(
        ROOT,
        checkpoint.partition,
        checkpoint.number,
        f"offsets {checkpoint.from_offset} to {checkpoint.to_offset} and outcomes "
        f"{checkpoint.from_outcome} to {checkpoint.to_outcome} give {len(touched)} payments "
        f"and root {computed.hex()}, it states {checkpoint.leaves} and "
        f"{checkpoint.merkle_root.hex()}",
    )
