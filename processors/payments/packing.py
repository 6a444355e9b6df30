"""Packs a payment's state into the bytes of the lifecycle topic and the store, and unpacks it.
If these bytes are wrong, the state is folded from the journal again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from core.payment import state as payment_state
from core.payment.deadlines import with_deadline
from core.payment.evolve import evolve
from core.payment.lifecycle_record import lifecycle_record
from core.payment.state import CorruptHistory, Payment
from core.records import PaymentLifecycle
from core.rules import Rules
from core.values import ZERO_HASH
from engine.ports import DependencyDown, EngineTopology, ForeignRecord
from schemas.codec import Codec
from schemas.codec.lifecycle_prefix import PREFIX_LENGTH, lifecycle_hints
from schemas.codec.wire import prefix
from schemas.errors import RegistryDown, Undecodable

# The short form: one byte that says whether it is at rest, the head hash, the snapshot.
OPEN: Final = b"\x00"
AT_REST: Final = b"\x01"
HEAD_AT: Final = 1
SNAPSHOT_AT: Final = HEAD_AT + len(ZERO_HASH)


class Known(msgspec.Struct, gc=False):
    """A payment, its head hash (SHA-256 of its last event's raw value), whether it is at rest, and
    the packed payment as in its lifecycle record.
    """

    payment: Payment
    head: bytes
    at_rest: bool
    snapshot: bytes


class Packing:
    """The part of engine.ports.Application that deals with packed states."""

    def __init__(
        self, codec: Codec, topology: EngineTopology, rules_of: Callable[[int], Rules]
    ) -> None:
        self._codec = codec
        self._state = topology.state
        self._journal = topology.journal
        self._rules_of = rules_of
        self._prefix = prefix(codec.schema_id(topology.state, PaymentLifecycle.__name__))

    def unpack(self, packed: bytes) -> Known:
        """The state in a lifecycle record. Raises ValueError for other bytes, DependencyDown if the
        schema must be fetched and the registry does not answer.
        """
        try:
            record = self._codec.decode(self._state, packed, None)
        except Undecodable as error:
            raise ValueError(f"a lifecycle record that cannot be read: {error.reason}") from error
        except RegistryDown as error:
            raise DependencyDown(str(error)) from error
        if type(record) is not PaymentLifecycle:
            raise ValueError("not a lifecycle record")
        payment = payment_state.unpack(record.snapshot)
        return Known(payment, record.head_hash, record.at_rest, record.snapshot)

    def pack_short(self, known: Known) -> bytes:
        """The part of a lifecycle record that the engine needs: the rest follows from it."""
        return (AT_REST if known.at_rest else OPEN) + known.head + known.snapshot

    def unpack_short(self, short: bytes) -> Known:
        """The inverse of `pack_short`."""
        snapshot = short[SNAPSHOT_AT:]
        payment = payment_state.unpack(snapshot)
        return Known(payment, short[HEAD_AT:SNAPSHOT_AT], short[:HEAD_AT] == AT_REST, snapshot)

    def hints(self, packed: bytes) -> tuple[bool, int | None]:
        """(at rest, deadline in epoch ms or None) of a lifecycle record, without decoding it fully
        if it has this release's schema. Raises ValueError for other bytes, DependencyDown as
        `unpack`.
        """
        if packed[:PREFIX_LENGTH] != self._prefix:
            self.unpack(packed)  # of another version, or a foreign writer's
        return lifecycle_hints(packed)

    def differing(
        self,
        records: Sequence[tuple[int, bytes, bytes]],
        get_packed: Callable[[str], bytes | None],
    ) -> list[str]:
        """Payments whose restored state is missing or unreadable, or has another head hash than
        their last event in `records`, the journal's tail as (offset, key, value).
        """
        last: dict[str, bytes] = {}
        for _, key, value in records:
            last[key.decode(errors="replace")] = value
        differing = []
        for payment_id, value in last.items():
            packed = get_packed(payment_id)
            if packed is None or self._head_of(packed) != hashlib.sha256(value).digest():
                differing.append(payment_id)
        return differing

    def _head_of(self, packed: bytes) -> bytes | None:
        try:
            return self.unpack(packed).head
        except ValueError:
            return None

    def folded(self, history: Sequence[bytes], packed: bytes | None) -> bytes | None:
        """The lifecycle record folded from one payment's whole history; None if that is empty.

        Raises ValueError for an event that is unreadable or does not follow. Raises ForeignRecord
        if `packed`, the existing record, is missing or belongs to an earlier event: we write event
        and record in one transaction, so the later events are not ours.
        """
        if history and not packed:
            raise ForeignRecord("sequence 1 came without its lifecycle record")
        head = self._head_of(packed) if packed else None
        hashes = [hashlib.sha256(raw).digest() for raw in history]
        if head in hashes[:-1]:
            follows = hashes.index(head) + 2
            raise ForeignRecord(f"sequence {follows} came without its lifecycle record")
        payment: Payment | None = None
        head = ZERO_HASH
        for raw in history:
            try:
                payment = evolve(payment, self._codec.decode(self._journal, raw, None))
            except (Undecodable, CorruptHistory) as error:
                raise ValueError(str(error)) from error
            head = hashlib.sha256(raw).digest()
        if payment is None:
            return None
        payment = with_deadline(payment, self._rules_of(payment.rule_set))
        return self._codec.encode(self._state, lifecycle_record(payment, head))
