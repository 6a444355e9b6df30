"""Cancels from the decision to the rail and back: payments processor, rail adapter, simulated rail.

The engine's driver and the rail's harness share one clock; instructions and reports pass between
them as bytes. Deposits Core and Resolve answer at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.header import InputHeader, OperatorHeader
from core.payment import commands, events
from core.payment.state import money_outcome, open_conflicts
from core.values import ApprovalId, PaymentIntentId, State, external_ref
from schemas import topology
from tests.processors.payments.world import World
from tests.processors.rail.harness import CODEC, Harness, Served

OPERATOR = OperatorHeader(
    operator_id="sen_001", roles=("senior_operator",), token_id="token", not_after=2**60
)
MINUTE_MS = 60_000
CANCELLED_UNPAID = ("FAILED", "NOT_PAID", 0)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


class Story(World):
    """One sent payment; its instructions are on the topic of the rail's harness."""

    def __init__(self, served: Served) -> None:
        super().__init__()
        self.harness = Harness(served)
        self.driver.clock = self.harness.clock
        self.passed_on = 0
        self.instance = self.harness.instance()
        self.instance.assign()
        self.payment = self.create("story")
        self.reference = external_ref(self.payment, 1)
        self.go_on()
        assert self.known(self.payment).payment.state == State.SENT

    def answer_once(self) -> int:
        """Pass rail instructions to the adapter's topic, and its reports back."""
        moved = 0
        for record in self.driver.take(topology.RAIL_SUBMISSIONS):
            self.harness.log.append(record.topic, record.key, record.value)
            self.instance.withdrawn.observe(record)
            self.instance.poll(len(self.harness.log.of(topology.RAIL_SUBMISSIONS)) - 1)
            moved += 1
        return moved + super().answer_once()

    def go_on(self) -> None:
        """Until no input is left; the adapter does nothing by itself."""
        reports = self.harness.log.of(topology.RAIL_REPORTS)
        for report in reports[self.passed_on :]:
            self.driver.pipe(report.topic, report.key, report.value)
        self.passed_on = len(reports)
        self.settle_all()

    def handle(self, offset: int) -> float | None:
        """The adapter tries one of the instructions, and its reports are decided."""
        again_s = self.instance.try_once(offset)
        self.go_on()
        return again_s

    def run_adapter(self) -> None:
        """The adapter handles all instructions and their consequences, waiting as long
        as needed.
        """
        for _ in range(10):
            self.instance.run()
            self.go_on()
            if self.harness.committed == len(self.harness.log.of(topology.RAIL_SUBMISSIONS)):
                return
        raise AssertionError("instructions came again and again")

    def cancel(self) -> None:
        head = InputHeader(payment_intent_id=PaymentIntentId(self.payment))
        requested = commands.RequestApproval(
            header=head, operator=OPERATOR, action="CANCEL", reason="the customer called"
        )
        self.pipe(topology.OPERATOR_COMMANDS, requested)
        self.go_on()
        decided = commands.ApprovalDecision(
            header=head,
            approval_id=ApprovalId("apr_001"),
            verdict="APPROVED",
            decided_by="policy",
            rules_evaluated=("all",),
            policy_version="1",
        )
        self.pipe(topology.RESOLVE_DECISIONS, decided)
        self.go_on()
        cancel = commands.CancelPayment(
            header=head, operator=OPERATOR, reason="the customer called"
        )
        self.pipe(topology.OPERATOR_COMMANDS, cancel)
        self.go_on()

    def kinds(self) -> list[str]:
        """The kinds of the rail's instructions, in order."""
        topic = topology.RAIL_SUBMISSIONS
        return [CODEC.decode(topic, r.value, r.headers).kind for r in self.harness.log.of(topic)]

    def end(self) -> tuple[str, str, int]:
        """State, moneyOutcome and open conflicts from the lifecycle record."""
        head = self.known(self.payment).payment
        return str(head.state), str(money_outcome(head)), open_conflicts(head)

    def funds(self) -> list[str]:
        """The requests to Deposits Core."""
        history = self.history(self.payment)
        return [e.operation for e in history if isinstance(e, events.FundsRequested)]


def test_an_attempt_paused_in_submitting_is_cancelled_without_a_conflict(served: Served) -> None:
    """SUBMIT waits in SUBMITTING; WITHDRAW overtakes it; SUBMIT resumes; the rail says
    "unknown".
    """
    story = Story(served)
    harness = story.harness
    harness.script({"kind": "HTTP", "status": 503, "times": 1}, reference=story.reference)
    assert story.handle(0) is not None
    story.cancel()
    assert story.kinds() == ["SUBMIT", "WITHDRAW"]
    assert story.handle(1) is None
    assert story.kinds() == ["SUBMIT", "WITHDRAW", "RECALL"]
    assert story.handle(0) is not None
    assert story.end() == ("FAILED", "UNCERTAIN", 0)
    assert story.funds() == ["HOLD"]
    story.run_adapter()
    assert harness.submitted(story.reference) == 0
    assert story.end() == CANCELLED_UNPAID
    assert story.funds() == ["HOLD", "RELEASE"]


def test_a_refused_connection_and_a_cancel_end_certainly_unpaid(served: Served) -> None:
    """Connection refused before anything was sent; cancel; "unknown" after the limit."""
    story = Story(served)
    story.harness.refuses_connections = True
    assert story.handle(0) is not None
    story.cancel()
    assert story.handle(1) is None
    assert story.end() == ("FAILED", "UNCERTAIN", 0)
    story.harness.refuses_connections = False
    story.run_adapter()
    assert story.harness.submitted(story.reference) == 0
    assert story.end() == CANCELLED_UNPAID
    assert story.funds() == ["HOLD", "RELEASE"]


def test_without_the_record_the_hold_stays_and_the_settlement_shows(served: Served) -> None:
    """The record no longer covers it; cancel; the rail is silent, then it settles."""
    story = Story(served)
    harness = story.harness
    assert story.handle(0) is None
    assert harness.submitted(story.reference) == 1
    harness.log.topics[topology.RAIL_SUBMITTED] = []
    story.instance = harness.instance()  # another process, whose record is empty
    silent = {"httpStatus": 503}
    harness.script({"kind": "ENQUIRY", **silent}, {"kind": "RECALL", **silent},
                 reference=story.reference)  # fmt: skip
    story.cancel()
    assert story.handle(1) is None
    assert harness.said()[-1] == ("ALREADY_SUBMITTED", "RECORD_INCOMPLETE")
    assert story.end() == ("FAILED", "UNCERTAIN", 0)
    story.run_adapter()
    assert story.funds() == ["HOLD"], "the hold is kept"

    harness.script({"kind": "NOTHING"}, reference=story.reference)
    harness.simulator.ledger.entries[story.reference].settled_amount = 12_500
    harness.clock.advance(5 * MINUTE_MS)  # core enquires
    story.go_on()
    story.run_adapter()
    assert ("SETTLED", None) in harness.said()
    assert story.end() == ("FAILED", "CONTRADICTED", 1)
    assert story.funds() == ["HOLD"]


def test_a_cancel_before_anything_was_sent_is_certain_at_once(served: Served) -> None:
    """The SUBMIT waits under STOP; its withdrawal goes first, and the rail is not asked."""
    story = Story(served)
    story.harness.stopped = "stop-1: a person"
    assert story.handle(0) is not None
    story.cancel()
    assert story.handle(1) is None
    assert story.end() == CANCELLED_UNPAID
    assert story.harness.requested(story.reference) == 0
    story.harness.stopped = None
    story.run_adapter()
    assert story.harness.submitted(story.reference) == 0
    assert story.end() == CANCELLED_UNPAID
