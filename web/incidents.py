"""What counts as an active incident now: each limit of the runbook that is broken, and each state
that people must end. Pure, from the summary and the control state.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from api.summary.figures import RailView, RateView, SummaryView
from readmodel.minutes import SLOW_IN_A_ROW, SLOW_MS

SUCCESS_LEAST: Final = 0.90  # runbook, key metrics 1
RETRY_MOST: Final = 0.10  # 3
CANCELLATION_MOST: Final = 0.05  # 4
LATE_FAILURE_MOST: Final = 0.03  # 5


class Incident(msgspec.Struct, frozen=True):
    """`level` is the runbook's escalation level; `link` the page that shows more."""

    level: int
    what: str
    do: str
    link: str


def incidents(summary: SummaryView, control: Any | None) -> list[Incident]:
    """Active ones, the gravest first."""
    found = [*_of_control(control), *_of_rates(summary), *_of_rail(summary.rail)]
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


def _of_control(control: Any | None) -> list[Incident]:
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
        Incident(3, f"Processing is stopped: {stop.reason}", "Follow the STOP page.", "/control")
        for stop in control.stops
    ]
    if control.blocked is not None and not control.stops:
        found.append(
            Incident(2, f"Processing is blocked: {control.blocked}", "See control.", "/control")
        )
    return found


def _of_rates(summary: SummaryView) -> list[Incident]:
    rates = summary.rates
    found = []
    if _beyond(rates.success) and (rates.success.value or 0.0) < SUCCESS_LEAST:
        found.append(_rate("Success rate", rates.success, f"below {SUCCESS_LEAST:.0%}"))
    for name, rate, most in (
        ("Retry rate", rates.retry, RETRY_MOST),
        ("Cancellation rate", rates.cancellation, CANCELLATION_MOST),
        ("Late failure rate", rates.late_failure, LATE_FAILURE_MOST),
    ):
        if _beyond(rate) and (rate.value or 0.0) > most:
            found.append(_rate(name, rate, f"above {most:.0%}"))
    return found


def _beyond(rate: RateView) -> bool:
    """Whether enough was counted to say anything."""
    return rate.enough and rate.value is not None


def _rate(name: str, rate: RateView, limit: str) -> Incident:
    return Incident(
        1,
        f"{name} {rate.value or 0.0:.1%} over {rate.minutes} min, {limit}",
        "Look at the failure reasons and the rail's health.",
        "/incidents",
    )


def _of_rail(rail: RailView) -> list[Incident]:
    if rail.slow_in_a_row < SLOW_IN_A_ROW:
        return []
    return [
        Incident(
            1,
            f"The last {rail.slow_in_a_row} rail requests took longer than {SLOW_MS:,} ms",
            "Ask NPP Support whether the rail is degraded.",
            "/",
        )
    ]


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
