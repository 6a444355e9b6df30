"""MET-01 to MET-05: when a limit of the runbook counts as exceeded, tick by tick."""

from __future__ import annotations

from itertools import product

import pytest

from core.monitoring import Incident
from core.words import IncidentRule
from processors.monitor import rules
from processors.monitor.rules import CLEAR_AFTER_MS, OPEN_AFTER_MS, RULES, RuleState, Value, judge
from readmodel.minutes import LEAST_COUNT
from tests.drawings import drawn_moves

START = 1_800_000_000_000
SECOND = 1_000


def rate(part: int, whole: int = 1_000) -> Value:
    return Value(part=part, whole=whole, enough=whole >= LEAST_COUNT)


def slow(count: int) -> Value:
    return Value(part=count, whole=5, enough=True)


def judged(rule: IncidentRule, *steps: tuple[int, Value]) -> RuleState:
    """The rule's phase after ticks at these milliseconds after START."""
    state = RuleState()
    for after_ms, value in steps:
        state = judge(rule, state, value, START + after_ms)
    return state


def opened(rule: IncidentRule, value: Value) -> RuleState:
    return judged(rule, *((ms, value) for ms in range(0, OPEN_AFTER_MS + 1, SECOND)))


@pytest.mark.parametrize(
    ("rule", "at_limit", "beyond"),
    [
        ("success", rate(900), rate(899)),
        ("retry", rate(100), rate(101)),
        ("cancellation", rate(50), rate(51)),
        ("late_failure", rate(30), rate(31)),
        ("latency", slow(4), slow(5)),
    ],
)
def test_a_limit_is_exceeded_beyond_it_and_not_at_it(
    rule: IncidentRule, at_limit: Value, beyond: Value
) -> None:
    assert opened(rule, at_limit).phase == "KEPT"
    assert opened(rule, beyond).phase == "OPEN"


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "latency"])
def test_below_the_minimum_count_nothing_opens(rule: IncidentRule) -> None:
    """Domain §11: at least 20. Without traffic there is no rate."""
    bad = 0 if rule == "success" else LEAST_COUNT - 1
    assert opened(rule, rate(bad, LEAST_COUNT - 1)).phase == "KEPT"
    assert opened(rule, rate(0, 0)).phase == "KEPT"
    assert opened(rule, rate(0 if rule == "success" else LEAST_COUNT, LEAST_COUNT)).phase == "OPEN"


def test_a_rate_opens_once_the_breach_has_lasted_and_latency_at_once() -> None:
    short = [(0, rate(200)), (OPEN_AFTER_MS - 1, rate(200))]
    assert judged("retry", *short).phase == "BEYOND"
    assert judged("retry", *short, (OPEN_AFTER_MS, rate(200))).phase == "OPEN"
    assert judged("latency", (0, slow(5))).phase == "OPEN"


def test_a_breach_that_ends_early_starts_again() -> None:
    steps = [(0, rate(200)), (5_000, rate(100)), (6_000, rate(200)), (15_000, rate(200))]
    assert judged("retry", *steps).phase == "BEYOND"


def test_an_incident_states_its_start_and_its_measured_value() -> None:
    assert opened("success", rate(20, 40)).incident == Incident(
        incident_id=f"inc_success_{START}", rule="success", status="OPEN", part=20, whole=40,
        limit_per_mille=900, limit_ms=None, since=START, opened_at=START + OPEN_AFTER_MS,
        resolved_at=None,
    )  # fmt: skip
    assert judged("latency", (0, slow(5))).incident == Incident(
        incident_id=f"inc_latency_{START}", rule="latency", status="OPEN", part=5, whole=5,
        limit_per_mille=None, limit_ms=1_000, since=START, opened_at=START, resolved_at=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "bad", "between", "clear"),
    [
        ("success", rate(800), rate(919), rate(920)),
        ("retry", rate(200), rate(81), rate(80)),
        ("cancellation", rate(200), rate(41), rate(40)),
        ("late_failure", rate(200), rate(21), rate(20)),
        ("latency", slow(5), slow(1), slow(0)),
    ],
)
def test_it_resolves_after_a_minute_at_the_clear_line_and_not_before(
    rule: IncidentRule, bad: Value, between: Value, clear: Value
) -> None:
    """Decision 21: 0.92, 0.08, 0.04, 0.02, and one request within the limit."""
    at = opened(rule, bad)
    first = at.judged + SECOND
    almost = judge(rule, judge(rule, at, clear, first), clear, first + CLEAR_AFTER_MS - 1)
    assert almost.phase == "CLEARING"
    ended = judge(rule, almost, clear, first + CLEAR_AFTER_MS)
    assert ended.phase == "KEPT"
    assert ended.incident is not None
    assert (ended.incident.status, ended.incident.resolved_at) == (
        "RESOLVED", first + CLEAR_AFTER_MS,
    )  # fmt: skip

    back = judge(rule, almost, between, first + CLEAR_AFTER_MS)
    assert (back.phase, back.cleared) == ("OPEN", 0)
    assert judge(rule, back, clear, first + CLEAR_AFTER_MS + SECOND).phase == "CLEARING"


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "latency"])
def test_with_too_little_traffic_an_incident_ends_as_over(rule: IncidentRule) -> None:
    """Domain §11: below the minimum count there is no rate that could exceed a limit."""
    at = opened(rule, rate(0 if rule == "success" else LEAST_COUNT, LEAST_COUNT))
    few = rate(0 if rule == "success" else LEAST_COUNT - 1, LEAST_COUNT - 1)
    first = at.judged + SECOND
    clearing = judge(rule, at, few, first)
    assert clearing.phase == "CLEARING"
    assert judge(rule, clearing, few, first + CLEAR_AFTER_MS).phase == "KEPT"


def test_an_earlier_tick_is_not_evaluated_again() -> None:
    at = opened("retry", rate(200))
    assert judge("retry", at, rate(0), at.judged) is at
    assert judge("retry", at, rate(0), at.judged - 5_000) is at


def test_the_diagram_names_every_phase() -> None:
    """Every value at every moment, from every state that these lead to."""
    begins: dict[IncidentRule, tuple[Value, ...]] = {
        "retry": (rate(200), rate(90), rate(0)),
        "latency": (slow(5), slow(1), slow(0)),
    }
    made: set[tuple[str, str]] = set()
    for rule, each in begins.items():
        states = [RuleState()]
        for _ in range(4):
            ticks = [
                (at, judge(rule, at, value, at.judged + ms))
                for at, value, ms in product(states, each, (SECOND, CLEAR_AFTER_MS))
            ]
            made |= {(before.phase, after.phase) for before, after in ticks}
            states = [after for _, after in ticks]
    assert {(a, b) for a, b in made if a != b} == drawn_moves(rules.__doc__)
