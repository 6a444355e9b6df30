"""The partitioner equals the Java client's: every client finds the same partition."""

from __future__ import annotations

import pytest

from engine.partitioner import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_equals_the_java_clients(key: bytes, expected: int) -> None:
    """Vectors from the Java client's own test (SM-07, EV-06: every client must find the same
    partition).
    """
    assert murmur2(key) == expected & 0xFFFFFFFF
    assert partition_of(key, 48) == (expected & 0x7FFFFFFF) % 48
