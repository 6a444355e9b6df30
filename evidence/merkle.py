"""Merkle trees as in RFC 6962, section 2.1: roots and audit paths. Packs are checked elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

LEAF_PREFIX: Final = b"\x00"
NODE_PREFIX: Final = b"\x01"
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
LEAF_VERSION: Final = 2
NOTHING: Final = bytes(32)  # head of a payment without events, hash over no outcomes


class LeafData(msgspec.Struct, frozen=True, gc=False):
    """A payment touched in a checkpoint's range, as of the end of the range: its last event
    (sequence 0 when it has none), and count and rolling hash of its operator outcomes.
    """

    payment_intent_id: str
    sequence: int = 0
    hash: bytes = NOTHING
    outcomes: int = 0
    outcomes_hash: bytes = NOTHING

    def with_event(self, sequence: int, event_hash: bytes) -> LeafData:
        """After the payment's next event."""
        return LeafData(
            self.payment_intent_id, sequence, event_hash, self.outcomes, self.outcomes_hash
        )

    def with_outcome(self, outcome_hash: bytes) -> LeafData:
        """After its next operator outcome. The new rolling hash is SHA-256(rolling hash before ‖
        SHA-256 of the raw outcome).
        """
        rolling = hashlib.sha256(self.outcomes_hash + outcome_hash).digest()
        return LeafData(
            self.payment_intent_id, self.sequence, self.hash, self.outcomes + 1, rolling
        )


class Inclusion(msgspec.Struct, frozen=True):
    """A leaf's `index` (from 0) in a tree of `size` leaves, and its audit path to the root."""

    index: int
    size: int
    path: tuple[bytes, ...]


def payment_leaf(leaf: LeafData) -> bytes:
    """Leaf version 2: SHA-256(0x00 ‖ id ‖ 0x00 ‖ sequence ‖ hash of the last event ‖ count of
    operator outcomes ‖ their rolling hash), numbers as u64 big-endian.
    """
    return hashlib.sha256(
        LEAF_PREFIX
        + leaf.payment_intent_id.encode()
        + b"\x00"
        + leaf.sequence.to_bytes(8, "big")
        + leaf.hash
        + leaf.outcomes.to_bytes(8, "big")
        + leaf.outcomes_hash
    ).digest()


def sorted_leaves(leaves: Sequence[LeafData]) -> list[LeafData]:
    """The leaves in the order of a checkpoint's tree: by the bytes of the id."""
    return sorted(leaves, key=lambda leaf: leaf.payment_intent_id.encode())


def payments_root(leaves: Sequence[LeafData]) -> bytes:
    """The root over these payments, in any order."""
    return root([payment_leaf(leaf) for leaf in sorted_leaves(leaves)])


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """RFC 6962's MTH over leaf hashes. The root of the empty tree is SHA-256 of no bytes."""
    if not leaf_hashes:
        return EMPTY_ROOT
    level = list(leaf_hashes)
    # Pairing from the left, with an odd last node moved up, gives the same tree as RFC 6962's split
    # at the largest power of two, without recursion.
    while len(level) > 1:
        paired = [node(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            paired.append(level[-1])
        level = paired
    return level[0]


def inclusion(leaf_hashes: Sequence[bytes], index: int) -> Inclusion:
    """The audit path of leaf `index`. Raises IndexError when there is no such leaf."""
    if not 0 <= index < len(leaf_hashes):
        raise IndexError(f"leaf {index} of {len(leaf_hashes)}")
    path: list[bytes] = []
    level, at = list(leaf_hashes), index
    while len(level) > 1:
        sibling = at ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        paired = [node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            paired.append(level[-1])
        level, at = paired, at // 2
    return Inclusion(index, len(leaf_hashes), tuple(path))


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(NODE_PREFIX + left + right).digest()
