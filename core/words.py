"""The closed sets of words in the records' fields.

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
    SeenKind = ReportKind | Literal["NOTED"]  # NOTED: our own resend rejected
    # Why a report contradicts the record.
    ConflictKind = Literal[
        "AMOUNT_DIFFERS",  # the report names another amount than the payment's
        "CURRENCY_DIFFERS",  # the report names another currency than the payment's
        "SAME_MESSAGE_OTHER_CONTENT",  # the rail used one message id for two different contents
        "DOUBLE_SETTLEMENT",  # a second settlement of a payment that another attempt has paid
        "REPORT_BEFORE_SEND",  # the rail speaks of an attempt that was never sent
        "SETTLED_AFTER_FAILED",  # the rail settled an attempt that had failed
        "SETTLED_AFTER_EXPIRED",  # the rail settled an attempt that had expired
        "ACKNOWLEDGED_AFTER_FAILED",  # the rail acknowledged an attempt that had failed
        "ACKNOWLEDGED_AFTER_EXPIRED",  # the rail acknowledged an attempt that had expired
        "REPORTED_AFTER_NOT_PAID",  # the rail has what a person's verdict called not paid
        "REJECTED_AFTER_SETTLED",  # the rail denies what it had settled
        "RETURNED_BEFORE_SETTLED",  # the rail returned what was never settled
        "RETURN_AMOUNT_MISSING",  # the rail returned money and did not say how much
        "RETURN_EXCEEDS_SETTLED",  # more came back than was settled
        "RETURNS_TOO_MANY",  # there are more returns than are told apart by their ids
        "RECALLED_UNASKED",  # the rail says that it recalled what was not recalled
        "NOT_SUBMITTED_AFTER_ACKNOWLEDGED",  # our adapter denies what the rail acknowledged
        "CONTRADICTORY_END",  # the rail ended the attempt in two ways
        "SUBMISSION_CONTRADICTED",  # the rail had an attempt that was never submitted
        "RECALL_CONTRADICTED",  # the rail both accepted and refused the recall
        "SUBMISSION_FOUND",  # an instruction to pay is there, its event was lost
        "FATE_UNKNOWN",  # the rail did not say, however often it was asked
        "FUNDS_CONTRADICTION",  # Deposits Core's answers contradict each other or what was asked
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

    def __getattr__(name: str) -> type[str]:
        """Every set is `str` at run time."""
        return str
