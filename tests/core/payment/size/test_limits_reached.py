"""What happens at each limit of a payment: nothing is silently dropped."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from core import refusals as r
from core.decider import Accepted
from core.payment import state as s
from core.payment.state import open_conflicts
from processors.payments.metrics import PaymentsMetrics
from tests.core.payment import dsl as d
from tests.core.payment.case import Case, given

LIMITS = d.rules().limits


def test_notes_after_an_end_are_limited_too() -> None:
    """Case A: 3,000 status answers after FAILED used to leave 3,000 notes."""
    for start in (d.MARKED, d.SENT):
        case = given(*start)
        before = case.payment.notes
        answers = [case.give(d.rail("STATUS", f"C{index}")) for index in range(1_100)]
        made = [isinstance(answer, Accepted) for answer in answers]
        assert made == [True] * (1_000 - before) + [False] * (100 + before)
        assert answers[-1] == r.no_effect(r.NOTES_FULL)
        assert case.payment.notes == LIMITS.notes_max
        assert len(case.payment.ends) < 2 * s.ENDS_KEPT


def full_of_notes(*start: Any) -> Case:
    case = given(*start)
    for number in range(LIMITS.notes_max):
        case.give(d.rail("STATUS", f"C{number}"))
    assert case.payment.notes == LIMITS.notes_max
    return case


def test_the_first_evidence_that_the_rail_has_an_attempt_is_noted_beyond_the_limit() -> None:
    """Ruling 3: without it a later NOT_SUBMITTED would make a retry safe: paid twice."""
    case = full_of_notes(*d.SENT)
    assert isinstance(case.give(d.rail("STATUS", "ACSP")), Accepted)
    assert case.payment.attempts[0].rail_had_it
    assert case.payment.notes == LIMITS.notes_max + 1
    assert case.give(d.rail("STATUS", "PDNG")) == r.no_effect(r.NOTES_FULL)
    case.when(d.rail("NOT_SUBMITTED")).then("ReconciliationRequired:SUBMISSION_CONTRADICTED")


def test_the_first_reason_that_forbids_a_retry_is_noted_beyond_the_limit() -> None:
    """Ruling 2: the worse reason counts, also by a code that makes nothing certain."""
    case = full_of_notes(*d.MARKED)
    assert isinstance(case.give(d.rail("REJECTED", "ZZ99")), Accepted)
    assert not case.payment.attempts[0].retry_safe
    assert case.payment.notes == LIMITS.notes_max + 1
    assert case.give(d.rail("STATUS", "C-last")) == r.no_effect(r.NOTES_FULL)


def test_contradictions_beyond_the_limit_change_nothing_and_are_counted() -> None:
    """Case B: beyond 64 open conflicts only a counter and a metric rise (engine)."""
    case = given(*d.SENT)
    metrics = PaymentsMetrics(registry := CollectorRegistry())
    name = "npp_inputs_without_effect_total"
    assert registry.get_sample_value(name, {"rule": "CONFLICTS_FULL"}) == 0, "known from the start"
    for index in range(300):
        report = d.rail("SETTLED", amount=d.AMOUNT + 1 + index, currency="AUD")
        answer = case.give(report)
        if index < s.CONFLICTS_OPEN_MAX:
            assert isinstance(answer, Accepted)
        else:
            assert answer == r.no_effect(r.CONFLICTS_FULL)
            metrics.input("RailReport", "NO_EFFECT", rule=r.CONFLICTS_FULL.name)
        assert not isinstance(case.give(report), Accepted), "the same again is the same conflict"
    metrics.commit()
    state = case.payment
    assert (state.conflicts_made, open_conflicts(state)) == (64, 64)
    assert (len(state.conflicts), len(state.conflicts_unlisted_keys)) == (16, 48)
    assert registry.get_sample_value(name, {"rule": "CONFLICTS_FULL"}) == 300 - 64


def test_contradictions_of_deposits_core_have_the_same_limit() -> None:
    """Conflicts about Deposits Core's answers count among the 64."""
    case = given(*d.CAPTURED)
    answers = [
        case.give(d.deposits("CAPTURE", "CAPTURED", amount=index)) for index in range(1, 200)
    ]
    assert sum(isinstance(answer, Accepted) for answer in answers) == s.CONFLICTS_OPEN_MAX
    assert answers[-1] == r.no_effect(r.CONFLICTS_FULL)
    assert open_conflicts(case.payment) == s.CONFLICTS_OPEN_MAX


def test_approvals_have_a_limit_for_a_payments_whole_life() -> None:
    """Case C: the 201st approval is rejected LIMIT_REACHED."""
    case = given(*d.SENT)
    for number in range(1, LIMITS.approvals_max + 1):
        case.given(d.request_approval("CANCEL"), d.resolve_decides("REJECTED", f"apr_{number:03d}"))
    case.when(d.request_approval("CANCEL")).refuses(r.LIMIT_REACHED)
    assert len(case.payment.approvals) <= s.APPROVALS_REMEMBERED_MAX
    assert len(case.payment.ends) < 2 * s.ENDS_KEPT


def test_a_rejection_of_our_own_resend_is_enquired_about_once() -> None:
    """Case D: AM05 followed by repeated DUPL used to send 1,500 enquiries at once."""
    case = given(*d.MARKED)
    requested = 0
    for code in ("AM05", *["DUPL"] * 1_500):
        answer = case.give(d.rail("REJECTED", code, via_enquiry=code == "DUPL"))
        if isinstance(answer, Accepted):
            requested += sum(getattr(x, "kind", "") == "ENQUIRE" for x in answer.instructions)
    assert requested == 1
    assert case.payment.notes <= 2


def test_alternating_rejections_of_our_own_resend_have_the_limit_of_notes() -> None:
    """AM05 and DUPL alternating are each new until the notes are full."""
    case = given(*d.SENT)
    answers = [case.give(d.rail("REJECTED", ("AM05", "DUPL")[n % 2])) for n in range(1_200)]
    assert case.payment.notes == LIMITS.notes_max
    assert answers[-2] == r.no_effect(r.NOTES_FULL)
    assert case.payment.attempts[0].enquiries == 1
