"""The day's minutes, cached between reads: always equal to a full read."""

from __future__ import annotations

import random
from typing import Any

from readmodel import minutes, rows
from readmodel.day import DAY_MINUTES, TURNS, Day
from readmodel.minutes import Figures

PARTITIONS = 3
NOW = 29_000_000
LOOKS = 400


class Model:
    """Minutes as a read model has them; counts the reads."""

    def __init__(self) -> None:
        self.figures: dict[tuple[int, int], Figures] = {}
        self.offsets = dict.fromkeys(range(PARTITIONS), 0)
        self.read = 0

    def add(self, partition: int, minute: int) -> None:
        self.offsets[partition] += 1
        figures = self.figures.setdefault((partition, minute), Figures())
        figures.created += 1
        figures.offset = self.offsets[partition]

    def minutes(self, since: int, until: int) -> list[rows.MinuteRow]:
        found = [
            rows.MinuteRow(partition=partition, minute=minute, figures=minutes.pack(figures))
            for (partition, minute), figures in self.figures.items()
            if since <= minute < until
        ]
        self.read += len(found)
        return found

    def whole(self, last: int) -> dict[int, int]:
        """Created payments by minute, from everything there is."""
        sums: dict[int, int] = {}
        for (_, minute), figures in sorted(self.figures.items(), key=lambda each: each[0][1]):
            if last - DAY_MINUTES < minute <= last:
                sums[minute] = sums.get(minute, 0) + figures.created
        return sums


def created(day: Day, last: int, model: Model) -> dict[int, int]:
    return {minute: each.created for minute, each in day.look(last, model.offsets).items()}


def day_of(model: Any) -> Day:
    return Day(model)


def test_each_read_equals_a_full_read() -> None:
    """With current events, a projector that catches up, and a clock that is ahead."""
    chance, model = random.Random(7), Model()
    day, behind = day_of(model), 600
    for look in range(LOOKS):
        last = NOW + look // 3
        behind = max(0, behind - 3)
        for _ in range(chance.randrange(4)):
            ahead = chance.randrange(3) if behind == 0 else 0
            model.add(chance.randrange(PARTITIONS), last - behind + ahead)
        assert created(day, last, model) == model.whole(last), look


def test_a_minute_changed_out_of_order_is_shown_when_its_hour_is_read_again() -> None:
    model = Model()
    model.add(0, NOW)
    day = day_of(model)
    created(day, NOW, model)
    model.add(0, NOW - 700)
    looks = [created(day, NOW, model) for _ in range(TURNS)]
    assert looks[-1] == model.whole(NOW)


def test_another_generation_is_read_in_full() -> None:
    """Its offsets are behind the known ones."""
    model = Model()
    for minute in range(50):
        model.add(0, NOW - minute)
    day = day_of(model)
    assert created(day, NOW, model) == model.whole(NOW)
    model.figures.clear()
    model.offsets = dict.fromkeys(range(PARTITIONS), 0)
    model.add(1, NOW - 30)
    assert created(day, NOW, model) == model.whole(NOW) == {NOW - 30: 1}


def test_a_read_covers_the_newest_minutes_and_one_hour_of_the_day() -> None:
    """Not the whole day, whatever was decided since."""
    model = Model()
    for minute in range(DAY_MINUTES):
        for partition in range(PARTITIONS):
            model.add(partition, NOW - minute)
    day = day_of(model)
    created(day, NOW, model)
    assert model.read == DAY_MINUTES * PARTITIONS
    for _ in range(TURNS):
        model.read = 0
        model.add(0, NOW)
        created(day, NOW, model)
        assert model.read <= 100 * PARTITIONS
