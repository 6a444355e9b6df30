"""How many may watch a live stream at once, in all and of one person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from api.edge.problems import rate_limited
from engine.clock import Clock

BEGIN_S_MAX: Final = 10.0


class Place:
    """The place of one watcher."""

    def __init__(self, person: str) -> None:
        self.person = person
        self.taken_s = 0.0
        self.begun = False  # its stream


P = TypeVar("P", bound=Place)


class Places(Generic[P]):
    """The places taken. `what` the streams are called in the refusal; at most `count_max` places,
    and `of_one_max` of one person. For one event loop.
    """

    def __init__(self, clock: Clock, what: str, *, count_max: int, of_one_max: int) -> None:
        self._clock = clock
        self._what = what
        self._count_max = count_max
        self._of_one_max = of_one_max
        self._taken: set[P] = set()

    def __len__(self) -> int:
        return len(self._taken)

    def __iter__(self) -> Iterator[P]:
        return iter(self._taken)

    def take(self, place: P) -> P:
        """Take a place, whose stream must begin within BEGIN_S_MAX: otherwise its client went away,
        and the place is free again. Raises Problem (429) if none is free.
        """
        place.taken_s = now_s = self._clock.monotonic_s()
        self._taken = {p for p in self._taken if p.begun or now_s - p.taken_s <= BEGIN_S_MAX}
        own = sum(1 for each in self._taken if each.person == place.person)
        if own >= self._of_one_max or len(self._taken) >= self._count_max:
            raise rate_limited(
                "TOO_MANY_STREAMS", f"The maximum number of live {self._what} is open."
            )
        self._taken.add(place)
        return place

    def begin(self, place: P) -> None:
        """Its stream begins."""
        place.begun = True
        self._taken.add(place)

    def leave(self, place: P) -> None:
        """Its stream has ended."""
        self._taken.discard(place)
