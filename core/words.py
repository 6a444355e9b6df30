"""The closed sets of words that stand in the records' fields.

They are for the type checker alone: at run time each is a text, on the log and in memory. A word
that an input brings and that is in no set is refused by the first check of `decide`; a record that
is read back is not compared again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    StateName = Literal[
        "CREATED", "AUTHORISED", "SENT", "ACKNOWLEDGED", "SETTLED", "FAILED", "EXPIRED"
    ]
    MoneyOutcomeName = Literal["OPEN", "PAID", "NOT_PAID", "UNCERTAIN", "CONTRADICTED", "RETURNED"]
    FailureReasonName = Literal[
        "RAIL", "TIMEOUT", "INSUFFICIENT_FUNDS", "INVALID_ACCOUNT", "FRAUD", "CANCELLED", "EXPIRED"
    ]
    ActionName = Literal[
        "RETRY",
        "RETRY_UNCERTAIN",
        "CANCEL",
        "MARK_FAILED",
        "EXPIRE",
        "RESOLVE_RECONCILIATION",
        "RELEASE_EARLY",
        "REVERSE",
        "DEBIT_AGAIN",
    ]
    OperationName = Literal[
        "HOLD", "CAPTURE", "RELEASE", "DEBIT_FORCED", "REVERSE", "CREDIT"
    ]  # of Deposits Core
    ActorKind = Literal[
        "upstream", "operator", "rail", "deposits", "resolve", "customer", "timer", "system"
    ]
    EndSource = Literal["rail", "operator", "upstream", "system"]  # who ended an attempt
    Origin = Literal[
        "upstream", "operator", "rail", "deposits", "resolve", "notified", "timer"
    ]  # what kind of topic an input comes from
    Role = Literal["operator", "senior_operator", "approver", "admin"]
    RefusalCode = Literal[
        "VALIDATION_FAILED", "POLICY_REJECTED", "PAYMENT_NOT_FOUND", "INVARIANT_VIOLATION"
    ]
    RequestStatus = Literal["REQUESTED", "FAILED", "DONE", "DECLINED", "REFUSED", "NEVER_HELD"]
    FundsStatus = Literal[
        "NONE",
        "HOLD_REQUESTED",
        "CAPTURE_REQUESTED",
        "RELEASE_REQUESTED",
        "DEBIT_REQUESTED",
        "REVERSE_REQUESTED",
        "CREDIT_REQUESTED",
        "HOLD_FAILED",
        "CAPTURE_FAILED",
        "RELEASE_FAILED",
        "DEBIT_FAILED",
        "REVERSE_FAILED",
        "CREDIT_FAILED",
        "HELD",
        "HOLD_DECLINED",
        "CAPTURED",
        "RELEASED",
        "DEBITED",
        "REVERSED",
        "CREDITED",
        "RELEASE_DEFERRED",
        "TRANSFERRED",
    ]  # of one attempt
    FundsResult = Literal[
        "HELD",
        "CAPTURED",
        "RELEASED",
        "DEBITED",
        "REVERSED",
        "CREDITED",
        "DECLINED",
        "REFUSED",
        "NEVER_HELD",
        "FAILED",
    ]
    PolicyStatus = Literal["REQUESTED", "PASSED", "DECLINED"]
    PolicyAnswer = Literal["PASSED", "DECLINED"]
    PolicyPhase = Literal["CREATE", "RETRY"]
    ApprovalStatus = Literal["REQUESTED", "REFERRED", "APPROVED", "REJECTED", "EXPIRED", "USED"]
    ApprovalAnswer = Literal["APPROVED", "REJECTED", "REFERRED"]
    ApprovalPhase = Literal["BEFORE_SENT", "SENT", "ACKNOWLEDGED", "SETTLED", "FAILED", "EXPIRED"]
    AttemptOutcome = Literal["PAID", "NOT_PAID", "RETURNED"]
    RecallStatus = Literal["REQUESTED", "ACCEPTED", "REFUSED"]
    Overdue = Literal["ATTENTION", "ESCALATED"]
    ReportKind = Literal[
        "RECEIVED",
        "ACCEPTED",
        "SETTLED",
        "REJECTED",
        "EXPIRED",
        "STATUS",
        "WITHDRAWN",
        "NOT_SUBMITTED",
        "ALREADY_SUBMITTED",
        "RECALL_ACCEPTED",
        "RECALL_REFUSED",
        "RETURNED",
    ]  # of the rail and its adapter
    SeenKind = Literal[
        "RECEIVED",
        "ACCEPTED",
        "SETTLED",
        "REJECTED",
        "EXPIRED",
        "STATUS",
        "WITHDRAWN",
        "NOT_SUBMITTED",
        "ALREADY_SUBMITTED",
        "RECALL_ACCEPTED",
        "RECALL_REFUSED",
        "RETURNED",
        "NOTED",
    ]  # NOTED: our own resend rejected
    ConflictKind = Literal[
        "AMOUNT_DIFFERS",
        "CURRENCY_DIFFERS",
        "SAME_MESSAGE_OTHER_CONTENT",
        "DOUBLE_SETTLEMENT",
        "REPORT_BEFORE_SEND",
        "SETTLED_AFTER_FAILED",
        "SETTLED_AFTER_EXPIRED",
        "ACKNOWLEDGED_AFTER_FAILED",
        "ACKNOWLEDGED_AFTER_EXPIRED",
        "REPORTED_AFTER_NOT_PAID",
        "REJECTED_AFTER_SETTLED",
        "RETURNED_BEFORE_SETTLED",
        "RETURN_AMOUNT_MISSING",
        "RETURN_EXCEEDS_SETTLED",
        "RETURNS_TOO_MANY",
        "RECALLED_UNASKED",
        "NOT_SUBMITTED_AFTER_ACKNOWLEDGED",
        "CONTRADICTORY_END",
        "SUBMISSION_CONTRADICTED",
        "RECALL_CONTRADICTED",
        "SUBMISSION_FOUND",
        "FATE_UNKNOWN",
        "FUNDS_CONTRADICTION",
    ]
    Verdict = Literal[
        "SETTLED_AFTER_ALL", "NOT_PAID", "RETURNED", "AMOUNT_ACCEPTED", "REPORT_WRONG"
    ]
    DeadlineKind = Literal[
        "CREATED_WINDOW",
        "AUTHORISED_WINDOW",
        "EXPIRES_AT",
        "SEND",
        "OVERDUE",
        "ENQUIRY",
        "FUNDS_REPEAT",
        "APPROVAL",
    ]
    MessageKind = Literal["cancelled", "failed", "late_failure", "retry_started"]  # to the customer
    MessageResult = Literal["DELIVERED", "UNDELIVERABLE"]
    RailAct = Literal[
        "SUBMIT", "WITHDRAW", "RECALL", "ENQUIRE"
    ]  # what the rail adapter is asked to do
else:
    StateName = str
    MoneyOutcomeName = str
    FailureReasonName = str
    ActionName = str
    OperationName = str
    ActorKind = str
    EndSource = str
    Origin = str
    Role = str
    RefusalCode = str
    RequestStatus = str
    FundsStatus = str
    FundsResult = str
    PolicyStatus = str
    PolicyAnswer = str
    PolicyPhase = str
    ApprovalStatus = str
    ApprovalAnswer = str
    ApprovalPhase = str
    AttemptOutcome = str
    RecallStatus = str
    Overdue = str
    ReportKind = str
    SeenKind = str
    ConflictKind = str
    Verdict = str
    DeadlineKind = str
    MessageKind = str
    MessageResult = str
    RailAct = str
