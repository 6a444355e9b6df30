"""The replay job over sound logs: every strength passes, every input is accounted for.

JOB-01, JOB-02, JOB-04, RP-09 to RP-12, IDM-05.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pytest

from engine.ports import TopicPartition
from processors.replay import Limit, MemoryLog, Settings, accounts, buckets, job, reading, verify
from processors.replay.accounts import Accounts
from schemas import topology as t
from schemas.codec.parties import open_parties
from tests.processors.payments.clean_history import PARTITIONS
from tests.processors.replay.mixed_world import STRENGTHS, _replace, _verdicts
from tests.processors.replay.world import World, place, replay, rules_of

pytestmark = pytest.mark.slow


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


def test_one_payment_is_proved_alone_and_its_state_is_shown(
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


def test_a_large_log_is_spilled_to_disk_and_gives_the_same_report(
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


def test_an_undecided_last_input_is_pending_and_not_a_failure(
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
    """A log on which the last records of one topic appear only at the second request
    for its ends.
    """

    def __init__(self, whole: MemoryLog, topic: str, hidden: int, asks: int) -> None:
        super().__init__(whole._counts)
        self.records = whole.records
        self._late = (topic, hidden, asks)
        self._requested: dict[TopicPartition, int] = {}

    def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        topic, hidden, asks = self._late
        found = dict(super().ends(places))
        for late in places:
            if late[0] == topic:
                self._requested[late] = self._requested.get(late, 0) + 1
                if self._requested[late] <= asks:
                    found[late] = max(found[late] - hidden, 0)
        return found


@pytest.mark.parametrize(
    ("topic", "asks"), [(t.EVENTS, 2), (t.LIFECYCLE, 1), (t.OUTCOMES, 1), (t.QUARANTINE, 1)]
)
@pytest.mark.parametrize("hidden", [1, 2, 3, 5])
def test_a_log_that_grows_while_it_is_read_is_checked_again_and_passes(
    world: World, topic: str, asks: int, hidden: int
) -> None:
    whole = world.log()
    if topic in (t.EVENTS, t.OUTCOMES):  # no checkpoint covers what is not there yet
        for place_, records in whole.records.items():
            if place_[0] == t.CHECKPOINTS:
                records.clear()
    report = replay(world, Growing(whole, topic, hidden, asks))
    assert report.passed, report.first_failure and report.first_failure.sentence()
    assert report.inputs.unaccounted == 0
    assert report.fold.payments == report.fold.checked == 6


class Late(MemoryLog):
    """A live log: the last moments' events, inputs and outcomes appear together after the first
    request for ends.
    """

    TOPICS = (*t.INPUTS, t.EVENTS, t.OUTCOMES)

    def __init__(self, whole: MemoryLog, asks: int) -> None:
        super().__init__(whole._counts)
        self.records = whole.records
        self._asks = asks
        self._requested: dict[TopicPartition, int] = {}

    def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        found = dict(super().ends(places))
        for late in [each for each in places if each[0] in self.TOPICS]:
            self._requested[late] = self._requested.get(late, 0) + 1
            if self._requested[late] <= self._asks:
                found[late] = found[late] // 2
        return found


@pytest.mark.parametrize("asks", [1, 2, 3])
def test_an_event_whose_input_came_after_the_first_read_is_accounted_for(
    world: World, asks: int
) -> None:
    """RP-10: a payment is checked again with the events that it has by then."""
    whole = world.log()
    for place_, records in whole.records.items():
        if place_[0] == t.CHECKPOINTS:
            records.clear()
    report = replay(world, Late(whole, asks))
    assert report.passed, report.first_failure and report.first_failure.sentence()
    assert report.inputs.unaccounted == 0


def test_an_offset_beyond_a_topics_end_costs_no_memory_and_counts_once_it_exists() -> None:
    account = Accounts(("a",), {"a": 10})
    account.mark(0, 10**12, accounts.EVENTS)
    account.mark(0, 12, accounts.EVENTS)
    assert [offset for offset, _ in account.wrong(0)] == [12, 10**12]
    account.grow({"a": 20})
    account.mark(0, 12, accounts.INPUT)
    assert [offset for offset, _ in account.wrong(0)] == [10**12]


def test_progress_is_reported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PROGRESS_RECORDS", 1)
    reported: list[tuple[str, int, int]] = []
    replay(world, world.log(), progress=lambda *each: reported.append(each))
    assert reported
    assert all(0 <= done <= total for _, done, total in reported)


@pytest.mark.parametrize("by", ["sequence", "offset", "time"])
def test_a_replay_stops_at_its_limit_and_shows_the_state_at_that_point(
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


def test_a_rule_set_that_is_not_shipped_is_not_checkable_and_not_a_failure(world: World) -> None:
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


def test_without_a_keyring_only_the_signatures_are_not_checkable(world: World) -> None:
    report = verify(world.log(), Settings(world.codec, rules_of, open_parties))
    assert report.chain.verdict == "passed"
    assert "signatures: no keyring was given" in report.chain.not_checkable
