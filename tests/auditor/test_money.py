"""The auditor's books are judged by histories written by hand: right ones pass, wrong ones do not.

The same histories judge replay's strength money; the two share no code.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schemas import topology as t
from tests.auditor import Evidence, Record, audit
from tests.processors.replay import money_histories as h
from tests.processors.replay import money_wrong as w
from tests.processors.replay.story import Story
from tests.processors.replay.world import World

WRONG = list(dict.fromkeys(make for make, _ in w.WRONG))


@pytest.fixture(scope="module")
def world() -> World:
    """For its codec and schemas."""
    return World()


def money_of(world: World, story: Story) -> list[str]:
    """What I5 says of the events. No other topic has anything, and what follows is not asked."""
    key = story.payment.encode()
    events = [
        Record(t.EVENTS, 0, offset, key, value)
        for offset, value in enumerate(story.values(world.codec))
    ]
    schemas = {n: s for n in range(1, 1_000) if (s := world.registry.by_id(n)) is not None}
    found = audit(Evidence({t.EVENTS: events}, schemas)).violations
    return [each.sentence for each in found if each.invariant == "I5"]


@pytest.mark.parametrize("make", [*h.RIGHT, *h.UNDER_WAY], ids=lambda each: each.__name__)
def test_a_right_history_is_no_violation(world: World, make: Callable[[], Story]) -> None:
    """Domain §3: what the rules lead to, and what is under way, is even."""
    assert money_of(world, make()) == []


@pytest.mark.parametrize("make", WRONG, ids=lambda each: each.__name__)
def test_a_wrong_history_is_a_violation_of_the_money(
    world: World, make: Callable[[], Story]
) -> None:
    """Every wrong history that replay finds, the auditor finds by itself."""
    assert money_of(world, make()) != []
