"""The rail's lanes: nothing waits for an enquiry, and a recall waits for nothing (ruling 8)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.rules import parse
from core.values import external_ref, payment_intent_id
from engine.clock import SystemClock
from engine.ports import InputRecord
from engine.worker.lanes import Lane, Lanes
from engine.worker.settings import TryAgain
from processors.rail import handler as rail
from processors.rail.record import SUBMIT_WINDOW_MS_MAX
from processors.rail.worker import LANES, RANKS, ROOM
from schemas import topology
from tests.processors.rail.harness import PAYMENT, REFERENCE, Harness, Instance, Served, polled
from tests.rooms import ROOT

WAIT_S = 10.0
RULES = sorted((ROOT / "core" / "rules").glob("*.yaml"))
SECOND = external_ref(PAYMENT, 2)
HANGS = {"kind": "ENQUIRY", "hang": True, "millis": 1_500}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


@pytest.fixture
def harness(served: Served) -> Harness:
    return Harness(served)


def records(harness: Harness) -> list[InputRecord]:
    return [polled(r, harness.clock) for r in harness.log.of(topology.RAIL_SUBMISSIONS)]


@contextmanager
def running(instance: Instance) -> Iterator[tuple[Lanes, list[int]]]:
    """The instance's lanes with their threads, and the finished offsets in order."""
    done: list[int] = []

    def work(record: InputRecord, _: int) -> float | None:
        try:
            instance.handler(record)
        except TryAgain as error:
            return error.pause_s
        done.append(record.offset)
        return None

    lanes = Lanes(work, SystemClock(), threads=LANES, room=ROOM)
    try:
        yield lanes, done
    finally:
        lanes.close()
        assert lanes.failure is None


def put(lanes: Lanes, instance: Instance, harness: Harness) -> None:
    for record in records(harness):
        lanes.put(record, 1, instance.handler.lane_of(record))


def until(holds: Callable[[], bool], lanes: Lanes) -> None:
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + WAIT_S
    while not holds():
        assert clock.monotonic_s() < deadline_s
        lanes.release_due()
        clock.sleep(0.005)


def test_instructions_that_must_not_overlap_share_a_name_and_have_an_order(
    harness: Harness,
) -> None:
    """For one reference WITHDRAW before RECALL before SUBMIT; enquiries and other attempts in
    parallel.
    """
    instance = harness.instance()
    for attempt in (1, 2):
        for kind in ("SUBMIT", "WITHDRAW", "RECALL", "ENQUIRE"):
            harness.instruct(kind, attempt=attempt)
    lanes = [instance.handler.lane_of(record) for record in records(harness)]
    first, second = REFERENCE.encode(), SECOND.encode()
    assert lanes == [
        Lane(first, 2), Lane(first, 0), Lane(first, 1), Lane(first + b"?", 3),
        Lane(second, 2), Lane(second, 0), Lane(second, 1), Lane(second + b"?", 3),
    ]  # fmt: skip
    assert sorted(RANKS.values()) == list(range(len(ROOM)))
    assert list(ROOM) == sorted(set(ROOM), reverse=True), "each rank leaves threads to the next"


def test_an_unreadable_instruction_has_a_lane_too(harness: Harness) -> None:
    """Its handler quarantines it there."""
    instance = harness.instance()
    harness.log.append(topology.RAIL_SUBMISSIONS, b"key", b"\xff")
    harness.log.append(topology.RAIL_SUBMISSIONS, None, None)
    lanes = [instance.handler.lane_of(record) for record in records(harness)]
    assert lanes == [Lane(b"key"), Lane(b"")]
    instance.run()
    assert len(harness.log.of(topology.QUARANTINE)) == 2


def test_a_hanging_enquiry_delays_nothing_of_its_payment(harness: Harness) -> None:
    """Neither the next attempt's SUBMIT, nor a withdrawal, nor a recall waits for it."""
    harness.record_of(REFERENCE, "SUBMITTING", "SUBMITTED")
    harness.script(HANGS)
    instance = harness.instance()
    instance.assign()
    harness.instruct("ENQUIRE")
    with running(instance) as (lanes, done):
        put(lanes, instance, harness)
        until(lambda: harness.requested() == 1, lanes)
        for kind, attempt in (("SUBMIT", 2), ("WITHDRAW", 1), ("RECALL", 1)):
            harness.instruct(kind, attempt=attempt)
        for record in records(harness)[1:]:
            lanes.put(record, 1, instance.handler.lane_of(record))
        until(lambda: len(done) == 3, lanes)
        assert 0 not in done, "the enquiry still hangs"
    assert harness.submitted(SECOND) == 1
    assert ("ALREADY_SUBMITTED", "SUBMITTED") in harness.said()


def test_a_recall_overtakes_a_hundred_hanging_enquiries(harness: Harness) -> None:
    """A recall of a possible duplicate payment used to take 67 s behind enquiries."""
    instance = harness.instance()
    instance.assign()
    harness.instruct("SUBMIT")
    instance.run()
    harness.simulator.scripts.put({"for": "*", "steps": [HANGS]})
    names = [payment_intent_id("mobile-app", f"enquired-{n}") for n in range(100)]
    for name in names:
        harness.instruct("ENQUIRE", payment=name)
    harness.instruct("RECALL")
    with running(instance) as (lanes, done):
        for record in records(harness)[1:]:
            lanes.put(record, 1, instance.handler.lane_of(record))
        until(lambda: done != [], lanes)
        assert done == [1 + len(names)], "the recall is done while the enquiries hang"
        requested = sum(harness.simulator.ledger.enquiries.values())
        lanes.drop_waiting()
        assert lanes.wait_idle(WAIT_S)
    assert requested <= ROOM[3]
    assert "RECALL_ACCEPTED" in harness.kinds()


def test_a_submission_and_its_withdrawal_never_run_together(harness: Harness) -> None:
    """Ruling 8: the withdrawal waits for the call in progress, and for nothing else."""
    harness.script({"kind": "HANG", "millis": 300, "times": 1, "taken": True, "status": 202})
    instance = harness.instance()
    instance.assign()
    harness.instruct("SUBMIT")
    with running(instance) as (lanes, done):
        put(lanes, instance, harness)
        until(lambda: harness.submitted() == 1, lanes)
        harness.instruct("WITHDRAW")
        instance.look_ahead()
        lanes.put(records(harness)[1], 1, instance.handler.lane_of(records(harness)[1]))
        until(lambda: 1 in done, lanes)
    said = [kind for kind, _ in harness.said()]
    assert said.index("STATUS") < said.index("ALREADY_SUBMITTED"), "the try's end came first"
    assert harness.said()[-1][0] in ("ALREADY_SUBMITTED", "STATUS")
    assert harness.submitted() == 1


# -- enquiries and recalls -------------------------------------------------------------------------


def test_a_silent_rail_is_not_asked_by_every_waiting_enquiry(harness: Harness) -> None:
    """Enquiries alone could use up the adapter's capacity; core enquires again by itself."""
    harness.script({"kind": "ENQUIRY", "httpStatus": 503})
    harness.instruct("ENQUIRE")
    instance = harness.instance()
    instance.run()
    requested = harness.requested()
    assert requested == rail.ENQUIRY_TRIES_MAX
    harness.crowded = True
    harness.instruct("ENQUIRE", number=2)
    instance.run()
    assert harness.requested() == requested
    assert harness.said() == [("STATUS", "NO_ANSWER")] * 2
    assert harness.reports()[-1].technical_result == "NOT_ASKED"
    harness.crowded = False
    harness.script({"kind": "NOTHING"})
    harness.instruct("ENQUIRE", number=3)
    instance.run()
    harness.crowded = True
    harness.instruct("ENQUIRE", number=4)
    instance.run()
    assert harness.requested() == requested + 2, "a rail that answers is asked, whatever waits"


def test_a_recall_is_repeated_while_the_rail_does_not_answer(harness: Harness) -> None:
    """Core requests it once: a two-minute outage must not lose it."""
    harness.script({"kind": "RECALL", "httpStatus": 503, "times": 25})
    harness.instruct("SUBMIT")
    harness.instruct("RECALL")
    harness.instance().run()
    assert harness.said()[-1] == ("RECALL_ACCEPTED", None)
    assert harness.kinds().count("RECALL_ACCEPTED") == 1


@pytest.mark.parametrize("returned", [5_000, None])
def test_an_enquiry_reports_the_total_returned_and_never_invents_one(
    harness: Harness, returned: int | None
) -> None:
    """The total so far, as an enquiry's answer with its ids; without a total there is no amount."""
    fields = {"returnedAmount": returned, "amount": 12_345, "messageId": "M" * 140}
    harness.script({"kind": "ENQUIRY", "status": "RETURNED", "code": "AC04", "fields": fields})
    harness.instruct("SUBMIT")
    harness.instruct("ENQUIRE")
    harness.instance().run()
    settled, back = harness.reports()[-2:]
    assert (settled.kind, settled.amount, settled.rail_message_id) == ("SETTLED", 12_345, None)
    assert (back.kind, back.amount, back.code) == ("RETURNED", returned, "AC04")
    assert (back.via_enquiry, back.rail_message_id) == (True, "M" * 140)


# -- what the times are based on -------------------------------------------------------------------


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_a_submission_is_decided_within_the_time_the_record_covers(file: Path) -> None:
    """The time that the record must cover follows from submitBefore."""
    assert parse(file.read_bytes()).windows.submit_ms <= SUBMIT_WINDOW_MS_MAX


def test_one_thread_restores_the_record(harness: Harness) -> None:
    """All lanes start at once after an assignment: the record is read once, before any of them
    works.
    """
    instance = harness.instance()
    harness.instruct("ENQUIRE")
    reads: list[int] = []
    submissions = harness.log.submissions

    def counted(partition: int) -> object:
        reads.append(partition)
        return submissions(partition)

    harness.log.submissions = counted  # type: ignore[method-assign,assignment]
    threads = [threading.Thread(target=instance.try_once, args=(0,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert reads == [0]
