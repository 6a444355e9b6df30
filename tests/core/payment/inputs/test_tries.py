"""The rail's answer to each submission try, with its times: in the history, once."""

from __future__ import annotations

from typing import Any

import pytest

from core import refusals as r
from core.payment import commands as c
from core.payment import events as e
from tests.core.payment import dsl as d
from tests.core.payment.case import Case, given

AT = 1_700_000_000_000
TOOK_MS = 10_000


def answer(
    kind: str, code: str | None = None, *, after_ms: int = 0, **changes: Any
) -> c.RailReport:
    """The technical answer to a submission sent `after_ms` after the first."""
    sent = AT + after_ms
    return d.rail(kind, code, submitted_at=sent, answered_at=sent + TOOK_MS, **changes)


def silence(after_ms: int = 0) -> c.RailReport:
    """Nothing readable came back; the adapter reports this for each try."""
    return answer("STATUS", "NO_ANSWER", after_ms=after_ms, technical_result="TIMEOUT")


def tries(case: Case, kind: type[Any] = e.RailStatusReported) -> list[int]:
    """When the tries in the history were submitted, relative to the first."""
    reported = [each for each in case.history if isinstance(each, kind)]
    return [each.submitted_at - AT for each in reported if each.submitted_at is not None]


def test_each_unanswered_try_is_in_the_history_and_the_settlement_comes_after() -> None:
    """Decision 21: the same words in answer to another try are another answer."""
    case = given(*d.SENT, silence(), silence(12_000))
    case.when(d.enquiry("SETTLED", submitted_at=AT + 30_000, answered_at=AT + 30_100))
    case.then("PaymentAcknowledged", "PaymentSettled", "FundsRequested:CAPTURE")
    assert tries(case) == [0, 12_000]


@pytest.mark.parametrize(
    ("kind", "code"), [("STATUS", "NO_ANSWER"), ("RECEIVED", None), ("REJECTED", "DUPL")]
)
def test_the_repeated_answer_to_one_try_is_a_duplicate(kind: str, code: str | None) -> None:
    """Domain §2."""
    case = given(*d.SENT, answer(kind, code), answer(kind, code, after_ms=5_000))
    for after_ms in (5_000, 0):
        case.when(answer(kind, code, after_ms=after_ms)).is_duplicate()
    assert tries(case) == [0, 5_000]


def test_an_enquiry_with_the_same_words_as_a_try_is_no_try() -> None:
    case = given(*d.SENT, silence())
    later = AT + 60_000
    requested = d.enquiry("STATUS", "NO_ANSWER", submitted_at=later, answered_at=later + 5)
    case.when(requested).is_duplicate()
    case.when(silence(12_000)).then("RailStatusReported")


def test_a_try_after_an_enquiry_with_the_same_words_is_recorded() -> None:
    case = given(*d.SENT, d.enquiry("STATUS", "NO_ANSWER", submitted_at=AT - 5, answered_at=AT))
    case.when(silence()).then("RailStatusReported")
    case.when(silence()).is_duplicate()


def test_another_attempt_has_its_own_tries() -> None:
    case = given(*d.SENT, silence(90_000), d.rail("REJECTED", "AB08"))
    case.given(d.deposits("RELEASE", "RELEASED"), *d.approved("RETRY"), d.retry())
    case.given(d.policy(attempt=2), d.held(2))
    case.when(silence(80_000)).is_duplicate()
    second = d.rail("STATUS", "NO_ANSWER", attempt=2, submitted_at=AT, answered_at=AT + 9)
    case.when(second).then("RailStatusReported").when(second).is_duplicate()


def test_an_immediate_rejection_has_its_submission_and_answer_times() -> None:
    case = given(*d.SENT).when(answer("REJECTED", "AC04"))
    failed = case.event(e.PaymentFailed)
    assert (failed.submitted_at, failed.answered_at) == (AT, AT + TOOK_MS)


def test_too_late_from_the_gateway_is_an_answer_to_a_submission() -> None:
    case = given(*d.SENT).when(answer("NOT_SUBMITTED", adapter_stopped=True))
    failed = case.event(e.PaymentFailed)
    assert (failed.header.reason, failed.submitted_at) == ("TIMEOUT", AT)


def test_a_callback_and_an_enquiry_answer_no_submission() -> None:
    called = given(*d.SENT).when(d.rail("REJECTED", "AC04")).event(e.PaymentFailed)
    requested = d.enquiry("REJECTED", "AC04", submitted_at=AT, answered_at=AT + 5)
    enquired = given(*d.SENT).when(requested).event(e.PaymentFailed)
    for failed in (called, enquired):
        assert (failed.submitted_at, failed.answered_at) == (None, None)


def test_an_immediate_rejection_after_a_cancel_confirms_with_its_times() -> None:
    case = given(*d.CANCELLED)
    case.when(answer("REJECTED", "AC04"))
    confirmed = case.event(e.NonPaymentConfirmed)
    assert (confirmed.submitted_at, confirmed.answered_at) == (AT, AT + TOOK_MS)


def test_an_immediate_rejection_that_contradicts_opens_a_conflict_with_its_times() -> None:
    case = given(*d.CAPTURED).when(answer("REJECTED", "AC04"))
    conflict = case.event(e.ReconciliationRequired)
    assert (conflict.submitted_at, conflict.answered_at) == (AT, AT + TOOK_MS)


def test_tries_are_limited_as_notes_are() -> None:
    case = given(*d.SENT)
    for number in range(d.rules().limits.notes_max):
        case.given(silence(number * 1_000))
    case.when(silence(10_000_000)).has_no_effect(r.NOTES_FULL)
