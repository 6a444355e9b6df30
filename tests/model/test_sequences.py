"""Handwritten sequences with known results in the model: every law is checked at every step."""

from __future__ import annotations

import pytest

from core.payment.state import at_rest, waiting_for_person
from tests.model.moves.story import (
    CAPTURED,
    MARKED,
    SENT,
    SETTLED,
    SUBMITTED,
    Moves,
    Story,
    act,
    answer,
    approved,
    bank,
    bank_says,
    create,
    enquiry,
    gated,
    later,
    policy,
    rail,
    returns,
    says,
    settle,
    submit,
    verdict,
)
from tests.model.vocabulary import AMOUNT, DAY, MINUTE, SECOND, Move


def test_an_enquiry_that_says_settled_after_not_paid_is_a_new_conflict_and_bars_a_retry() -> None:
    """Ruling 5: after NOT_PAID only the same message id is a duplicate."""
    story = Story(MARKED, settle(), verdict("NOT_PAID"))
    assert story.conflicts == []
    story.go(enquiry())
    assert story.conflicts == ["SETTLED_AFTER_FAILED"]
    story.go(approved("RETRY"), act("RETRY"))
    assert story.refused is not None
    assert len(story.book.tries) == 1


def test_the_same_message_again_after_not_paid_is_a_duplicate() -> None:
    """Ruling 5: after NOT_PAID the same message id is a duplicate."""
    story = Story(MARKED, settle(), verdict("NOT_PAID"), [Move("again", {"which": -1})])
    assert (story.conflicts, story.accepted) == ([], False)


def test_after_report_wrong_on_a_live_attempt_an_enquiry_goes_out_and_its_answer_applies() -> None:
    """Ruling 5: REPORT_WRONG changes nothing else, an enquiry goes out, correct reports apply."""
    story = Story(SUBMITTED, says("SETTLED", amount=AMOUNT - 50, currency="AUD", id="X1"))
    assert (story.state, len(story.conflicts)) == ("SENT", 1)
    before = len(story.play.world.rail.instructions)
    story.go(verdict("REPORT_WRONG"))
    requested = [each.kind for each in story.play.world.rail.instructions[before:]]
    assert (story.state, story.conflicts, requested) == ("SENT", [], ["ENQUIRE"])
    story.go(settle())
    assert story.state == "SETTLED"


def test_a_contradiction_repeated_by_an_enquiry_after_report_wrong_is_a_new_conflict() -> None:
    """Ruling 5: after REPORT_WRONG an enquiry's answer opens a new conflict."""
    wrong = says("SETTLED", amount=AMOUNT - 50, currency="AUD", id="X1")
    reported = says("SETTLED", amount=AMOUNT - 50, currency="AUD", via=True)
    story = Story(SUBMITTED, wrong, verdict("REPORT_WRONG"), reported)
    assert len(story.conflicts) == 1
    story.go(approved("CANCEL"), act("CANCEL"))
    assert story.refused == "CONFLICT_OPEN"


def test_without_a_covering_record_the_hold_stays_and_a_settlement_is_a_conflict() -> None:
    """Ruling 8: WITHDRAWN is answered only if the adapter's record certainly covers the
    instruction.
    """
    story = Story(SUBMITTED, [Move("rail_record", {"attempt": 0})], gated("CANCEL"), answer())
    assert (story.state, story.held) == ("FAILED", AMOUNT)
    story.go(later(2 * MINUTE), settle())
    assert (story.conflicts, story.held) == (["SETTLED_AFTER_FAILED"], AMOUNT)
    story.rest()
    assert story.ledger == (0, AMOUNT)


def test_unknown_to_the_rail_after_the_window_is_certain_when_nothing_was_sent() -> None:
    """Ruling 3: ALREADY_SUBMITTED with SUBMITTING alone is no evidence; the "unknown"
    is certain.
    """
    story = Story(SENT, submit("lost"), gated("CANCEL"), answer())
    assert (story.state, story.held) == ("FAILED", AMOUNT)
    story.go(later(2 * MINUTE), enquiry())
    assert story.conflicts == []
    story.rest()
    assert story.ledger == (0, 0)


def test_evidence_that_the_rail_had_it_makes_unknown_a_conflict() -> None:
    """Ruling 3: evidence outweighs "unknown"."""
    story = Story(SUBMITTED, rail("RECEIVED"), gated("MARK_FAILED", failure_reason="TIMEOUT"))
    story.go(later(2 * MINUTE), says("STATUS", code="UNKNOWN", via=True, stopped=True))
    assert story.conflicts == ["SUBMISSION_CONTRADICTED"]
    story.go(approved("RETRY"), act("RETRY"))
    assert len(story.book.tries) == 1


def test_certainty_from_before_the_send_ends_with_it() -> None:
    """Ruling 3: PaymentSentToRail starts as uncertain."""
    story = Story(create(), says("ACCEPTED"), verdict("REPORT_WRONG"), policy(), bank(), submit())
    assert story.state == "SENT"
    story.go(gated("MARK_FAILED", failure_reason="TIMEOUT"))
    assert (story.book.current.claimed, story.held) == (False, AMOUNT)
    story.go(approved("RETRY"), act("RETRY"))
    assert story.refused == "RETRY_UNCERTAIN"


def test_not_paid_does_not_fit_an_attempt_that_has_not_ended() -> None:
    """Ruling 5: for a live or unsent attempt the verdict is REPORT_WRONG."""
    story = Story(create(), says("ACCEPTED"))
    params = {"conflict": 1, "attempt": 1, "verdict": "NOT_PAID"}
    story.go([Move("ask", {**params, "action": "RESOLVE_RECONCILIATION", "who": "sen_001"})])
    story.go(approved("RESOLVE_RECONCILIATION", **params), act("RESOLVE_RECONCILIATION", **params))
    assert len(story.conflicts) == 1


def test_settled_after_all_never_fits_another_amount() -> None:
    """Ruling 5: an amount conflict takes AMOUNT_ACCEPTED, and captures the rail's amount."""
    story = Story(SUBMITTED, rail("ACCEPTED"), settle(off=-50))
    assert (story.state, len(story.conflicts)) == ("ACKNOWLEDGED", 1)
    params = {"conflict": 1, "attempt": 1, "verdict": "SETTLED_AFTER_ALL"}
    story.go(approved("RESOLVE_RECONCILIATION", **params), act("RESOLVE_RECONCILIATION", **params))
    assert len(story.conflicts) == 1
    story.go(verdict("AMOUNT_ACCEPTED"))
    assert story.state == "SETTLED"
    story.rest()
    assert story.ledger == (0, AMOUNT - 50)


def test_a_partial_return_repeated_in_an_enquirys_total_is_credited_once() -> None:
    """Ruling 13: an enquiry's amount is the total so far."""
    story = Story(CAPTURED, returns(5_000), enquiry())
    assert (story.conflicts, story.book.current.returned) == ([], 5_000)
    story.rest()
    assert story.ledger == (0, AMOUNT - 5_000)


def test_returns_add_up_by_id_and_agree_with_the_total() -> None:
    """Ruling 13: 5000 and 3000, then a total of 8000: no conflict."""
    story = Story(CAPTURED, returns(5_000), returns(3_000), enquiry())
    assert (story.conflicts, story.book.current.returned) == ([], 8_000)
    story.rest()
    assert story.ledger == (0, AMOUNT - 8_000)


def test_a_return_without_an_amount_is_a_conflict() -> None:
    """Ruling 13: never a full return."""
    story = Story(CAPTURED, says("RETURNED", code="AC04", id="R1"))
    assert story.conflicts == ["RETURN_AMOUNT_MISSING"]
    assert story.open == []


def test_a_return_beyond_what_was_settled_is_a_conflict() -> None:
    """Ruling 13: returned never exceeds what was settled."""
    whole = says("RETURNED", code="AC04", amount=AMOUNT, currency="AUD", id="R1")
    more = says("RETURNED", code="AC04", amount=AMOUNT, currency="AUD", id="R2")
    story = Story(CAPTURED, whole, bank(), more)
    assert story.conflicts == ["RETURN_EXCEEDS_SETTLED"]
    assert story.debited() == 0


def test_released_early_then_settled_then_returned() -> None:
    """Domain §3: a settlement after the release is a forced debit; its return is credited."""
    story = Story(MARKED, gated("RELEASE_EARLY", attempt=1), bank(), settle())
    story.go(verdict("SETTLED_AFTER_ALL"), bank())
    assert (story.held, story.debited()) == (0, AMOUNT)
    story.go(returns(AMOUNT))
    story.rest()
    assert story.ledger == (0, 0)


def test_a_delayed_hold_is_ended_by_name_and_does_not_stay() -> None:
    """Domain §3: the payment ends, the RELEASE arrives first, then the HOLD."""
    story = Story(create(), policy("DECLINED"))
    assert (story.state, "RELEASE" in story.open) == ("FAILED", True)
    assert not at_rest(story.play.state)
    story.go(bank(), bank(0))
    story.rest()
    assert story.ledger == (0, 0)


def test_a_hold_that_arrives_after_never_held_is_released_again() -> None:
    """Domain §3: HELD after NEVER_HELD is released again and is no conflict."""
    story = Story(create(), policy("DECLINED"), bank_says("NEVER_HELD"), bank_says("HELD", 0))
    assert (story.conflicts, story.held, story.open) == ([], AMOUNT, ["RELEASE"])
    story.go(bank_says("RELEASED"))
    assert (story.held, at_rest(story.play.state)) == (0, True)


def test_an_outage_shorter_than_the_window_fails_no_payment() -> None:
    """Domain §3: eight minutes without an answer, a window of ten."""
    story = Story(create(), policy(), bank(mode="lose"))
    for _ in range(8):
        story.go(later(MINUTE), bank(mode="lose"))
    assert story.state == "CREATED"
    story.go(later(20 * SECOND), bank())
    assert story.state == "SENT"


def test_a_capture_of_a_hold_that_is_gone_becomes_a_forced_debit() -> None:
    """Domain §3: the hold expired at Deposits Core."""
    story = Story(SETTLED, [Move("bank_expires", {"which": 0})], bank())
    assert story.open == ["DEBIT_FORCED"]
    story.rest()
    assert story.ledger == (0, AMOUNT)


def test_a_release_of_a_hold_that_is_gone_counts_as_released() -> None:
    """Domain §3: the hold expired at Deposits Core."""
    story = Story(SUBMITTED, rail("REJECTED", "AC04"), [Move("bank_expires", {"which": 0})], bank())
    assert (story.held, story.open, at_rest(story.play.state)) == (0, [], True)


def test_a_retry_waits_for_an_open_release() -> None:
    """Ruling 2: the customer's own blocked money could cause the new hold to be declined."""
    story = Story(SUBMITTED, rail("REJECTED", "AB08"))
    assert story.open == ["RELEASE"]
    story.go(approved("RETRY"), act("RETRY"))
    assert story.refused == "FUNDS_PRECONDITION"
    story.go(bank(), act("RETRY"))
    assert len(story.book.tries) == 2


def test_a_refused_capture_waits_for_a_person_who_repeats_it() -> None:
    """Domain §3: REFUSED is certain; the repeat takes the next number."""
    story = Story(SETTLED, bank(mode="refuse", code="LIMIT"))
    assert (story.open, waiting_for_person(story.play.state)) == ([], True)
    story.go(act("REPEAT", operation="CAPTURE", attempt=1))
    assert story.open == ["CAPTURE"]
    story.rest()
    assert story.ledger == (0, AMOUNT)


def second_settlement() -> Moves:
    """Marked failed, retried as RETRY_UNCERTAIN; the rail settles both attempts."""
    return [
        *MARKED,
        *gated("RETRY_UNCERTAIN"),
        *policy(),
        *submit(),
        *settle(),
        *bank(),
        *settle(1),
    ]


def test_a_second_settlement_is_debited_only_with_an_approval_of_its_own() -> None:
    """Ruling 5: SETTLED_AFTER_ALL does not debit the customer a second time automatically."""
    story = Story(second_settlement())
    assert (story.state, len(story.conflicts)) == ("SETTLED", 1)
    story.go(verdict("SETTLED_AFTER_ALL", attempt=1))
    assert (story.open, sum(story.book.taken.values())) == ([], AMOUNT)
    assert not at_rest(story.play.state)
    story.go(gated("DEBIT_AGAIN", attempt=1), bank())
    assert sum(story.book.taken.values()) == 2 * AMOUNT
    story.rest()


@pytest.mark.parametrize("sent", [False, True], ids=["held", "sent and recalled"])
def test_a_late_settlement_is_paid_by_the_later_attempts_hold(*, sent: bool) -> None:
    """AT-16x: a hold whose attempt can no longer settle pays before a forced debit."""
    moves: Moves = [*SUBMITTED, *rail("REJECTED", "AB08"), *bank(), *gated("RETRY")]
    story = Story(moves, bank())
    if sent:
        story.go(policy(), submit(), gated("CANCEL"), answer())
    story.go(says("SETTLED", attempt=1, amount=AMOUNT, currency="AUD", id="L1"))
    assert len(story.conflicts) == 1
    if sent:
        story.go(answer())
    story.go(verdict("SETTLED_AFTER_ALL", attempt=1))
    assert "DEBIT_FORCED" not in [ask.operation for ask in story.book.asks.values()]
    story.go(bank())
    assert (story.held, sum(story.book.taken.values())) == (0, AMOUNT)


def test_a_later_attempts_hold_is_released_once_that_attempt_is_resolved() -> None:
    """AT-16y: settled by a forced debit; the later attempt turns out unpaid: nothing stays held."""
    story = Story(MARKED, gated("RETRY_UNCERTAIN"), policy(), submit())
    assert story.state == "SENT"
    story.go(settle(1), verdict("SETTLED_AFTER_ALL", attempt=1))
    assert (story.state, story.held) == ("FAILED", AMOUNT)
    story.go(answer(), answer())
    story.rest()
    assert story.ledger == (0, AMOUNT)


def test_money_is_given_back_by_one_request_at_a_time() -> None:
    """Domain §3: an unanswered CREDIT bars a REVERSE of the same money."""
    story = Story(CAPTURED, returns(AMOUNT), bank(mode="lose"))
    assert story.open == ["CREDIT"]
    story.go(approved("REVERSE", attempt=1), act("REVERSE", attempt=1))
    assert story.open == ["CREDIT"]
    story.rest()
    assert story.ledger == (0, 0)


def test_a_reversal_after_a_partial_return_gives_back_the_rest() -> None:
    """Ruling 13: the customer bears settled − max(returned, waived)."""
    story = Story(CAPTURED, returns(5_000), bank(), gated("REVERSE", attempt=1))
    story.rest()
    assert story.ledger == (0, 0)


def test_used_up_enquiries_open_a_conflict_that_a_verdict_ends() -> None:
    """Ruling 3: FATE_UNKNOWN, so that a person can end it; then the payment is at rest."""
    story = Story(MARKED)
    for _ in range(14):
        story.go(later(DAY))
    assert story.conflicts == ["FATE_UNKNOWN"]
    story.play.world.rail.submissions[1].status = "REJECTED"
    story.go(verdict("NOT_PAID"))
    story.rest()
    assert story.ledger == (0, 0)


def test_a_window_does_not_end_while_a_send_is_frozen() -> None:
    """Ruling 8: the window ends at the earliest `submit_ms` after the freeze."""
    story = Story(SUBMITTED, rail("REJECTED", "AB08"), bank(), gated("RETRY"), bank())
    story.go([Move("ask", {"action": "CANCEL", "who": "sen_001"})], policy())
    assert story.state == "AUTHORISED"
    story.go(later(15 * MINUTE + SECOND))
    assert story.state == "SENT"


def test_a_cancel_names_the_current_attempt_or_none() -> None:
    """Ruling 8: a request for another attempt is rejected."""
    story = Story(SUBMITTED, rail("REJECTED", "AB08"), bank(), gated("RETRY"))
    story.go([Move("ask", {"action": "CANCEL", "who": "sen_001", "attempt": 1})])
    assert (story.refused is not None, story.book.current.frozen_until) == (True, 0)


FLOODS = {
    "notes after an end": (MARKED, says("STATUS", code="#", id="#")),
    "tries that meet silence": (SUBMITTED, says("STATUS", code="NO_ANSWER", sent="+")),
    "answers of an enquiry": (MARKED, says("STATUS", code="#", via=True)),
    "our resend rejected": (MARKED, says("REJECTED", code="DUPL", via=True)),
    "other amounts settled": (SUBMITTED, says("SETTLED", amount="+", currency="AUD", id="#")),
    "cents returned": (CAPTURED, says("RETURNED", amount=1, currency="AUD", id="#")),
    "unknown rejections": (MARKED, says("REJECTED", code="#", id="#")),
    "cancels rejected": (
        SUBMITTED,
        [
            Move("ask", {"action": "CANCEL", "who": "sen_001"}),
            Move("resolve", {"which": -1, "verdict": "REJECTED", "how": "now"}),
        ],
    ),
    "a bank that fails": (SETTLED, bank_says("FAILED", code="#")),
    "a bank that refuses": (
        SETTLED,
        [*bank_says("REFUSED", code="#"), *act("REPEAT", operation="CAPTURE", attempt=1)],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("before", "again"), FLOODS.values(), ids=FLOODS)
def test_no_flood_of_inputs_exceeds_the_maximum_state_size(before: Moves, again: Moves) -> None:
    """Engine: the packed state stays under 64 KiB after any sequence of inputs."""
    flood = Move("repeat", {"times": 1_500, "moves": [list(move) for move in again]})
    Story(before, [flood])
