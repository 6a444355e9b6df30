"""What a person's verdict does: ruling 5."""

from __future__ import annotations

from typing import Any

import pytest

from core import refusals as r
from core.payment import events as e
from core.payment.operator import verdicts
from core.payment.state import Conflict, at_rest, open_conflicts, waiting_for_person
from tests.core.payment import dsl as d
from tests.core.payment.case import Case, given
from tests.core.payment.conflicts import (
    GIVE_UP,
    LESS,
    RETRIED,
    VERDICTS,
    approval_request,
    judge,
    reached,
    resolved,
    settled,
    stated,
)

# -- amounts ---------------------------------------------------------------------------------------

PAID_12550 = 12_550
SENT_12550: list[Any] = [
    d.create(amount=PAID_12550), d.policy(), d.deposits("HOLD", "HELD", amount=PAID_12550),
]  # fmt: skip


def settled_12500(case: Case) -> Conflict:
    case.when(settled(12_500)).then("ReconciliationRequired:AMOUNT_DIFFERS")
    return case.payment.conflicts[-1]


def test_12500_of_12550_is_accepted_as_12500_and_never_settled_after_all() -> None:
    """SETTLED_AFTER_ALL would capture 12550."""
    case = given(*SENT_12550)
    conflict = settled_12500(case)
    case.when(approval_request(conflict, "SETTLED_AFTER_ALL")).refuses(r.VERDICT_NOT_APPLICABLE)
    case.when(resolved(conflict, "SETTLED_AFTER_ALL")).refuses(r.VERDICT_NOT_APPLICABLE)
    judge(case, conflict, "AMOUNT_ACCEPTED").then(
        "ReconciliationResolved", "PaymentAcknowledged", "PaymentSettled", "FundsRequested:CAPTURE"
    )
    assert case.event(e.ReconciliationResolved).amount == 12_500
    assert case.event(e.PaymentSettled).amount == 12_500
    assert case.event(e.FundsRequested).amount == 12_500
    case.when(d.deposits("CAPTURE", "CAPTURED", amount=12_500))
    case.then("FundsCaptured", "FundsRequested:RELEASE")
    case.given(d.deposits("RELEASE", "RELEASED", amount=50)).is_in("SETTLED", "PAID")
    assert at_rest(case.payment)


def test_the_amount_of_a_verdict_is_bound_to_its_approval() -> None:
    """Ruling 5, domain §4: the conflict's amount, whether the request states it or
    leaves it out.
    """
    case = given(*SENT_12550)
    conflict = settled_12500(case)
    fields: dict[str, Any] = {"conflict_id": conflict.id, "verdict": "AMOUNT_ACCEPTED"}
    other = d.request_approval("RESOLVE_RECONCILIATION", amount=PAID_12550, **fields)
    case.when(other).refuses(r.VERDICT_NOT_APPLICABLE)
    assert "AUD 125.00" in case.sentence
    case.when(approval_request(conflict, "AMOUNT_ACCEPTED"))
    assert case.event(e.OperatorActionRequested).amount == 12_500


def test_another_amount_after_the_settlement_is_given_back_or_debited() -> None:
    """Ruling 5: on a final payment the verdict starts the correction of the funds."""
    case = given(*d.CAPTURED).when(settled(LESS))
    judge(case, case.payment.conflicts[-1], "AMOUNT_ACCEPTED")
    case.then("ReconciliationResolved", "FundsRequested:CREDIT").is_in("SETTLED", "PAID")
    assert case.event(e.FundsRequested).amount == 45
    more = given(*d.CAPTURED).when(settled(d.AMOUNT + 45))
    judge(more, more.payment.conflicts[-1], "AMOUNT_ACCEPTED")
    more.then("ReconciliationResolved", "FundsRequested:DEBIT_FORCED")
    assert more.event(e.FundsRequested).amount == 45


def test_a_verdict_is_about_the_conflicts_own_attempt() -> None:
    """Ruling 5: another attempt is refused, in the request and in the verdict."""
    case = given(*RETRIED, settled())
    fields: dict[str, Any] = {"conflict_id": "cnf_001", "verdict": "SETTLED_AFTER_ALL"}
    ask = d.request_approval("RESOLVE_RECONCILIATION", attempt=2, **fields)
    case.when(ask).refuses(r.VERDICT_NOT_APPLICABLE)
    case.when(d.resolve("SETTLED_AFTER_ALL", attempt=2)).refuses(r.VERDICT_NOT_APPLICABLE)
    assert "att_001" in case.sentence


def test_the_consequence_is_stated_in_amounts_of_this_payment() -> None:
    """Ruling 5: listed with its consequence before anybody chooses."""
    case, conflict = reached("RETURN_AMOUNT_MISSING", "SETTLED")
    said = dict(verdicts.fitting(case.payment, conflict))
    assert "at most AUD 123.45" in said["RETURNED"]
    case = given(*SENT_12550)
    assert (
        "AUD 125.00" in dict(verdicts.fitting(case.payment, settled_12500(case)))["AMOUNT_ACCEPTED"]
    )
    twice, conflict = reached("DOUBLE_SETTLEMENT", "FAILED")
    assert "DEBIT_AGAIN" in dict(verdicts.fitting(twice.payment, conflict))["SETTLED_AFTER_ALL"]


def test_a_conflict_that_was_only_counted_takes_report_wrong_only() -> None:
    """Ruling 5: its content is no longer known, so the rail is asked again."""
    case = given(*d.MARKED)
    for number in range(1, 18):
        case.when(settled(number))
    assert (len(case.payment.conflicts), open_conflicts(case.payment)) == (16, 17)
    assert [verdict for verdict, _ in verdicts.fitting(case.payment, None)] == ["REPORT_WRONG"]
    for verdict in VERDICTS:
        fields: dict[str, Any] = {"conflict_id": "cnf_017", "attempt": 1, "amount": stated(verdict)}
        if verdict != "REPORT_WRONG":
            ask = d.request_approval("RESOLVE_RECONCILIATION", verdict=verdict, **fields)
            case.when(ask).refuses(r.VERDICT_NOT_APPLICABLE)
            given_now = d.resolve(verdict, "cnf_017", 1, stated(verdict))
            case.when(given_now).refuses(r.VERDICT_NOT_APPLICABLE)
    *before, last = d.judged("REPORT_WRONG", 2, conflict="cnf_017")
    case.given(*before).when(last).then("ReconciliationResolved", "RailEnquiryRequested")
    assert open_conflicts(case.payment) == 16


# -- REPORT_WRONG and NOT_PAID ---------------------------------------------------------------------


@pytest.mark.parametrize("before", [d.SENT, d.ACKNOWLEDGED], ids=["SENT", "ACKNOWLEDGED"])
def test_not_paid_does_not_fit_a_live_attempt(before: list[Any]) -> None:
    """Ruling 5: it would be certain while the rail may still move the money."""
    case = given(*before, settled(LESS))
    conflict = case.payment.conflicts[-1]
    case.when(approval_request(conflict, "NOT_PAID")).refuses(r.VERDICT_NOT_APPLICABLE)
    case.when(resolved(conflict, "NOT_PAID")).refuses(r.VERDICT_NOT_APPLICABLE)
    assert not case.payment.attempt.certain


def test_a_verdict_approved_before_the_attempt_ended_is_checked_against_its_new_state() -> None:
    """Ruling 5: what fits is checked again when the verdict is given."""
    case = given(*d.SENT, settled(LESS), d.rail("REJECTED", "AC01", rail_message_id="end"))
    conflict = case.payment.conflicts[0]
    case.given(approval_request(conflict, "NOT_PAID"), d.resolve_decides())
    case.when(resolved(conflict, "NOT_PAID"))
    assert case.payment.attempt.certain
    live = given(*d.SENT, settled(LESS))
    conflict = live.payment.conflicts[0]
    live.given(
        approval_request(conflict, "AMOUNT_ACCEPTED"), d.resolve_decides(), d.rail("ACCEPTED")
    )
    live.when(resolved(conflict, "AMOUNT_ACCEPTED")).refuses(r.APPROVAL_OTHER_PHASE)


@pytest.mark.parametrize("before", [d.SENT, d.ACKNOWLEDGED], ids=["SENT", "ACKNOWLEDGED"])
def test_after_report_wrong_the_rails_correct_reports_apply(before: list[Any]) -> None:
    """Ruling 5: it changes nothing and enquires at once; the enquiry's correct answer settles."""
    case = given(*before, settled(LESS))
    judge(case, case.payment.conflicts[-1], "REPORT_WRONG")
    case.then("ReconciliationResolved", "RailEnquiryRequested").instructs("ENQUIRE")
    case.is_in(case.payment.state, "OPEN", "HELD")
    case.when(d.enquiry("SETTLED", amount=d.AMOUNT, currency="AUD")).is_in("SETTLED", "PAID")
    assert open_conflicts(case.payment) == 0


def test_after_report_wrong_on_a_live_attempt_the_same_answer_is_a_new_conflict() -> None:
    """No retry and no manual end are possible until there is a verdict."""
    case = given(*d.SENT, settled(LESS))
    judge(case, case.payment.conflicts[-1], "REPORT_WRONG")
    case.when(d.enquiry("SETTLED", amount=LESS, currency="AUD"))
    case.then("ReconciliationRequired:AMOUNT_DIFFERS").is_in("SENT", "CONTRADICTED")
    case.given(*d.approved("MARK_FAILED", 2, failure_reason="RAIL"))
    case.when(d.mark_failed()).refuses(r.CONFLICT_OPEN)


def test_report_wrong_on_an_ended_attempt_enquires_until_the_rail_answers() -> None:
    """Ruling 5: the enquiries start again, and a denial then makes it certain."""
    case = given(*d.MARKED, settled(rail_message_id="m1"))
    judge(case, case.payment.conflicts[-1], "REPORT_WRONG")
    case.then("ReconciliationResolved", "RailEnquiryRequested").is_in("FAILED", "UNCERTAIN")
    case.timer().then("RailEnquiryRequested")
    case.when(d.enquiry("REJECTED", "AB08")).is_in("FAILED", "NOT_PAID", "RELEASE_REQUESTED")


def test_report_wrong_before_the_send_lets_the_payment_continue() -> None:
    """Ruling 5: on an unsent attempt it is the verdict for a stray report."""
    case = given(d.create(), d.policy(), d.rail("ACCEPTED"), d.held()).is_in("AUTHORISED")
    judge(case, case.payment.conflicts[-1], "REPORT_WRONG")
    assert [type(x).__name__ for x in case.events][:2] == [
        "ReconciliationResolved", "RailEnquiryRequested",
    ]  # fmt: skip
    case.is_in("SENT", "OPEN")


def test_report_wrong_after_a_settlement_leaves_it_settled() -> None:
    """Ruling 5: the denial was wrong; nothing is given back."""
    case = given(*d.CAPTURED, d.rail("REJECTED", "AC01"))
    judge(case, case.payment.conflicts[-1], "REPORT_WRONG")
    case.then("ReconciliationResolved", "RailEnquiryRequested").is_in("SETTLED", "PAID")
    assert at_rest(case.payment)


# -- the fate stays unknown ------------------------------------------------------------------------

ENQUIRIES = 9  # one at once and one after each of the eight waits


def unknown(*before: Any) -> Case:
    """Fire deadlines until a conflict opens; the rail answers none of the enquiries."""
    case = given(*before)
    case.timers_until(lambda: open_conflicts(case.payment) > 0)
    assert case.event(e.ReconciliationRequired).kind == "FATE_UNKNOWN"
    return case


@pytest.mark.parametrize(
    "before", [d.MARKED, d.SENT, d.ACKNOWLEDGED, [*d.SENT, *GIVE_UP]],
    ids=["FAILED", "SENT", "ACKNOWLEDGED", "EXPIRED"],
)  # fmt: skip
def test_used_up_enquiries_open_a_conflict_for_a_person(before: list[Any]) -> None:
    """Ruling 3: a conflict FATE_UNKNOWN; from then on there are no automatic enquiries."""
    case = unknown(*before)
    requested = [x for x in case.history if isinstance(x, e.RailEnquiryRequested)]
    assert len(requested) == ENQUIRIES
    assert waiting_for_person(case.payment)
    assert case.payment.deadline is None


@pytest.mark.parametrize(
    ("verdict", "money", "operation"),
    [("NOT_PAID", "NOT_PAID", "RELEASE"), ("SETTLED_AFTER_ALL", "PAID", "CAPTURE")],
)
def test_a_verdict_ends_an_unknown_fate_and_the_payment_comes_to_rest(
    verdict: str, money: str, operation: str
) -> None:
    """The enquiries are used up."""
    case = unknown(*d.MARKED)
    judge(case, case.payment.conflicts[-1], verdict)
    assert case.event(e.FundsRequested).operation == operation
    done = {"RELEASE": "RELEASED", "CAPTURE": "CAPTURED"}[operation]
    case.given(d.deposits(operation, done)).is_in("FAILED", money)
    assert at_rest(case.payment)


def test_report_wrong_restarts_the_enquiries_and_then_a_person_decides() -> None:
    """Rulings 3 and 5: the enquiries start again, and remain bounded."""
    case = unknown(*d.MARKED)
    judge(case, case.payment.conflicts[-1], "REPORT_WRONG")
    case.then("ReconciliationResolved", "RailEnquiryRequested")
    case.timers_until(lambda: open_conflicts(case.payment) > 0)
    assert case.payment.conflicts[-1].id == "cnf_002"
    requested = [x for x in case.history if isinstance(x, e.RailEnquiryRequested)]
    assert len(requested) == 2 * ENQUIRIES


def test_an_unknown_fate_that_becomes_known_applies_and_is_still_judged() -> None:
    """Ruling 5: consistent reports of the current attempt apply while a conflict is open."""
    case = unknown(*d.SENT).when(settled())
    case.then("PaymentAcknowledged", "PaymentSettled", "FundsRequested:CAPTURE")
    case.is_in("SETTLED", "CONTRADICTED").given(d.deposits("CAPTURE", "CAPTURED"))
    judge(case, case.payment.conflicts[-1], "SETTLED_AFTER_ALL").is_in("SETTLED", "PAID")
    assert at_rest(case.payment)


def test_no_second_conflict_opens_when_a_person_already_has_the_attempt() -> None:
    """Ruling 3: another conflict about the attempt is open when the enquiries are used up."""
    case = given(*d.MARKED, d.rail("ACCEPTED"))
    case.timers_until(lambda: case.payment.deadline is None)
    assert [x.kind for x in case.payment.conflicts] == ["ACKNOWLEDGED_AFTER_FAILED"]
