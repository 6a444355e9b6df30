"""What is shown while the demo runs: a live table on a terminal, a line from time to time
elsewhere.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from app.demo.watcher import (
    ACCEPTED,
    DUPLICATE,
    QUARANTINED,
    REJECTED,
    Watcher,
    percentile,
)
from core.values import State
from engine.clock import Clock

LINE_EVERY_SECONDS: Final = 5.0  # and only when it says something new


class Display:
    """Use as a context manager. `show` may be called at any rate."""

    def __init__(self, clock: Clock) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._clock = clock
        self._live: Live | None = None
        self._started_s = clock.monotonic_s()
        self._said_s = 0.0
        self._said = ""
        self._rate_at = (self._started_s, 0)
        self._rate = 0.0

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, sentence: str) -> None:
        """One line that stays."""
        elapsed = self._clock.monotonic_s() - self._started_s
        self._console.print(f"[{elapsed:6.1f} s] {sentence}", markup=False)

    def line(self, text: str) -> None:
        """A line that can be pasted: no time before it."""
        self._console.print(text, markup=False)

    def show(self, watcher: Watcher, *, doing: str, kills: int, answers: int) -> None:
        """The state of things now; `answers` that the API gave to the simulated operators."""
        now = self._clock.monotonic_s()
        then, events = self._rate_at
        if now - then >= 1.0:
            self._rate = (watcher.events - events) / (now - then)
            self._rate_at = (now, watcher.events)
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, refresh_per_second=4)
                self._live.start()
            self._live.update(self._table(watcher, doing, kills, answers))
        elif now - self._said_s >= LINE_EVERY_SECONDS:
            states = " ".join(f"{k} {v}" for k, v in sorted(watcher.states().items()))
            states = states or "no payment yet"
            others = f"; others published {watcher.others}" if watcher.others else ""
            text = f"{doing}: {states}{others}"
            if text != self._said:
                self._said_s, self._said = now, text
                self.say(f"{text}; {self._rate:.0f} events/s, lag {watcher.lag}")

    def _table(self, watcher: Watcher, doing: str, kills: int, answers: int) -> Table:
        """Where a row has the name of a figure of the end (docs/demo.md), it means the same."""
        states = watcher.states()
        table = Table(title=doing, title_justify="left", show_header=False, min_width=60)
        for state in State:
            table.add_row(str(state), str(states[str(state)]))
        table.add_section()
        own, results = watcher.own_payments(), watcher.results
        table.add_row("openConflicts", str(sum(each.open_conflicts for each in own)))
        table.add_row("waitingForPerson", str(sum(each.waiting_for_person for each in own)))
        table.add_row("operators (answers)", str(answers))
        table.add_section()
        table.add_row("published", str(watcher.published))
        table.add_row("accepted", str(results[ACCEPTED]))
        table.add_row("duplicates", str(results[DUPLICATE]))
        table.add_row("rejected", str(results[REJECTED]))
        table.add_row("quarantined", str(results[QUARANTINED]))
        table.add_row("others (published)", str(watcher.others))
        table.add_section()
        table.add_row("events, per second", f"{watcher.events}, {self._rate:.0f}")
        table.add_row("inputs not decided yet", str(watcher.lag))
        table.add_row("endToEndMillis p50, p99", _latency(watcher.settled_millis))
        table.add_row("payments processor alone", _latency(watcher.engine_millis))
        table.add_row("kills", str(kills))
        return table


def _latency(values: object) -> str:
    return f"{percentile(values, 0.5)}, {percentile(values, 0.99)}"
