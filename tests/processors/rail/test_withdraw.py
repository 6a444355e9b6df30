"""Withdrawals: what is certain, what is not, and nothing is sent once one was read (ruling 8)."""

from __future__ import annotations

import pytest

from core.values import external_ref
from engine.errors import Exit
from processors.rail.worker import OLD_MS, WITHDRAWN_KEPT_MS
from schemas import topology
from tests.processors.rail.harness import (
    HOUR_MS,
    NOW_MS,
    PAYMENT,
    REFERENCE,
    WINDOW_MS,
    Harness,
    Instance,
)
from tests.processors.rail.withdrawing import (
    ALREADY,
    CERTAIN,
    SUBMIT,
    WITHDRAW,
    answers,
    forget_record,
)

NO_ANSWER = {"kind": "ENQUIRY", "httpStatus": 503}
NOTHING = {"kind": "NOTHING"}


def begun(harness: Harness) -> Instance:
    """An instance that gets the partition while it is empty, and reads a SUBMIT."""
    instance = harness.instance()
    instance.assign()
    harness.instruct("SUBMIT")
    instance.poll(SUBMIT)
    return instance


def withdraw(harness: Harness, instance: Instance) -> None:
    """Write a withdrawal to the topic; the look-ahead reader reads it first, then the lanes."""
    harness.instruct("WITHDRAW")
    instance.look_ahead()
    instance.poll(WITHDRAW)


def test_an_attempt_paused_in_submitting_is_never_sent_again(harness: Harness) -> None:
    """SUBMIT waits in SUBMITTING, WITHDRAW overtakes it, SUBMIT resumes, the rail says
    "unknown".
    """
    harness.script({"kind": "HTTP", "status": 503, "times": 1})
    instance = begun(harness)
    assert instance.try_once(SUBMIT) is not None
    withdraw(harness, instance)
    assert instance.try_once(WITHDRAW) is None
    assert answers(harness) == [(ALREADY, "SUBMITTING")]
    for _ in range(5):
        assert instance.try_once(SUBMIT) is not None, "it waits for the rail's final word"
    instance.run()
    assert harness.submitted() == 0
    assert answers(harness) == [(ALREADY, "SUBMITTING"), ("NOT_SUBMITTED", None)]
    last = harness.reports()[-1]
    assert last.via_enquiry
    assert last.submitted_at == harness.clock.now_ms() >= NOW_MS + WINDOW_MS


def test_an_attempt_paused_in_submitting_is_not_sent_by_a_later_instance_either(
    harness: Harness,
) -> None:
    """As above, and the process is replaced while the attempt waits."""
    harness.script({"kind": "HTTP", "status": 503, "times": 1})
    instance = begun(harness)
    assert instance.try_once(SUBMIT) is not None
    withdraw(harness, instance)
    assert instance.try_once(WITHDRAW) is None
    harness.instance().run()
    assert harness.submitted() == 0
    assert ("NOT_SUBMITTED", None) in harness.said()


def test_a_submission_accepted_before_the_withdrawal_is_found_at_once(harness: Harness) -> None:
    """The answer was lost, but the rail has it and says so long before submitBefore."""
    harness.script({"kind": "HTTP", "status": 503, "times": 1, "taken": True})
    instance = begun(harness)
    assert instance.try_once(SUBMIT) is not None
    withdraw(harness, instance)
    assert instance.try_once(WITHDRAW) is None
    assert instance.try_once(SUBMIT) is None
    assert harness.submitted() == 1
    assert answers(harness) == [(ALREADY, "SUBMITTING")]
    assert harness.said()[-1] == ("STATUS", "PDNG")


def test_a_refused_connection_ends_as_certainly_not_submitted(harness: Harness) -> None:
    """Connection refused before anything was sent, cancel, "unknown" after submitBefore."""
    harness.refuses_connections = True
    instance = begun(harness)
    assert instance.try_once(SUBMIT) is not None
    withdraw(harness, instance)
    assert instance.try_once(WITHDRAW) is None
    harness.refuses_connections = False
    instance.run()
    assert harness.submitted() == 0
    assert answers(harness) == [(ALREADY, "SUBMITTING"), ("NOT_SUBMITTED", None)]
    tries = [r.technical_result for r in harness.reports() if r.kind == "STATUS"]
    assert tries == ["CONNECT_FAILED"]


def test_a_record_that_does_not_cover_the_instruction_never_says_withdrawn(
    harness: Harness,
) -> None:
    """The record is gone, cancel, the rail is silent, then it settles: ALREADY_SUBMITTED."""
    harness.instruct("SUBMIT")
    harness.instance().run()
    assert harness.submitted() == 1
    forget_record(harness)
    harness.script(NO_ANSWER)
    harness.instruct("WITHDRAW")
    harness.instance().run()
    assert answers(harness) == [(ALREADY, "RECORD_INCOMPLETE")]
    harness.script(NOTHING)
    harness.simulator.ledger.entries[REFERENCE].settled_amount = 12_345
    harness.instruct("ENQUIRE")
    harness.instance().run()
    assert harness.said()[-1] == ("SETTLED", None)
    assert not CERTAIN & set(harness.kinds())


@pytest.mark.parametrize("late", [False, True])
def test_a_waiting_submission_is_withdrawn_without_asking_the_rail(
    harness: Harness, late: bool
) -> None:
    """The SUBMIT is new to this process, and nothing was recorded for it: certain."""
    harness.stopped = "stop-1: a person"
    instance = begun(harness)
    assert instance.try_once(SUBMIT) is not None
    withdraw(harness, instance)
    if late:
        harness.clock.advance(WINDOW_MS)
    assert instance.try_once(WITHDRAW) is None
    assert (answers(harness), harness.requested()) == ([("WITHDRAWN", None)], 0)
    harness.stopped = None
    assert instance.try_once(SUBMIT) is None
    assert harness.submitted() == 0


def test_a_withdrawal_overtakes_a_submission_that_was_read_and_never_started(
    harness: Harness,
) -> None:
    """The look-ahead has read the withdrawal, so the submission, although first, waits for its
    answer.
    """
    instance = begun(harness)
    withdraw(harness, instance)
    assert instance.try_once(SUBMIT) is not None
    assert instance.try_once(WITHDRAW) is None
    assert instance.try_once(SUBMIT) is None
    assert (harness.submitted(), harness.requested()) == (0, 0)
    assert set(harness.kinds()) == {"WITHDRAWN"}


def test_a_record_that_covers_the_instruction_counts_when_the_rail_is_silent(
    harness: Harness,
) -> None:
    """The SUBMIT was on the topic before the process started; the adapter record has an older
    entry.
    """
    harness.instruct("SUBMIT")
    harness.instruct("WITHDRAW")
    harness.script(NO_ANSWER)
    harness.instance().run()
    assert set(answers(harness)) == {("WITHDRAWN", None)}
    assert (harness.submitted(), harness.requested()) == (0, 1)


def test_the_rails_answer_outweighs_a_record_that_covers_the_instruction(harness: Harness) -> None:
    """A restored backup: the record is old enough but has no entry, and the rail has
    the payment.
    """
    harness.instruct("SUBMIT")
    harness.instance().run()
    del harness.log.topics[topology.RAIL_SUBMITTED][1:]
    harness.instruct("WITHDRAW")
    harness.instance().run()
    assert answers(harness) == [(ALREADY, "SUBMITTED")]
    assert ("STATUS", "PDNG") in harness.said()


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
def test_without_a_record_only_the_rails_final_unknown_is_certain(
    harness: Harness, rail: dict[str, object], late: bool, expected: tuple[str, str | None]
) -> None:
    """Ruling 8: "unknown" after submitBefore is certain; before it, like silence, it is not."""
    forget_record(harness)
    harness.script(rail)
    harness.instruct("WITHDRAW")
    if late:
        harness.clock.advance(WINDOW_MS)
    harness.instance().run()
    assert answers(harness) == [expected]


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
        # The last entry is by an instance that had lost the partition.
        (["SUBMITTING", "WITHDRAWN"], NOTHING, False, (ALREADY, "SUBMITTING")),
        (["SUBMITTING", "SUBMITTED", "NOT_SUBMITTED"], NOTHING, True, (ALREADY, "SUBMITTED")),
        (["SUBMITTING", "SUBMITTED", "SUBMITTING"], NOTHING, True, (ALREADY, "SUBMITTED")),
        (["WITHDRAWN", "SUBMITTING"], NOTHING, False, (ALREADY, "SUBMITTING")),
    ],
)
def test_a_withdrawal_is_answered_from_the_record(
    harness: Harness,
    phases: list[str],
    rail: dict[str, object],
    late: bool,
    expected: tuple[str, str | None],
) -> None:
    """An attempt that may have been submitted never counts as withdrawn; the code names
    the basis.
    """
    harness.record_of(REFERENCE, *phases)
    harness.script(rail)
    harness.instruct("WITHDRAW")
    if late:
        harness.clock.advance(WINDOW_MS)
    harness.instance().run()
    assert answers(harness) == [expected]


def test_not_submitted_from_an_instance_that_missed_a_try_does_not_count(harness: Harness) -> None:
    """It knew of one try out of two: the second may have reached the rail."""
    harness.record_of(REFERENCE, "SUBMITTING", tries=2)
    harness.record_of(REFERENCE, "NOT_SUBMITTED", tries=1)
    harness.instruct("WITHDRAW")
    harness.instance().run()
    assert answers(harness) == [(ALREADY, "SUBMITTING")]


def test_a_withdrawal_is_remembered_until_nothing_can_be_submitted_any_more(
    harness: Harness,
) -> None:
    """Whether answered or not. After submitBefore it is not needed, which bounds the memory."""
    instance = begun(harness)
    withdraw(harness, instance)
    instance.run()
    harness.instruct("WITHDRAW", attempt=2, window=2 * HOUR_MS)
    instance.look_ahead()
    assert instance.withdrawn.is_withdrawn(REFERENCE)
    harness.clock.advance(WINDOW_MS + WITHDRAWN_KEPT_MS + 1)
    harness.instruct("WITHDRAW", attempt=3, window=2 * HOUR_MS)
    instance.withdrawn.observe(harness.log.of(topology.RAIL_SUBMISSIONS)[-1])
    remembered = [
        number
        for number in (1, 2, 3)
        if instance.withdrawn.is_withdrawn(external_ref(PAYMENT, number))
    ]
    assert remembered == [2, 3]


def test_more_withdrawals_than_can_be_remembered_end_the_process(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter that forgot one could submit a withdrawn attempt."""
    monkeypatch.setattr("processors.rail.worker.WITHDRAWN_MAX", 2)
    instance = harness.instance()
    for attempt in (1, 2, 3):
        harness.instruct("WITHDRAW", attempt=attempt)
    with pytest.raises(Exit, match="TOO_MANY_WITHDRAWS"):
        instance.look_ahead()


def test_a_submission_decided_long_ago_is_not_new(harness: Harness) -> None:
    """A topic copied into itself has old instructions at new offsets."""
    forget_record(harness)
    instance = harness.instance()
    instance.assign()
    harness.instruct("SUBMIT")
    harness.clock.advance(OLD_MS + 1)
    instance.poll(SUBMIT)
    withdraw(harness, instance)
    assert instance.try_once(WITHDRAW) is None
    assert answers(harness) == [(ALREADY, "RECORD_INCOMPLETE")]


def test_a_submission_read_by_an_earlier_assignment_is_not_new(harness: Harness) -> None:
    """The partition was elsewhere in between: its owner may have submitted."""
    forget_record(harness)
    instance = begun(harness)
    instance.generation += 1
    withdraw(harness, instance)
    assert instance.try_once(WITHDRAW) is None
    assert answers(harness) == [(ALREADY, "RECORD_INCOMPLETE")]


def test_nothing_is_sent_if_its_time_ends_while_the_group_confirms(harness: Harness) -> None:
    """The coordinator may take seconds: submitBefore is checked again right before the call."""
    instance = begun(harness)
    harness.ownership.takes_ms = WINDOW_MS
    assert instance.try_once(SUBMIT) is not None
    harness.ownership.takes_ms = 0
    instance.run()
    assert harness.simulator.ledger.too_late == {}
    assert (harness.submitted(), harness.kinds()) == (0, ["NOT_SUBMITTED"])


def test_a_withdrawal_read_between_submitting_and_the_call_stops_the_call(harness: Harness) -> None:
    """The look-ahead is another thread: the last check follows the SUBMITTING record."""
    instance = begun(harness)
    harness.instruct("WITHDRAW")
    written = harness.log.publish

    def publish(topic: str, *args: object, **kwargs: object) -> None:
        written(topic, *args, **kwargs)  # type: ignore[arg-type]
        if topic == topology.RAIL_SUBMITTED:
            instance.look_ahead()

    harness.log.publish = publish  # type: ignore[method-assign]
    assert instance.try_once(SUBMIT) is not None
    instance.run()
    assert harness.submitted() == 0
    assert answers(harness) == [(ALREADY, "SUBMITTING"), ("NOT_SUBMITTED", None)]


def test_offsets_pass_only_finished_records(harness: Harness) -> None:
    """A finished withdrawal behind a waiting submission is read again after a crash."""
    harness.refuses_connections = True
    instance = begun(harness)
    assert instance.try_once(SUBMIT) is not None
    withdraw(harness, instance)
    assert instance.try_once(WITHDRAW) is None
    assert harness.committed == 0
    instance.run()
    assert harness.committed == 2
