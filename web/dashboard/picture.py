"""The dashboard's data, read once for all viewers, from the API's own summary, lists and control
state: so its numbers are the API's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from api.control.routes import ControlView
from api.control.routes import view as control_view
from api.queues import views as lists
from api.services import Services, Stopped
from api.summary.figures import MinuteView, Summary, SummaryView
from web.dashboard.incidents import Incident, incidents, rail_health

ATTENTION_COUNT: Final = 5
APPROVALS_COUNT: Final = 5
SLOT_MINUTES: Final = 15
DAY_SLOTS: Final = 24 * 60 // SLOT_MINUTES
HOUR_SLOTS: Final = 60
REFERRED: Final = "REFERRED"


class Slot(msgspec.Struct, frozen=True):
    """Throughput of a minute or a quarter of an hour; `at` is its start."""

    at: str
    created: int
    settled: int
    failed: int


class Picture(msgspec.Struct, frozen=True):
    """The data of all parts. `control` is None when the control topic cannot be read; `rail` is
    tone, word and sentence.
    """

    now_ms: int
    summary: SummaryView
    control: ControlView | None
    incidents: Sequence[Incident]
    rail: tuple[str, str, str]
    slots: Sequence[Slot]
    hour: Sequence[Slot]
    attention: Sequence[lists.AttentionItem]
    approvals: Sequence[lists.ApprovalView]


def draw(services: Services, summary: Summary) -> Picture:
    """Read the data. It blocks: call it from a worker thread. Raises ReadModelDown."""
    reader, now = services.reader, services.clock.now_ms()
    figures = summary.get()
    control = control_of(services)
    attention = reader.attention(ATTENTION_COUNT, None).items
    approvals = reader.approvals(None, REFERRED, APPROVALS_COUNT, None).items
    return Picture(
        now_ms=now,
        summary=figures,
        control=control,
        incidents=incidents(figures, control),
        rail=rail_health(figures.rail),
        slots=slots(figures.throughput, figures.at, SLOT_MINUTES, DAY_SLOTS),
        hour=slots(figures.throughput[-HOUR_SLOTS:], figures.at, 1, HOUR_SLOTS),
        attention=[lists.attention(row, now) for row in attention],
        approvals=[lists.approval(row, now) for row in approvals],
    )


def control_of(services: Services) -> ControlView | None:
    """The state of the control topic; None when it cannot be read."""
    try:
        return control_view(services)
    except Stopped:
        return None


def slots(minutes: Iterable[MinuteView], at: str, length: int, count: int) -> list[Slot]:
    """The last `count` slots of `length` minutes, with empty ones; the current one is the last."""
    last = _begin(datetime.fromisoformat(at), length)
    begins = [last - timedelta(minutes=length * back) for back in range(count)][::-1]
    sums = {begin: [0, 0, 0] for begin in begins}
    for each in minutes:
        found = sums.get(_begin(datetime.fromisoformat(each.minute), length))
        if found is not None:
            found[0] += each.created
            found[1] += each.settled
            found[2] += each.failed + each.cancelled + each.expired
    return [
        Slot(begin.isoformat(timespec="milliseconds").replace("+00:00", "Z"), *sums[begin])
        for begin in begins
    ]


def _begin(at: datetime, length: int) -> datetime:
    """The start of the slot that contains this time."""
    return at.replace(minute=at.minute - at.minute % length, second=0, microsecond=0)
