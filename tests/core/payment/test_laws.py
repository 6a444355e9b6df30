"""Any sequence of inputs keeps the laws: sequence, transitions, funds, one settlement; deadlines
always have an effect.
"""

from __future__ import annotations

import os
from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from core.decider import Accepted
from core.payment import commands as c
from core.payment import events as e
from core.payment import funds
from core.payment.deadlines import with_deadline
from core.payment.evolve import evolve
from core.payment.instructions import DepositsRequest, RailInstruction
from core.payment.state import (
    Payment,
    at_rest,
    money_outcome,
    open_conflicts,
    unpack,
    waiting_for_person,
)
from core.payment.state import pack as packed
from core.transitions import TRANSITIONS
from tests.core.payment import dsl as d
from tests.core.payment.case import Case

PAIRS = {(each.source, each.target) for each in TRANSITIONS}
RELEASE = bool(os.environ.get("NPP_TEST_RELEASE"))
KINDS = (
    "RECEIVED", "ACCEPTED", "SETTLED", "REJECTED", "EXPIRED", "STATUS", "WITHDRAWN",
    "NOT_SUBMITTED",
    "ALREADY_SUBMITTED", "RECALL_ACCEPTED", "RECALL_REFUSED", "RETURNED",
)  # fmt: skip
CODES = (None, "AB08", "AB05", "AC01", "ZZ99", "AM05", "MD20", "UNKNOWN")
OPERATIONS = {
    "HOLD": ("HELD", "DECLINED", "FAILED", "REFUSED"),
    "CAPTURE": ("CAPTURED", "FAILED", "REFUSED"),
    "RELEASE": ("RELEASED", "FAILED", "REFUSED", "NEVER_HELD"),
    "DEBIT_FORCED": ("DEBITED", "FAILED", "REFUSED"),
    "REVERSE": ("REVERSED", "FAILED", "REFUSED"), "CREDIT": ("CREDITED", "FAILED", "REFUSED"),
}  # fmt: skip
ACTIONS = (
    "RETRY", "RETRY_UNCERTAIN", "CANCEL", "MARK_FAILED", "EXPIRE", "RELEASE_EARLY", "REVERSE",
)  # fmt: skip
VERDICTS = ("SETTLED_AFTER_ALL", "NOT_PAID", "RETURNED", "AMOUNT_ACCEPTED", "REPORT_WRONG")
ENDS = {"SETTLED", "FAILED", "EXPIRED"}


class Walk:
    """Draws inputs that usually fit the payment's state, and sometimes do not."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.case = Case()
        self.requested: list[DepositsRequest] = []
        self.sent: list[RailInstruction] = []
        self.folded: Payment | None = None  # from the events alone
        self.folded_count = 0

    def one_of(self, *values: Any) -> Any:
        return self.draw(st.sampled_from(values))

    def attempt(self) -> int:
        count = 1 if self.case.state is None else len(self.case.state.attempts)
        return count if self.one_of(True, True, False) else self.one_of(*range(1, count + 1))

    def report(self) -> Any:
        kind = self.one_of(*KINDS)
        money = self.one_of(*[None] * 8, *[d.AMOUNT] * 4, d.AMOUNT - 1)
        return d.rail(
            kind,
            self.one_of(*CODES),
            attempt=self.attempt(),
            amount=money,
            currency=None if money is None else "AUD",
            rail_message_id=self.one_of(None, None, None, None, None, None, "m1", "m2", "m3"),
            via_enquiry=self.one_of(False, True),
            adapter_stopped=self.one_of(False, True),
        )

    def deposits(self) -> Any:
        if not self.requested or self.one_of(False, False, False, True):
            operation = self.one_of(*OPERATIONS)
            return d.deposits(
                operation, self.one_of(*OPERATIONS[operation]), attempt=self.attempt()
            )
        ask = self.one_of(*self.requested[-3:])
        result = self.one_of(*OPERATIONS[ask.operation], OPERATIONS[ask.operation][0])
        return d.deposits(
            ask.operation,
            result,
            attempt=ask.attempt,
            number=int(ask.funds_ref[31:]),
            amount=ask.amount,
        )

    def action(self) -> list[Any]:
        action = self.one_of(*ACTIONS)
        number = 1 if self.case.state is None else self.case.state.approvals_made + 1
        attempt = self.attempt()
        extra: dict[str, Any] = {}
        if action == "MARK_FAILED":
            extra["failure_reason"] = "RAIL"
        if action in ("RELEASE_EARLY", "REVERSE"):
            extra["attempt"] = attempt
        command: Any = {
            "RETRY": d.retry(1 if self.case.state is None else len(self.case.state.attempts) + 1),
            "CANCEL": d.cancel(),
            "MARK_FAILED": d.mark_failed(),
            "EXPIRE": d.expire(d.SENIOR),
            "RELEASE_EARLY": c.ReleaseFunds(
                header=d.head(), operator=d.by(d.SENIOR), attempt=attempt, reason="now"
            ),
            "REVERSE": c.ReverseCapture(
                header=d.head(), operator=d.by(d.SENIOR), attempt=attempt, reason="twice"
            ),
        }["RETRY" if action == "RETRY_UNCERTAIN" else action]
        return [*d.approved(action, number, **extra), command]

    def verdict(self) -> list[Any]:
        state = self.case.state
        if state is None or not open_conflicts(state):
            return [d.resolve("NOT_PAID")]
        conflict = self.one_of(
            *[x for x in state.conflicts if x.verdict is None] or state.conflicts
        )
        verdict = self.one_of(*VERDICTS)
        amount = self.one_of(d.AMOUNT, 5_000) if verdict == "RETURNED" else None
        return [
            *d.approved(
                "RESOLVE_RECONCILIATION", state.approvals_made + 1, conflict_id=conflict.id,
                verdict=verdict, attempt=conflict.attempt, amount=amount,
            ),
            d.resolve(verdict, conflict.id, conflict.attempt, amount),
        ]  # fmt: skip

    def inputs(self) -> list[Any]:
        kind = self.one_of(
            "report", "report", "report", "deposits", "deposits", "policy", "action", "verdict",
            "time", "time",
            "park",
        )  # fmt: skip
        match kind:
            case "report":
                return [self.report()]
            case "deposits":
                return [self.deposits()]
            case "policy":
                return [
                    d.policy(self.one_of("PASSED", "PASSED", "DECLINED"), attempt=self.attempt())
                ]
            case "action":
                return self.action()
            case "verdict":
                return self.verdict()
            case "park":
                return [d.expire(), d.create(amount=self.one_of(d.AMOUNT, 1))]
        self.case.now += self.one_of(0, 1_000, 70_000, 400_000)
        state = self.case.state
        if state is None or state.deadline is None or state.deadline_kind is None:
            return []
        self.case.now = max(self.case.now, state.deadline)
        return [c.TimerDue(header=d.head(), kind=state.deadline_kind, deadline=state.deadline)]

    def step(self) -> None:
        for command in self.inputs():
            before = self.case.state
            decision = self.case.give(command)
            if isinstance(decision, Accepted):
                self.requested += [
                    x for x in decision.instructions if isinstance(x, DepositsRequest)
                ]
                self.sent += [x for x in decision.instructions if isinstance(x, RailInstruction)]
                self.check_moves(before, decision)
            elif isinstance(command, c.TimerDue):
                raise AssertionError(f"a due deadline did nothing: {command} {before}")

    def check_moves(self, before: Payment | None, decision: Accepted) -> None:
        state = None if before is None else before.state
        beside = 0
        for event in decision.events:
            after = event.header.state_after
            if isinstance(event, get_args(e.LifecycleEvent)):
                assert state is None or (state, after) in PAIRS
                if state in ENDS:
                    assert isinstance(event, e.PaymentAttemptCreated)
            else:
                assert after == state, "only lifecycle events change the state"
                beside += 1
            if isinstance(event, e.PaymentSentToRail):
                assert before is not None
                assert money_outcome(before) not in ("PAID", "RETURNED", "CONTRADICTED")
            before = evolve(before, event)
            state = after


def check(walk: Walk) -> None:
    case = walk.case
    history, payment = case.history, case.payment
    assert [x.header.sequence for x in history] == list(range(1, len(history) + 1))
    settled = [x for x in history if isinstance(x, e.PaymentSettled)]
    assert len({x.external_ref for x in settled}) == len(settled) <= 1
    for event in history[walk.folded_count :]:
        walk.folded = evolve(walk.folded, event)
    walk.folded_count = len(history)
    assert walk.folded is not None
    assert with_deadline(walk.folded, case.rules) == payment == unpack(packed(payment))
    submitted = [x.external_ref for x in walk.sent if x.kind == "SUBMIT"]
    assert len(set(submitted)) == len(submitted), "one submission per attempt"
    captures = {x.funds_ref for x in walk.requested if x.operation == "CAPTURE"}
    assert len(captures) <= 1, "captured at most once per payment"
    for attempt in payment.attempts:
        left = attempt.held - attempt.captured - attempt.released
        assert left >= 0, "never more captured and released than held"
        assert min(attempt.captured, attempt.debited, attempt.credited, attempt.reversed) >= 0
        assert attempt.captured + attempt.debited >= attempt.reversed + attempt.credited
        if attempt.funds == "CAPTURED" and attempt.outcome == "PAID":
            assert attempt.captured + attempt.debited >= attempt.settled
        if (
            attempt.state in ("FAILED", "EXPIRED")
            and not attempt.certain
            and attempt.outcome is None
        ):
            assert money_outcome(payment) in ("UNCERTAIN", "CONTRADICTED", "PAID")
    if open_conflicts(payment):
        assert money_outcome(payment) == "CONTRADICTED"
        assert not at_rest(payment)
    assert payment.deadline is not None or at_rest(payment) or waiting_for_person(payment)


def answer_everything(walk: Walk) -> None:
    """Deposits Core carries out every request, operators repeat what it refused and approve the
    debit of a second settlement, until no funds request is outstanding.
    """
    case = walk.case
    for _ in range(120):
        command = next_funds_input(case)
        if command is None:
            return
        for each in command:
            case.give(each)
    raise AssertionError("the funds never come to an end")


def next_funds_input(case: Case) -> list[Any] | None:
    for attempt in case.payment.attempts:
        for ask in attempt.funds_requests:
            if ask.status in ("REQUESTED", "FAILED"):
                result = OPERATIONS[ask.operation][0]
                name: dict[str, Any] = {
                    "attempt": attempt.number, "number": ask.number, "amount": ask.amount,
                }  # fmt: skip
                return [d.deposits(ask.operation, result, **name)]
    if open_conflicts(case.payment):
        return None
    for attempt in case.payment.attempts:
        refused = funds.waits_for_repeat(attempt)
        if refused is not None and attempt.state in ENDS:
            by, number = d.by(d.SENIOR), attempt.number
            again = c.RepeatFundsRequest(
                header=d.head(),
                operator=by,
                attempt=number,
                operation=refused.operation,
                reason="again",
            )
            return [again]
        if funds.needs_debit_approval(case.payment, attempt) and not funds.held_cents(attempt):
            number = case.payment.approvals_made + 1
            requested = d.approved("DEBIT_AGAIN", number, attempt=attempt.number)
            return [
                *requested,
                c.DebitFunds(
                    header=d.head(), operator=d.by(d.SENIOR), attempt=attempt.number, reason="both"
                ),
            ]
    return None


def check_money(payment: Payment) -> None:
    """D3: the amount taken equals what the customer bears; every hold was captured, transferred or
    released.
    """
    clear = not open_conflicts(payment)
    for attempt in payment.attempts:
        taken = attempt.captured + attempt.debited
        given_back = attempt.reversed + attempt.credited
        left = attempt.held - attempt.captured - attempt.released
        assert given_back <= taken
        if not clear:
            continue
        if attempt.outcome in ("PAID", "RETURNED"):
            returned = max(attempt.returns_sum, attempt.returns_total)
            borne = max(0, attempt.settled - max(returned, attempt.waived))
            assert taken - given_back == borne
        elif attempt.outcome == "NOT_PAID":
            assert taken == given_back
        if attempt.state in ENDS and money_outcome(payment) == "NOT_PAID":
            assert left == 0, "a certain end releases"


# A longer random search runs before each release.
@settings(max_examples=20_000 if RELEASE else 150, deadline=None, derandomize=not RELEASE)
@given(st.data())
def test_any_sequence_of_inputs_keeps_the_laws_and_never_settles_twice(data: st.DataObject) -> None:
    """D3, SM-01, SM-15, EV-02, IDM-04, INT-06: for any inputs in any order."""
    walk = Walk(data.draw)
    times = data.draw(
        st.sampled_from(
            [
                {},
                {},
                {"requested_execution_time": d.START + 60_000},
                {"expires_at": d.START + 90_000},
            ]
        )
    )
    for command in [d.create(**times), d.policy(), d.held()][
        : data.draw(st.sampled_from([1, 3, 3, 3]))
    ]:
        decision = walk.case.give(command)
        assert isinstance(decision, Accepted)
        walk.requested += [x for x in decision.instructions if isinstance(x, DepositsRequest)]
        walk.sent += [x for x in decision.instructions if isinstance(x, RailInstruction)]
    for _ in range(data.draw(st.integers(1, 25))):
        walk.step()
        check(walk)
    answer_everything(walk)
    check(walk)
    check_money(walk.case.payment)
