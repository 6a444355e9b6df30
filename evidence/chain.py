"""The hash chain of each payment: every event has the SHA-256 of the raw value of the payment's
previous event (domain §10).

A pure checker of raw records. It reads three header fields from the bytes themselves, so it needs
no schema and no registry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

ZERO_HASH: Final = bytes(32)  # previousHash of sequence 1
HASH_BYTES: Final = 32
WIRE_PREFIX_BYTES: Final = 5  # magic byte 0 and the schema id
ID_BYTES_MAX: Final = 64  # a paymentIntentId has 29; more is not one of ours
TEXT_BYTES_MAX: Final = 249  # a topic's name, the longest text of a cause
VARINT_BYTES_MAX: Final = 10  # 64 bits in groups of seven
BROKEN_REMEMBERED_MAX: Final = 10_000  # payments with a broken chain that are remembered

# What can be wrong with a record of the journal.
FOREIGN_EVENT: Final = "FOREIGN_EVENT"
SEQUENCE_GAP: Final = "SEQUENCE_GAP"
SEQUENCE_REPEATED: Final = "SEQUENCE_REPEATED"
PREVIOUS_HASH: Final = "PREVIOUS_HASH"


class Head(msgspec.Struct, frozen=True, gc=False):
    """The last event of a payment: its sequence and the SHA-256 of its whole raw value."""

    sequence: int
    hash: bytes


class Link(msgspec.Struct, frozen=True, gc=False):
    """The header fields of an event that make the chain."""

    payment_intent_id: str
    sequence: int
    previous_hash: bytes


class Break(msgspec.Struct, frozen=True):
    """The first thing wrong with a payment's chain. `sequence` is 0 when none could be read."""

    kind: str
    payment: str
    sequence: int
    partition: int
    offset: int
    first_difference: str

    def sentence(self) -> str:
        """One line that names payment, sequence, offset and first difference."""
        return (
            f"{self.kind}: payment {self.payment} sequence {self.sequence} at partition "
            f"{self.partition} offset {self.offset}: {self.first_difference}"
        )


class Heads(Protocol):
    """Where the checker keeps each payment's head. Never filled from the lifecycle topic."""

    def get(self, payment: str) -> Head | None:
        """The payment's last good event, or None when it was never seen."""

    def put(self, payment: str, head: Head) -> None:
        """The payment's new last event."""


class MemoryHeads:
    """Heads in a dictionary, for small numbers of payments."""

    def __init__(self) -> None:
        self.heads: dict[str, Head] = {}

    def get(self, payment: str) -> Head | None:
        return self.heads.get(payment)

    def put(self, payment: str, head: Head) -> None:
        self.heads[payment] = head


def event_hash(value: bytes) -> bytes:
    """SHA-256 over the whole raw value bytes, as they are on the log."""
    return hashlib.sha256(value).digest()


def read_link(value: bytes) -> Link:
    """The chain's fields from an event's raw bytes; every event's schema begins with them.

    Raises ValueError when the bytes cannot be an event of ours.
    """
    if len(value) < WIRE_PREFIX_BYTES or value[0] != 0:
        raise ValueError("the value does not begin with the magic byte and a schema id")
    try:
        length, at = _read_long(value, WIRE_PREFIX_BYTES)
        if not 0 < length <= ID_BYTES_MAX:
            raise ValueError(f"the payment id would have {length} bytes")
        payment = value[at : at + length].decode()
        sequence, at = _read_long(value, at + length)
    except IndexError:
        raise ValueError("the value ends within the event header") from None
    previous = value[at : at + HASH_BYTES]
    if len(previous) != HASH_BYTES:
        raise ValueError("the value ends within previousHash")
    return Link(payment, sequence, previous)


class RawCause(msgspec.Struct, frozen=True, gc=False):
    """The place of an event's input, and its cluster."""

    cluster_id: str
    topic: str
    partition: int
    offset: int


def read_cause(value: bytes) -> RawCause:
    """The cause from an event's raw bytes, where it follows the chain's fields. Raises
    ValueError.
    """
    try:
        length, at = _read_long(value, WIRE_PREFIX_BYTES)
        _, at = _read_long(value, at + length)  # sequence
        _, at = _read_long(value, at + HASH_BYTES)  # decidedAt
        texts = []
        for _ in range(2):
            length, at = _read_long(value, at)
            if not 0 <= length <= TEXT_BYTES_MAX:
                raise ValueError(f"a text of the cause would have {length} bytes")
            texts.append(value[at : at + length].decode())
            at += length
        partition, at = _read_long(value, at)
        offset, at = _read_long(value, at)
    except IndexError:
        raise ValueError("the value ends within the event header") from None
    return RawCause(texts[0], texts[1], partition, offset)


def _read_long(data: bytes, at: int) -> tuple[int, int]:
    """An Avro long (zigzag varint) and where the next field begins."""
    result = 0
    for index in range(VARINT_BYTES_MAX):
        byte = data[at + index]
        result |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return (result >> 1) ^ -(result & 1), at + index + 1
    raise ValueError("a number longer than 64 bits")


class ChainChecker:
    """Follows the chains of one partition, record by record in log order.

    The first break of a payment is returned once; its later events are counted and skipped, while
    every other payment is still checked.
    """

    def __init__(
        self,
        partition: int,
        heads: Heads,
        *,
        partition_of: Callable[[bytes], int] | None = None,
    ) -> None:
        self.partition = partition
        self.events = 0
        self.passed_over = 0
        self.broken: dict[str, Break] = {}
        self._heads = heads
        self._partition_of = partition_of

    def feed(
        self, offset: int, key: bytes | None, value: bytes | None, digest: bytes | None = None
    ) -> Link | Break | None:
        """The record's link when it continues its chain, the break when it does not, or None when
        the payment's chain is broken already. `digest`: the value's SHA-256, if the caller has it.
        """
        self.events += 1
        if key is None or value is None:
            return self._foreign(offset, key, 0, "the record has no key or no value")
        try:
            link = read_link(value)
        except ValueError as error:
            return self._foreign(offset, key, 0, str(error))
        why = self._not_own(key, link)
        if why is not None:
            return self._foreign(offset, key, link.sequence, why)
        payment = link.payment_intent_id
        if payment in self.broken:
            self.passed_over += 1
            return None
        head = self._heads.get(payment)
        expected = 1 if head is None else head.sequence + 1
        if link.sequence > expected:
            missing = _missing(expected, link.sequence)
            return self._break(SEQUENCE_GAP, offset, link, f"{missing} missing before it")
        if link.sequence < expected:
            return self._break(
                SEQUENCE_REPEATED,
                offset,
                link,
                f"expected sequence {expected}, found {link.sequence}",
            )
        previous = ZERO_HASH if head is None else head.hash
        if link.previous_hash != previous:
            return self._break(
                PREVIOUS_HASH, offset, link,
                f"the event before it hashes to {previous.hex()}, "
                f"it names {link.previous_hash.hex()}",
            )  # fmt: skip
        self._heads.put(payment, Head(link.sequence, digest or event_hash(value)))
        return link

    def _not_own(self, key: bytes, link: Link) -> str | None:
        if key != link.payment_intent_id.encode():
            return f"the key is not the payment id in the value, {link.payment_intent_id}"
        if self._partition_of is not None and self._partition_of(key) != self.partition:
            return f"the key belongs to partition {self._partition_of(key)}"
        return None

    def _foreign(self, offset: int, key: bytes | None, sequence: int, why: str) -> Break | None:
        name = "(no key)" if key is None else key.decode("utf-8", "backslashreplace")[:ID_BYTES_MAX]
        found = Break(FOREIGN_EVENT, name, sequence, self.partition, offset, why)
        return self._remember(name, found)

    def _break(self, kind: str, offset: int, link: Link, difference: str) -> Break | None:
        found = Break(
            kind, link.payment_intent_id, link.sequence, self.partition, offset, difference
        )
        return self._remember(link.payment_intent_id, found)

    def _remember(self, name: str, found: Break) -> Break | None:
        if name in self.broken:
            self.passed_over += 1
            return None
        if len(self.broken) < BROKEN_REMEMBERED_MAX:
            self.broken[name] = found
        return found


def _missing(first: int, found: int) -> str:
    if found - first == 1:
        return f"sequence {first} is"
    return f"sequences {first} to {found - 1} are"


def require_complete(sequences: list[int]) -> None:
    """Check that the numbers, in any order, are 1 to their largest, once each. Raises
    MissingSequence for a gap, ValueError for a repeated number.
    """
    present = set(sequences)
    for number in range(1, max(present, default=0) + 1):
        if number not in present:
            raise MissingSequence(number)
    if len(present) != len(sequences):
        raise ValueError("a sequence occurs twice")


class MissingSequence(ValueError):
    """A history has a gap; `sequence` is the first number that is missing."""

    def __init__(self, sequence: int) -> None:
        super().__init__(f"sequence {sequence} is missing")
        self.sequence = sequence
