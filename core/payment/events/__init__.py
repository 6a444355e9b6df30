"""The history of a payment: eight lifecycle events and the records beside them, which never change
the state.

Field names are the Avro names in snake_case and are a storage format: add (with a default), never
rename. Each record is declared once: its schema, its bytes and its reader are compared with it.
Times are epoch milliseconds, amounts integer cents, `text` and `details` free text stored as sent.
"""

from __future__ import annotations

from typing import get_args

import msgspec

from core.payment.events.funds import (
    FundsCaptured,
    FundsCredited,
    FundsDebitForced,
    FundsEvent,
    FundsHeld,
    FundsHoldDeclined,
    FundsHoldTransferred,
    FundsReleased,
    FundsReleaseDeferred,
    FundsRequested,
    FundsRequestFailed,
    FundsReversed,
)
from core.payment.events.lifecycle import (
    LifecycleEvent,
    PaymentAcknowledged,
    PaymentAttemptCreated,
    PaymentAuthorised,
    PaymentExpired,
    PaymentFailed,
    PaymentIntentCreated,
    PaymentSentToRail,
    PaymentSettled,
)
from core.payment.events.nonlifecycle import (
    CustomerNotificationRequested,
    CustomerNotified,
    NonPaymentConfirmed,
    OperatorActionApproved,
    OperatorActionReferred,
    OperatorActionRejected,
    OperatorActionRequested,
    OtherEvent,
    PaymentOverdue,
    PaymentReturned,
    PolicyChecked,
    ProcessingResumed,
    ProcessingSuspended,
    RailEnquiryRequested,
    RailStatusReported,
    RecallAnswered,
    RecallRequested,
    ReconciliationRequired,
    ReconciliationResolved,
)

Event = LifecycleEvent | FundsEvent | OtherEvent

LIFECYCLE_EVENTS: tuple[type[msgspec.Struct], ...] = get_args(LifecycleEvent)
EVENTS: tuple[type[msgspec.Struct], ...] = get_args(Event)

__all__ = [
    "EVENTS",
    "LIFECYCLE_EVENTS",
    "CustomerNotificationRequested",
    "CustomerNotified",
    "Event",
    "FundsCaptured",
    "FundsCredited",
    "FundsDebitForced",
    "FundsEvent",
    "FundsHeld",
    "FundsHoldDeclined",
    "FundsHoldTransferred",
    "FundsReleaseDeferred",
    "FundsReleased",
    "FundsRequestFailed",
    "FundsRequested",
    "FundsReversed",
    "LifecycleEvent",
    "NonPaymentConfirmed",
    "OperatorActionApproved",
    "OperatorActionReferred",
    "OperatorActionRejected",
    "OperatorActionRequested",
    "OtherEvent",
    "PaymentAcknowledged",
    "PaymentAttemptCreated",
    "PaymentAuthorised",
    "PaymentExpired",
    "PaymentFailed",
    "PaymentIntentCreated",
    "PaymentOverdue",
    "PaymentReturned",
    "PaymentSentToRail",
    "PaymentSettled",
    "PolicyChecked",
    "ProcessingResumed",
    "ProcessingSuspended",
    "RailEnquiryRequested",
    "RailStatusReported",
    "RecallAnswered",
    "RecallRequested",
    "ReconciliationRequired",
    "ReconciliationResolved",
]
