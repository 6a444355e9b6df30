"""The auditor's books, tested by handwritten histories: correct ones pass, wrong ones do not.

The same histories test replay's strength `money`; the two share no code.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schemas import topology as t
from tests.auditor import Evidence, Record, audit
from tests.processors.replay.money import money_histories as h
from tests.processors.replay.money import money_wrong as w
from tests.processors.replay.story import Story
from tests.processors.replay.world import World

WRONG = list(dict.fromkeys(make for make, _ in w.WRONG))


@pytest.fixture(scope="module")
def world() -> World:
    """Used for its codec and schemas."""
    return World()


def money_of(world: World, story: Story) -> list[str]:
    """I5's findings about the events. No other topic has records, and later events are not
    considered.
    """
    key = story.payment.encode()
    events = [
        Record(t.EVENTS, 0, offset, key, value)
        for offset, value in enumerate(story.values(world.codec))
    ]
    schemas = {n: s for n in range(1, 1_000) if (s := world.registry.by_id(n)) is not None}
    found = audit(Evidence({t.EVENTS: events}, schemas)).violations
    return [each.sentence for each in found if each.invariant == "I5"]


@pytest.mark.parametrize("make", [*h.RIGHT, *h.UNDER_WAY], ids=lambda each: each.__name__)
def test_a_correct_history_is_no_violation(world: World, make: Callable[[], Story]) -> None:
    """Domain §3: the result of correct decisions balances, also in progress."""
    assert money_of(world, make()) == []


@pytest.mark.parametrize("make", WRONG, ids=lambda each: each.__name__)
def test_a_wrong_history_is_a_money_violation(world: World, make: Callable[[], Story]) -> None:
    """The auditor finds every wrong history that replay finds."""
    assert money_of(world, make()) != []
