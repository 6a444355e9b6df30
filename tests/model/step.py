"""One input and its result, as the laws see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from core.decider import Accepted, Context, Decision, Duplicate, Refusal
from core.payment.commands import RailReport
from tests.model.book import Book, Try
from tests.model.outside.rail import Rail
from tests.model.vocabulary import attempt_of, rules


class Violation(NamedTuple):
    """A law that did not hold, and the observation."""

    law: str
    detail: str


@dataclass
class Step:
    """`before` and `after` are core's states, opaque but for their deadline."""

    command: Any
    origin: str
    context: Context
    decision: Decision
    before: Any
    after: Any
    seen: bool = False  # the same input was accepted before
    fresh: bool = True  # no earlier input had its rail message id

    @property
    def name(self) -> str:
        return type(self.command).__name__

    @property
    def accepted(self) -> bool:
        return type(self.decision) is Accepted

    @property
    def events(self) -> list[Any]:
        return self.decision.events if type(self.decision) is Accepted else []

    @property
    def instructions(self) -> list[Any]:
        return self.decision.instructions if type(self.decision) is Accepted else []

    def made(self, *names: str) -> list[Any]:
        return [event for event in self.events if type(event).__name__ in names]


@dataclass
class Truth:
    """What only the outside knows. `excused`: attempts about which something untrue was
    reported.
    """

    rail: Rail
    excused: set[int] = field(default_factory=set)


OWN_WORDS = frozenset(
    {"RECEIVED", "ACCEPTED", "SETTLED", "RETURNED", "RECALL_ACCEPTED", "RECALL_REFUSED"}
)
STRONG = frozenset({"REJECTED", "RECALL_ACCEPTED", "VERDICT"})


def take_in(book: Book, step: Step) -> None:
    """Reasons of certainty and evidence from a rail report (ruling 3), once it was decided."""
    report = step.command
    if type(report) is not RailReport or type(step.decision) is Refusal:
        return
    mine = book.attempt(attempt_of(report.external_ref) or 0)
    if mine is not None and mine.sent == 0:
        mine.reported = True
    if mine is None or (mine.sent == 0 and not mine.found):
        return
    proof = evidence_of(report)
    known = type(step.decision) is Duplicate  # reported before, and judged
    full = getattr(step.decision, "rule", "") == "CONFLICTS_FULL"  # only counted
    if proof is not None and not (known or full):
        mine.evidence.add(proof)
    if not step.made("ReconciliationRequired"):
        ground = ground_of(report, mine, max(step.context.now_ms, book.decided_at))
        if ground is not None:
            mine.grounds.add(ground)
    if report.kind in {"STATUS", "REJECTED", "EXPIRED", "ALREADY_SUBMITTED"}:
        mine.hinted = mine.hinted or report.code not in rules().status_unknown_codes
    resend = report.code in rules().resend_rejected_codes
    reported = type(step.decision) is not Duplicate and not step.made("ReconciliationRequired")
    if report.kind == "REJECTED" and not resend and reported:
        meaning = rules().meaning(report.adapter, report.code)
        mine.bad_reason = mine.bad_reason or not meaning.retry_safe


def evidence_of(report: RailReport) -> str | None:
    """What shows that the rail had the submission: its own report, or our record SUBMITTED."""
    if report.kind in OWN_WORDS:
        return report.kind
    if report.kind == "ALREADY_SUBMITTED" and report.code == "SUBMITTED":
        return report.kind
    return None


def ground_of(report: RailReport, mine: Try, now: int) -> str | None:
    """Why this report makes non-payment certain (ruling 3)."""
    meaning = rules().meaning(report.adapter, report.code)
    match report.kind:
        case "REJECTED":
            if report.code in rules().resend_rejected_codes:
                return None
            return "REJECTED" if meaning.non_payment_certain or report.via_enquiry else None
        case "EXPIRED":
            return "REJECTED" if meaning.non_payment_certain or report.via_enquiry else None
        case "RECALL_ACCEPTED":
            return "RECALL_ACCEPTED"
        case "WITHDRAWN" | "NOT_SUBMITTED":
            return None if mine.evidence else report.kind
        case "STATUS":
            unknown = report.code in rules().status_unknown_codes
            stopped = report.via_enquiry and report.adapter_stopped
            late = now > mine.submit_before
            return "UNKNOWN" if unknown and stopped and late and not mine.evidence else None
        case _:
            return None


def certain(mine: Try) -> bool:
    """Non-payment is certain by the reports since the last submission, or nothing was sent."""
    if mine.sent == 0 and not mine.found:
        return True
    if mine.grounds & STRONG:
        return True
    return bool(mine.grounds) and not mine.evidence
