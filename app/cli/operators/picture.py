"""The dashboard's picture on a terminal: from the API's answers alone, by the pages' own rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Any, Final

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from api.control.routes import ControlView
from api.summary.figures import ProofRunView, RateView, SummaryView
from app.cli.output import inert
from engine.clock import MS_PER_S
from web.dashboard.incidents import Incident, incidents, rail_health
from web.dashboard.picture import slots

BAR_COLUMNS: Final = 24
SLOT_MINUTES: Final = 30  # 48 columns, which fit on 80
DAY_SLOTS: Final = 24 * 60 // SLOT_MINUTES
LEVELS: Final = "▁▂▃▄▅▆▇█"
TONES: Final = {"good": "green", "warn": "yellow", "bad": "bold red", "plain": ""}
RATES: Final = (
    ("success", "Success", 0.9, False),
    ("retry", "Retry", 0.1, True),
    ("cancellation", "Cancellation", 0.05, True),
    ("late_failure", "Late failure", 0.03, True),
)


class Shown(msgspec.Struct, frozen=True):
    """One picture. `control` None: the control topic cannot be read."""

    summary: SummaryView
    control: ControlView | None
    attention: list[dict[str, Any]]
    approvals: list[dict[str, Any]]
    made_at_ms: int  # by our own clock

    def incidents(self) -> Sequence[Incident]:
        """As the pages list them."""
        return incidents(self.summary, self.control)

    def is_current(self) -> bool:
        """Whether the data is current: the read model is not late, as confirmed by Kafka."""
        model = self.summary.read_model
        return model.delay_ms is not None and not model.late

    def document(self, now_ms: int) -> dict[str, Any]:
        """For programs."""
        tone, word, sentence = rail_health(self.summary.rail)
        return {
            "current": self.is_current(),
            "behindMs": self.behind_ms(now_ms),
            "incidents": [msgspec.to_builtins(each) for each in self.incidents()],
            "rail": {"tone": tone, "word": word, "sentence": sentence},
            "summary": msgspec.to_builtins(self.summary),
            "control": msgspec.to_builtins(self.control),
            "attention": self.attention,
            "approvals": self.approvals,
        }

    def behind_ms(self, now_ms: int) -> int:
        """The age of the shown data."""
        return max(0, now_ms - self.made_at_ms) + (self.summary.read_model.delay_ms or 0)


def drawn(shown: Shown, *, now_ms: int, url: str, lost: str = "") -> RenderableType:
    """The whole picture; `lost` says why there is no newer one."""
    summary = shown.summary
    return Group(
        _head(shown, now_ms, url, lost),
        *_alerts(shown),
        Text(),
        _figures(summary),
        Text(),
        _states(summary),
        Text(),
        _throughput(summary),
        Text(),
        _retries(summary.retry_success),
        _rail(summary),
        _proof(summary.proof),
        *_waiting(shown),
        *_actions(summary),
    )


def _head(shown: Shown, now_ms: int, url: str, lost: str) -> Text:
    at = _clock(shown.summary.at)
    line = Text("NPP  ", style="bold")
    if lost:
        line.append(inert(f"reconnecting, data from {at}: {lost}"), TONES["bad"])
    elif shown.summary.read_model.delay_ms is None:
        line.append(f"age unknown, Kafka does not answer; data from {at}", TONES["bad"])
    elif not shown.is_current():
        seconds = shown.behind_ms(now_ms) / MS_PER_S
        line.append(f"OLD: {seconds:.0f} s behind; data from {at}", TONES["bad"])
    else:
        line.append(f"live, {shown.behind_ms(now_ms) / MS_PER_S:.1f} s behind", TONES["good"])
    return line.append(inert(f"   {url}"), "dim")


def _alerts(shown: Shown) -> Iterable[Text]:
    found = shown.incidents()
    yield Text(f"Active incidents: {len(found)}", TONES["bad" if found else "good"])
    for each in found:
        since = f" since {_clock(each.since)}" if each.since else ""
        yield Text(inert(f"  Level {each.level}: {each.what}{since}. {each.do}"), TONES["bad"])


def _figures(summary: SummaryView) -> Table:
    table = _table("", "", "", "")
    counts = (
        ("Need attention", summary.attention),
        ("Approvals waiting", summary.approvals_waiting),
        ("Open conflicts", summary.open_conflicts),
        ("Quarantined", summary.quarantined),
    )
    for (name, count), (field, label, limit, above) in zip(counts, RATES, strict=True):
        rate: RateView = getattr(summary.rates, field)
        table.add_row(
            name,
            Text(f"{count:,}", TONES["warn" if count else "plain"]),
            f"{label} rate, {rate.minutes} min",
            Text(_percent(rate), TONES["bad" if _is_bad(rate, limit, above) else "plain"]),
        )
    return table


def _is_bad(rate: RateView, limit: float, above: bool) -> bool:
    if rate.value is None or not rate.enough:
        return False
    return rate.value > limit if above else rate.value < limit


def _percent(rate: RateView) -> str:
    value = "—" if rate.value is None else f"{rate.value:.1%}"
    return f"{value}  ({rate.part:,} of {rate.whole:,})"


def _states(summary: SummaryView) -> Table:
    table = _table("State", "", "Payments", "Failures, 24 h")
    most = max(summary.states.values(), default=0) or 1
    reasons = sorted(summary.failures.items(), key=lambda each: (-each[1], each[0]))
    failures = [f"{count:,} {name}" for name, count in reasons if count]
    states = [
        (name, "█" * (max(1, round(BAR_COLUMNS * count / most)) if count else 0), f"{count:,}")
        for name, count in summary.states.items()
    ]
    for state, failure in zip_longest(states, failures):
        table.add_row(*(state or ("", "", "")), failure or "")
    return table


def _throughput(summary: SummaryView) -> Table:
    """By half an hour, the present one last; the rows have one scale."""
    table = _table("Throughput, 24 h", "", "Payments")
    made = slots(summary.throughput, summary.at, SLOT_MINUTES, DAY_SLOTS)
    rows = (
        ("Created", [each.created for each in made]),
        ("Settled", [each.settled for each in made]),
        ("Ended otherwise", [each.failed for each in made]),
    )
    most = max(max(counts) for _, counts in rows)
    for name, counts in rows:
        line = "".join(_level(count, most) for count in counts)
        table.add_row(name, line, f"{sum(counts):,}")
    return table


def _level(count: int, most: int) -> str:
    """Nothing is a dot; the most is a full block."""
    return LEVELS[-(-count * len(LEVELS) // most) - 1] if count else "·"


def _retries(rate: RateView) -> Text:
    return Text(f"Retry success rate, 24 h: {_percent(rate)}")


def _rail(summary: SummaryView) -> Text:
    tone, word, sentence = rail_health(summary.rail)
    return Text(f"NPP rail: {word}. {sentence}", TONES[tone])


def _proof(proof: ProofRunView | None) -> Text:
    if proof is None:
        return Text("Last full proof: none has run (npp run replay)", "dim")
    text = "Last full proof: none has ended yet"
    tone = "plain"
    if proof.ended_at:
        verdict = (proof.verdict or "").lower().replace("_", " ")
        text = f"Last full proof {_clock(proof.ended_at)}, {proof.events:,} events, {verdict}"
        tone = "good" if proof.verdict == "PASSED" else "bad"
        text += f": {proof.difference}" if proof.difference else ""
    if proof.stalled:
        tone = "bad"
        text += f"; one began {_clock(proof.began_at)} and has reported nothing for a minute"
    elif proof.running:
        share = f", {proof.done:,} of {proof.total:,} records" if proof.total else ""
        text += f"; one runs since {_clock(proof.began_at)}{share}"
    return Text(inert(text), TONES[tone])


def _waiting(shown: Shown) -> Iterable[RenderableType]:
    if shown.attention:
        table = _table("Needs attention", "State", "Amount", "Why", "Since")
        for each in shown.attention:
            why = ", ".join(each["why"])
            since = _clock(each["attentionSince"])
            amount = str(each["amountText"] or "")
            table.add_row(each["paymentIntentId"], each["state"], amount, why, since)
        yield from (Text(), table)
    if shown.approvals:
        table = _table("Approval waits", "Payment", "Action", "Asked by", "Age", "Since")
        for each in shown.approvals:
            table.add_row(
                each["approvalId"],
                each["paymentIntentId"],
                each["action"],
                each["requester"],
                _age(each["ageSeconds"]),
                _clock(each["requestedAt"]),
            )
        yield from (Text(), table)


def _actions(summary: SummaryView) -> Iterable[RenderableType]:
    if not summary.recent_actions:
        return
    table = _table("Recent operator actions", "Operator", "Action", "Payment", "Result")
    for each in summary.recent_actions:
        table.add_row(
            _clock(each.at),
            Text(inert(each.operator_id)),
            each.action,
            each.payment_intent_id or "",
            each.result or "",
        )
    yield from (Text(), table)


def _age(seconds: int) -> str:
    """Two units, as 3 min 20 s."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(columns))
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _clock(stamp: str | None) -> str:
    """Day and time in UTC, to the second."""
    return "" if not stamp else f"{datetime.fromisoformat(stamp):%Y-%m-%d %H:%M:%S}Z"
