"""The state of a payment is bounded: each part has a limit, and packed it is under 64 KiB.

So an event can always be written after any sequence of inputs, above all ProcessingSuspended.
"""

from __future__ import annotations

import typing
from typing import Any, cast

import msgspec
import pytest

from core.decider import Accepted
from core.payment import commands as c
from core.payment import events as e
from core.payment import funds
from core.payment import state as s
from core.payment.decide import suspend
from core.payment.state import PACKED_BYTES_MAX, Attempt, Payment, open_conflicts
from core.values import external_ref
from tests.core.payment import dsl as d
from tests.core.payment.size.flood import (
    APPROVALS_KEPT,
    ATTEMPT,
    ATTEMPT_COUNTERS,
    ATTEMPT_TEXTS,
    ATTEMPTS,
    CONFLICTS_KEPT,
    ID,
    LIMITS,
    PAYMENT,
    PAYMENT_COUNTERS,
    PAYMENT_TEXTS,
    Flood,
    made_again,
    wide,
    within_limits,
)

# Times and amounts: numbers that do not count anything.
PAYMENT_NUMBERS = {
    "amount", "requested_execution_time", "expires_at", "created_at", "decided_at", "rule_set",
    "authorised_at", "deadline",
}  # fmt: skip

ATTEMPT_NUMBERS = {
    "started_at", "frozen_until", "held", "captured", "released", "debited", "reversed",
    "credited", "waived", "returns_sum", "returns_total", "sent_at", "submit_before",
    "acknowledged_at", "tried_at", "enquiry_at", "ended_at", "settled",
}  # fmt: skip


def kinds_of(struct: type) -> dict[str, Any]:
    """Attribute → its type without None; for money and ids the underlying type."""
    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(struct).items():
        arguments = [a for a in typing.get_args(hint) if a is not type(None)]
        optional = type(None) in typing.get_args(hint)
        kind = arguments[0] if optional and len(arguments) == 1 else hint
        found[name] = getattr(kind, "__supertype__", kind)
    return found


@pytest.mark.parametrize(
    ("struct", "sizes", "numbers", "texts"),
    [
        (Payment, PAYMENT, {*PAYMENT_COUNTERS, *PAYMENT_NUMBERS}, PAYMENT_TEXTS),
        (Attempt, ATTEMPT, {*ATTEMPT_COUNTERS, *ATTEMPT_NUMBERS}, ATTEMPT_TEXTS),
    ],
    ids=["Payment", "Attempt"],
)
def test_every_part_of_the_state_has_a_limit_here(
    struct: type, sizes: dict[str, int], numbers: set[str], texts: dict[str, int]
) -> None:
    """Engine: every list, map and counter has a limit, and so must a new one."""
    kinds = kinds_of(struct)
    assert {n for n, kind in kinds.items() if typing.get_origin(kind) in (list, dict)} == set(sizes)
    assert {name for name, kind in kinds.items() if kind is int} == numbers
    assert {name for name, kind in kinds.items() if kind in (str, bytes)} == set(texts)
    flags = {name for name, kind in kinds.items() if kind is bool}
    assert set(kinds) == {*sizes, *numbers, *texts, *flags}


@pytest.mark.parametrize(
    "struct", [s.FundsRequestStatus, s.SeenReport, s.Approval, s.Conflict, s.Notification]
)
def test_the_entries_of_lists_hold_no_lists(struct: type) -> None:
    """Engine: a limit on a list bounds nothing if its entries can grow."""
    allowed = {int, str, bytes, bool}
    assert set(kinds_of(struct).values()) <= allowed


def test_the_largest_payment_stays_under_the_maximum_size() -> None:
    """Engine: 20 attempts, 200 approvals, 64 open conflicts, requests to the limit, each id and
    code at its maximum length in four-byte characters.
    """
    flood = Flood()
    for number in range(1, ATTEMPTS + 1):
        flood.must(flood.report("RECEIVED", wide(35, "a")))
        if number == 1:
            flood.refuse_to_the_limit("HOLD")
        flood.sent()
        for kind in ("RECEIVED", "STATUS", "RECALL_REFUSED", "ACCEPTED"):
            flood.must(flood.report(kind, wide(35, kind), rail_message_id=wide(140, kind)))
        flood.must(flood.report("REJECTED", "AM05"))
        if number < ATTEMPTS:
            flood.retried()
    for index in range(s.CONFLICTS_OPEN_MAX):
        assert isinstance(flood.contradict(f"{index:04d}"), Accepted)
    while flood.payment.approvals_made < LIMITS.approvals_max - APPROVALS_KEPT:
        flood.resolve_one()
        flood.contradict(f"{flood.payment.conflicts_made:04d}")
    for _ in range(LIMITS.approvals_open_max):
        reason = "INSUFFICIENT_FUNDS"
        flood.must(flood.request("MARK_FAILED", flood.person(), failure_reason=reason))
        flood.must(flood.decided("REFERRED"))
    assert len(flood.payment.attempts) == ATTEMPTS
    assert open_conflicts(flood.payment) == s.CONFLICTS_OPEN_MAX
    assert len(flood.payment.conflicts) == CONFLICTS_KEPT
    assert len(flood.payment.approvals) == APPROVALS_KEPT
    assert made_again(flood.payment) == funds.REQUESTS_MAX - 1
    suspended = suspend(flood.payment, flood.case.context(flood.passed()), wide(10_000))
    (event,) = suspended.events
    assert isinstance(event, e.ProcessingSuspended)
    assert len(event.error) <= 300, "the record is bounded by itself"
    assert suspended.state.parked
    assert within_limits(suspended.state) < PACKED_BYTES_MAX


def test_twenty_holds_with_the_longest_references_stay_under_the_maximum_size() -> None:
    """Domain §3: a hold reported after NEVER_HELD is released again, here for every attempt at
    once.
    """
    flood = Flood()
    for number in range(1, ATTEMPTS + 1):
        if number == 1:
            flood.sent()
            flood.retried()
            continue
        flood.must(flood.report("STATUS", wide(35, "s")))
        flood.now = flood.payment.deadline or flood.now
        while flood.payment.state == "AUTHORISED":
            flood.now = flood.payment.deadline or flood.now
            due = flood.payment.deadline_kind or ""
            flood.must(c.TimerDue(header=flood.head(), kind=cast(Any, due), deadline=flood.now))
        flood.must(flood.answer("RELEASE", "NEVER_HELD"))
        if number < ATTEMPTS:
            flood.retry()
    for number in range(2, ATTEMPTS + 1):
        hold = d.deposits("HOLD", "HELD", attempt=number)
        reference = external_ref(ID, number) + "H01"
        flood.must(
            msgspec.structs.replace(
                hold, header=flood.head(), funds_ref=reference, hold_ref=wide(140)
            )
        )
        again = msgspec.structs.replace(
            hold, header=flood.head(), funds_ref=reference.replace("H01", "R01"),
            operation="RELEASE", result="NEVER_HELD", hold_ref=None,
        )  # fmt: skip
        assert not isinstance(flood.give(again), Accepted), "said again, it is known"
    assert sum(bool(attempt.hold_ref) for attempt in flood.payment.attempts) == ATTEMPTS
    assert {a.funds for a in flood.payment.attempts[1:]} == {"RELEASE_REQUESTED"}


def test_alternating_held_and_never_held_changes_the_record_twice_only() -> None:
    """Domain §3: HELD after NEVER_HELD is released again; alternating them adds nothing more."""
    flood = Flood()
    flood.must(flood.passed())
    while flood.payment.state == "CREATED":
        flood.now = flood.payment.deadline or flood.now
        flood.must(
            c.TimerDue(
                header=flood.head(), kind=flood.payment.deadline_kind or "SEND", deadline=flood.now
            )
        )
    never = flood.answer("RELEASE", "NEVER_HELD")
    held = flood.answer("HOLD", "HELD")
    answers = [flood.give(each) for _ in range(500) for each in (never, held)]
    assert sum(isinstance(each, Accepted) for each in answers) == 2
    assert [ask.operation for ask in flood.attempt.funds_requests] == ["HOLD", "RELEASE", "RELEASE"]
