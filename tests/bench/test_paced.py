"""The paced load: an answer never overtakes its request, however slow the machine is."""

from __future__ import annotations

from bench.rig.paced import Due, Paced

RECORD = ("topic", 0, b"", b"")


def due(payment: int, stage: int) -> Due:
    return Due(0.0, True, (payment, stage), RECORD)


def place(offset: int) -> tuple[str, int, int]:
    return ("topic", 0, offset)


class Sent:
    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    def __call__(self, each: Due) -> None:
        self.steps.append(each.step)


def test_an_answer_waits_for_the_event_of_its_request() -> None:
    """It is published once that event is read, and its latency counts from then."""
    sent = Sent()
    load = Paced(sent)
    load.due(due(0, 0), 1.0)
    load.placed((0, 0), place(7))
    load.due(due(0, 1), 2.0)
    assert (sent.steps, load.delayed, load.is_complete()) == ([(0, 0)], 1, False)
    load.event(place(7), 3.0)
    assert sent.steps == [(0, 0), (0, 1)]
    assert (load.answered[0, 0], load.sent[0, 1]) == (3.0, 3.0)
    assert load.missing() == [(0, 1)]


def test_an_answer_in_time_is_published_at_once() -> None:
    """If the machine keeps up, the load follows its plan."""
    sent = Sent()
    load = Paced(sent)
    load.due(due(0, 0), 1.0)
    load.placed((0, 0), place(7))
    load.event(place(7), 1.5)
    load.due(due(0, 1), 2.0)
    assert (sent.steps, load.delayed) == ([(0, 0), (0, 1)], 0)


def test_an_event_may_be_read_before_its_input_is_acknowledged() -> None:
    """Both are client callbacks, and their order is undefined."""
    load = Paced(Sent())
    load.due(due(0, 0), 1.0)
    load.event(place(7), 1.5)
    assert not load.is_complete()
    load.placed((0, 0), place(7))
    assert (load.answered[0, 0], load.is_complete()) == (1.5, True)


def test_the_first_event_of_an_input_counts() -> None:
    """One input has several events; latency is the time to the first."""
    load = Paced(Sent())
    load.due(due(0, 0), 1.0)
    load.placed((0, 0), place(7))
    load.event(place(7), 1.5)
    load.event(place(7), 9.0)
    assert load.answered[0, 0] == 1.5
