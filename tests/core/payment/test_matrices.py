"""core against the golden files: every transition, report, command and input in every situation.

The files under golden/ were written by hand from the rulings; a difference is a defect in one of
them.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml

from core.decider import Accepted, Decision, Duplicate, NoEffect, Refusal, Unmatched
from core.header import Actor, Cause, EventHeader
from core.payment import events as e
from core.payment.evolve import evolve
from core.payment.state import CorruptHistory
from core.values import ZERO_HASH, Sealed, external_ref
from tests.core.payment import situations as s
from tests.core.payment.world import AMOUNT, PAYMENT, SEALED, World

GOLDEN = Path(__file__).parent / "golden"
TRANSITIONS = yaml.safe_load((GOLDEN / "transitions.yaml").read_text())
REPORTS = yaml.safe_load((GOLDEN / "report_state.yaml").read_text())["reports"]
COMMANDS = yaml.safe_load((GOLDEN / "command_state.yaml").read_text())
INPUTS = yaml.safe_load((GOLDEN / "input_state.yaml").read_text())["inputs"]
NOTES = {"RailStatusReported", "CustomerNotificationRequested", "RailEnquiryRequested"}
TIMERS_SPAN_MS = 30 * 60_000  # both overdue marks (5 and 10 minutes) and every window before SENT
STATES = ["NONE", *TRANSITIONS["states"]]


# -- one cell --------------------------------------------------------------------------------------


def facts(event: Any) -> dict[str, str]:
    """The fields of an event that a golden cell may name."""
    fields = {name: getattr(event, name) for name in event.__struct_fields__ if name != "header"}
    fields["reason"] = event.header.reason
    if "non_payment_certain" in fields:
        fields["certain"] = fields["non_payment_certain"]
        fields["late"] = fields.get("late_failure", False)
    if "frozen_until" in fields:
        fields["frozen"] = fields["frozen_until"] is not None
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in fields.items()
    }


def matches(expected: str, event: Any) -> bool:
    name, *pairs = expected.split()
    known = facts(event)
    return name == type(event).__name__ and all(
        known[pair.partition("=")[0]] == pair.partition("=")[2] for pair in pairs if pair != "*"
    )


def compare_events(expected: list[str], events: list[Any], notes: set[str] = NOTES) -> None:
    """Lifecycle events exactly and in order, others exactly, notes only where named."""
    named = [x for x in expected if x != "+funds"]
    if len(named) < len(expected):
        notes = notes | {"FundsRequested", "FundsReleaseDeferred"}
    lifecycle = [x for x in named if x.split()[0] in s.LIFECYCLE]
    happened = [x for x in events if type(x).__name__ in s.LIFECYCLE]
    text = f"expected {expected}, got {[(type(x).__name__, facts(x)) for x in events]}"
    assert len(lifecycle) == len(happened), text
    assert all(map(matches, lifecycle, happened)), text
    rest = [x for x in events if type(x).__name__ not in s.LIFECYCLE]
    for wanted in (x for x in named if x.split()[0] not in s.LIFECYCLE):
        found = next((x for x in rest if matches(wanted, x)), None)
        assert found is not None, f"{wanted} is missing: {text}"
        rest.remove(found)
    assert {type(x).__name__ for x in rest} <= notes, text


def compare(cell: str | list[str], decision: Decision) -> None:
    """Compare a decision with a golden cell; the head of report_state.yaml explains the words."""
    events = decision.events if isinstance(decision, Accepted) else []
    if isinstance(cell, list):
        assert isinstance(decision, Accepted), f"expected {cell}, got {decision!r}"
        compare_events(cell, events)
        return
    word, _, detail = cell.partition(" ")
    match word:
        case "any":
            assert not isinstance(decision, Unmatched)
        case "quiet":
            assert isinstance(decision, Accepted | Duplicate | NoEffect), (
                f"expected quiet, got {decision!r}"
            )
            assert {type(x).__name__ for x in events} <= NOTES, events
        case "duplicate":
            assert isinstance(decision, Duplicate), f"expected a duplicate, got {decision!r}"
        case "conflict":
            assert isinstance(decision, Accepted), f"expected a conflict, got {decision!r}"
            kinds = [x.kind for x in events if isinstance(x, e.ReconciliationRequired)]
            assert len(kinds) == 1, events
            assert fnmatch.fnmatch(kinds[0], detail), f"expected conflict {detail}, got {kinds[0]}"
            assert {type(x).__name__ for x in events} <= NOTES | {"ReconciliationRequired"}, events
        case "refused":
            assert isinstance(decision, Refusal), f"expected a refusal, got {decision!r}"
        case _:
            assert isinstance(decision, Refusal), f"expected {cell}, got {decision!r}"
            assert fnmatch.fnmatch(decision.code, word), f"expected {cell}, got {decision!r}"
            assert fnmatch.fnmatch(decision.rule, detail), f"expected {cell}, got {decision!r}"
            assert decision.sentence, "a refusal speaks to people"


def expand(row: dict[str, Any], columns: list[str]) -> list[tuple[str, Any]]:
    return [
        (column, row.get(column, row.get("*"))) for column in columns if column in row or "*" in row
    ]


# -- transitions -----------------------------------------------------------------------------------


def any_event(kind: type, world: World, state_after: Any, reason: Any) -> Any:
    """The payment's next event, of this kind, built from its own field types."""
    sequence = 1 if world.payment is None else world.payment.sequence + 1
    attempt = 1 if world.payment is None else len(world.payment.attempts)
    if (
        kind is e.PaymentAttemptCreated
        and world.payment is not None
        and world.payment.state == "FAILED"
    ):
        attempt += 1
    header = EventHeader(
        payment_intent_id=PAYMENT,
        sequence=sequence,
        previous_hash=ZERO_HASH,
        decided_at=world.now_ms,
        cause=Cause(
            cluster_id="cluster-1", topic="t", partition=0, offset=10_000, input_hash=ZERO_HASH
        ),
        actor=Actor(kind="system", id="test"),
        attempt=attempt,
        state_after=state_after,
        reason=reason,
        approval_id=None,
        rule_set=1,
        traceparent=None,
    )
    filled: dict[str, Any] = {"header": header}
    for field in msgspec.structs.fields(kind):
        if field.name in filled:
            continue
        filled[field.name] = (
            None if type(None) in get_args(field.type)
            else SEALED if field.type is Sealed
            else f"att_{attempt:03d}" if field.name == "attempt_id"
            else external_ref(PAYMENT, attempt) if field.name == "external_ref"
            else AMOUNT if field.name == "amount"
            else {int: 1, str: "x", bool: False}.get(
                getattr(field.type, "__supertype__", field.type), ()
            )
        )  # fmt: skip
    return kind(**filled)


SITUATION_OF = {
    "NONE": "NONE", "CREATED": "CREATED", "AUTHORISED": "AUTHORISED", "SENT": "SENT",
    "ACKNOWLEDGED": "ACKNOWLEDGED", "SETTLED": "SETTLED", "FAILED": "FAILED_RETRYABLE",
    "EXPIRED": "EXPIRED_RAIL",
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", get_args(e.LifecycleEvent), ids=lambda k: k.__name__)
def test_a_lifecycle_event_applies_exactly_where_the_table_allows(kind: type, state: str) -> None:
    """SM-02, SM-04 to SM-06, SM-17: every (state, lifecycle event) pair; an impossible one is a
    corrupt history."""
    after = TRANSITIONS["events"][kind.__name__].get(state)
    natural = after or next(iter(TRANSITIONS["events"][kind.__name__].values()))
    world = s.SITUATIONS[SITUATION_OF[state]]()
    reason = (
        "CANCELLED" if kind is e.PaymentFailed else "EXPIRED" if kind is e.PaymentExpired else None
    )
    event = any_event(kind, world, natural, reason)
    if after is None:
        with pytest.raises(CorruptHistory):
            evolve(world.payment, event)
    else:
        assert evolve(world.payment, event).state == after


def test_the_pairs_and_the_events_of_the_golden_file_agree() -> None:
    """SM-06: the 7 x 7 pairs follow from the eight events."""
    states = TRANSITIONS["states"]
    made = {
        (a, b) for moves in TRANSITIONS["events"].values() for a, b in moves.items() if a != "NONE"
    }
    pairs = {
        (a, states[n])
        for a, row in TRANSITIONS["pairs"].items()
        for n, mark in enumerate(row)
        if mark == "x"
    }
    assert pairs == made
    assert set(TRANSITIONS["events"]) == s.LIFECYCLE


# -- reports, commands, other inputs ---------------------------------------------------------------

REPORT_CELLS = [
    pytest.param(name, column, cell, id=f"{name}-{column}")
    for name, row in REPORTS.items()
    for column, cell in expand(row, s.COLUMNS)
]


@pytest.mark.parametrize(("report", "situation", "cell"), REPORT_CELLS)
def test_each_report_in_each_situation_follows_its_ruling(
    report: str, situation: str, cell: Any
) -> None:
    """EV-01."""
    world = s.SITUATIONS[situation]()
    before = None if world.payment is None else world.payment.state
    decision = world.give(s.named_report(world, report))
    assert not isinstance(decision, Refusal), (
        f"a report is never rejected for the state it finds (ruling 5): {decision}"
    )
    compare(cell, decision)
    if isinstance(cell, str):
        assert world.payment.state == before, "only a lifecycle event may change the state (EV-01)"


def test_every_report_has_a_cell_for_every_situation() -> None:
    """SM-06."""
    assert set(REPORTS) == set(s.REPORTS) - {"REJECTED_RETRYABLE"}
    assert len(REPORT_CELLS) == len(REPORTS) * len(s.COLUMNS)


COMMAND_CELLS = [
    pytest.param(name, approval, column, cell, id=f"{name}-{approval}-{column}")
    for name, ways in COMMANDS["commands"].items()
    for approval, row in ways.items()
    for column, cell in expand(row, ["NONE", *s.COLUMNS])
]


@pytest.mark.parametrize(("command", "approval", "situation", "cell"), COMMAND_CELLS)
def test_each_command_in_each_situation_follows_its_ruling(
    command: str, approval: str, situation: str, cell: Any
) -> None:
    """SM-04, SM-05, EV-01."""
    world = s.SITUATIONS[situation]()
    if approval == "with" and world.payment is not None:
        world.approve(command)
    before = world.payment
    decision = world.give(world.command(command))
    compare(cell, decision)
    if not isinstance(decision, Accepted):
        assert world.payment == before


@pytest.mark.parametrize(
    "command", ["CancelPayment", "MarkPaymentFailed", "RetryPayment", "ExpirePayment/operator"]
)
def test_an_accepted_command_repeated_returns_the_first_result(command: str) -> None:
    """RT-04, IDM-07: given twice, done once; the duplicate names the first events."""
    world = s.SITUATIONS["FAILED_RETRYABLE" if command == "RetryPayment" else "SENT"]()
    world.approve(command)
    first = world.must(world.command(command))
    again = world.give(world.command(command))
    assert isinstance(again, Duplicate), again
    assert again.from_sequence == first[0].header.sequence


@pytest.mark.parametrize("row", COMMANDS["roles"], ids=lambda r: f"{r['command']}-{r['situation']}")
def test_a_wrong_role_is_refused_before_any_other_check(row: dict[str, Any]) -> None:
    """SEC-02, domain §5."""
    world = s.SITUATIONS[row["situation"]]()
    world.approve(row["command"])
    world.roles = tuple(row["roles"])
    compare(row["then"], world.give(world.command(row["command"])))


@pytest.mark.parametrize(
    "row",
    COMMANDS["conflicts"],
    ids=lambda r: f"{r['situation']}-{r.get('command', r.get('report'))}",
)
def test_an_open_conflict_blocks_and_is_resolved_as_ruled(row: dict[str, Any]) -> None:
    """Ruling 5, OP-30."""
    world = s.SITUATIONS[row["situation"]]()
    if "report" in row:
        compare(row["then"], world.give(s.named_report(world, row["report"])))
        return
    if row["approval"] == "with":
        world.approve(row["command"])
    compare(row["then"], world.give(world.command(row["command"])))


def one_input(world: World, name: str) -> Decision:
    kind, _, variant = name.partition("/")
    if kind == "PolicyVerdict":
        return world.give(world.verdict(variant))
    operation = {"HELD": "HOLD", "DECLINED": "HOLD", "CAPTURED": "CAPTURE"}[variant]
    return world.give(world.deposits(operation, variant))


INPUT_CELLS = [
    pytest.param(name, column, cell, id=f"{name}-{column}")
    for name, row in INPUTS.items()
    if name != "Timer"
    for column, cell in expand(row, s.COLUMNS)
]


@pytest.mark.parametrize(("name", "situation", "cell"), INPUT_CELLS)
def test_each_answer_in_each_situation_follows_its_ruling(
    name: str, situation: str, cell: Any
) -> None:
    world = s.SITUATIONS[situation]()
    first, _, second = name.rpartition(" then ")
    if first == "Cancelled":
        world.operate("CancelPayment")
    elif first:
        one_input(world, first)
    decision = one_input(world, second)
    assert not isinstance(decision, Refusal), decision
    if isinstance(cell, str) and cell == "any":
        assert {type(x).__name__ for x in getattr(decision, "events", [])}.isdisjoint(s.LIFECYCLE)
    compare(cell, decision)


@pytest.mark.parametrize(("situation", "cell"), expand(INPUTS["Timer"], s.COLUMNS))
def test_timers_in_each_situation_follow_their_ruling(situation: str, cell: Any) -> None:
    """SM-12, MET-07: before SENT they end a payment; from SENT on they only mark it."""
    world = s.SITUATIONS[situation]()
    made = world.run_timers(TIMERS_SPAN_MS)
    if cell == "quiet":
        assert {type(x).__name__ for x in made} <= NOTES, made
    else:
        compare_events(cell, made)


def test_a_report_without_a_payment_is_unmatched() -> None:
    """OP-24: a report whose payment is unknown goes to quarantine."""
    world = World()
    assert isinstance(world.give(s.named_report(world, "ACCEPTED")), Unmatched)
