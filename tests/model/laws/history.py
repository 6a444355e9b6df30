"""Laws of every event and every outcome: header, transitions, duplicates, instructions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.decider import Accepted, Duplicate, NoEffect, Refusal, Unmatched
from core.payment.commands import (
    ApprovalDecision,
    DepositsResult,
    NotificationResult,
    PolicyVerdict,
    RailReport,
    TimerDue,
)
from core.payment.instructions import (
    ApprovalRequest,
    CustomerNotification,
    DepositsRequest,
    PolicyCheckRequest,
    RailInstruction,
)
from tests.model.book import Book
from tests.model.step import Step
from tests.model.vocabulary import DONE_OF, ID, LIFECYCLE, TRACE, reference

CODES = {"INVARIANT_VIOLATION", "POLICY_REJECTED", "PAYMENT_NOT_FOUND", "VALIDATION_FAILED"}
RESULTS_OF = {
    operation: {done, "REFUSED", "FAILED"}
    | ({"DECLINED"} if operation == "HOLD" else set())
    | ({"NEVER_HELD"} if operation == "RELEASE" else set())
    for operation, done in DONE_OF.items()
}
EARLY_REASONS = {"CANCELLED", "INSUFFICIENT_FUNDS", "INVALID_ACCOUNT", "FRAUD", "TIMEOUT"}
REASONS = EARLY_REASONS | {"RAIL", "EXPIRED"}
# The table of domain §1, written independently.
TRANSITIONS: dict[str, set[tuple[str | None, str]]] = {
    "PaymentIntentCreated": {(None, "CREATED")},
    "PaymentAuthorised": {("CREATED", "AUTHORISED")},
    "PaymentAttemptCreated": {("AUTHORISED", "AUTHORISED"), ("FAILED", "AUTHORISED")},
    "PaymentSentToRail": {("AUTHORISED", "SENT")},
    "PaymentAcknowledged": {("SENT", "ACKNOWLEDGED")},
    "PaymentSettled": {("ACKNOWLEDGED", "SETTLED")},
    "PaymentFailed": {
        ("CREATED", "FAILED"),
        ("AUTHORISED", "FAILED"),
        ("SENT", "FAILED"),
        ("ACKNOWLEDGED", "FAILED"),
    },
    "PaymentExpired": {
        ("AUTHORISED", "EXPIRED"),
        ("SENT", "EXPIRED"),
        ("ACKNOWLEDGED", "EXPIRED"),
    },
}
REPORTS = (RailReport, DepositsResult, PolicyVerdict, ApprovalDecision, NotificationResult)


def header(step: Step, book: Book, event: Any) -> Iterator[str]:
    """Domain §8, §9, §10: sequence without a gap, decidedAt never decreases, cause, trace, rule
    set.
    """
    mine = event.header
    floor = max(step.context.now_ms, book.decided_at)
    if type(step.command) is TimerDue:
        floor = max(floor, step.command.deadline)
    if mine.payment_intent_id != ID:
        yield f"it names payment {mine.payment_intent_id}"
    if mine.sequence != book.sequence + 1:
        yield f"sequence {mine.sequence} follows {book.sequence}"
    if mine.decided_at != floor:
        yield f"decidedAt is {mine.decided_at}, not {floor}"
    if mine.cause != step.context.cause:
        yield "cause is not the input's"
    if mine.traceparent != TRACE:
        yield "the incoming traceparent is not kept"
    if mine.rule_set != step.context.rules.number:
        yield f"rule set {mine.rule_set} is not the one in force"
    most = len(book.tries) + (type(event).__name__ == "PaymentAttemptCreated")
    if not 1 <= mine.attempt <= max(1, most):
        yield f"attempt {mine.attempt} does not exist"
    if mine.reason is not None and mine.reason not in REASONS:
        yield f"{mine.reason} is no failure reason"


def transition(step: Step, book: Book, event: Any) -> Iterator[str]:
    """Domain §1: the table of transitions; no other record changes the state."""
    name, after = type(event).__name__, event.header.state_after
    if name not in LIFECYCLE:
        if after != book.state:
            yield f"{name} moves {book.state} to {after}"
        return
    if (book.state, after) not in TRANSITIONS[name]:
        yield f"{name} moves {book.state} to {after}"
    reason, number = event.header.reason, event.header.attempt
    if name == "PaymentFailed" and book.state == "CREATED" and reason not in EARLY_REASONS:
        yield f"CREATED fails with {reason}"
    makes = name in {"PaymentIntentCreated", "PaymentAttemptCreated"}
    if not makes and number != book.current.number:
        yield f"{name} of attempt {number}, the current one is {book.current.number}"
    if hasattr(event, "external_ref") and event.external_ref != reference(number):
        yield f"{name} of attempt {number} carries {event.external_ref}"


def beside(step: Step, book: Book) -> Iterator[str]:
    """Rulings 4 and 12: events that belong in one decision."""
    names = [type(event).__name__ for event in step.events]
    if "PaymentAuthorised" in names and "PaymentAttemptCreated" not in names:
        yield "PaymentAuthorised without PaymentAttemptCreated"
    if not step.accepted:
        return
    if not names:
        yield "accepted, and nothing was appended"
    requested = {
        "PaymentSentToRail": [i for i in step.instructions if _rail(i, "SUBMIT")],
        "RailEnquiryRequested": [i for i in step.instructions if _rail(i, "ENQUIRE")],
        "RecallRequested": [i for i in step.instructions if _rail(i, "RECALL")],
        "FundsRequested": [i for i in step.instructions if type(i) is DepositsRequest],
        "OperatorActionRequested": [i for i in step.instructions if type(i) is ApprovalRequest],
        "CustomerNotificationRequested": [
            i for i in step.instructions if type(i) is CustomerNotification
        ],
    }
    for name, instructions in requested.items():
        if names.count(name) != len(instructions):
            yield f"{names.count(name)} × {name}, {len(instructions)} instructions for it"
    for event in step.made("PaymentSentToRail"):
        for each in requested["PaymentSentToRail"]:
            said = (event.external_ref, event.amount, event.currency, event.submit_before)
            reported = (each.external_ref, each.amount, each.currency, each.submit_before)
            if said != reported:
                yield f"the history says {said}, the instruction is {reported}"
    told_requests = {each.funds_ref: each for each in requested["FundsRequested"]}
    for event in step.made("FundsRequested"):
        request = told_requests.get(event.funds_ref)
        if request is None or (request.operation, request.amount, request.not_after) != (
            event.operation,
            event.amount,
            event.not_after,
        ):
            yield f"{event.operation} {event.funds_ref} is sent to Deposits Core as {request}"


def _rail(instruction: Any, kind: str) -> bool:
    return type(instruction) is RailInstruction and instruction.kind == kind


def outcome(step: Step, book: Book) -> Iterator[str]:
    """Domain §5: one outcome of a known type; a refusal names code, rule and sentence."""
    decision = step.decision
    if type(decision) is Refusal:
        if decision.code not in CODES or not decision.rule or not decision.sentence:
            yield f"a refusal without its words: {decision}"
        if "{" in decision.sentence:
            yield f"a sentence with a hole: {decision.sentence}"
    elif type(decision) is Duplicate:
        if not 1 <= decision.from_sequence <= decision.to_sequence <= book.sequence:
            yield f"the first result {decision} is not in a history of {book.sequence}"
    elif type(decision) not in {Accepted, NoEffect, Unmatched}:
        yield f"no outcome: {decision}"
    if step.before is None and step.accepted and step.name != "CreatePayment":
        yield f"{step.name} made a payment"


def report_refused(step: Step, book: Book) -> Iterator[str]:
    """Ruling 5: a report is never rejected because of the state, only because of its shape."""
    if not isinstance(step.command, REPORTS) or type(step.decision) is not Refusal:
        return
    if step.decision.code != "VALIDATION_FAILED" or well_formed(step.command):
        yield f"{step.name} was rejected: {step.decision.sentence}"


def well_formed(command: Any) -> bool:
    """Amounts above zero, ASCII references, a result that its operation can have."""
    amount = getattr(command, "amount", None)
    refs = (getattr(command, "external_ref", ""), getattr(command, "funds_ref", ""))
    if (amount is not None and amount <= 0) or not all(ref.isascii() for ref in refs):
        return False
    if type(command) is not DepositsResult:
        return True
    if command.result == "HELD" and command.hold_ref is None:
        return False
    return command.result in RESULTS_OF[command.operation]


def known_input(step: Step, book: Book) -> Iterator[str]:
    """Domain §2, IDM-07: the same callback, answer or command never appends again."""
    command = step.command
    if not step.seen or not step.accepted:
        return
    if type(command) is RailReport:
        one = command.rail_message_id is not None and not command.via_enquiry
        if one and command.kind not in {"STATUS", "RECEIVED"}:
            yield f"{command.kind} {command.rail_message_id} appended a second time"
    elif type(command) is DepositsResult:
        done = command.result in {"CAPTURED", "DEBITED", "REVERSED", "CREDITED", "RELEASED"}
        if done and not _asked_again(step, book, command):
            yield f"{command.result} of {command.funds_ref} appended a second time"
    elif step.name in {"CreatePayment", "RetryPayment", "CancelPayment"}:
        made = [type(event).__name__ for event in step.events]
        if step.name != "CancelPayment":
            yield f"{step.name} was done a second time: {made}"


def _asked_again(step: Step, book: Book, command: DepositsResult) -> bool:
    """Ruling 5: a person called the contradicting answer wrong, the request is still open, and its
    next answer contradicts it again: a new conflict and nothing else.
    """
    ask = book.asks.get(command.funds_ref)
    wrong = any(
        each.kind == "FUNDS_CONTRADICTION" and each.verdict == "REPORT_WRONG"
        for each in book.conflicts.values()
    )
    only = [type(event).__name__ for event in step.events] == ["ReconciliationRequired"]
    return only and wrong and ask is not None and ask.open


def waiting_inputs(step: Step, book: Book) -> Iterator[str]:
    """A policy check is requested only while the attempt waits for it (ruling 2)."""
    checks = [i for i in step.instructions if type(i) is PolicyCheckRequest]
    for each in checks:
        if each.attempt != book.current.number:
            yield f"a policy check of attempt {each.attempt}, the current one is other"
