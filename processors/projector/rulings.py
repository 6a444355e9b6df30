"""How the projector obeys rulings on journal records (domain §10).

Rulings are known as far as the control topic was read, whether or not its rows are written yet. A
FOREIGN record that was already projected is looked up here with everything to recompute without it;
this is rare, so it may read the whole partition.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from control.fold import Control
from core.control_records import FOREIGN, ControlRecord
from core.dispositions import Disposition, Dispositions
from processors.projector.events import Lookups, TakenOut
from processors.projector.rows import JournalEvent
from readmodel import minutes, rows
from readmodel.minutes import MINUTE_MS, Figures

TOGETHER_COUNT_MAX: Final = 100  # records taken out in one transaction
PAGE: Final = 1_000

EventOf = Callable[[rows.EventRow], Any]  # raises CorruptHistory, RegistryDown


class Rulings:
    """Folds the control topic ahead of its rows; gives each FOREIGN record to be taken out once."""

    def __init__(self, lookups: Lookups, event_of: EventOf) -> None:
        self.next_offset = 0  # of the control topic
        self._control = Control(undecoded)
        self._seen = 0
        self._due: OrderedDict[tuple[int, int], Disposition] = OrderedDict()
        self._lookups = lookups
        self._event_of = event_of

    def __len__(self) -> int:
        return len(self.obeyed)

    @property
    def obeyed(self) -> Dispositions:
        """Those in force."""
        return self._control.dispositions

    def follow(self, offset: int, record: ControlRecord, appended_at: int) -> None:
        """The next control record, from the first one on; one that was followed before is ignored.
        `appended_at`: epoch ms.
        """
        if offset < self.next_offset:
            return
        self.next_offset = offset + 1
        self._control.apply_record(offset, record, appended_at)
        for each in islice(self.obeyed, self._seen, None):
            self._seen += 1
            if each.ruling == FOREIGN:
                self._due[each.request.partition, each.request.offset] = each

    def due(self) -> bool:
        """Whether FOREIGN records may still be in the model."""
        return bool(self._due)

    def look_up(self) -> tuple[list[Disposition], TakenOut]:
        """The next rulings to apply, and those of their records that are in the model, with the
        events and minutes that remain without them.
        """
        looked = list(islice(self._due.values(), TOGETHER_COUNT_MAX))
        found = {(row.partition, row.offset): row for row in self._rows_at(looked)}
        gone = []
        for each in looked:
            row = found.get((each.request.partition, each.request.offset))
            if row is not None and row.hash == each.request.event_hash:
                gone.append((row, self._event_of(row)))
        places = {(row.partition, row.offset) for row, _ in gone}
        left = {
            name: [self._journal(row) for row in self._events_of(name) if place(row) not in places]
            for name in {row.payment_intent_id: None for row, _ in gone}
        }
        counted = {
            (row.partition, minutes.minute_of(row.decided_at)): None
            for row, event in gone
            if minutes.counts(event)
        }
        return looked, TakenOut(gone, left, self._figures(list(counted), places))

    def taken_out(self, looked: Iterable[Disposition]) -> None:
        """These are no longer in the model."""
        for each in looked:
            self._due.pop((each.request.partition, each.request.offset), None)

    def _rows_at(self, looked: list[Disposition]) -> Iterator[rows.EventRow]:
        by_partition: dict[int, list[int]] = {}
        for each in looked:
            by_partition.setdefault(each.request.partition, []).append(each.request.offset)
        for partition, offsets in by_partition.items():
            yield from self._lookups.events_at(partition, offsets)

    def _events_of(self, name: str) -> Iterator[rows.EventRow]:
        after = 0
        while True:
            page = self._lookups.events_of(name, after, PAGE)
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].sequence

    def _figures(
        self, keys: list[tuple[int, int]], gone: set[tuple[int, int]]
    ) -> dict[tuple[int, int], Figures]:
        """These minutes without the removed events. Their offset does not decrease, because readers
        keep the highest.
        """
        known = self._lookups.minutes(keys) if keys else {}
        made = {}
        for key in keys:
            figures = Figures()
            for row in self._decided(*key):
                if place(row) not in gone:
                    event = self._event_of(row)
                    if minutes.counts(event):
                        minutes.add(figures, event, row.offset)
            if key in known:
                figures.offset = max(figures.offset, minutes.unpack(known[key]).offset)
            made[key] = figures
        return made

    def _decided(self, partition: int, minute: int) -> Iterator[rows.EventRow]:
        since, after = minute * MINUTE_MS, -1
        while True:
            page = self._lookups.events_decided(partition, since, since + MINUTE_MS, after, PAGE)
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].offset

    def _journal(self, row: rows.EventRow) -> JournalEvent:
        return JournalEvent(row.partition, row.offset, row.raw, self._event_of(row))


def place(row: rows.EventRow) -> tuple[int, int]:
    """Where it is in the journal."""
    return row.partition, row.offset


def undecoded(topic: str, value: bytes) -> object:
    """For a control fold that is given decoded records."""
    raise ValueError("records are given decoded")
