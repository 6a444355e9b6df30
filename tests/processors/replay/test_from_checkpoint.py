"""A replay from the last good checkpoint: what it excuses, what it never excuses, and what it
reports.

Domain §10: RESUME needs fold and chain at least from the last good checkpoint. RP-12, SEC-03.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core.records import PaymentLifecycle
from engine.records import LogRecord
from evidence.chain import event_hash, read_link
from evidence.checkpoints import End, Range, Sealed, build, seal
from processors.replay import MemoryLog, Report
from schemas import topology as t
from tests.processors.replay.world import VERIFIER_KEY, World, place, replay

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made() -> tuple[World, dict[str, str]]:
    world = World()
    return world, world.mixed()


def signed(world: World, log: MemoryLog, records: list[LogRecord], ends: list[int]) -> None:
    """Replace the partition's checkpoints by one up to each index in `ends`."""
    partition = records[0].partition
    log.records[t.CHECKPOINTS, partition] = []
    previous: Sealed | None = None
    start = 0
    for end in ends:
        touched = Range()
        for record in records[start : end + 1]:
            value = record.value or b""
            link = read_link(value)
            touched.touch(link.payment_intent_id, link.sequence, event_hash(value))
        draft = build(
            partition, previous, touched, End(records[end].offset), 1, VERIFIER_KEY.key_id
        )
        previous = seal(draft, VERIFIER_KEY, lambda each: world.codec.encode(t.CHECKPOINTS, each))
        log.append(t.CHECKPOINTS, partition, b"", previous.raw)
        start = end + 1


def altered(records: list[LogRecord], index: int) -> None:
    value = bytearray(records[index].value or b"")
    value[-1] ^= 1
    records[index] = msgspec.structs.replace(records[index], value=bytes(value))


def damaged(
    made: tuple[World, dict[str, str]], *, signed_behind: bool, **changes: Any
) -> tuple[Report, str]:
    """One event of the settled payment is altered after it was signed, or before any was."""
    world, names = made
    log, payment = world.log(), names["settled"]
    records, own = place(log, payment)
    assert own[-1] < len(records) - 1, "nothing is behind it"
    ends = [own[-1], len(records) - 1] if signed_behind else [own[2]]
    signed(world, log, records, ends)
    altered(records, own[3])
    return replay(world, log, from_checkpoint=True, **changes), payment


def test_a_break_before_the_last_good_checkpoint_is_excused_and_named(
    made: tuple[World, dict[str, str]],
) -> None:
    report, payment = damaged(made, signed_behind=True)
    assert report.passed, report.first_failure and report.first_failure.sentence()
    assert {failure.payment for failure in report.excused.failures} == {payment}
    assert "from the last good checkpoint" in report.scope()
    assert report.chain.verdict == report.fold.verdict == "passed"


def test_a_break_after_the_last_good_checkpoint_is_never_excused(
    made: tuple[World, dict[str, str]],
) -> None:
    report, payment = damaged(made, signed_behind=False)
    assert not report.passed
    assert report.first_failure is not None
    assert report.first_failure.payment == payment


def test_a_payment_is_excluded_only_by_name_and_the_scope_says_so(
    made: tuple[World, dict[str, str]],
) -> None:
    _, names = made
    report, payment = damaged(made, signed_behind=False, without=(names["settled"],))
    assert report.passed
    assert f"without {payment}" in report.scope()
    other, _ = damaged(made, signed_behind=False, without=(names["failed"],))
    assert not other.passed


def test_no_checkpoint_excuses_a_different_lifecycle_record(
    made: tuple[World, dict[str, str]],
) -> None:
    """Decisions rely on it, also for an old payment."""
    world, names = made
    log = world.log()
    records, own = place(log, names["settled"], t.LIFECYCLE)
    value = world.codec.decode(t.LIFECYCLE, records[own[-1]].value)
    assert isinstance(value, PaymentLifecycle)
    wrong = world.codec.encode(t.LIFECYCLE, msgspec.structs.replace(value, amount=1))
    records[own[-1]] = msgspec.structs.replace(records[own[-1]], value=wrong)
    assert not replay(world, log, from_checkpoint=True).passed


def test_a_different_decision_is_named_although_it_is_not_checked(
    made: tuple[World, dict[str, str]],
) -> None:
    """Domain §10: from a checkpoint on decisions are not checked, and never called proved."""
    world, names = made
    log = world.log()
    records, own = place(log, names["settled"], t.COMMANDS)
    value = (records[own[0]].value or b"").replace(b"E2E", b"E3E")
    records[own[0]] = msgspec.structs.replace(records[own[0]], value=value)
    report = replay(world, log, from_checkpoint=True)
    assert report.passed
    assert report.redecide.verdict == "failed"
    assert report.excused.failures == []


def test_without_a_checkpoint_the_whole_log_is_replayed(made: tuple[World, dict[str, str]]) -> None:
    world, names = made
    log = world.log()
    records, own = place(log, names["settled"])
    for name in log.records:
        if name[0] == t.CHECKPOINTS:
            log.records[name] = []
    altered(records, own[3])
    report = replay(world, log, from_checkpoint=True)
    assert not report.passed
    assert set(report.base or []) == {0}
