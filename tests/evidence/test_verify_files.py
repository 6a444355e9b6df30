"""The standalone verifier with arbitrary files: a verdict, never a crash."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from evidence import verify_evidence as v
from tests.evidence.alterations import KEYS, SEED, at, refused

pytestmark = pytest.mark.slow

FLIPS = 200
NONSENSE: tuple[Any, ...] = (None, [], {}, "x", -1, [[]], True, 10**30)


def test_a_file_with_any_flipped_byte_does_not_verify(content: bytes) -> None:
    """EP-07."""
    rng = random.Random(SEED)
    for _ in range(FLIPS):
        changed = bytearray(content)
        place = rng.randrange(len(changed))
        changed[place] ^= rng.randrange(1, 256)
        assert not v.verify(bytes(changed), KEYS)["verified"], f"seed {SEED}, byte {place}"


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c + b"\n",
        lambda c: b" " + c,
        lambda c: b"\xef\xbb\xbf" + c,
        lambda c: json.dumps(json.loads(c)).encode(),
        lambda c: c.replace(b'"version":1', b'"version":1.0'),
        lambda c: c.replace(b'"version":1', b'"version":2'),
        lambda c: c.replace(b'"format":"npp', b'"format":"xpp'),
        lambda c: c.replace(b'{"asOf"', b'{"asOf":"1.0.0","asOf"'),
        lambda c: b"[" * 100_000,
        lambda c: b"[]",
        lambda c: b"{}",
        lambda c: b"null",
        lambda c: b'{"format":"npp-evidence-pack","version":1,"replayProof":null}',
        lambda c: b'{"format":"npp-evidence-pack","version":1,"replayProof":{"schemas":[]}}',
        lambda c: b'{"a":"\\ud800"}',
        lambda c: b"\xff\xfe",
        lambda c: b"NaN",
        lambda c: b'{"a":' + b"9" * 5_000 + b"}",
    ],
)
def test_a_file_that_is_no_canonical_pack_is_refused_without_a_crash(
    content: bytes, change: Any
) -> None:
    refused(change(content))


def test_invalid_values_in_every_member_of_the_proof_are_refused_without_a_crash(
    content: bytes,
) -> None:
    for path in (
        ("schemas",), ("events",), ("outcomes",), ("checkpoint",), ("partition",),
        ("checkpoint", "leaf"), ("checkpoint", "leaf", "path"), ("events", 0), ("outcomes", 0),
        ("checkpoint", "record"), ("checkpoint", "raw"), ("events", 0, "raw"),
    ):  # fmt: skip
        for nonsense in NONSENSE:
            pack = json.loads(content)
            at(pack["replayProof"], path[:-1])[path[-1]] = nonsense
            refused(v.canonical(pack))
