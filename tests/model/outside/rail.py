"""The true state of the rail and its adapter: a ledger of what was submitted and settled.

The adapter follows ruling 8 (its own record, WITHDRAW before SUBMIT, nothing after
`submit_before`). Honest reports are made here too; untrue ones are made by the moves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from core.payment.commands import RailReport
from core.payment.instructions import RailInstruction
from core.values import Cents, ExternalRef
from tests.model.vocabulary import head, reference, rules

FINAL = frozenset({"REJECTED", "EXPIRED", "RECALLED", "SETTLED"})


@dataclass
class Submission:
    """One reference at the adapter (`record`) and at the rail (`status`)."""

    attempt: int
    amount: int
    submit_before: int = 0
    record: str = "NONE"  # NONE, SUBMITTING, SUBMITTED, WITHDRAWN, NOT_SUBMITTED
    incomplete: bool = False  # the adapter's record may not cover it
    status: str = "UNSEEN"  # UNSEEN, RECEIVED, ACCEPTED, SETTLED, REJECTED, EXPIRED, RECALLED
    code: str | None = None
    settled: int = 0
    returned: int = 0
    instructed: int = 0

    def may_settle(self, now: int) -> bool:
        """Whether the rail has settled it, or still may."""
        if self.status == "UNSEEN":
            stopped = self.record in {"WITHDRAWN", "NOT_SUBMITTED"}
            return self.instructed > 0 and not stopped and now <= self.submit_before
        return self.status in {"RECEIVED", "ACCEPTED", "SETTLED"}

    def unfinished(self, now: int) -> bool:
        """The rail has it, or may get it, and has not decided it."""
        return self.status not in FINAL and self.may_settle(now)


@dataclass
class Rail:
    """All references of the payment."""

    submissions: dict[int, Submission] = field(default_factory=dict)
    instructions: list[RailInstruction] = field(default_factory=list)
    messages: int = 0

    def receive(self, instruction: RailInstruction) -> None:
        self.instructions.append(instruction)
        if instruction.kind != "SUBMIT":
            return
        mine = self.submissions.setdefault(
            instruction.attempt, Submission(instruction.attempt, instruction.amount)
        )
        mine.instructed += 1
        mine.submit_before = max(mine.submit_before, instruction.submit_before)

    def of(self, attempt: int) -> Submission:
        return self.submissions.get(attempt) or Submission(attempt, 0)

    def report(
        self,
        attempt: int,
        kind: Any,
        code: str | None = None,
        *,
        amount: int | None = None,
        currency: str | None = None,
        via_enquiry: bool = False,
        stopped: bool = False,
        message_id: str | None = None,
    ) -> RailReport:
        if amount is not None and currency is None:
            currency = "AUD"
        return RailReport(
            header=head(),
            external_ref=ExternalRef(reference(attempt)),
            kind=kind,
            adapter="simulator",
            code=code,
            amount=None if amount is None else Cents(amount),
            currency=currency,
            rail_message_id=message_id,
            via_enquiry=via_enquiry,
            adapter_stopped=stopped,
        )

    def message_id(self) -> str:
        self.messages += 1
        return f"M{self.messages:04d}"

    # -- at the rail -------------------------------------------------------------------------------

    def submit(self, attempt: int, how: str, now: int) -> None:
        """The adapter carries out SUBMIT. `how`: done, lost before the rail, answer lost."""
        mine = self.submissions.get(attempt)
        if mine is None or mine.record in {"WITHDRAWN", "NOT_SUBMITTED"}:
            return
        if now > mine.submit_before or mine.status != "UNSEEN":
            return
        mine.record = "SUBMITTED" if how == "done" else "SUBMITTING"
        if how != "lost":
            mine.status = "RECEIVED"

    def too_late(self, attempt: int, now: int) -> RailReport | None:
        """The adapter finds the instruction too old: never submitted."""
        mine = self.submissions.get(attempt)
        if mine is None or mine.record not in {"NONE", "NOT_SUBMITTED"}:
            return None
        if now <= mine.submit_before or mine.status != "UNSEEN":
            return None
        mine.record = "NOT_SUBMITTED"
        return self.report(attempt, "NOT_SUBMITTED")

    def settle(self, attempt: int, amount: int) -> RailReport | None:
        mine = self.submissions.get(attempt)
        if mine is None or mine.status not in {"RECEIVED", "ACCEPTED"}:
            return None
        mine.status, mine.settled = "SETTLED", amount
        return self.report(attempt, "SETTLED", amount=amount, message_id=self.message_id())

    def move(self, attempt: int, status: str, code: str | None) -> RailReport | None:
        """The rail receives, accepts, rejects or expires it; returns the callback."""
        mine = self.submissions.get(attempt)
        if mine is None or mine.status not in {"RECEIVED", "ACCEPTED"}:
            return None
        if status == "RECEIVED":
            return self.report(attempt, "RECEIVED", message_id=self.message_id())
        mine.status, mine.code = status, code
        return self.report(attempt, status, code, message_id=self.message_id())

    def give_back(self, attempt: int, amount: int) -> RailReport | None:
        mine = self.submissions.get(attempt)
        if mine is None or mine.settled == 0:
            return None
        amount = min(amount, mine.settled - mine.returned)
        if amount <= 0:
            return None
        mine.returned += amount
        return self.report(attempt, "RETURNED", "AC04", amount=amount, message_id=self.message_id())

    # -- the adapter's answers ---------------------------------------------------------------------

    def answer(
        self, instruction: RailInstruction, now: int, *, accept_recall: bool = True
    ) -> RailReport | None:
        """The honest answer to an instruction."""
        match instruction.kind:
            case "SUBMIT":
                return self.too_late(instruction.attempt, now)
            case "WITHDRAW":
                return self._withdraw(instruction.attempt, now)
            case "RECALL":
                return self._recall(instruction.attempt, now, accept=accept_recall)
            case _:
                return self.enquire(instruction.attempt, now)

    def _withdraw(self, attempt: int, now: int) -> RailReport:
        mine = self.submissions.setdefault(attempt, Submission(attempt, 0))
        if mine.incomplete:
            return self.report(attempt, "ALREADY_SUBMITTED", "RECORD_INCOMPLETE")
        if mine.record == "SUBMITTED":
            return self.report(attempt, "ALREADY_SUBMITTED", "SUBMITTED")
        if mine.record == "SUBMITTING" and (mine.status != "UNSEEN" or now <= mine.submit_before):
            return self.report(attempt, "ALREADY_SUBMITTED", "SUBMITTING")
        if mine.record != "NOT_SUBMITTED":
            mine.record = "WITHDRAWN"
        return self.report(attempt, "WITHDRAWN")

    def _recall(self, attempt: int, now: int, *, accept: bool) -> RailReport:
        mine = self.of(attempt)
        if mine.status in {"RECEIVED", "ACCEPTED"} and accept:
            mine.status = "RECALLED"
        if mine.status == "RECALLED":
            return self.report(attempt, "RECALL_ACCEPTED", message_id=self.message_id())
        if mine.status in {"RECEIVED", "ACCEPTED", "SETTLED"}:
            return self.report(attempt, "RECALL_REFUSED", "AGNT", message_id=self.message_id())
        return self.enquire(attempt, now)

    def enquire(self, attempt: int, now: int) -> RailReport:
        """The honest answer to a status enquiry."""
        mine = self.of(attempt)
        match mine.status:
            case "UNSEEN":
                stopped = not mine.may_settle(now) and not mine.incomplete
                return self.report(attempt, "STATUS", "UNKNOWN", via_enquiry=True, stopped=stopped)
            case "RECEIVED":
                return self.report(attempt, "STATUS", "PENDING", via_enquiry=True)
            case "SETTLED" if mine.returned:
                return self.report(
                    attempt, "RETURNED", "AC04", amount=mine.returned, via_enquiry=True
                )
            case "SETTLED":
                return self.report(attempt, "SETTLED", amount=mine.settled, via_enquiry=True)
            case "RECALLED":
                return self.report(attempt, "RECALL_ACCEPTED", via_enquiry=True)
            case _:
                return self.report(attempt, mine.status, mine.code, via_enquiry=True)


def gives_certainty(report: RailReport) -> bool:
    """Whether the report, if true, says that the attempt will never be paid."""
    if report.kind in {"WITHDRAWN", "NOT_SUBMITTED", "RECALL_ACCEPTED"}:
        return True
    if report.kind in {"REJECTED", "EXPIRED"}:
        return True
    unknown = report.code in rules().status_unknown_codes
    return report.kind == "STATUS" and unknown and report.via_enquiry and report.adapter_stopped
