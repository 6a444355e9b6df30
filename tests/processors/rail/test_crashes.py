"""The rail adapter killed at every effect it has: the rail's ledger shows one submission at most,
none after a withdraw that was called certain, and none after submitBefore.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from schemas import topology
from tests.processors.rail.harness import REFERENCE, WINDOW_MS, Fuse, House, Killed, Served

EFFECTS_MAX = 40
Script = list[dict[str, object]]
SCRIPTS: dict[str, Script] = {
    "taken": [{"kind": "NOTHING"}],
    "503, not taken": [{"kind": "HTTP", "status": 503, "times": 1}],
    "503, but taken": [{"kind": "HTTP", "status": 503, "times": 1, "taken": True}],
    "rejected at once": [{"kind": "SYNC_REJECT", "code": "AC04"}],
}
CERTAIN = {"WITHDRAWN", "NOT_SUBMITTED"}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


@pytest.fixture
def house(served: Served) -> House:
    return House(served)


def judge(house: House) -> None:
    """What must hold after any crash."""
    kinds = set(house.kinds())
    assert house.submitted() <= 1, "one reference was sent twice although the rail had it"
    assert house.simulator.ledger.too_late == {}, "submitted after submitBefore"
    if kinds & CERTAIN:
        assert house.submitted() == 0, f"{kinds & CERTAIN} was reported of what the rail has"


def killed_at(
    served: Served, at: int, script: Script, *instructions: str, assigned_first: bool = False
) -> tuple[House, Fuse]:
    """A house in which the first instance was killed at effect `at`, if it came that far.

    `assigned_first`: it had the partition before the instructions came, so they are new to it.
    """
    house = House(served)
    house.simulator.scripts.put({"for": REFERENCE, "steps": script})
    fuse = Fuse(at)
    instance = house.instance(fuse)
    if assigned_first:
        instance.assign()
    for kind in instructions:
        house.instruct(kind)
    instance.look_ahead()
    with contextlib.suppress(Killed):
        instance.run()
    return house, fuse


@pytest.mark.parametrize("assigned_first", [False, True])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_submission_killed_anywhere_reaches_the_rail_once(
    served: Served, name: str, assigned_first: bool
) -> None:
    for at in range(EFFECTS_MAX):
        house, fuse = killed_at(served, at, SCRIPTS[name], "SUBMIT", assigned_first=assigned_first)
        house.instance().run()
        judge(house)
        assert house.submitted() == 1, f"killed at {at}: it never reached the rail"
        assert house.kinds(), "nobody was told anything"
        if not fuse.kills:
            assert at >= 8  # enquiry, SUBMITTING, submission, report, SUBMITTED: before and after
            return
    pytest.fail("more effects than expected")


@pytest.mark.parametrize("assigned_first", [False, True])
def test_a_withdraw_that_was_read_first_killed_anywhere_submits_nothing(
    served: Served, assigned_first: bool
) -> None:
    for at in range(EFFECTS_MAX):
        house, fuse = killed_at(
            served, at, SCRIPTS["taken"], "SUBMIT", "WITHDRAW", assigned_first=assigned_first
        )
        house.instance().run()
        assert house.submitted() == 0
        assert "WITHDRAWN" in house.kinds()
        if not fuse.kills:
            assert at >= 4
            return
    pytest.fail("more effects than expected")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_withdraw_that_comes_during_the_crash_is_answered_truly(
    served: Served, name: str
) -> None:
    for at in range(EFFECTS_MAX):
        house, fuse = killed_at(served, at, SCRIPTS[name], "SUBMIT")
        house.instruct("WITHDRAW")
        house.instance().run()
        judge(house)
        answers = [r for r in house.reports() if r.kind in CERTAIN | {"ALREADY_SUBMITTED"}]
        assert answers, f"killed at {at}: {house.kinds()}"
        evidence = [r.code for r in answers if r.kind == "ALREADY_SUBMITTED"]
        assert set(evidence) <= {"SUBMITTED", "SUBMITTING"}, f"killed at {at}"
        if "SUBMITTED" in evidence:
            assert not CERTAIN & set(house.kinds()), f"killed at {at}: {house.kinds()}"
        if not fuse.kills:
            return
    pytest.fail("more effects than expected")


def test_a_crash_after_submitting_and_past_the_limit_submits_nothing(house: House) -> None:
    house.instruct("SUBMIT")
    first = house.instance()
    first.assign()
    house.log.fuse = first.fuse
    first.fuse.at = first.fuse.count + 4  # enquiry before/after, SUBMITTING before/after: then dies
    with pytest.raises(Killed):
        first.run()
    house.clock.advance(WINDOW_MS)
    house.instance().run()
    assert house.submitted() == 0
    assert house.kinds() == ["NOT_SUBMITTED"]
    report = house.reports()[0]
    assert report.via_enquiry
    assert report.adapter_stopped


def test_a_late_instruction_is_never_submitted(house: House) -> None:
    house.instruct("SUBMIT")
    house.clock.advance(WINDOW_MS)
    house.instance().run()
    assert house.submitted() == 0
    assert house.kinds() == ["NOT_SUBMITTED"]


def test_a_rail_that_is_down_until_the_limit_ends_as_not_submitted(house: House) -> None:
    trouble = [{"kind": "HTTP", "status": 503, "times": 1_000}]
    house.simulator.scripts.put({"for": REFERENCE, "steps": trouble})
    house.instruct("SUBMIT")
    house.instance().run()
    assert house.submitted() == 0
    assert house.kinds()[-1] == "NOT_SUBMITTED"
    tries = [report.technical_result for report in house.reports() if report.kind == "STATUS"]
    assert len(tries) > 3
    assert set(tries) == {"HTTP_503"}


def test_nothing_is_submitted_while_processing_is_stopped(house: House) -> None:
    house.instruct("SUBMIT")
    instance = house.instance()
    house.stopped = "stop-1: proof failed"
    for _ in range(5):
        assert instance.try_once(0) is not None
    assert house.submitted() == 0
    house.stopped = None
    instance.run()
    assert house.submitted() == 1


def test_nothing_is_submitted_until_the_partition_was_read_to_its_end(house: House) -> None:
    house.fresh = False
    instance = house.instance()
    instance.assign()
    house.instruct("SUBMIT")
    for _ in range(5):
        assert instance.try_once(0) is not None
    assert house.submitted() == 0
    assert len(house.log.of(topology.RAIL_SUBMITTED)) == 1  # the one of an hour ago
    house.fresh = True
    instance.run()
    assert house.submitted() == 1


def test_an_instance_that_lost_its_partition_submits_and_says_nothing(house: House) -> None:
    house.instruct("SUBMIT")
    house.instruct("WITHDRAW")
    house.ownership.ours = False
    instance = house.instance(ahead=False)
    instance.assign()
    assert instance.try_once(0) is not None
    assert house.submitted() == 0
    other = house.instance()
    house.ownership.ours = True
    other.run()
    assert house.submitted() == 0
    judge(house)


def test_a_topic_replayed_without_any_record_of_ours_submits_nothing(house: House) -> None:
    for payment in range(5):
        house.instruct("SUBMIT", attempt=payment + 1)
    house.instance().run()
    before = [house.submitted(ref) for ref in house.simulator.ledger.entries]
    assert before == [1] * 5
    house.log.topics[topology.RAIL_SUBMITTED] = []
    house.committed = 0
    house.instance().run()
    assert [house.submitted(ref) for ref in house.simulator.ledger.entries] == before
    assert not CERTAIN & set(house.kinds())
