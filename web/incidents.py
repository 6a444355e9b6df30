"""What counts as an active incident now: the monitor's open ones, and each state that people must
end. Pure, from the summary and the control state.
"""

from __future__ import annotations

from typing import Final

import msgspec

from api.control.routes import ControlView
from api.incidents.views import IncidentView
from api.summary.figures import RailView, SummaryView
from readmodel.minutes import SLOW_IN_A_ROW

# Level, name and which side of its limit is bad, of each rate that the monitor judges.
RATES: Final = {
    "success": (1, "Success rate", "below"),
    "retry": (1, "Retry rate", "above"),
    "cancellation": (1, "Cancellation rate", "above"),
    "late_failure": (2, "Late failure rate", "above"),
}


class Incident(msgspec.Struct, frozen=True):
    """`level` is the runbook's escalation level; `link` the page that shows more."""

    level: int
    what: str
    do: str
    link: str
    since: str | None = None


def incidents(summary: SummaryView, control: ControlView | None) -> list[Incident]:
    """Active ones, the gravest first."""
    found = [*_of_control(control), *_of_monitor(summary)]
    if summary.open_conflicts:
        found.append(
            Incident(
                1,
                f"{_many(summary.open_conflicts, 'conflict is', 'conflicts are')} open",
                "Resolve each with the verdict that the rail's books support.",
                "/conflicts",
            )
        )
    if summary.read_model.late:
        found.append(
            Incident(
                1,
                "What is shown here is more than 30 s behind the journal",
                "Look at the projector: is it running, is the database slow?",
                "/control",
            )
        )
    return sorted(found, key=lambda each: -each.level)


def _of_control(control: ControlView | None) -> list[Incident]:
    if control is None:
        return [
            Incident(
                2,
                "The control topic cannot be read: processing counts as stopped",
                "Check Kafka; nothing is processed until it answers.",
                "/control",
            )
        ]
    found = [
        Incident(
            3,
            f"Processing is stopped: {stop.reason}",
            "End it under dual control, after a passed replay.",
            "/control",
            stop.stopped_at,
        )
        for stop in control.stops
    ]
    if control.blocked is not None and not control.stops:
        found.append(
            Incident(2, f"Processing is blocked: {control.blocked}", "See control.", "/control")
        )
    return found


def _of_monitor(summary: SummaryView) -> list[Incident]:
    return [Incident(*_words(each), "/incidents", each.since) for each in summary.incidents]


def _words(each: IncidentView) -> tuple[int, str, str]:
    """Level, what and what to do."""
    if each.limit_per_mille is None:
        what = f"The last {each.part} rail requests took longer than {each.limit_ms or 0:,} ms"
        return 1, what, "Ask NPP Support whether the rail is degraded."
    level, name, side = RATES[each.rule]
    share = each.part / each.whole if each.whole else 0.0
    what = f"{name} {share:.1%}, {side} {each.limit_per_mille / 1_000:.0%}"
    return level, what, "Look at the failure reasons and the rail's health."


def rail_health(rail: RailView) -> tuple[str, str, str]:
    """Tone, word and sentence. The last five requests say it; older ones say nothing of now."""
    if not rail.last:
        return "plain", "No requests", "No rail request in the last 24 hours."
    longest = max(each.took_ms for each in rail.last)
    if rail.slow_in_a_row >= SLOW_IN_A_ROW:
        return "bad", "Degraded", f"The last {rail.slow_in_a_row} requests were all slow."
    if rail.slow_in_a_row:
        return "warn", "Slow", f"{rail.slow_in_a_row} of the last requests took over a second."
    return "good", "Healthy", f"The last {len(rail.last)} requests took at most {longest:,} ms."


def _many(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"
