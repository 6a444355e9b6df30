"""The Merkle tree of RFC 6962: published vectors, and a path for every leaf."""

from __future__ import annotations

import hashlib
import random

import pytest

from evidence.merkle import (
    Inclusion,
    LeafData,
    inclusion,
    node,
    payment_leaf,
    payments_root,
    root,
    sorted_leaves,
)

# Inputs and roots from the certificate transparency project's reference tests.
VECTOR_INPUTS = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
VECTOR_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

PATH_LENGTH_MAX = 64  # a tree of 2**64 leaves; a longer path is invalid


def includes(proof: Inclusion, leaf_hash: bytes, expected_root: bytes) -> bool:
    """True if the path leads from this leaf to this root (RFC 9162, section 2.1.3.2)."""
    if not 0 <= proof.index < proof.size or len(proof.path) > PATH_LENGTH_MAX:
        return False
    at, last, computed = proof.index, proof.size - 1, leaf_hash
    for beside in proof.path:
        if last == 0:
            return False
        if at % 2 or at == last:
            computed = node(beside, computed)
            while at % 2 == 0 and at != 0:
                at, last = at >> 1, last >> 1
        else:
            computed = node(computed, beside)
        at, last = at >> 1, last >> 1
    return last == 0 and computed == expected_root


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def _by_splitting(leaves: list[bytes]) -> bytes:
    """The RFC's own recursive definition, for comparison."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    pair = _by_splitting(leaves[:k]) + _by_splitting(leaves[k:])
    return hashlib.sha256(b"\x01" + pair).digest()


def test_the_roots_equal_the_published_vectors() -> None:
    leaves = [_leaf(bytes.fromhex(each)) for each in VECTOR_INPUTS]
    assert [root(leaves[:n]).hex() for n in range(1, 9)] == VECTOR_ROOTS


def test_the_empty_tree_has_the_hash_of_the_empty_string() -> None:
    assert root([]) == hashlib.sha256(b"").digest()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 9, 31, 64, 65, 100])
def test_the_root_equals_the_recursive_definition_and_every_leaf_has_a_path(
    size: int,
) -> None:
    leaves = [_leaf(bytes([n])) for n in range(size)]
    whole = root(leaves)
    assert whole == _by_splitting(leaves)
    for index in range(size):
        proof = inclusion(leaves, index)
        assert includes(proof, leaves[index], whole)
        assert not includes(proof, leaves[index], _leaf(b"another root"))
        assert not includes(proof, _leaf(b"another leaf"), whole)


def test_a_moved_shortened_lengthened_or_altered_path_proves_nothing() -> None:
    leaves = [_leaf(bytes([n])) for n in range(11)]
    whole, draw = root(leaves), random.Random(6962)
    for index in range(11):
        proof = inclusion(leaves, index)
        path = list(proof.path)
        at = draw.randrange(len(path))
        flipped = bytes([path[at][0] ^ 1]) + path[at][1:]
        for altered in (
            Inclusion((index + 1) % 11, 11, proof.path),
            Inclusion(index, 11, proof.path[:-1]),
            Inclusion(index, 11, (*proof.path, whole)),
            Inclusion(index, 11, (*path[:at], flipped, *path[at + 1 :])),
            Inclusion(11, 11, proof.path),
            Inclusion(-1, 11, proof.path),
        ):
            assert not includes(altered, leaves[index], whole)


def test_a_payments_leaf_has_the_published_bytes() -> None:
    leaf = LeafData("pi_pdkz22ub6ujnprx6nas575vbxy", 258, bytes(range(32)))
    leaf = leaf.with_outcome(b"o" * 32).with_outcome(b"p" * 32)
    rolling = hashlib.sha256(hashlib.sha256(bytes(32) + b"o" * 32).digest() + b"p" * 32).digest()
    by_hand = (
        b"\x00pi_pdkz22ub6ujnprx6nas575vbxy\x00"
        b"\x00\x00\x00\x00\x00\x00\x01\x02"
        + bytes(range(32))
        + b"\x00\x00\x00\x00\x00\x00\x00\x02"
        + rolling
    )
    assert payment_leaf(leaf) == hashlib.sha256(by_hand).digest()


def test_leaves_are_sorted_by_id_in_any_order_of_arrival() -> None:
    leaves = [LeafData(f"pi_{n}", n + 1, bytes(32)) for n in range(20)]
    shuffled = list(leaves)
    random.Random(1).shuffle(shuffled)
    assert payments_root(shuffled) == payments_root(leaves)
    assert [leaf.payment_intent_id for leaf in sorted_leaves(shuffled)] == sorted(
        leaf.payment_intent_id for leaf in leaves
    )
