"""What is shown while the demo runs: a live table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from app.demo.watcher import Watcher, percentile
from core.values import State
from engine.clock import Clock

LINE_EVERY_SECONDS: Final = 5.0


class Display:
    """Use as a context manager; `show` as often as one likes."""

    def __init__(self, clock: Clock) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._clock = clock
        self._live: Live | None = None
        self._started_s = clock.monotonic_s()
        self._said_s = 0.0
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

    def show(self, watcher: Watcher, *, doing: str, kills: int, commands: int) -> None:
        """The state of things now."""
        now = self._clock.monotonic_s()
        then, events = self._rate_at
        if now - then >= 1.0:
            self._rate = (watcher.events - events) / (now - then)
            self._rate_at = (now, watcher.events)
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, refresh_per_second=4)
                self._live.start()
            self._live.update(self._table(watcher, doing, kills, commands))
        elif now - self._said_s >= LINE_EVERY_SECONDS:
            self._said_s = now
            states = " ".join(f"{k} {v}" for k, v in sorted(watcher.states().items()))
            self.say(f"{doing}: {states}; {self._rate:.0f} events/s, lag {watcher.lag}")

    def _table(self, watcher: Watcher, doing: str, kills: int, commands: int) -> Table:
        states = watcher.states()
        table = Table(title=doing, title_justify="left", show_header=False, min_width=60)
        for state in State:
            table.add_row(str(state), str(states[str(state)]))
        table.add_section()
        conflicts = sum(payment.open_conflicts for payment in watcher.payments.values())
        waiting = sum(payment.waiting_for_person for payment in watcher.payments.values())
        table.add_row("open conflicts", str(conflicts))
        table.add_row("waiting for a person", str(waiting))
        table.add_row("operator commands", str(commands))
        table.add_section()
        published, accounted = watcher.published, watcher.accounted
        table.add_row("published, accounted for", f"{published}, {accounted}")
        table.add_row("duplicates, rejected", _pair(watcher, "DUPLICATE", "REJECTED"))
        table.add_row("quarantined", str(watcher.quarantined))
        table.add_row("events, per second", f"{watcher.events}, {self._rate:.0f}")
        table.add_row("lag (inputs not decided)", str(watcher.lag))
        table.add_row("settled end to end, p50 p99", _latency(watcher.settled_millis))
        table.add_row("engine alone, p50 p99", _latency(watcher.engine_millis))
        table.add_row("kills", str(kills))
        return table


def _pair(watcher: Watcher, one: str, other: str) -> str:
    return f"{watcher.results[one]}, {watcher.results[other]}"


def _latency(values: object) -> str:
    return f"{percentile(values, 0.5)} ms {percentile(values, 0.99)} ms"
