"""Each kind of damage to a log is found by the right strength (RP-10, RP-12)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
import pytest

from core.records import PaymentLifecycle
from engine.records import LogRecord
from evidence.chain import event_hash
from evidence.checkpoints import End, Range, Sealed, build, seal
from processors.replay import MemoryLog, Report
from schemas import topology as t
from tests.keys import key_from_seed
from tests.processors.replay.mixed_world import STRENGTHS, _replace, _verdicts
from tests.processors.replay.world import VERIFIER_KEY, World, place, replay

pytestmark = pytest.mark.slow


def _kinds(report: Report, name: str) -> set[str]:
    return {failure.kind for failure in getattr(report, name).failures}


# Each damages the log of the settled payment; the table names what must find it.


def _dropped(world: World, log: MemoryLog, payment: str) -> None:
    records, own = place(log, payment)
    del records[own[3]]


def _doubled(world: World, log: MemoryLog, payment: str) -> None:
    records, own = place(log, payment)
    copy = msgspec.structs.replace(records[own[3]], offset=records[-1].offset + 1)
    records.append(copy)


def _swapped(world: World, log: MemoryLog, payment: str) -> None:
    records, own = place(log, payment)
    first, second = records[own[2]], records[own[3]]
    records[own[2]] = msgspec.structs.replace(second, offset=first.offset)
    records[own[3]] = msgspec.structs.replace(first, offset=second.offset)


def _bit_flipped(world: World, log: MemoryLog, payment: str) -> None:
    records, own = place(log, payment)
    raw = records[own[0]].value or b""
    _replace(records, own[0], raw.replace(b"E2E", b"E3E"))


def _last_bit_flipped(world: World, log: MemoryLog, payment: str) -> None:
    records, own = place(log, payment)
    raw = records[own[-1]].value or b""
    _replace(records, own[-1], raw.replace(b"LEDGER-1", b"LEDGER-2"))


def _tail_cut(world: World, log: MemoryLog, payment: str) -> None:
    records, own = place(log, payment)
    del records[own[-2] :]


def _rewritten(world: World, log: MemoryLog, payment: str) -> None:
    """The settled amount is raised and every later event chained again: the bytes are
    consistent.
    """
    records, own = place(log, payment)
    head = b""
    for number, index in enumerate(own):
        event = world.codec.decode(t.EVENTS, records[index].value)
        if type(event).__name__ == "PaymentSettled":
            event = msgspec.structs.replace(event, transaction_id="FORGED")
        if number:
            event.header.previous_hash = head
        raw = world.codec.encode(t.EVENTS, event)
        head = hashlib.sha256(raw).digest()
        _replace(records, index, raw)


def _foreign(world: World, log: MemoryLog, payment: str) -> None:
    records, _ = place(log, payment)
    partition = records[0].partition
    log.append(t.EVENTS, partition, payment.encode(), b'{"state":"SETTLED"}')


def _foreign_chained(world: World, log: MemoryLog, payment: str) -> None:
    """An event with a valid chain that no input caused."""
    records, own = place(log, payment)
    last = world.codec.decode(t.EVENTS, records[own[-1]].value)
    last.header.sequence += 1
    last.header.previous_hash = event_hash(records[own[-1]].value or b"")
    raw = world.codec.encode(t.EVENTS, last)
    log.append(t.EVENTS, records[0].partition, payment.encode(), raw)


def _lifecycle(world: World, log: MemoryLog, payment: str, **changes: object) -> None:
    records, own = place(log, payment, t.LIFECYCLE)
    record = world.codec.decode(t.LIFECYCLE, records[own[-1]].value)
    assert isinstance(record, PaymentLifecycle)
    altered = msgspec.structs.replace(record, **changes)
    _replace(records, own[-1], world.codec.encode(t.LIFECYCLE, altered))


def _lifecycle_state(world: World, log: MemoryLog, payment: str) -> None:
    _lifecycle(world, log, payment, state="FAILED")


def _lifecycle_head(world: World, log: MemoryLog, payment: str) -> None:
    _lifecycle(world, log, payment, head_hash=bytes(32))


def _lifecycle_snapshot(world: World, log: MemoryLog, payment: str) -> None:
    records, own = place(log, payment, t.LIFECYCLE)
    snapshot = world.codec.decode(t.LIFECYCLE, records[own[0]].value).snapshot
    _lifecycle(world, log, payment, snapshot=snapshot)


def _lifecycle_removed(world: World, log: MemoryLog, payment: str) -> None:
    records, own = place(log, payment, t.LIFECYCLE)
    for index in reversed(own):
        del records[index]


def _lifecycle_old(world: World, log: MemoryLog, payment: str) -> None:
    records, own = place(log, payment, t.LIFECYCLE)
    del records[own[-1]]


def _input_altered(world: World, log: MemoryLog, payment: str) -> None:
    records, own = place(log, payment, t.COMMANDS)
    raw = records[own[0]].value or b""
    _replace(records, own[0], raw.replace(b"E2E", b"E3E"))


def _input_removed(world: World, log: MemoryLog, payment: str) -> None:
    records, own = place(log, payment, t.RAIL_REPORTS)
    del records[own[0]]


def _outcome_removed(world: World, log: MemoryLog, payment: str) -> None:
    """The refusal of an operator's command, after which another command was decided."""
    records, own = place(log, payment, t.OUTCOMES)
    for index in own:
        outcome = world.codec.decode(t.OUTCOMES, records[index].value)
        if outcome.result == "REJECTED" and outcome.input_type == "CreatePayment":
            del records[index]
            return
    raise AssertionError("the history has no refusal")


def _outcome_doubled(world: World, log: MemoryLog, payment: str) -> None:
    records, own = place(log, payment, t.OUTCOMES)
    log.append(t.OUTCOMES, 0, payment.encode(), records[own[0]].value)


def _outcome_altered(world: World, log: MemoryLog, payment: str) -> None:
    records, own = place(log, payment, t.OUTCOMES)
    for index in own:
        outcome = world.codec.decode(t.OUTCOMES, records[index].value)
        if outcome.result == "REJECTED":
            altered = msgspec.structs.replace(outcome, rule="ANOTHER_RULE")
            _replace(records, index, world.codec.encode(t.OUTCOMES, altered))
            return
    raise AssertionError("the history has no refusal")


def _checkpoint(log: MemoryLog, world: World, payment: str) -> tuple[list[LogRecord], int]:
    records, _ = place(log, payment)
    partition = records[0].partition
    return log.records[t.CHECKPOINTS, partition], partition


def _checkpoint_altered(world: World, log: MemoryLog, payment: str) -> None:
    records, _ = _checkpoint(log, world, payment)
    checkpoint = world.codec.decode(t.CHECKPOINTS, records[0].value)
    altered = msgspec.structs.replace(checkpoint, signed_at=checkpoint.signed_at + 1)
    _replace(records, 0, world.codec.encode(t.CHECKPOINTS, altered))


def _checkpoint_of_another_key(world: World, log: MemoryLog, payment: str) -> None:
    records, _ = _checkpoint(log, world, payment)
    other = key_from_seed(b"x" * 32)
    checkpoint = world.codec.decode(t.CHECKPOINTS, records[0].value)
    draft = msgspec.structs.replace(checkpoint, key_id=other.key_id)
    forged = seal(draft, other, lambda each: world.codec.encode(t.CHECKPOINTS, each))
    _replace(records, 0, forged.raw)


def _checkpoint_removed(world: World, log: MemoryLog, payment: str) -> None:
    """The first of two is gone, so the second has no predecessor."""
    records, partition = _checkpoint(log, world, payment)
    first = world.codec.decode(t.CHECKPOINTS, records[0].value)
    draft = build(
        partition, Sealed(first, records[0].value or b""), Range(), End(first.to_offset + 1), 9,
        VERIFIER_KEY.key_id,
    )  # fmt: skip
    second = seal(draft, VERIFIER_KEY, lambda each: world.codec.encode(t.CHECKPOINTS, each))
    _replace(records, 0, second.raw)


Damage = Callable[[World, MemoryLog, str], None]

CORRUPTED: list[tuple[Damage, dict[str, str]]] = [
    (_dropped, {"chain": "SEQUENCE_GAP", "fold": "MISSING_SEQUENCE"}),
    (_doubled, {"chain": "SEQUENCE_REPEATED", "fold": "MISSING_SEQUENCE"}),
    (_swapped, {"chain": "SEQUENCE_GAP", "fold": "MISSING_SEQUENCE"}),
    (_bit_flipped, {"chain": "PREVIOUS_HASH", "redecide": "EVENTS_DIFFER"}),
    (_last_bit_flipped, {"chain": "CHECKPOINT_ROOT", "fold": "LIFECYCLE_DIFFERS"}),
    (_tail_cut, {"fold": "LIFECYCLE_AHEAD", "chain": "LOG_TAIL_LOST"}),
    (_rewritten, {"chain": "CHECKPOINT_ROOT", "redecide": "EVENTS_DIFFER"}),
    (_foreign, {"chain": "FOREIGN_EVENT", "fold": "UNDECODABLE_EVENT"}),
    (_foreign_chained, {"fold": "LIFECYCLE_BEHIND", "redecide": "EVENTS_DIFFER"}),
    (_lifecycle_state, {"fold": "LIFECYCLE_DIFFERS"}),
    (_lifecycle_head, {"fold": "LIFECYCLE_DIFFERS"}),
    (_lifecycle_snapshot, {"fold": "LIFECYCLE_DIFFERS"}),
    (_lifecycle_removed, {"fold": "LIFECYCLE_MISSING"}),
    (_lifecycle_old, {"fold": "LIFECYCLE_BEHIND"}),
    (_input_altered, {"redecide": "INPUT_ALTERED"}),
    (_input_removed, {"redecide": "INPUT_MISSING"}),
    (_outcome_removed, {"redecide": "UNACCOUNTED_INPUT"}),
    (_outcome_doubled, {"redecide": "ACCOUNTED_WRONGLY"}),
    (_outcome_altered, {"redecide": "OUTCOME_DIFFERS"}),
    (_checkpoint_altered, {"chain": "CHECKPOINT_SIGNATURE"}),
    (_checkpoint_of_another_key, {"chain": "CHECKPOINT_UNKNOWN_KEY"}),
    (_checkpoint_removed, {"chain": "CHECKPOINT_NUMBER"}),
]


@pytest.mark.parametrize(
    ("damage", "found_by"), CORRUPTED, ids=[damage.__name__.strip("_") for damage, _ in CORRUPTED]
)
def test_a_corrupted_history_is_found_and_named_by_the_right_check(
    world: World, names: dict[str, str], damage: Damage, found_by: dict[str, str]
) -> None:
    payment = names["settled"]
    log = world.log()
    damage(world, log, payment)
    report = replay(world, log)
    assert not report.passed
    for strength, kind in found_by.items():
        assert kind in _kinds(report, strength), (strength, _kinds(report, strength))
    first = report.first_failure
    assert first is not None
    assert first.first_difference
    named = [f for each in report.strengths() for f in each.failures if f.payment is not None]
    assert damage is _tail_cut or all(failure.payment == payment for failure in named)
    untouched = set(STRENGTHS) - set(found_by)
    if damage in (_lifecycle_state, _lifecycle_head, _lifecycle_removed, _lifecycle_old):
        assert all(_verdicts(report)[name] == "passed" for name in untouched)
