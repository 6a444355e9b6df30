"""Any sequence of inputs stays within the maximum size of a payment."""

from __future__ import annotations

from random import Random
from typing import Any, cast

import msgspec
import pytest

from core.payment import commands as c
from core.payment.decide import suspend
from core.payment.report_table import KINDS
from core.payment.state import PACKED_BYTES_MAX
from core.values import external_ref
from tests.core.payment import dsl as d
from tests.core.payment.size.flood import ID, Flood, wide, within_limits


class Adversary:
    """Draws inputs that would grow the state: new texts, new people, new ids."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.flood = Flood()
        self.flood.sent()

    def word(self, characters: int) -> str:
        return wide(characters, f"{self.random.randrange(10**6):06d}")

    def report(self) -> c.RailReport:
        random = self.random
        odd = random.random() < 0.4
        code = random.choice([None, "AB08", "AC01", "AM05", "DUPL", "UNKNOWN", self.word(35)])
        return self.flood.report(
            random.choice(KINDS),
            code,
            attempt=random.randint(1, len(self.flood.payment.attempts)),
            amount=random.choice([None, d.AMOUNT, 1, 2**62]) if odd else None,
            currency=random.choice([None, "AUD", self.word(64)]) if odd else None,
            rail_message_id=random.choice([None, "m1", self.word(140)]),
            via_enquiry=random.random() < 0.3,
            adapter_stopped=random.random() < 0.5,
            details=self.word(1_000),
        )

    def deposits(self) -> c.DepositsResult:
        random, state = self.random, self.flood.payment
        attempt = random.choice(state.attempts)
        ask = random.choice(attempt.funds_requests)
        done = {
            "HOLD": ("HELD", "DECLINED"),
            "CAPTURE": ("CAPTURED",),
            "RELEASE": ("RELEASED", "NEVER_HELD"),
            "DEBIT_FORCED": ("DEBITED",),
            "REVERSE": ("REVERSED",),
            "CREDIT": ("CREDITED",),
        }[ask.operation]
        result = random.choice([*done, "REFUSED", "FAILED"])
        amount = ask.amount if random.random() < 0.8 else random.randint(1, 2**62)
        known = d.deposits(
            ask.operation, result, attempt=attempt.number, number=ask.number, amount=amount
        )
        reference = external_ref(ID, attempt.number) + known.funds_ref[30:]
        return msgspec.structs.replace(
            known,
            header=self.flood.head(),
            funds_ref=reference,
            hold_ref=self.word(140) if result == "HELD" else None,
            code=random.choice([None, "HOLD_GONE", self.word(140)]),
        )

    def person(self) -> list[Any]:
        """A request, Resolve's answer and the action, each time by a new person."""
        flood, random = self.flood, self.random
        number = len(flood.payment.attempts)
        conflicts = [each for each in flood.payment.conflicts if each.verdict is None]
        person = flood.person()
        head, operator = flood.head(), flood.operator(person)
        verdict = random.choice(["SETTLED_AFTER_ALL", "NOT_PAID", "REPORT_WRONG", "REPORT_WRONG"])
        if conflicts and random.random() < 0.7:
            one = random.choice(conflicts)
            request = flood.request(
                "RESOLVE_RECONCILIATION", person, conflict_id=one.id, verdict=verdict
            )
            act: Any = c.ResolveReconciliation(
                header=head,
                operator=operator,
                conflict_id=one.id,
                attempt=one.attempt,
                verdict=cast(Any, verdict),
                details="x",
            )
        else:
            name = f"att_{number + 1:03d}"
            operation = random.choice(["HOLD", "RELEASE", "CAPTURE", "CREDIT", "DEBIT_FORCED"])
            pairs: list[tuple[Any, Any]] = [
                (
                    flood.request("RETRY", person),
                    c.RetryPayment(header=head, operator=operator, attempt_id=name, reason="x"),
                ),
                (flood.request("CANCEL", person), flood.passed()),
                (
                    flood.request("MARK_FAILED", person, failure_reason="TIMEOUT"),
                    c.MarkPaymentFailed(
                        header=head, operator=operator, reason="TIMEOUT", details="x"
                    ),
                ),
                (flood.again(operation), flood.again(operation)),
                (
                    flood.request("REVERSE", person, attempt=number),
                    c.ReverseCapture(header=head, operator=operator, attempt=number, reason="x"),
                ),
            ]
            request, act = random.choice(pairs)
        approval = f"apr_{flood.payment.approvals_made + 1:03d}"
        return [request, flood.decided(random.choice(["APPROVED"] * 4 + ["REJECTED"]), approval),
                act]  # fmt: skip

    def step(self) -> None:
        flood, random = self.flood, self.random
        drawn = random.random()
        if drawn < 0.45:
            flood.give(self.report())
        elif drawn < 0.65:
            flood.give(self.deposits())
        elif drawn < 0.75:
            for command in self.person():
                flood.give(command)
        elif drawn < 0.85:
            flood.give(flood.passed())
            flood.give(flood.answer("HOLD", "HELD"))
        elif flood.payment.deadline is not None and drawn < 0.95:
            flood.now = max(flood.now, flood.payment.deadline)
            due = c.TimerDue(
                header=flood.head(), kind=flood.payment.deadline_kind or "SEND", deadline=flood.now
            )
            flood.give(due)


@pytest.mark.parametrize("seed", range(12))
def test_any_sequence_stays_under_the_size(seed: int) -> None:
    """Engine: after each of 1,500 drawn inputs every part is within its limit. The seed in the
    test's name reproduces the run.
    """
    adversary = Adversary(seed)
    for _ in range(1_500):
        adversary.step()
    state = adversary.flood.payment
    suspended = suspend(state, adversary.flood.case.context(adversary.flood.passed()), "defect")
    assert within_limits(suspended.state) < PACKED_BYTES_MAX
