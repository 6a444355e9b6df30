"""What is an active incident now: the monitor's open ones, each state that people must end, and
what went wrong with recent inputs. Pure, from the summary and the control state. Alerts on what
only Prometheus watches (processes, sign-ins) are not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from api.control.routes import ControlView
from api.incidents.views import IncidentView
from api.summary.figures import RailView, SummaryView
from readmodel.minutes import SLOW_IN_A_ROW

# Level, name and which side of its limit is bad, of each rate that the monitor judges, and the
# alert on the same limit.
RATES: Final = {
    "success": (1, "Success rate", "below", "PaymentSuccessRateLow"),
    "retry": (1, "Retry rate", "above", "RetryRateHigh"),
    "cancellation": (1, "Cancellation rate", "above", "CancellationRateHigh"),
    "late_failure": (2, "Late failure rate", "above", "LateFailureRateHigh"),
}
FAILED: Final = "FAILED"  # a proof's verdict
QUARANTINED_MAX: Final = 10  # in 10 minutes; beyond it an incident
LATELY_MAX: Final = 1_000  # the read model's recent counts end here
STUCK_COUNT_MIN: Final = 2  # payments in one state: several are Level 2 (MET-08)
ATTENTION: Final = "/payments?attention=true"


class Incident(msgspec.Struct, frozen=True):
    """`level` is the runbook's escalation level; `link` the page that shows more; `alert` the
    Prometheus alert on the same state, which has the same level and a section in the runbook.
    """

    level: int
    what: str
    do: str
    link: str
    since: str | None = None
    alert: str | None = None


def incidents(summary: SummaryView, control: ControlView | None) -> list[Incident]:
    """Active incidents, the highest level first."""
    found = [
        *_of_control(control),
        *_of_proof(summary),
        *map(_of_monitor, summary.incidents),
        *_of_payments(summary),
        *_of_inputs(summary),
        *_of_conflicts(summary),
        *_of_read_model(summary),
    ]
    return sorted(found, key=lambda each: -each.level)


def _of_control(control: ControlView | None) -> Iterator[Incident]:
    if control is None:
        yield Incident(
            2,
            "The control topic cannot be read: processing counts as stopped",
            "Check Kafka; nothing is processed until it answers.",
            "/control",
        )
        return
    for stop in control.stops:
        yield Incident(
            3,
            f"Processing is stopped: {stop.reason}",
            "End it under dual control, after a passed replay.",
            "/control",
            stop.stopped_at,
        )
    if control.blocked is not None and not control.stops:
        yield Incident(2, f"Processing is blocked: {control.blocked}", "See control.", "/control")


def _of_proof(summary: SummaryView) -> Iterator[Incident]:
    if summary.proof is not None and summary.proof.verdict == FAILED:
        yield Incident(
            3,
            "The last proof of the whole log failed",
            "Call engineering, CTO and compliance. Repair nothing on the log.",
            "/proof",
            summary.proof.ended_at,
            alert="ReplayFailed",
        )


def _of_inputs(summary: SummaryView) -> Iterator[Incident]:
    if summary.violated_lately:
        refused = _lately(summary.violated_lately, "input was", "inputs were")
        yield Incident(
            2,
            f"{refused} refused for an invariant in the last 5 minutes",
            "Nothing was done. Tell the owners of the sender, with the refusal's sentence.",
            "/incidents",
            alert="InvariantViolation",
        )
    if summary.quarantined_lately > QUARANTINED_MAX:
        yield Incident(
            1,
            f"{_lately(summary.quarantined_lately, 'record', 'records')} went into quarantine "
            "in the last 10 minutes",
            "They are not decided: see their reasons, and redrive them after the fix.",
            "/quarantine",
            alert="QuarantineGrows",
        )


def _of_payments(summary: SummaryView) -> Iterator[Incident]:
    if summary.bypassed:
        yield Incident(
            3,
            f"{_many(summary.bypassed, 'payment has', 'payments have')} another id than the "
            "idempotency key gives",
            "One key may have been paid twice: stop processing, call engineering and compliance.",
            "/runbooks/IdempotencyBypassed",
            alert="IdempotencyBypassed",
        )
    if summary.parked:
        yield Incident(
            2,
            f"{_many(summary.parked, 'payment is', 'payments are')} parked after a defect",
            "Call engineering; after the fix two administrators resume each payment.",
            ATTENTION,
            alert="PaymentParked",
        )
    for state, number in summary.overdue.items():
        if number >= STUCK_COUNT_MIN:
            yield Incident(
                2,
                f"{number:,} payments are stuck in {state}",
                "Ask NPP Support whether the rail is degraded; the system keeps enquiring.",
                f"{ATTENTION}&state={state}",
                alert="PaymentsStuck",
            )
    if summary.overdue_escalated:
        yield Incident(
            1,
            f"{_many(summary.overdue_escalated, 'payment is', 'payments are')} long overdue at "
            "the rail",
            "Give the external reference to NPP Support.",
            ATTENTION,
            alert="PaymentOverdueEscalated",
        )


def _of_conflicts(summary: SummaryView) -> Iterator[Incident]:
    if summary.open_conflicts:
        yield Incident(
            1,
            f"{_many(summary.open_conflicts, 'conflict is', 'conflicts are')} open",
            "Resolve each with the verdict that the rail's records support.",
            "/conflicts",
            alert="ConflictOpen",
        )


def _of_read_model(summary: SummaryView) -> Iterator[Incident]:
    if summary.read_model.late:
        yield Incident(
            2,
            "The data shown is more than 30 s behind the journal",
            "Look at the projector: is it running, is the database slow?",
            "/control",
            alert="ReadModelBehind",
        )


def _of_monitor(each: IncidentView) -> Incident:
    """An open incident of the monitor."""
    if each.limit_per_mille is None:
        what = f"The last {each.part} rail requests took longer than {each.limit_ms or 0:,} ms"
        do = "Ask NPP Support whether the rail is degraded."
        return Incident(1, what, do, "/incidents", each.since, "RailLatencyHigh")
    level, name, side, alert = RATES[each.rule]
    share = each.part / each.whole if each.whole else 0.0
    what = f"{name} {share:.1%}, {side} {each.limit_per_mille / 1_000:.0%}"
    do = "Look at the failure reasons and the rail's health."
    return Incident(level, what, do, "/incidents", each.since, alert)


def rail_health(rail: RailView) -> tuple[str, str, str]:
    """Tone, word and sentence, from the last five requests alone."""
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


def _lately(number: int, one: str, more: str) -> str:
    return _many(number, one, more) if number < LATELY_MAX else f"{number:,} or more {more}"
