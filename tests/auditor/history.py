"""The auditor's own fold of one payment: which events are allowed, and what they add up to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.auditor.evidence import TIMERS, Place
from tests.auditor.funds import Funds
from tests.auditor.wire import reference_of

# Lifecycle event -> states it may come in -> resulting state. Written from the runbook and the
# rulings, not from the product.
LEGAL: dict[str, dict[str | None, str]] = {
    "PaymentIntentCreated": {None: "CREATED"},
    "PaymentAuthorised": {"CREATED": "AUTHORISED"},
    "PaymentAttemptCreated": {"AUTHORISED": "AUTHORISED", "FAILED": "AUTHORISED"},
    "PaymentSentToRail": {"AUTHORISED": "SENT"},
    "PaymentAcknowledged": {"SENT": "ACKNOWLEDGED"},
    "PaymentSettled": {"ACKNOWLEDGED": "SETTLED"},
    "PaymentFailed": dict.fromkeys(("CREATED", "AUTHORISED", "SENT", "ACKNOWLEDGED"), "FAILED"),
    "PaymentExpired": dict.fromkeys(("AUTHORISED", "SENT", "ACKNOWLEDGED"), "EXPIRED"),
}
REASONS = {
    "RAIL", "TIMEOUT", "INSUFFICIENT_FUNDS", "INVALID_ACCOUNT", "FRAUD", "CANCELLED", "EXPIRED",
}  # fmt: skip
FROM_CREATED = REASONS - {"RAIL", "EXPIRED"}
ASKING = {"OperatorActionRequested", "OperatorActionReferred"}
DECIDING = {"OperatorActionApproved", "OperatorActionRejected"}


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    fields: dict[str, Any]
    raw: bytes
    place: Place

    @property
    def header(self) -> dict[str, Any]:
        header: dict[str, Any] = self.fields["header"]
        return header

    @property
    def cause(self) -> Place:
        cause = self.header["cause"]
        return cause["topic"], cause["partition"], cause["offset"]


@dataclass(slots=True)
class Attempt:
    sent: bool = False
    policy_passed: bool = False
    held: bool = False
    ended: bool = False
    certain: bool = True
    retry_safe: bool = False
    confirmed: bool = False  # by the rail or a verdict, since it was sent
    disputed: bool = False  # something contradicts the history
    settled_amount: int | None = None


@dataclass(slots=True)
class Approval:
    action: str
    requester: str
    approved: bool = False
    expires_at: int | None = None
    used_by: Place | None = None


@dataclass(slots=True)
class Payment:
    """The public state after some events; `apply` yields what is wrong as (invariant, sentence)."""

    payment: str
    sequence: int = 0
    state: str | None = None
    reason: str | None = None
    number: int = 1
    attempts: dict[int, Attempt] = field(default_factory=lambda: defaultdict(Attempt))
    last_lifecycle: str = ""
    last: Event | None = None
    amount: int = 0
    currency: str = ""
    accepted_amount: bool = False
    open_conflicts: dict[str, str] = field(default_factory=dict)
    conflicts: int = 0
    approvals: dict[str, Approval] = field(default_factory=dict)
    retry_uncertain: bool = False
    submitted: set[str] = field(default_factory=set)
    funds: Funds = field(default_factory=Funds)
    unrest: dict[int, list[str]] = field(default_factory=dict)  # by sequence

    def apply(self, event: Event) -> Iterator[tuple[str, str]]:
        header = event.header
        if header["sequence"] != self.sequence + 1:
            sentence = f"sequence {header['sequence']} follows {self.sequence}"
            yield ("I2", sentence)
        self.sequence = header["sequence"]
        if self.last is not None and header["decidedAt"] < self.last.header["decidedAt"]:
            yield "I2", "decidedAt goes back"
        if event.name in LEGAL:
            yield from self._lifecycle(event)
        elif header["stateAfter"] != self.state:
            yield "I2", f"{event.name} changes the state to {header['stateAfter']}"
        yield from self._approval(event)
        yield from self._other(event)
        for sentence in self.funds.apply(event.name, event.fields):
            yield "I5", sentence
        self.unrest[self.sequence] = self.funds.unrest()
        self.last = event

    # -- lifecycle --------------------------------------------------------------------------------

    def _lifecycle(self, event: Event) -> Iterator[tuple[str, str]]:
        before, header, fields = self.state, event.header, event.fields
        after = LEGAL[event.name].get(before)
        if after is None:
            yield "I2", f"{event.name} is illegal in {before}"
            after = header["stateAfter"]
        if header["stateAfter"] != after:
            yield "I2", f"{event.name} in {before} leaves {header['stateAfter']}, not {after}"
        attempt = self.attempts[self.number]
        match event.name:
            case "PaymentIntentCreated":
                self.amount, self.currency = fields["amount"], fields["currency"]
                if self.amount <= 0 or self.currency != "AUD":
                    yield "I5", f"created over {self.amount} {self.currency}"
            case "PaymentAuthorised":
                if not (attempt.held and attempt.policy_passed):
                    yield "I2", "authorised without a held balance and a passed policy check"
            case "PaymentAttemptCreated":
                yield from self._attempt(event, before)
            case "PaymentSentToRail":
                yield from self._sent(event, attempt)
            case "PaymentSettled":
                attempt.settled_amount = fields["amount"]
                attempt.ended = True
                if fields["amount"] != self.amount and fields["conflictId"] is None:
                    yield "I5", f"settled {fields['amount']}, requested {self.amount}"
            case "PaymentFailed" | "PaymentExpired":
                yield from self._ended(event, attempt, before)
        self.state, self.last_lifecycle = after, event.name
        self.reason = header["reason"] if after in ("FAILED", "EXPIRED") else None

    def _attempt(self, event: Event, before: str | None) -> Iterator[tuple[str, str]]:
        given = int(event.fields["attemptId"].removeprefix("att_"))
        if event.fields["externalRef"] != reference_of(self.payment, given):
            yield "I2", f"attempt {given} has the reference {event.fields['externalRef']}"
        if before == "AUTHORISED":
            paired = self.last is not None and self.last.name == "PaymentAuthorised"
            if given != 1 or not paired or self.last is None or self.last.cause != event.cause:
                yield "I2", "the first attempt is not beside its PaymentAuthorised"
            return
        if given != self.number + 1:
            yield "I2", f"attempt {given} follows attempt {self.number}"
        if self.open_conflicts:
            yield "I5", "a retry while a conflict is open"
        if not self.attempts[self.number].retry_safe:
            yield "I5", "a retry after a failure that is not safe to retry"
        if any(fate.claim is not None for fate in self.funds.fates.values()):
            yield "I5", "a retry of a payment that is paid"
        name = event.header["approvalId"]
        action = self.approvals[name].action if name in self.approvals else None
        if action not in ("RETRY", "RETRY_UNCERTAIN"):
            yield "I2", f"a retry under the approval {name} for {action}"
        uncertain = any(not a.certain for a in self.attempts.values() if a.ended)
        if uncertain and action != "RETRY_UNCERTAIN":
            yield "I5", "a retry while non-payment is not certain"
        self.retry_uncertain = self.retry_uncertain or action == "RETRY_UNCERTAIN"
        self.number = given

    def _sent(self, event: Event, attempt: Attempt) -> Iterator[tuple[str, str]]:
        if event.fields["externalRef"] != reference_of(self.payment, self.number):
            yield "I2", f"sent under the reference {event.fields['externalRef']}"
        if not (attempt.held and attempt.policy_passed):
            yield "I5", "sent without held funds and a passed policy check of this attempt"
        if self.open_conflicts:
            yield "I5", "sent while a conflict is open"
        if event.fields["amount"] != self.amount:
            yield "I5", f"sent {event.fields['amount']}, requested {self.amount}"
        attempt.sent, attempt.confirmed = True, False
        self.submitted.add(event.fields["externalRef"])

    def _ended(
        self, event: Event, attempt: Attempt, before: str | None
    ) -> Iterator[tuple[str, str]]:
        fields, reason = event.fields, event.header["reason"]
        attempt.ended = True
        attempt.certain = fields["nonPaymentCertain"]
        attempt.retry_safe = fields.get("retrySafe", False)
        said = fields["source"] in ("operator", "system") and not attempt.confirmed
        if attempt.certain and attempt.sent and said:
            yield "I5", f"the {fields['source']}'s word makes non-payment certain after the send"
        if not attempt.sent and not attempt.certain and not attempt.disputed:
            yield "I2", "uncertain though it was never sent"
        if event.name == "PaymentExpired":
            gated = fields["source"] == "operator" and before in ("SENT", "ACKNOWLEDGED")
            if gated and event.header["approvalId"] is None:
                yield "I2", "expired by an operator without an approval"
            return
        if reason not in (FROM_CREATED if before == "CREATED" else REASONS):
            yield "I2", f"failed for {reason} in {before}"
        if fields["lateFailure"] != (before == "ACKNOWLEDGED"):
            yield "I2", "the late-failure flag is wrong"
        if fields["source"] == "operator" and event.header["approvalId"] is None:
            yield "I2", "failed by an operator without an approval"
        if self.open_conflicts and (fields["source"] == "operator" or event.cause[0] == TIMERS):
            yield "I5", "failed by an operator or a timer while a conflict is open"

    # -- approvals --------------------------------------------------------------------------------

    def _approval(self, event: Event) -> Iterator[tuple[str, str]]:
        name, header = event.header["approvalId"], event.header
        if name is None:
            return
        if event.name == "OperatorActionRequested":
            if name in self.approvals:
                yield "I2", f"approval {name} was requested twice"
            self.approvals[name] = Approval(event.fields["action"], event.fields["requester"])
            return
        approval = self.approvals.get(name)
        if approval is None:
            yield "I2", f"approval {name} was never requested"
            return
        if event.name in DECIDING:
            approval.approved = event.name == "OperatorActionApproved"
            approval.expires_at = event.fields.get("expiresAt")
            # Domain §4 binds who approves. A rejection by Resolve releases nothing, and a person
            # decides only what was referred.
            by_resolve = event.fields["header"]["actor"]["kind"] == "resolve"
            own = event.fields["decidedBy"].strip().casefold() == approval.requester.casefold()
            if own and (approval.approved or not by_resolve):
                yield "I2", f"approval {name} was decided by its requester"
        elif event.name not in ASKING:
            if not approval.approved:
                yield "I2", f"{event.name} uses {name}, which was not approved"
            if approval.used_by not in (None, event.cause):
                yield "I2", f"{event.name} uses {name} a second time"
            if approval.expires_at is not None and header["decidedAt"] > approval.expires_at:
                yield "I2", f"{event.name} uses {name} after it expired"
            approval.used_by = event.cause

    # -- everything else --------------------------------------------------------------------------

    def _other(self, event: Event) -> Iterator[tuple[str, str]]:
        fields, attempt = event.fields, self.attempts[self.number]
        match event.name:
            case "PolicyChecked":
                attempt.policy_passed = fields["verdict"] == "PASSED"
            case "FundsHeld" | "FundsHoldTransferred":
                self.attempts[event.header["attempt"]].held = True
            case "NonPaymentConfirmed":
                confirmed = self.attempts[int(fields["attemptId"].removeprefix("att_"))]
                confirmed.certain = confirmed.confirmed = True
            case "RailStatusReported":
                attempt = self.attempts[event.header["attempt"]]
                attempt.disputed |= fields.get("railHasIt", False)
            case "ReconciliationRequired":
                self.conflicts += 1
                self.open_conflicts[fields["conflictId"]] = fields["kind"]
                self.attempts[event.header["attempt"]].disputed = True
            case "ReconciliationResolved":
                yield from self._resolved(event)

    def _resolved(self, event: Event) -> Iterator[tuple[str, str]]:
        name, verdict = event.fields["conflictId"], event.fields["verdict"]
        if self.open_conflicts.pop(name, None) is None:
            yield "I2", f"conflict {name} is resolved and was not open"
        if event.header["approvalId"] is None:
            yield "I2", f"conflict {name} is resolved without an approval"
        attempt = self.attempts[event.header["attempt"]]
        self.accepted_amount = self.accepted_amount or verdict == "AMOUNT_ACCEPTED"
        if verdict == "NOT_PAID":
            attempt.certain = attempt.confirmed = True

    # -- the money --------------------------------------------------------------------------------

    def settled(self) -> int | None:
        """What was settled according to the history; None if nothing was."""
        amounts = [a.settled_amount for a in self.attempts.values() if a.settled_amount is not None]
        return sum(amounts) if amounts else None

    def money_outcome(self) -> str | None:
        """None where the rulings fix no order (in progress beside an uncertain earlier attempt)."""
        if self.open_conflicts:
            return "CONTRADICTED"
        claims = [fate for fate in self.funds.fates.values() if fate.claim is not None]
        if any(fate.back < (fate.claim or 0) for fate in claims):
            return "PAID"
        over = self.state in ("SETTLED", "FAILED", "EXPIRED")
        if self.funds.uncertain():
            return "UNCERTAIN" if over else None
        if claims:
            return "RETURNED"
        return "NOT_PAID" if over else "OPEN"
