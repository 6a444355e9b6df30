"""Withdraws: what is certain, what is not, and nothing is sent once one was read (ruling 8)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.values import external_ref
from engine.errors import Exit
from processors.rail.worker import OLD_MS, WITHDRAWN_KEPT_MS
from schemas import topology
from tests.processors.rail.harness import (
    CODEC,
    HOUR_MS,
    NOW_MS,
    PAYMENT,
    REFERENCE,
    WINDOW_MS,
    House,
    Instance,
    Served,
)

SUBMIT, WITHDRAW = 0, 1  # offsets
ALREADY = "ALREADY_SUBMITTED"
CERTAIN = {"WITHDRAWN", "NOT_SUBMITTED"}
NO_ANSWER = {"kind": "ENQUIRY", "httpStatus": 503}
NOTHING = {"kind": "NOTHING"}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


@pytest.fixture
def house(served: Served) -> House:
    return House(served)


def begun(house: House) -> Instance:
    """An instance that has the partition before anything stands on it, and reads a SUBMIT."""
    instance = house.instance()
    instance.assign()
    house.instruct("SUBMIT")
    instance.poll(SUBMIT)
    return instance


def withdraw(house: House, instance: Instance) -> None:
    """A withdraw comes to the topic; the scout reads it at once, and then the lanes."""
    house.instruct("WITHDRAW")
    instance.look_ahead()
    instance.poll(WITHDRAW)


def forget_record(house: House) -> None:
    house.log.topics[topology.RAIL_SUBMITTED] = []


def answers(house: House) -> list[tuple[str, str | None]]:
    """What withdraws and ends were answered with; tries on the wire are left out."""
    return [(kind, code) for kind, code in house.said() if kind in CERTAIN | {ALREADY}]


# -- sequences of the issue ------------------------------------------------------------------------


def test_an_attempt_that_slept_in_submitting_is_never_sent_again(house: House) -> None:
    """Issue 10: SUBMIT asleep in SUBMITTING, WITHDRAW overtakes, SUBMIT wakes, rail unknown."""
    house.script({"kind": "HTTP", "status": 503, "times": 1})
    instance = begun(house)
    assert instance.try_once(SUBMIT) is not None
    withdraw(house, instance)
    assert instance.try_once(WITHDRAW) is None
    assert answers(house) == [(ALREADY, "SUBMITTING")]
    for _ in range(5):
        assert instance.try_once(SUBMIT) is not None, "it waits for the rail's final word"
    instance.run()
    assert house.submitted() == 0
    assert answers(house) == [(ALREADY, "SUBMITTING"), ("NOT_SUBMITTED", None)]
    last = house.reports()[-1]
    assert last.via_enquiry
    assert last.submitted_at == house.clock.now_ms() >= NOW_MS + WINDOW_MS


def test_nor_by_an_instance_that_comes_after(house: House) -> None:
    """As above, and the process is replaced while the attempt sleeps."""
    house.script({"kind": "HTTP", "status": 503, "times": 1})
    instance = begun(house)
    assert instance.try_once(SUBMIT) is not None
    withdraw(house, instance)
    assert instance.try_once(WITHDRAW) is None
    house.instance().run()
    assert house.submitted() == 0
    assert ("NOT_SUBMITTED", None) in house.said()


def test_what_the_rail_took_before_the_withdraw_is_found_at_once(house: House) -> None:
    """The answer was lost, the rail has it: its word comes long before submitBefore."""
    house.script({"kind": "HTTP", "status": 503, "times": 1, "taken": True})
    instance = begun(house)
    assert instance.try_once(SUBMIT) is not None
    withdraw(house, instance)
    assert instance.try_once(WITHDRAW) is None
    assert instance.try_once(SUBMIT) is None
    assert house.submitted() == 1
    assert answers(house) == [(ALREADY, "SUBMITTING")]
    assert house.said()[-1] == ("STATUS", "PDNG")


def test_a_refused_connection_ends_as_certainly_not_submitted(house: House) -> None:
    """Issue 10: connection refused before anything was sent, cancel, unknown after submitBefore."""
    house.refuses_connections = True
    instance = begun(house)
    assert instance.try_once(SUBMIT) is not None
    withdraw(house, instance)
    assert instance.try_once(WITHDRAW) is None
    house.refuses_connections = False
    instance.run()
    assert house.submitted() == 0
    assert answers(house) == [(ALREADY, "SUBMITTING"), ("NOT_SUBMITTED", None)]
    tries = [r.technical_result for r in house.reports() if r.kind == "STATUS"]
    assert tries == ["CONNECT_FAILED"]


def test_a_record_that_does_not_reach_back_never_says_withdrawn(house: House) -> None:
    """Issue 10: record gone, cancel, the rail silent, then settles: ALREADY_SUBMITTED."""
    house.instruct("SUBMIT")
    house.instance().run()
    assert house.submitted() == 1
    forget_record(house)
    house.script(NO_ANSWER)
    house.instruct("WITHDRAW")
    house.instance().run()
    assert answers(house) == [(ALREADY, "RECORD_INCOMPLETE")]
    house.script(NOTHING)
    house.simulator.ledger.entries[REFERENCE].settled_amount = 12_345
    house.instruct("ENQUIRE")
    house.instance().run()
    assert house.said()[-1] == ("SETTLED", None)
    assert not CERTAIN & set(house.kinds())


# -- what a withdraw is answered -------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True])
def test_a_submission_that_waited_is_withdrawn_without_asking_the_rail(
    house: House, late: bool
) -> None:
    """The SUBMIT is new to this process and nothing was written of it: that is certain."""
    house.stopped = "stop-1: a person"
    instance = begun(house)
    assert instance.try_once(SUBMIT) is not None
    withdraw(house, instance)
    if late:
        house.clock.advance(WINDOW_MS)
    assert instance.try_once(WITHDRAW) is None
    assert (answers(house), house.asked()) == ([("WITHDRAWN", None)], 0)
    house.stopped = None
    assert instance.try_once(SUBMIT) is None
    assert house.submitted() == 0


def test_a_withdraw_overtakes_a_submission_that_was_read_and_never_begun(house: House) -> None:
    """The scout has read the withdraw: the submission, at work first, waits for its answer."""
    instance = begun(house)
    withdraw(house, instance)
    assert instance.try_once(SUBMIT) is not None
    assert instance.try_once(WITHDRAW) is None
    assert instance.try_once(SUBMIT) is None
    assert (house.submitted(), house.asked()) == (0, 0)
    assert set(house.kinds()) == {"WITHDRAWN"}


def test_a_record_that_reaches_back_is_believed_when_the_rail_is_silent(house: House) -> None:
    """The SUBMIT stood on the topic before the process came; an older record stands on its own."""
    house.instruct("SUBMIT")
    house.instruct("WITHDRAW")
    house.script(NO_ANSWER)
    house.instance().run()
    assert set(answers(house)) == {("WITHDRAWN", None)}
    assert (house.submitted(), house.asked()) == (0, 1)


def test_the_rails_word_goes_before_a_record_that_reaches_back(house: House) -> None:
    """A restored backup: the record is old enough and knows nothing, but the rail has it."""
    house.instruct("SUBMIT")
    house.instance().run()
    del house.log.topics[topology.RAIL_SUBMITTED][1:]
    house.instruct("WITHDRAW")
    house.instance().run()
    assert answers(house) == [(ALREADY, "SUBMITTED")]
    assert ("STATUS", "PDNG") in house.said()


@pytest.mark.parametrize(
    ("rail", "late", "expected"),
    [
        (NOTHING, False, (ALREADY, "RECORD_INCOMPLETE")),
        (NO_ANSWER, False, (ALREADY, "RECORD_INCOMPLETE")),
        (NO_ANSWER, True, (ALREADY, "RECORD_INCOMPLETE")),
        (NOTHING, True, ("WITHDRAWN", None)),
        ({"kind": "ENQUIRY", "status": "ACCEPTED"}, False, (ALREADY, "SUBMITTED")),
        ({"kind": "ENQUIRY", "status": "ACCEPTED"}, True, (ALREADY, "SUBMITTED")),
    ],
)
def test_without_a_record_only_the_rails_final_word_is_certain(
    house: House, rail: dict[str, object], late: bool, expected: tuple[str, str | None]
) -> None:
    """Ruling 8: unknown after submitBefore is certain; unknown before it, or silence, is not."""
    forget_record(house)
    house.script(rail)
    house.instruct("WITHDRAW")
    if late:
        house.clock.advance(WINDOW_MS)
    house.instance().run()
    assert answers(house) == [expected]


@pytest.mark.parametrize(
    ("phases", "rail", "late", "expected"),
    [
        (["SUBMITTING"], NOTHING, False, (ALREADY, "SUBMITTING")),
        (["SUBMITTING"], NO_ANSWER, True, (ALREADY, "SUBMITTING")),
        (["SUBMITTING"], NOTHING, True, ("NOT_SUBMITTED", None)),
        (["SUBMITTING"], {"kind": "ENQUIRY", "status": "SETTLED"}, True, (ALREADY, "SUBMITTED")),
        (["SUBMITTING", "SUBMITTED"], NOTHING, True, (ALREADY, "SUBMITTED")),
        (["SUBMITTING", "REFUSED"], NOTHING, True, (ALREADY, "SUBMITTED")),
        (["SUBMITTING", "NOT_SUBMITTED"], NOTHING, False, ("NOT_SUBMITTED", None)),
        (["WITHDRAWN"], NOTHING, False, ("WITHDRAWN", None)),
        # An instance that had lost the partition wrote the last one.
        (["SUBMITTING", "WITHDRAWN"], NOTHING, False, (ALREADY, "SUBMITTING")),
        (["SUBMITTING", "SUBMITTED", "NOT_SUBMITTED"], NOTHING, True, (ALREADY, "SUBMITTED")),
        (["SUBMITTING", "SUBMITTED", "SUBMITTING"], NOTHING, True, (ALREADY, "SUBMITTED")),
        (["WITHDRAWN", "SUBMITTING"], NOTHING, False, (ALREADY, "SUBMITTING")),
    ],
)
def test_a_withdraw_is_answered_from_the_record(
    house: House,
    phases: list[str],
    rail: dict[str, object],
    late: bool,
    expected: tuple[str, str | None],
) -> None:
    """What may have been submitted is never believed withdrawn; the code says what it rests on."""
    house.record_of(REFERENCE, *phases)
    house.script(rail)
    house.instruct("WITHDRAW")
    if late:
        house.clock.advance(WINDOW_MS)
    house.instance().run()
    assert answers(house) == [expected]


def test_not_submitted_by_one_who_missed_a_try_is_not_believed(house: House) -> None:
    """It knew of one try when there were two: the second may have reached the rail."""
    house.record_of(REFERENCE, "SUBMITTING", tries=2)
    house.record_of(REFERENCE, "NOT_SUBMITTED", tries=1)
    house.instruct("WITHDRAW")
    house.instance().run()
    assert answers(house) == [(ALREADY, "SUBMITTING")]


# -- the withdraw is remembered --------------------------------------------------------------------


def test_a_withdraw_is_remembered_until_nothing_can_be_submitted_any_more(house: House) -> None:
    """Answered or not; after submitBefore it need not be, and the memory is bounded by that."""
    instance = begun(house)
    withdraw(house, instance)
    instance.run()
    house.instruct("WITHDRAW", attempt=2, window=2 * HOUR_MS)
    instance.look_ahead()
    assert instance.withdrawn.is_withdrawn(REFERENCE)
    house.clock.advance(WINDOW_MS + WITHDRAWN_KEPT_MS + 1)
    house.instruct("WITHDRAW", attempt=3, window=2 * HOUR_MS)
    instance.withdrawn.observe(house.log.of(topology.RAIL_SUBMISSIONS)[-1])
    remembered = [
        number
        for number in (1, 2, 3)
        if instance.withdrawn.is_withdrawn(external_ref(PAYMENT, number))
    ]
    assert remembered == [2, 3]


def test_more_withdraws_than_can_be_remembered_end_the_process(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever forgot one could submit what was withdrawn."""
    monkeypatch.setattr("processors.rail.worker.WITHDRAWN_MAX", 2)
    instance = house.instance()
    for attempt in (1, 2, 3):
        house.instruct("WITHDRAW", attempt=attempt)
    with pytest.raises(Exit, match="TOO_MANY_WITHDRAWS"):
        instance.look_ahead()


def test_a_submission_decided_long_ago_is_not_new(house: House) -> None:
    """A topic that is copied into itself has old instructions at new offsets."""
    forget_record(house)
    instance = house.instance()
    instance.assign()
    house.instruct("SUBMIT")
    house.clock.advance(OLD_MS + 1)
    instance.poll(SUBMIT)
    withdraw(house, instance)
    assert instance.try_once(WITHDRAW) is None
    assert answers(house) == [(ALREADY, "RECORD_INCOMPLETE")]


def test_a_submission_read_by_an_earlier_assignment_is_not_new(house: House) -> None:
    """The partition was away meanwhile: whoever had it may have submitted."""
    forget_record(house)
    instance = begun(house)
    instance.generation += 1
    withdraw(house, instance)
    assert instance.try_once(WITHDRAW) is None
    assert answers(house) == [(ALREADY, "RECORD_INCOMPLETE")]


def test_nothing_is_sent_when_its_time_ends_while_the_group_confirms(house: House) -> None:
    """The coordinator may take seconds: submitBefore is looked at again right before the call."""
    instance = begun(house)
    house.ownership.takes_ms = WINDOW_MS
    assert instance.try_once(SUBMIT) is not None
    house.ownership.takes_ms = 0
    instance.run()
    assert house.simulator.ledger.too_late == {}
    assert (house.submitted(), house.kinds()) == (0, ["NOT_SUBMITTED"])


def test_a_withdraw_read_between_submitting_and_the_call_stops_the_call(house: House) -> None:
    """The scout is in another thread: the last look is after SUBMITTING was written."""
    instance = begun(house)
    house.instruct("WITHDRAW")
    written = house.log.publish

    def publish(topic: str, *args: object, **kwargs: object) -> None:
        written(topic, *args, **kwargs)  # type: ignore[arg-type]
        if topic == topology.RAIL_SUBMITTED:
            instance.look_ahead()

    house.log.publish = publish  # type: ignore[method-assign]
    assert instance.try_once(SUBMIT) is not None
    instance.run()
    assert house.submitted() == 0
    assert answers(house) == [(ALREADY, "SUBMITTING"), ("NOT_SUBMITTED", None)]


def test_offsets_pass_only_what_is_finished(house: House) -> None:
    """A withdraw that is done behind a submission that sleeps is read again after a crash."""
    house.refuses_connections = True
    instance = begun(house)
    assert instance.try_once(SUBMIT) is not None
    withdraw(house, instance)
    assert instance.try_once(WITHDRAW) is None
    assert house.committed == 0
    instance.run()
    assert house.committed == 2


# -- who says so -----------------------------------------------------------------------------------


def _withdrawn(house: House) -> str:
    house.instruct("WITHDRAW")
    return "WITHDRAWN"


def _late(house: House) -> str:
    house.instruct("SUBMIT")
    house.clock.advance(WINDOW_MS)
    return "NOT_SUBMITTED"


def _recorded(house: House) -> str:
    house.record_of(REFERENCE, "NOT_SUBMITTED")
    house.instruct("SUBMIT")
    return "NOT_SUBMITTED"


def _unknown(house: House) -> str:
    house.record_of(REFERENCE, "NOT_SUBMITTED")
    house.instruct("ENQUIRE")
    return "STATUS"


@pytest.mark.parametrize("make", [_withdrawn, _late, _recorded, _unknown])
def test_only_whoever_has_the_partition_says_what_is_certain(house: House, make: object) -> None:
    """Another instance may have submitted it: without the group's confirmation nothing is said."""
    kind = make(house)  # type: ignore[operator]
    house.ownership.ours = False
    instance = house.instance()
    for _ in range(3):
        assert instance.try_once(0) is not None
    assert house.reports() == []
    house.ownership.ours = True
    instance.run()
    (report,) = house.reports()
    assert (report.kind, report.adapter_stopped) == (kind, True)


# -- an enquiry's unknown --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phases", "after_ms", "stopped"),
    [
        ([], WINDOW_MS - 1, False),  # it may yet be submitted
        ([], WINDOW_MS + 1_000, False),  # a call of ours may be under way
        ([], WINDOW_MS + 30_000, True),
        (["SUBMITTING"], 0, False),
        (["SUBMITTING"], WINDOW_MS + 1_000, False),
        (["SUBMITTING"], WINDOW_MS + 30_000, True),
        (["SUBMITTING", "SUBMITTED"], 0, True),
        (["WITHDRAWN"], 0, True),
        (["SUBMITTING", "NOT_SUBMITTED"], 0, True),
        ([], WINDOW_MS + 2 * HOUR_MS, True),
        (["SUBMITTING"], WINDOW_MS + 2 * HOUR_MS, True),
    ],
)
def test_an_unknown_is_final_only_when_the_adapter_has_certainly_stopped(
    house: House, phases: list[str], after_ms: int, stopped: bool
) -> None:
    """Ruling 3: the own record reaches back and says that it is not, and never will be, sent."""
    house.record_of(REFERENCE, *phases)
    house.instruct("ENQUIRE")
    house.clock.advance(after_ms)
    house.instance().run()
    (report,) = house.reports()
    assert (report.code, report.via_enquiry) == ("UNKNOWN", True)
    assert report.adapter_stopped is stopped


def test_without_a_record_an_unknown_is_never_final(house: House) -> None:
    """Ruling 3: a record that does not reach back says nothing about what was submitted."""
    forget_record(house)
    house.instruct("ENQUIRE")
    house.clock.advance(WINDOW_MS + 30_000)
    house.instance().run()
    (report,) = house.reports()
    assert (report.code, report.adapter_stopped) == ("UNKNOWN", False)


def test_a_record_that_begins_after_the_instruction_does_not_reach_back(house: House) -> None:
    """Records of today alone, on a topic that was lost yesterday, prove nothing of before."""
    forget_record(house)
    house.record_of("N" + "A" * 26 + "001", "SUBMITTED")
    house.instruct("WITHDRAW")
    house.instance().run()
    assert answers(house) == [(ALREADY, "RECORD_INCOMPLETE")]


def test_a_recall_of_what_the_rail_does_not_know_is_answered_like_an_enquiry(house: House) -> None:
    """Ruling 3: the same certainty, asked for in another way."""
    house.record_of(REFERENCE, "SUBMITTING")
    house.instruct("RECALL")
    house.clock.advance(WINDOW_MS + 30_000)
    house.instance().run()
    (report,) = house.reports()
    assert (report.code, report.via_enquiry, report.adapter_stopped) == ("UNKNOWN", True, True)


def test_the_codec_keeps_the_code_of_an_already_submitted(house: House) -> None:
    """It stands on the log as core reads it."""
    house.record_of(REFERENCE, "SUBMITTING")
    house.instruct("WITHDRAW")
    house.instance().run()
    (record,) = house.log.of(topology.RAIL_REPORTS)
    assert record.value is not None
    assert CODEC.decode(record.topic, record.value, record.headers).code == "SUBMITTING"
