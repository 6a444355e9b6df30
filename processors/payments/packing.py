"""The state of a payment as bytes on the lifecycle topic and in the store, and back; folded again
from the journal where these bytes are wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

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


class Known(msgspec.Struct, gc=False):
    """A payment, the hash of its last event's raw value, and whether nothing is outstanding."""

    payment: Payment
    head: bytes
    at_rest: bool


class Packing:
    """What engine.ports.Application asks of packed states."""

    def __init__(
        self, codec: Codec, topology: EngineTopology, rules_of: Callable[[int], Rules]
    ) -> None:
        self._codec = codec
        self._state = topology.state
        self._journal = topology.journal
        self._rules_of = rules_of
        self._prefix = prefix(codec.schema_id(topology.state, PaymentLifecycle.__name__))

    def unpack(self, packed: bytes) -> Known:
        """The state in a lifecycle record. Raises ValueError for what is none, DependencyDown when
        its schema has to be asked for and the registry does not answer."""
        try:
            record = self._codec.decode(self._state, packed, None)
        except Undecodable as error:
            raise ValueError(f"a lifecycle record that cannot be read: {error.reason}") from error
        except RegistryDown as error:
            raise DependencyDown(str(error)) from error
        if type(record) is not PaymentLifecycle:
            raise ValueError("not a lifecycle record")
        return Known(payment_state.unpack(record.snapshot), record.head_hash, record.at_rest)

    def hints(self, packed: bytes) -> tuple[bool, int | None]:
        """(at rest, deadline) of a lifecycle record. Raises ValueError for what is none; the inside
        of a record that this release has written is not looked at."""
        if packed[:PREFIX_LENGTH] != self._prefix:
            self.unpack(packed)  # of another version, or a foreign hand's
        return lifecycle_hints(packed)

    def differing(
        self,
        records: Sequence[tuple[int, bytes, bytes]],
        get_packed: Callable[[str], bytes | None],
    ) -> list[str]:
        """Payments whose last event in the journal's tail is not the head that the restored state
        names, or whose state cannot be read.
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
        """The lifecycle record folded from the whole history of one payment. Raises ValueError for
        an event that cannot be read or does not follow, ForeignRecord when `packed`, the record
        there is, is that of an earlier event, or when there is none: what follows was not written
        by us.
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
