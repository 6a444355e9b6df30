"""The closed sets of values in the records' fields, for what checks or lists them.

Records take the same names from core.words, where each is `str` at run time. Five of the sets are
also enums (core.values), for the API and the command line. A type checker can derive neither form
from the other; tests/core/test_types.py compares them.
"""

from __future__ import annotations

from typing import Literal

StateName = Literal["CREATED", "AUTHORISED", "SENT", "ACKNOWLEDGED", "SETTLED", "FAILED", "EXPIRED"]
MoneyOutcomeName = Literal["OPEN", "PAID", "NOT_PAID", "UNCERTAIN", "CONTRADICTED", "RETURNED"]
FailureReasonName = Literal[
    "RAIL", "TIMEOUT", "INSUFFICIENT_FUNDS", "INVALID_ACCOUNT", "FRAUD", "CANCELLED", "EXPIRED",
]  # fmt: skip
ActionName = Literal[
    "RETRY", "RETRY_UNCERTAIN", "CANCEL", "MARK_FAILED", "EXPIRE", "RESOLVE_RECONCILIATION",
    "RELEASE_EARLY", "REVERSE", "DEBIT_AGAIN",
]  # fmt: skip
OperationName = Literal[
    "HOLD", "CAPTURE", "RELEASE", "DEBIT_FORCED", "REVERSE", "CREDIT",
]  # fmt: skip  # of Deposits Core
ActorKind = Literal[
    "upstream", "operator", "rail", "deposits", "resolve", "customer", "timer", "system",
]  # fmt: skip
EndSource = Literal["rail", "operator", "upstream", "system"]  # who ended an attempt
Origin = Literal[
    "upstream", "operator", "rail", "deposits", "resolve", "notified", "timer",
]  # fmt: skip  # what kind of topic an input comes from
Role = Literal["operator", "senior_operator", "approver", "admin"]
RefusalCode = Literal[
    "VALIDATION_FAILED", "POLICY_REJECTED", "PAYMENT_NOT_FOUND", "INVARIANT_VIOLATION"
]
RequestStatus = Literal["REQUESTED", "FAILED", "DONE", "DECLINED", "REFUSED", "NEVER_HELD"]
FundsStatus = Literal[
    "NONE", "HOLD_REQUESTED", "CAPTURE_REQUESTED", "RELEASE_REQUESTED", "DEBIT_REQUESTED",
    "REVERSE_REQUESTED", "CREDIT_REQUESTED", "HOLD_FAILED", "CAPTURE_FAILED", "RELEASE_FAILED",
    "DEBIT_FAILED", "REVERSE_FAILED", "CREDIT_FAILED", "HELD", "HOLD_DECLINED", "CAPTURED",
    "RELEASED", "DEBITED", "REVERSED", "CREDITED", "RELEASE_DEFERRED", "TRANSFERRED",
]  # fmt: skip  # of one attempt
FundsResult = Literal[
    "HELD", "CAPTURED", "RELEASED", "DEBITED", "REVERSED", "CREDITED", "DECLINED", "REFUSED",
    "NEVER_HELD", "FAILED",
]  # fmt: skip
PolicyStatus = Literal["REQUESTED", "PASSED", "DECLINED"]
PolicyAnswer = Literal["PASSED", "DECLINED"]
DeclineReason = Literal["FRAUD", "INVALID_ACCOUNT"]
PolicyPhase = Literal["CREATE", "RETRY"]
ApprovalStatus = Literal["REQUESTED", "REFERRED", "APPROVED", "REJECTED", "USED", "EXPIRED"]
ApprovalAnswer = Literal["APPROVED", "REJECTED", "REFERRED"]
ApprovalPhase = Literal["BEFORE_SENT", "SENT", "ACKNOWLEDGED", "SETTLED", "FAILED", "EXPIRED"]
AttemptOutcome = Literal["PAID", "NOT_PAID", "RETURNED"]
RecallStatus = Literal["REQUESTED", "ACCEPTED", "REFUSED"]
Overdue = Literal["ATTENTION", "ESCALATED"]
ReportKind = Literal[
    "RECEIVED", "ACCEPTED", "SETTLED", "REJECTED", "EXPIRED", "STATUS", "WITHDRAWN",
    "NOT_SUBMITTED", "ALREADY_SUBMITTED", "RECALL_ACCEPTED", "RECALL_REFUSED", "RETURNED",
]  # fmt: skip  # of the rail and its adapter
SeenKind = Literal[ReportKind, "NOTED"]  # NOTED: our own resend rejected
# Why a report contradicts the record.
ConflictKind = Literal[
    "AMOUNT_DIFFERS",  # the report names another amount than the payment's
    "CURRENCY_DIFFERS",  # the report names another currency than the payment's
    "SAME_MESSAGE_OTHER_CONTENT",  # the rail used one message id for two different contents
    "DOUBLE_SETTLEMENT",  # a second settlement of a payment that another attempt has paid
    "REPORT_BEFORE_SEND",  # the rail reports an attempt that was never sent
    "SETTLED_AFTER_FAILED",  # the rail settled an attempt that had failed
    "SETTLED_AFTER_EXPIRED",  # the rail settled an attempt that had expired
    "ACKNOWLEDGED_AFTER_FAILED",  # the rail acknowledged an attempt that had failed
    "ACKNOWLEDGED_AFTER_EXPIRED",  # the rail acknowledged an attempt that had expired
    "REPORTED_AFTER_NOT_PAID",  # the rail reports as paid what a verdict called not paid
    "REJECTED_AFTER_SETTLED",  # the rail denies what it had settled
    "RETURNED_BEFORE_SETTLED",  # the rail returned what was never settled
    "RETURN_AMOUNT_MISSING",  # the rail returned money and did not say how much
    "RETURN_EXCEEDS_SETTLED",  # more came back than was settled
    "RETURNS_TOO_MANY",  # more returns than are remembered by their ids
    "RECALLED_UNASKED",  # the rail accepted a recall that was never requested
    "NOT_SUBMITTED_AFTER_ACKNOWLEDGED",  # our adapter denies what the rail acknowledged
    "CONTRADICTORY_END",  # the rail ended the attempt in two ways
    "SUBMISSION_CONTRADICTED",  # "never submitted", although the rail had it
    "RECALL_CONTRADICTED",  # the rail both accepted and refused the recall
    "SUBMISSION_FOUND",  # an instruction to pay is on the log without its event
    "FATE_UNKNOWN",  # the enquiries were used up without an answer
    "FUNDS_CONTRADICTION",  # Deposits Core's answers contradict each other or what was asked
]
Verdict = Literal["SETTLED_AFTER_ALL", "NOT_PAID", "RETURNED", "AMOUNT_ACCEPTED", "REPORT_WRONG"]
DeadlineKind = Literal[
    "CREATED_WINDOW", "AUTHORISED_WINDOW", "EXPIRES_AT", "SEND", "OVERDUE", "ENQUIRY",
    "FUNDS_REPEAT", "APPROVAL",
]  # fmt: skip
MessageKind = Literal["cancelled", "failed", "late_failure", "retry_started"]  # to the customer
MessageResult = Literal["DELIVERED", "UNDELIVERABLE"]
EnquiryReason = Literal[
    "overdue", "uncertain", "resend rejected", "a report was wrong", "a return was reported",
    "submission found",
]  # fmt: skip
DeferralReason = Literal[
    "a conflict is open", "non-payment is not certain", "another attempt is not resolved"
]  # of a hold's release
OutcomeResult = Literal[
    "ACCEPTED", "DUPLICATE", "REJECTED", "NO_EFFECT", "MISROUTED", "QUARANTINED",
]  # fmt: skip  # of an input
AuditResult = Literal[OutcomeResult, "REFUSED", "DONE"]  # of a request at the API
QuarantineReason = Literal["UNDECODABLE", "MISROUTED", "UNMATCHED", "PARKED"]
IncidentRule = Literal["success", "latency", "retry", "cancellation", "late_failure"]
IncidentStatus = Literal["OPEN", "RESOLVED"]
ProofVerdict = Literal["PASSED", "FAILED", "NOT_CHECKABLE"]
Ruling = Literal["FOREIGN", "TAKEN_AS_RECORDED"]  # on a journal record
RailAct = Literal["SUBMIT", "WITHDRAW", "RECALL", "ENQUIRE"]  # what the rail adapter is asked to do
SubmissionPhase = Literal["SUBMITTING", "SUBMITTED", "REFUSED", "WITHDRAWN", "NOT_SUBMITTED"]
