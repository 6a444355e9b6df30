"""The rail adapter killed at every effect: the rail's ledger shows at most one submission, none
after a withdrawal that was reported certain, and none after submitBefore.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from schemas import topology
from tests.processors.rail.harness import REFERENCE, WINDOW_MS, Fuse, Harness, Killed, Served

pytestmark = pytest.mark.slow

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
def harness(served: Served) -> Harness:
    return Harness(served)


def judge(harness: Harness) -> None:
    """The invariants after any crash."""
    kinds = set(harness.kinds())
    assert harness.submitted() <= 1, "one reference was sent twice although the rail had it"
    assert harness.simulator.ledger.too_late == {}, "submitted after submitBefore"
    if kinds & CERTAIN:
        assert harness.submitted() == 0, f"{kinds & CERTAIN} was reported of what the rail has"


def killed_at(
    served: Served, at: int, script: Script, *instructions: str, assigned_first: bool = False
) -> tuple[Harness, Fuse]:
    """A harness whose first instance was killed at effect `at`, if it got that far.

    `assigned_first`: it had the partition before the instructions came, so they are new to it.
    """
    harness = Harness(served)
    harness.simulator.scripts.put({"for": REFERENCE, "steps": script})
    fuse = Fuse(at)
    instance = harness.instance(fuse)
    if assigned_first:
        instance.assign()
    for kind in instructions:
        harness.instruct(kind)
    instance.look_ahead()
    with contextlib.suppress(Killed):
        instance.run()
    return harness, fuse


@pytest.mark.parametrize("assigned_first", [False, True])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_submission_killed_anywhere_reaches_the_rail_once(
    served: Served, name: str, assigned_first: bool
) -> None:
    for at in range(EFFECTS_MAX):
        harness, fuse = killed_at(
            served, at, SCRIPTS[name], "SUBMIT", assigned_first=assigned_first
        )
        harness.instance().run()
        judge(harness)
        assert harness.submitted() == 1, f"killed at {at}: it never reached the rail"
        assert harness.kinds(), "no report was published"
        if not fuse.kills:
            assert (
                at >= 8
            )  # enquiry, SUBMITTING, submission, report, SUBMITTED: before and after each
            return
    pytest.fail("more effects than expected")


@pytest.mark.parametrize("assigned_first", [False, True])
def test_a_withdrawal_read_first_then_killed_anywhere_submits_nothing(
    served: Served, assigned_first: bool
) -> None:
    for at in range(EFFECTS_MAX):
        harness, fuse = killed_at(
            served, at, SCRIPTS["taken"], "SUBMIT", "WITHDRAW", assigned_first=assigned_first
        )
        harness.instance().run()
        assert harness.submitted() == 0
        assert "WITHDRAWN" in harness.kinds()
        if not fuse.kills:
            assert at >= 4
            return
    pytest.fail("more effects than expected")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_withdrawal_during_the_crash_is_answered_correctly(served: Served, name: str) -> None:
    for at in range(EFFECTS_MAX):
        harness, fuse = killed_at(served, at, SCRIPTS[name], "SUBMIT")
        harness.instruct("WITHDRAW")
        harness.instance().run()
        judge(harness)
        answers = [r for r in harness.reports() if r.kind in CERTAIN | {"ALREADY_SUBMITTED"}]
        assert answers, f"killed at {at}: {harness.kinds()}"
        evidence = [r.code for r in answers if r.kind == "ALREADY_SUBMITTED"]
        assert set(evidence) <= {"SUBMITTED", "SUBMITTING"}, f"killed at {at}"
        if "SUBMITTED" in evidence:
            assert not CERTAIN & set(harness.kinds()), f"killed at {at}: {harness.kinds()}"
        if not fuse.kills:
            return
    pytest.fail("more effects than expected")


def test_a_crash_after_submitting_and_past_the_limit_submits_nothing(harness: Harness) -> None:
    harness.instruct("SUBMIT")
    first = harness.instance()
    first.assign()
    harness.log.fuse = first.fuse
    first.fuse.at = (
        first.fuse.count + 4
    )  # enquiry before/after, SUBMITTING before/after: then it dies
    with pytest.raises(Killed):
        first.run()
    harness.clock.advance(WINDOW_MS)
    harness.instance().run()
    assert harness.submitted() == 0
    assert harness.kinds() == ["NOT_SUBMITTED"]
    report = harness.reports()[0]
    assert report.via_enquiry
    assert report.adapter_stopped


def test_a_late_instruction_is_never_submitted(harness: Harness) -> None:
    harness.instruct("SUBMIT")
    harness.clock.advance(WINDOW_MS)
    harness.instance().run()
    assert harness.submitted() == 0
    assert harness.kinds() == ["NOT_SUBMITTED"]


def test_a_rail_unavailable_until_the_limit_ends_as_not_submitted(harness: Harness) -> None:
    trouble = [{"kind": "HTTP", "status": 503, "times": 1_000}]
    harness.simulator.scripts.put({"for": REFERENCE, "steps": trouble})
    harness.instruct("SUBMIT")
    harness.instance().run()
    assert harness.submitted() == 0
    assert harness.kinds()[-1] == "NOT_SUBMITTED"
    tries = [report.technical_result for report in harness.reports() if report.kind == "STATUS"]
    assert len(tries) > 3
    assert set(tries) == {"HTTP_503"}


def test_nothing_is_submitted_during_a_stop(harness: Harness) -> None:
    harness.instruct("SUBMIT")
    instance = harness.instance()
    harness.stopped = "stop-1: proof failed"
    for _ in range(5):
        assert instance.try_once(0) is not None
    assert harness.submitted() == 0
    harness.stopped = None
    instance.run()
    assert harness.submitted() == 1


def test_nothing_is_submitted_before_the_partition_has_been_read_to_its_end(
    harness: Harness,
) -> None:
    harness.fresh = False
    instance = harness.instance()
    instance.assign()
    harness.instruct("SUBMIT")
    for _ in range(5):
        assert instance.try_once(0) is not None
    assert harness.submitted() == 0
    assert len(harness.log.of(topology.RAIL_SUBMITTED)) == 1  # the one of an hour ago
    harness.fresh = True
    instance.run()
    assert harness.submitted() == 1


def test_an_instance_that_lost_its_partition_submits_and_reports_nothing(harness: Harness) -> None:
    harness.instruct("SUBMIT")
    harness.instruct("WITHDRAW")
    harness.ownership.ours = False
    instance = harness.instance(ahead=False)
    instance.assign()
    assert instance.try_once(0) is not None
    assert harness.submitted() == 0
    other = harness.instance()
    harness.ownership.ours = True
    other.run()
    assert harness.submitted() == 0
    judge(harness)


def test_a_replayed_topic_without_an_adapter_record_submits_nothing(harness: Harness) -> None:
    for payment in range(5):
        harness.instruct("SUBMIT", attempt=payment + 1)
    harness.instance().run()
    before = [harness.submitted(ref) for ref in harness.simulator.ledger.entries]
    assert before == [1] * 5
    harness.log.topics[topology.RAIL_SUBMITTED] = []
    harness.committed = 0
    harness.instance().run()
    assert [harness.submitted(ref) for ref in harness.simulator.ledger.entries] == before
    assert not CERTAIN & set(harness.kinds())
