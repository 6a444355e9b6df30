"""The rail's lanes: nothing waits for an enquiry, and a recall for nothing at all (ruling 8)."""

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
from tests.processors.rail.harness import PAYMENT, REFERENCE, House, Instance, Served, polled
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
def house(served: Served) -> House:
    return House(served)


def records(house: House) -> list[InputRecord]:
    return [polled(r, house.clock) for r in house.log.of(topology.RAIL_SUBMISSIONS)]


@contextmanager
def running(instance: Instance) -> Iterator[tuple[Lanes, list[int]]]:
    """The instance's lanes with their threads, and the offsets that are done, in order."""
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


def put(lanes: Lanes, instance: Instance, house: House) -> None:
    for record in records(house):
        lanes.put(record, 1, instance.handler.lane_of(record))


def until(holds: Callable[[], bool], lanes: Lanes) -> None:
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + WAIT_S
    while not holds():
        assert clock.monotonic_s() < deadline_s
        lanes.release_due()
        clock.sleep(0.005)


def test_what_must_not_run_at_once_has_one_name_and_its_order(house: House) -> None:
    """WITHDRAW before RECALL before SUBMIT of one reference; enquiries and attempts beside them."""
    instance = house.instance()
    for attempt in (1, 2):
        for kind in ("SUBMIT", "WITHDRAW", "RECALL", "ENQUIRE"):
            house.instruct(kind, attempt=attempt)
    lanes = [instance.handler.lane_of(record) for record in records(house)]
    first, second = REFERENCE.encode(), SECOND.encode()
    assert lanes == [
        Lane(first, 2), Lane(first, 0), Lane(first, 1), Lane(first + b"?", 3),
        Lane(second, 2), Lane(second, 0), Lane(second, 1), Lane(second + b"?", 3),
    ]  # fmt: skip
    assert sorted(RANKS.values()) == list(range(len(ROOM)))
    assert list(ROOM) == sorted(set(ROOM), reverse=True), "each rank leaves threads to the next"


def test_what_cannot_be_read_has_a_lane_all_the_same(house: House) -> None:
    """It is quarantined there, by its handler."""
    instance = house.instance()
    house.log.append(topology.RAIL_SUBMISSIONS, b"key", b"\xff")
    house.log.append(topology.RAIL_SUBMISSIONS, None, None)
    lanes = [instance.handler.lane_of(record) for record in records(house)]
    assert lanes == [Lane(b"key"), Lane(b"")]
    instance.run()
    assert len(house.log.of(topology.QUARANTINE)) == 2


def test_an_enquiry_that_hangs_holds_up_nothing_of_its_payment(house: House) -> None:
    """Finding 9: neither the next attempt's SUBMIT, nor a withdraw, nor a recall waits for it."""
    house.record_of(REFERENCE, "SUBMITTING", "SUBMITTED")
    house.script(HANGS)
    instance = house.instance()
    instance.assign()
    house.instruct("ENQUIRE")
    with running(instance) as (lanes, done):
        put(lanes, instance, house)
        until(lambda: house.asked() == 1, lanes)
        for kind, attempt in (("SUBMIT", 2), ("WITHDRAW", 1), ("RECALL", 1)):
            house.instruct(kind, attempt=attempt)
        for record in records(house)[1:]:
            lanes.put(record, 1, instance.handler.lane_of(record))
        until(lambda: len(done) == 3, lanes)
        assert 0 not in done, "the enquiry still hangs"
    assert house.submitted(SECOND) == 1
    assert ("ALREADY_SUBMITTED", "SUBMITTED") in house.said()


def test_a_recall_goes_before_a_hundred_enquiries_that_hang(house: House) -> None:
    """Finding 9: a recall of a possible double payment took 67 s behind enquiries."""
    instance = house.instance()
    instance.assign()
    house.instruct("SUBMIT")
    instance.run()
    house.simulator.scripts.put({"for": "*", "steps": [HANGS]})
    names = [payment_intent_id("mobile-app", f"enquired-{n}") for n in range(100)]
    for name in names:
        house.instruct("ENQUIRE", payment=name)
    house.instruct("RECALL")
    with running(instance) as (lanes, done):
        for record in records(house)[1:]:
            lanes.put(record, 1, instance.handler.lane_of(record))
        until(lambda: done != [], lanes)
        assert done == [1 + len(names)], "the recall is done while the enquiries hang"
        asked = sum(house.simulator.ledger.enquiries.values())
        lanes.drop_waiting()
        assert lanes.wait_idle(WAIT_S)
    assert asked <= ROOM[3]
    assert "RECALL_ACCEPTED" in house.kinds()


def test_a_submission_and_its_withdraw_are_never_at_work_together(house: House) -> None:
    """Ruling 8: the withdraw waits for the call that is under way, and for no more."""
    house.script({"kind": "HANG", "millis": 300, "times": 1, "taken": True, "status": 202})
    instance = house.instance()
    instance.assign()
    house.instruct("SUBMIT")
    with running(instance) as (lanes, done):
        put(lanes, instance, house)
        until(lambda: house.submitted() == 1, lanes)
        house.instruct("WITHDRAW")
        instance.look_ahead()
        lanes.put(records(house)[1], 1, instance.handler.lane_of(records(house)[1]))
        until(lambda: 1 in done, lanes)
    said = [kind for kind, _ in house.said()]
    assert said.index("STATUS") < said.index("ALREADY_SUBMITTED"), "the try's end came first"
    assert house.said()[-1][0] in ("ALREADY_SUBMITTED", "STATUS")
    assert house.submitted() == 1


# -- enquiries and recalls -------------------------------------------------------------------------


def test_a_silent_rail_is_not_asked_by_each_of_a_crowd(house: House) -> None:
    """Enquiries alone could fill what the adapter may hold; core asks again by itself."""
    house.script({"kind": "ENQUIRY", "httpStatus": 503})
    house.instruct("ENQUIRE")
    instance = house.instance()
    instance.run()
    asked = house.asked()
    assert asked == rail.ENQUIRY_TRIES_MAX
    house.crowded = True
    house.instruct("ENQUIRE", number=2)
    instance.run()
    assert house.asked() == asked
    assert house.said() == [("STATUS", "NO_ANSWER")] * 2
    assert house.reports()[-1].technical_result == "NOT_ASKED"
    house.crowded = False
    house.script({"kind": "NOTHING"})
    house.instruct("ENQUIRE", number=3)
    instance.run()
    house.crowded = True
    house.instruct("ENQUIRE", number=4)
    instance.run()
    assert house.asked() == asked + 2, "a rail that answers is asked, whatever waits"


def test_a_recall_is_repeated_while_the_rail_is_silent(house: House) -> None:
    """Core asks for it once: an outage of two minutes does not lose it."""
    house.script({"kind": "RECALL", "httpStatus": 503, "times": 25})
    house.instruct("SUBMIT")
    house.instruct("RECALL")
    house.instance().run()
    assert house.said()[-1] == ("RECALL_ACCEPTED", None)
    assert house.kinds().count("RECALL_ACCEPTED") == 1


@pytest.mark.parametrize("returned", [5_000, None])
def test_an_enquiry_tells_the_total_returned_and_never_makes_one_up(
    house: House, returned: int | None
) -> None:
    """Finding 7: the total so far, as an enquiry's answer with its ids; without it no amount."""
    fields = {"returnedAmount": returned, "amount": 12_345, "messageId": "M" * 140}
    house.script({"kind": "ENQUIRY", "status": "RETURNED", "code": "AC04", "fields": fields})
    house.instruct("SUBMIT")
    house.instruct("ENQUIRE")
    house.instance().run()
    settled, back = house.reports()[-2:]
    assert (settled.kind, settled.amount, settled.rail_message_id) == ("SETTLED", 12_345, None)
    assert (back.kind, back.amount, back.code) == ("RETURNED", returned, "AC04")
    assert (back.via_enquiry, back.rail_message_id) == (True, "M" * 140)


# -- what the times rest on ------------------------------------------------------------------------


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_a_submission_is_decided_within_the_time_that_the_record_allows(file: Path) -> None:
    """How far back the record has to reach is taken from submitBefore."""
    assert parse(file.read_bytes()).windows.submit_ms <= SUBMIT_WINDOW_MS_MAX


def test_one_thread_at_a_time_restores_the_record(house: House) -> None:
    """All lanes come at once after an assignment: the record is read once, before any works."""
    instance = house.instance()
    house.instruct("ENQUIRE")
    reads: list[int] = []
    submissions = house.log.submissions

    def counted(partition: int) -> object:
        reads.append(partition)
        return submissions(partition)

    house.log.submissions = counted  # type: ignore[method-assign,assignment]
    threads = [threading.Thread(target=instance.try_once, args=(0,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert reads == [0]
