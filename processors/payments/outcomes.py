"""Outcome records: of a decision that appends no event, of an accepted operator command, and of an
upstream system's record that could not be decided.
"""

from __future__ import annotations

from typing import Any, Final, assert_never

from core.decider import Accepted, Context, Duplicate, NoEffect, Refusal
from core.header import Cause
from core.payment import state as payment_state
from core.payment.state import Payment
from core.records import SENTENCE_MAX, Outcome
from core.values import PAYMENT_ID_LENGTH, PaymentIntentId
from core.words import OutcomeResult
from engine.ports import InputRecord

QUARANTINED: Final = "QUARANTINED"
KEY_BYTES_MAX: Final = 4 * PAYMENT_ID_LENGTH  # UTF-8 bytes of a payment id's characters, at most


def key_of(key: bytes | None) -> bytes | None:
    """The outcome's key: the input's, by which its sender finds the outcome. None if the input has
    none, or one that is too long to be a payment id.
    """
    return key if key is None or len(key) <= KEY_BYTES_MAX else None


def of_decision(
    payment_id: str,
    name: str,
    context: Context,
    payment: Payment | None,
    decision: Accepted | Duplicate | Refusal | NoEffect,
) -> Outcome:
    """The outcome of an input of type `name`; `payment` is the state after the decision."""
    last = 0 if payment is None else payment.sequence
    code = rule = sentence = difference = expected = actual = None
    first_sequence = last_sequence = last
    match decision:
        case Accepted():
            result: OutcomeResult = "ACCEPTED"
            first_sequence = decision.events[0].header.sequence
        case Duplicate():
            result = "DUPLICATE"
            first_sequence, last_sequence = decision.from_sequence, decision.to_sequence
        case Refusal():
            result = "REJECTED"
            code, rule, difference = decision.code, decision.rule, decision.first_difference
            sentence, expected, actual = decision.sentence, decision.expected, decision.actual
        case NoEffect():
            result, rule, sentence = "NO_EFFECT", decision.rule, decision.sentence
        case _:
            assert_never(decision)
    return Outcome(
        payment_intent_id=PaymentIntentId(payment_id),
        cause=context.cause,
        input_type=name,
        result=result,
        code=code,
        rule=rule,
        sentence=None if sentence is None else sentence[:SENTENCE_MAX],
        first_difference=difference,
        decided_at=context.now_ms if payment is None else max(context.now_ms, payment.decided_at),
        rule_set=context.rules.number,
        from_sequence=first_sequence,
        to_sequence=last_sequence,
        state=None if payment is None else payment.state,
        money_outcome=None if payment is None else payment_state.money_outcome(payment),
        expected=expected,
        actual=actual,
    )


def misrouted(command: Any, cause: Cause, record: InputRecord, rule_set: int, why: str) -> Outcome:
    """The outcome of a record that is in the wrong partition, has another key than its body's id,
    or names an id that is too long. Nothing was decided.

    An id that is too long is omitted: truncated it would be a different id, and in full the outcome
    could exceed its topic's limit. The cause names the record.
    """
    named = command.header.payment_intent_id
    return Outcome(
        payment_intent_id=PaymentIntentId(named if len(named) <= PAYMENT_ID_LENGTH else ""),
        cause=cause,
        input_type=type(command).__name__,
        result="MISROUTED",
        code="VALIDATION_FAILED",
        rule="MISROUTED",
        sentence=f"{why}; nothing was decided, the record is kept in quarantine",
        first_difference=None,
        decided_at=record.polled_at_ms,
        rule_set=rule_set,
        from_sequence=0,
        to_sequence=0,
        state=None,
        money_outcome=None,
    )


def quarantined(cause: Cause, record: InputRecord, rule_set: int) -> Outcome:
    """The outcome of an upstream system's unreadable record, on a topic that it may read (domain
    §5). The cause names the record; its content is not repeated.
    """
    return Outcome(
        payment_intent_id=PaymentIntentId(""),
        cause=cause,
        input_type="",
        result=QUARANTINED,
        code="VALIDATION_FAILED",
        rule="UNDECODABLE",
        sentence="The record cannot be read. Nothing was decided; it is kept in quarantine.",
        first_difference=None,
        decided_at=record.polled_at_ms,
        rule_set=rule_set,
        from_sequence=0,
        to_sequence=0,
        state=None,
        money_outcome=None,
    )
