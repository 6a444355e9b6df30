"""The replay job: sound logs pass in every strength, each damage is found by the right one.

JOB-01, JOB-02, JOB-04, RP-09 to RP-12, IDM-05.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import msgspec
import pytest

from core.records import PaymentLifecycle
from engine.ports import TopicPartition
from engine.records import LogRecord
from evidence.chain import event_hash
from evidence.checkpoints import Range, Sealed, build, seal
from evidence.keys import signing_key_from_seed
from processors.replay import Limit, MemoryLog, Report, Settings, buckets, job, reading, verify
from schemas import topology as t
from schemas.codec.parties import open_parties
from tests.processors.payments.clean_history import PARTITIONS
from tests.processors.replay.world import VERIFIER_KEY, World, place, replay, rules_of

pytestmark = pytest.mark.slow

STRENGTHS = ("fold", "chain", "redecide", "identity", "money")


@pytest.fixture(scope="module")
def made() -> tuple[World, dict[str, str]]:
    """One history for all tests; each takes a log of its own from it and damages that."""
    world = World()
    return world, world.mixed()


@pytest.fixture
def world(made: tuple[World, dict[str, str]]) -> World:
    return made[0]


@pytest.fixture
def names(made: tuple[World, dict[str, str]]) -> dict[str, str]:
    return made[1]


def _verdicts(report: Report) -> dict[str, str]:
    return {each.name: each.verdict for each in report.strengths()}


def _kinds(report: Report, name: str) -> set[str]:
    return {failure.kind for failure in getattr(report, name).failures}


def _replace(records: list[LogRecord], index: int, value: bytes) -> None:
    records[index] = msgspec.structs.replace(records[index], value=value)


# --- sound logs ----------------------------------------------------------------------------------


def test_a_sound_log_passes_in_all_strengths_and_every_input_is_accounted_for(
    world: World, names: dict[str, str]
) -> None:
    report = replay(world, world.log())
    assert _verdicts(report) == dict.fromkeys(STRENGTHS, "passed")
    assert report.fold.payments == report.fold.checked == len(names)
    assert report.redecide.not_checkable == {}
    inputs = report.inputs
    assert inputs.read == inputs.by_events + inputs.by_outcome + inputs.by_quarantine
    assert (inputs.by_outcome >= 3, inputs.by_quarantine, inputs.unaccounted) == (True, 2, 0)
    assert report.states == {"SETTLED": 3, "FAILED": 3}
    decoded = msgspec.json.decode(report.to_json())
    assert decoded["passed"] is True
    assert decoded["redecide"]["verdict"] == "passed"


def test_an_empty_log_passes(world: World) -> None:
    log = MemoryLog({t.EVENTS: PARTITIONS, t.LIFECYCLE: PARTITIONS})
    assert replay(world, log).passed


def test_one_payment_is_proven_alone_and_its_state_is_shown(
    world: World, names: dict[str, str]
) -> None:
    report = replay(world, world.log(), payment=names["retried"])
    assert _verdicts(report) == dict.fromkeys(STRENGTHS, "passed")
    assert report.fold.payments == 1
    assert report.view is not None
    assert (report.view.state, report.view.attempt, report.view.funds) == ("SETTLED", 2, "CAPTURED")


def test_replaying_changes_nothing_on_the_log(world: World) -> None:
    log = world.log()
    before = {place: list(records) for place, records in log.records.items()}
    replay(world, log)
    assert log.records == before


def test_a_large_log_is_spilled_and_gives_the_same_report(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = replay(world, world.log())
    monkeypatch.setattr(buckets, "BUCKET_RECORDS", 7)
    monkeypatch.setattr(job, "GROUP_RECORDS_MAX", 20)
    spilled = replay(world, world.log())
    assert spilled.states == whole.states
    assert spilled.inputs == whole.inputs
    assert _verdicts(spilled) == _verdicts(whole)
    assert spilled.redecide.checked == whole.redecide.checked


def test_an_input_behind_the_last_decided_one_is_pending_and_not_a_failure(
    world: World, names: dict[str, str]
) -> None:
    log = world.log()
    records, own = place(log, names["settled"], t.COMMANDS)
    partition, again = records[own[0]].partition, records[own[0]].value
    log.append(t.COMMANDS, partition, names["settled"].encode(), again)
    report = replay(world, log)
    assert report.passed
    assert (report.inputs.pending, report.inputs.unaccounted) == (1, 0)


class Growing(MemoryLog):
    """A log on which the last records of one topic appear only once it has been asked for twice."""

    def __init__(self, whole: MemoryLog, topic: str, hidden: int, asks: int) -> None:
        super().__init__(whole._counts)
        self.records = whole.records
        self._late = (topic, hidden, asks)
        self._asked: dict[TopicPartition, int] = {}

    def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        topic, hidden, asks = self._late
        found = dict(super().ends(places))
        for late in places:
            if late[0] == topic:
                self._asked[late] = self._asked.get(late, 0) + 1
                if self._asked[late] <= asks:
                    found[late] = max(found[late] - hidden, 0)
        return found


@pytest.mark.parametrize(
    ("topic", "asks"), [(t.EVENTS, 2), (t.LIFECYCLE, 1), (t.OUTCOMES, 1), (t.QUARANTINE, 1)]
)
@pytest.mark.parametrize("hidden", [1, 2, 3, 5])
def test_a_log_that_grows_while_it_is_read_is_looked_at_again_and_passes(
    world: World, topic: str, asks: int, hidden: int
) -> None:
    whole = world.log()
    if topic == t.EVENTS:
        for place_, records in whole.records.items():
            if place_[0] == t.CHECKPOINTS:
                records.clear()
    report = replay(world, Growing(whole, topic, hidden, asks))
    assert report.passed, report.first_failure and report.first_failure.sentence()
    assert report.inputs.unaccounted == 0
    assert report.fold.payments == report.fold.checked == 6


def test_progress_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PROGRESS_RECORDS", 1)
    told: list[tuple[str, int, int]] = []
    replay(world, world.log(), progress=lambda *each: told.append(each))
    assert told
    assert all(0 <= done <= total for _, done, total in told)


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["sequence", "offset", "time"])
def test_a_replay_stops_where_it_is_told_and_shows_the_state_then(
    world: World, names: dict[str, str], by: str
) -> None:
    payment = names["settled"]
    log = world.log()
    records, own = place(log, payment)
    events = [world.codec.decode(t.EVENTS, records[index].value) for index in own]
    sent = next(n for n, e in enumerate(events) if type(e).__name__ == "PaymentSentToRail")
    limit = {
        "sequence": Limit(sequence=sent + 1),
        "offset": Limit(offset=records[own[sent]].offset),
        "time": Limit(time_ms=events[sent].header.decided_at),
    }[by]
    report = replay(world, log, payment=payment, limit=limit)
    assert report.view is not None
    assert report.view.state == "SENT"
    assert report.passed
    assert report.fold.not_checkable


def test_damage_after_the_limit_is_not_reached(world: World, names: dict[str, str]) -> None:
    log = world.log()
    records, own = place(log, names["settled"])
    del records[own[6]]
    assert not replay(world, log, payment=names["settled"]).passed
    limited = replay(world, log, payment=names["settled"], limit=Limit(sequence=4))
    assert limited.passed
    assert limited.view is not None
    assert limited.view.sequence == 4


# --- not checkable -------------------------------------------------------------------------------


def test_a_rule_set_that_is_not_carried_is_not_checkable_and_not_a_failure(world: World) -> None:
    def none_carried(number: int) -> object:
        raise KeyError(number)

    report = replay(world, world.log(), rules=none_carried)  # type: ignore[arg-type]
    assert report.passed
    assert report.redecide.verdict == "not checkable"
    assert any("rule set 1" in reason for reason in report.redecide.not_checkable)
    assert any("rule set 1" in reason for reason in report.fold.not_checkable)


def test_inputs_of_another_cluster_are_not_checkable(world: World) -> None:
    log = world.log()
    control = log.records[t.CONTROL, 0]
    record = world.codec.decode(t.CONTROL, control[0].value)
    _replace(
        control, 0,
        world.codec.encode(t.CONTROL, msgspec.structs.replace(record, cluster_id="another")),
    )  # fmt: skip
    report = replay(world, log)
    assert report.passed
    assert report.redecide.verdict == "not checkable"


def test_without_a_keyring_signatures_are_not_checkable_and_the_rest_is(world: World) -> None:
    report = verify(world.log(), Settings(world.codec, rules_of, open_parties))
    assert report.chain.verdict == "passed"
    assert "signatures: no keyring was given" in report.chain.not_checkable


# --- corrupted histories -------------------------------------------------------------------------
# Each damages the log of the settled payment; beside it stands what must find it.


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
    """The settled amount raised, and every later event chained anew: the bytes are consistent."""
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
    """An event with a good chain that no input made."""
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
    """The refusal of an operator's command, behind which another command was decided."""
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
    other = signing_key_from_seed(b"x" * 32)
    checkpoint = world.codec.decode(t.CHECKPOINTS, records[0].value)
    draft = msgspec.structs.replace(checkpoint, key_id=other.key_id)
    forged = seal(draft, other, lambda each: world.codec.encode(t.CHECKPOINTS, each))
    _replace(records, 0, forged.raw)


def _checkpoint_removed(world: World, log: MemoryLog, payment: str) -> None:
    """The first of two is gone, so the second stands alone."""
    records, partition = _checkpoint(log, world, payment)
    first = world.codec.decode(t.CHECKPOINTS, records[0].value)
    draft = build(
        partition, Sealed(first, records[0].value or b""), Range(), first.to_offset + 1, 9,
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
def test_a_corrupted_history_is_found_by_the_right_check_and_named(
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
