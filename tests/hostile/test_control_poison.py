"""Meaningless records on the control topic: each process refuses them by rule, and starts.

SEC-03: none stops a start, hides a later record, or changes what is in force.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core import control_records as records
from schemas.registry.setup import static_codec
from schemas.topology import CONTROL
from tests.control.log import ControlLog, rules, sources

CODEC = static_codec()
LISTS = msgspec.structs.replace(sources(2), topics=("a", "b"))
POISON: list[tuple[Any, str]] = [
    (LISTS, "MALFORMED"),
    (msgspec.structs.replace(sources(2), topics=("a", "a"), sources=("x", "y")), "MALFORMED"),
    (msgspec.structs.replace(sources(-1), signature=None), "MALFORMED"),
    (rules(0), "MALFORMED"),
    (sources(1, "mobile-app,mine"), "UNSIGNED"),
    (
        records.ProofPassed(
            scope="x" * 5_000, fold=True, chain=True, redecide=True, offsets=(1, 2), passed_at=0,
            actor="replay",
        ),
        "MALFORMED",
    ),
    (
        records.RedriveRequested(
            request_id="r", partition=-1, offsets=(), reason="r", requested_at=0, actor="ann"
        ),
        "MALFORMED",
    ),
    (
        records.RecoverConfirmed(
            request_id="r", confirmed_at=0, actor="ann", journal_ends=(1, 2), checkpoints=(1,)
        ),
        "MALFORMED",
    ),
    (
        records.ResumeConfirmed(stop_id="s", request_offset=-5, confirmed_at=0, actor="a"),
        "MALFORMED",
    ),
    (records.InputAdded(topic="t", recorded_at=0, actor=" "), "MALFORMED"),
    (
        records.ClusterRecorded(cluster_id="another", partitions=9, recorded_at=0, actor="a"),
        "NOT_POSSIBLE",
    ),
]  # fmt: skip
BYTES = [
    b"", b"\x00", b"\x00\x00\x00\x00", b"\xff" * 40, b"\x00" + (10**6).to_bytes(4, "big") + b"x",
    CODEC.encode(CONTROL, rules(1))[:-3], CODEC.encode(CONTROL, rules(1)) + b"more",
]  # fmt: skip


@pytest.mark.parametrize(("record", "rule"), POISON, ids=[type(r).__name__ for r, _ in POISON])
def test_a_malformed_record_is_refused_by_name(record: Any, rule: str) -> None:
    log = ControlLog()
    before = (log.control.rule_set, log.control.source_map, log.control.operators)
    log.put(record)
    assert log.broken == [rule]
    assert (log.control.rule_set, log.control.source_map, log.control.operators) == before
    later = log.stop()
    again = log.obeyer()
    assert again.ready() is None
    assert (again.stopped() or "").startswith(later)


@pytest.mark.parametrize("value", BYTES, ids=range(len(BYTES)))
def test_bytes_that_are_no_record_are_refused_and_later_records_apply(value: bytes) -> None:
    log = ControlLog()
    log.put_bytes(value)
    assert log.broken == ["UNREADABLE"]
    log.stop()
    assert log.obeyer().stopped() is not None


def test_the_source_map_with_this_number_must_match_topics_yaml() -> None:
    """The first writer on an empty topic cannot change it."""
    log = ControlLog()
    log.written = log.written[:3]
    fresh = log.obeyer()
    refusal = fresh.apply_record(3, sources(1, "mobile-app,mine"), 0)
    assert refusal is not None
    assert refusal.rule == "SOURCE_MAP_DIFFERS"
    assert fresh.sources("npp.payment.commands.v1") == frozenset()
