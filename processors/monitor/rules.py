"""When a limit of the runbook's key metrics counts as exceeded, and when as met again. Pure.

    KEPT     ── the value is beyond the limit ──────────▶ BEYOND
    KEPT     ── latency: five slow requests in a row ───▶ OPEN
    BEYOND   ── the value is within the limit ──────────▶ KEPT
    BEYOND   ── that has lasted OPEN_AFTER_MS ──────────▶ OPEN
    OPEN     ── the value is back at the clear line ────▶ CLEARING
    CLEARING ── the value is beyond the clear line ─────▶ OPEN
    CLEARING ── that has lasted CLEAR_AFTER_MS ─────────▶ KEPT

A rate is judged only if its count is large enough (`readmodel.minutes`): below that it cannot open
an incident, nor keep one from ending. Limits: runbook, key metrics to monitor; clear lines:
docs/decisions/0021. Times are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, assert_never, get_args

import msgspec

from core import closed_sets
from core.monitoring import Incident
from core.words import IncidentRule
from readmodel import minutes
from readmodel.minutes import SLOW_IN_A_ROW, SLOW_MS, Buckets

OPEN_AFTER_MS: Final = 10_000
CLEAR_AFTER_MS: Final = 60_000
OPEN: Final = "OPEN"
RESOLVED: Final = "RESOLVED"
RULES: Final[tuple[IncidentRule, ...]] = get_args(closed_sets.IncidentRule)
Phase = Literal["KEPT", "BEYOND", "OPEN", "CLEARING"]


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A rate's limit in per mille: beyond `limit` it is breached, at `clear` (per mille) the breach
    ends. `below`: a value under the limit is the breach.
    """

    limit: int
    clear: int
    below: bool = False

    def beyond(self, value: Value) -> bool:
        """Whether the value breaks the limit: at the limit it does not."""
        return self._passes(value, self.limit)

    def back(self, value: Value) -> bool:
        """Whether the value is at the clear line or better."""
        return not self._passes(value, self.clear)

    def _passes(self, value: Value, line: int) -> bool:
        part, allowed = value.part * 1_000, line * value.whole
        return part < allowed if self.below else part > allowed


LIMITS: Final[Mapping[IncidentRule, Limit]] = {
    "success": Limit(limit=900, clear=920, below=True),
    "retry": Limit(limit=100, clear=80),
    "cancellation": Limit(limit=50, clear=40),
    "late_failure": Limit(limit=30, clear=20),
}


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """The value that a rule judges: a rate's two counts, or how many of the last requests were slow
    in a row. `enough`: whether the least count was reached.
    """

    part: int
    whole: int
    enough: bool


class RuleState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one rule. `since` is when BEYOND began, `cleared` when CLEARING did; `judged` is
    the time of the last tick, and an earlier one is not judged again.
    """

    phase: Phase = "KEPT"
    since: int = 0
    cleared: int = 0
    judged: int = 0
    incident: Incident | None = None


def values(buckets: Buckets, now_ms: int) -> dict[IncidentRule, Value]:
    """Every rule's value as of `now_ms`."""
    hour = minutes.window(buckets, now_ms, minutes.HOUR_MINUTES)
    slow = minutes.slow_in_a_row(minutes.last_latencies(hour))
    rates = minutes.rates(buckets, now_ms)
    found: dict[IncidentRule, Value] = {
        "latency": Value(part=slow, whole=SLOW_IN_A_ROW, enough=True)
    }
    for rule in LIMITS:
        rate = rates[rule]
        found[rule] = Value(part=rate.part, whole=rate.whole, enough=rate.enough)
    return found


def judge(rule: IncidentRule, before: RuleState, value: Value, now_ms: int) -> RuleState:
    """The rule's state after a tick. Opening creates a new incident, resolving changes it; the same
    ticks give the same incidents.
    """
    if now_ms <= before.judged:
        return before
    after = msgspec.structs.replace(before, judged=now_ms)
    match before.phase:
        case "KEPT" | "BEYOND":
            return _not_open(rule, after, value, now_ms)
        case "OPEN" | "CLEARING":
            return _open(rule, after, value, now_ms)
        case _:
            assert_never(before.phase)


def _not_open(rule: IncidentRule, at: RuleState, value: Value, now_ms: int) -> RuleState:
    if not (value.enough and _beyond(rule, value)):
        return RuleState(judged=now_ms)
    if at.phase == "KEPT":
        at = msgspec.structs.replace(at, phase="BEYOND", since=now_ms)
    wait_ms = 0 if rule == "latency" else OPEN_AFTER_MS  # five slow requests are proof enough
    if now_ms - at.since < wait_ms:
        return at
    limit = LIMITS.get(rule)
    incident = Incident(
        incident_id=f"inc_{rule}_{at.since}",
        rule=rule,
        status=OPEN,
        part=value.part,
        whole=value.whole,
        limit_per_mille=None if limit is None else limit.limit,
        limit_ms=SLOW_MS if limit is None else None,
        since=at.since,
        opened_at=now_ms,
        resolved_at=None,
    )
    return msgspec.structs.replace(at, phase="OPEN", incident=incident)


def _open(rule: IncidentRule, at: RuleState, value: Value, now_ms: int) -> RuleState:
    if value.enough and not _back(rule, value):
        return msgspec.structs.replace(at, phase="OPEN", cleared=0)
    if at.phase == "OPEN":
        return msgspec.structs.replace(at, phase="CLEARING", cleared=now_ms)
    if now_ms - at.cleared < CLEAR_AFTER_MS:
        return at
    assert at.incident is not None, "an open rule has its incident"
    ended = msgspec.structs.replace(
        at.incident, status=RESOLVED, part=value.part, whole=value.whole, resolved_at=now_ms
    )
    return RuleState(judged=now_ms, incident=ended)


def _beyond(rule: IncidentRule, value: Value) -> bool:
    limit = LIMITS.get(rule)
    return value.part >= SLOW_IN_A_ROW if limit is None else limit.beyond(value)


def _back(rule: IncidentRule, value: Value) -> bool:
    """For latency one request within the limit is enough: the run of slow ones has ended."""
    limit = LIMITS.get(rule)
    return value.part == 0 if limit is None else limit.back(value)
