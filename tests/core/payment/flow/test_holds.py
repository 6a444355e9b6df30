"""Holds and releases: silence, refusals, and what an ended payment still holds (domain §3)."""

from __future__ import annotations

from typing import Any

import pytest

from core import refusals as r
from core.payment import events as e
from core.payment.instructions import DepositsRequest, RailInstruction
from core.payment.state import at_rest, needs_attention, waiting_for_person
from core.values import external_ref
from tests.core.payment import dsl as d
from tests.core.payment.case import Case, given

SECOND = 1_000
DAY = 24 * 60 * d.MINUTE
WINDOW_MS = 10 * d.MINUTE  # of CREATED, in rule set 1
SUBMIT_MS = d.MINUTE
SILENT = d.deposits("HOLD", "FAILED", code="NO_ANSWER")
ENDED = ("PaymentFailed:TIMEOUT", "FundsRequested:RELEASE", "CustomerNotificationRequested")
HOLD_REF, RELEASE_REF = f"{d.REF}H01", f"{d.REF}R01"


def ended_unanswered(*, silent: bool = True) -> Case:
    """The window has passed, the HOLD was never answered, and its RELEASE by name is requested."""
    answer = [SILENT] if silent else []
    return given(d.create(), d.policy(), *answer).timer_until("CREATED_WINDOW").then(*ENDED)


def request(case: Case, operation: str) -> DepositsRequest:
    """The decision's only request for that operation."""
    (found,) = (
        x for x in case.instructions if isinstance(x, DepositsRequest) and x.operation == operation
    )
    return found


def facts(found: DepositsRequest) -> tuple[Any, ...]:
    return (found.funds_ref, found.repeat, found.hold_ref, found.hold_funds_ref, found.not_after)


# -- repeated within the window --------------------------------------------------------------------


@pytest.mark.parametrize("silent", [False, True], ids=["nothing came", "NO_ANSWER came"])
def test_an_unanswered_hold_is_repeated_at_least_every_30_seconds_within_its_window(
    silent: bool,
) -> None:
    """With the same reference and the same notAfter."""
    case = given(d.create(), d.policy(), *([SILENT] if silent else []))
    requested = [case.now]
    for _ in case.timers_while(lambda: case.payment.deadline_kind == "FUNDS_REPEAT"):
        case.then("FundsRequested:HOLD")
        assert case.now - requested[-1] <= 30 * SECOND
        requested.append(case.now)
        again = request(case, "HOLD")
        assert facts(again) == (HOLD_REF, len(requested) - 1, None, None, d.START + WINDOW_MS)
        if silent:
            case.given(SILENT)
    assert requested[-1] == d.START + WINDOW_MS - 30 * SECOND
    case.timer().then(*ENDED).is_in("FAILED", "NOT_PAID")
    assert case.now == d.START + WINDOW_MS


def test_a_hold_is_not_repeated_once_it_cannot_be_carried_out() -> None:
    """Domain §3: an open conflict stops the window, but not the hold's notAfter."""
    case = given(d.create(), d.policy(), d.rail("ACCEPTED")).is_in("CREATED", "CONTRADICTED")
    for _ in case.timers_while(lambda: case.payment.deadline is not None):
        case.then("FundsRequested:HOLD")
    assert case.now == d.START + WINDOW_MS - 30 * SECOND


def test_an_outage_of_deposits_core_shorter_than_the_window_kills_no_payment() -> None:
    """Eight minutes of silence within a window of ten; the payment is sent."""
    case = given(d.create(), d.policy(), SILENT)
    for _ in case.timers_while(lambda: case.now < d.START + 8 * d.MINUTE):
        case.then("FundsRequested:HOLD").given(SILENT)
    case.when(d.held()).then(
        "FundsHeld", "PaymentAuthorised", "PaymentAttemptCreated", "PaymentSentToRail"
    )
    case.given(d.rail("SETTLED"), d.deposits("CAPTURE", "CAPTURED"))
    assert at_rest(case.payment)


@pytest.mark.parametrize(
    ("changes", "not_after"),
    [
        ({}, WINDOW_MS),
        ({"expires_at": d.START + 5 * d.MINUTE}, 5 * d.MINUTE),
        ({"expires_at": d.START + 20 * d.MINUTE}, WINDOW_MS),
    ],
    ids=["window", "expires first", "expires later"],
)
def test_a_hold_is_not_carried_out_once_it_is_useless(
    changes: dict[str, int], not_after: int
) -> None:
    """Domain §3: notAfter is the end of the payment's window, or its earlier expiry."""
    case = Case().when(d.create(**changes))
    assert facts(request(case, "HOLD")) == (HOLD_REF, 0, None, None, d.START + not_after)


def test_the_hold_of_a_retry_has_the_window_of_its_attempt() -> None:
    """Domain §3: 15 minutes from the attempt's start; expiresAt never changes."""
    case = given(*d.RETRYABLE, *d.approved("RETRY")).later(3 * d.MINUTE).when(d.retry())
    assert request(case, "HOLD").not_after == case.now + 15 * d.MINUTE
    before = [d.create(expires_at=d.START + 12 * d.MINUTE), *d.RETRYABLE[1:]]
    early = given(*before, *d.approved("RETRY")).later(3 * d.MINUTE).when(d.retry())
    assert request(early, "HOLD").not_after == d.START + 12 * d.MINUTE


def test_a_retry_of_a_payment_that_has_expired_holds_nothing() -> None:
    """Domain §3: no hold is requested, and the attempt ends at rest."""
    before = [d.create(expires_at=d.START + 12 * d.MINUTE), *d.RETRYABLE[1:]]
    case = given(*before).later(13 * d.MINUTE).given(*d.approved("RETRY")).when(d.retry())
    case.then("PaymentAttemptCreated", "CustomerNotificationRequested")
    case.timer().is_in("EXPIRED", "NOT_PAID")
    assert at_rest(case.payment)


def test_a_freeze_moves_the_window_and_the_holds_not_after() -> None:
    """Ruling 8: no window ends while frozen; it ends at the earliest submit_ms after the freeze."""
    case = given(d.create(), d.policy()).later(d.MINUTE).given(d.request_approval("CANCEL"))
    frozen_until = d.START + 16 * d.MINUTE
    assert case.payment.attempt.frozen_until == frozen_until
    case.timer_until("FUNDS_REPEAT")
    assert request(case, "HOLD").not_after == frozen_until + SUBMIT_MS
    case.timer_until("CREATED_WINDOW").then(*ENDED)
    assert case.now == frozen_until + SUBMIT_MS
    named = request(case, "RELEASE")
    assert (named.hold_funds_ref, named.not_after) == (HOLD_REF, frozen_until + SUBMIT_MS)


def test_a_rejected_cancel_leaves_time_to_submit_and_moves_no_expiry() -> None:
    """Ruling 8: the freeze ends early and the window after it; expiresAt never changes."""
    case = given(
        d.create(expires_at=d.START + 11 * d.MINUTE), d.policy(), d.request_approval("CANCEL")
    )
    case.later(9 * d.MINUTE + 30 * SECOND).given(d.resolve_decides("REJECTED"))
    case.timer_until("FUNDS_REPEAT")
    frozen_until = d.START + 9 * d.MINUTE + 30 * SECOND
    assert request(case, "HOLD").not_after == frozen_until + SUBMIT_MS
    case.timer_until("CREATED_WINDOW")
    assert case.now == d.START + 10 * d.MINUTE + 30 * SECOND
    frozen = given(
        d.create(expires_at=d.START + 11 * d.MINUTE), d.policy(), d.request_approval("CANCEL")
    )
    frozen.timer_until("EXPIRES_AT").is_in("FAILED", "NOT_PAID")
    assert frozen.now == d.START + 11 * d.MINUTE


# -- the payment ended with its hold unanswered ----------------------------------------------------


def test_a_payment_that_ends_with_its_hold_unanswered_requests_a_release_by_name() -> None:
    """The release names the HOLD and its notAfter. The payment is not at rest before the answer."""
    case = ended_unanswered()
    release = request(case, "RELEASE")
    assert facts(release) == (RELEASE_REF, 0, None, HOLD_REF, d.START + WINDOW_MS)
    assert release.amount == d.AMOUNT
    assert not at_rest(case.payment)
    without_timer = case.payment.__copy__()
    without_timer.deadline = without_timer.deadline_kind = None
    assert not at_rest(without_timer)


def test_a_release_by_name_is_repeated_until_it_is_answered() -> None:
    """Domain §3: the pauses grow, there is no last try, and reference and hold stay the same."""
    case = ended_unanswered(silent=False)
    pauses = []
    for number in range(1, 15):
        before = case.now
        case.given(d.deposits("RELEASE", "FAILED", code="NO_ANSWER"))
        assert needs_attention(case.payment)
        case.timer().then("FundsRequested:RELEASE")
        pauses.append(case.now - before)
        expected = (RELEASE_REF, number, None, HOLD_REF, d.START + WINDOW_MS)
        assert facts(request(case, "RELEASE")) == expected
        assert (at_rest(case.payment), needs_attention(case.payment)) == (False, True)
    assert pauses == sorted(pauses)
    assert pauses[-1] == DAY
    case.given(d.deposits("RELEASE", "NEVER_HELD"))
    assert (at_rest(case.payment), needs_attention(case.payment)) == (True, False)


def test_released_by_name_writes_the_hold_and_its_release_together() -> None:
    """Domain §3: the hold existed; nothing remains held."""
    case = ended_unanswered().when(d.deposits("RELEASE", "RELEASED"))
    case.then(f"FundsHeld:{HOLD_REF}", f"FundsReleased:{RELEASE_REF}")
    attempt = case.payment.attempt
    assert (attempt.held, attempt.released, attempt.funds) == (d.AMOUNT, d.AMOUNT, "RELEASED")
    assert at_rest(case.payment)
    case.when(d.held()).is_duplicate()


@pytest.mark.parametrize(
    ("result", "code"), [("NEVER_HELD", None), ("REFUSED", "HOLD_GONE")], ids=["never", "gone"]
)
def test_a_hold_that_was_never_carried_out_ends_the_release_that_names_it(
    result: str, code: str | None
) -> None:
    """Domain §3: NEVER_HELD is final. A RELEASE refused because the hold is gone counts too."""
    case = ended_unanswered().when(d.deposits("RELEASE", result, code=code))
    case.then("FundsHoldDeclined")
    declined = case.event(e.FundsHoldDeclined)
    assert (declined.funds_ref, declined.code) == (HOLD_REF, code or "NEVER_HELD")
    assert at_rest(case.payment)
    assert case.payment.deadline is None


@pytest.mark.parametrize(
    ("result", "code"), [("NEVER_HELD", None), ("REFUSED", "HOLD_GONE")], ids=["never", "gone"]
)
def test_held_after_never_held_is_released_again_and_is_no_conflict(
    result: str, code: str | None
) -> None:
    """Domain §3: Deposits Core says NEVER_HELD and holds later; the new release uses the hold's own
    reference.
    """
    case = ended_unanswered().given(d.deposits("RELEASE", result, code=code)).when(d.held())
    case.then("FundsHeld", "FundsRequested:RELEASE")
    again = request(case, "RELEASE")
    assert facts(again) == (f"{d.REF}R02", 0, "hold-1", None, None)
    assert not at_rest(case.payment)
    case.when(d.deposits("RELEASE", "RELEASED", number=2)).then("FundsReleased")
    assert (at_rest(case.payment), case.payment.conflicts_made) == (True, 0)


def test_a_hold_that_arrives_while_its_release_is_open_counts_as_held_until_the_answer() -> None:
    """The HOLD is delayed in a proxy, the payment ends, the RELEASE arrives first, then the
    HOLD.
    """
    case = ended_unanswered().when(d.held()).then("FundsHeld")
    assert not at_rest(case.payment)
    case.when(d.deposits("RELEASE", "RELEASED")).then("FundsReleased")
    assert (at_rest(case.payment), case.payment.conflicts_made) == (True, 0)


def test_never_held_of_a_hold_that_was_reported_held_releases_it_by_its_own_reference() -> None:
    """Domain §3: whatever Deposits Core answers to the name, the existing hold is released."""
    case = ended_unanswered().given(d.held()).when(d.deposits("RELEASE", "NEVER_HELD"))
    case.then("FundsRequestFailed", "FundsRequested:RELEASE")
    assert facts(request(case, "RELEASE"))[:3] == (f"{d.REF}R02", 0, "hold-1")
    case.given(d.deposits("RELEASE", "RELEASED", number=2))
    assert at_rest(case.payment)


def test_a_late_declined_ends_nothing_twice() -> None:
    """Domain §3: DECLINED is certain, but the open release by name must still be answered."""
    case = ended_unanswered().when(d.deposits("HOLD", "DECLINED")).then("FundsHoldDeclined")
    case.is_in("FAILED", "NOT_PAID")
    assert not at_rest(case.payment)
    case.given(d.deposits("RELEASE", "NEVER_HELD"))
    assert at_rest(case.payment)


def test_a_paid_verdict_ends_an_unsent_attempts_unanswered_hold_before_it_takes_the_money() -> None:
    """Domain §3: an unanswered hold counts as held, so nothing is debited beside it."""
    case = given(d.create(), d.policy(), d.rail("SETTLED"))
    case.given(*d.judged("SETTLED_AFTER_ALL")[:-1]).when(d.resolve("SETTLED_AFTER_ALL"))
    case.then("ReconciliationResolved", "PaymentFailed:CANCELLED", "FundsRequested:RELEASE")
    assert request(case, "RELEASE").hold_funds_ref == HOLD_REF
    case.when(d.deposits("RELEASE", "NEVER_HELD"))
    case.then("FundsHoldDeclined", "FundsRequested:DEBIT_FORCED")
    case.given(d.deposits("DEBIT_FORCED", "DEBITED"))
    assert at_rest(case.payment)
    held = given(d.create(), d.policy(), d.rail("SETTLED"), *d.judged("SETTLED_AFTER_ALL"))
    held.given(d.deposits("RELEASE", "RELEASED")).when(d.deposits("DEBIT_FORCED", "DEBITED"))
    assert at_rest(held.payment)


@pytest.mark.parametrize("answer", ["RELEASED", "NEVER_HELD"])
def test_no_retry_while_a_hold_or_its_release_is_unanswered(answer: str) -> None:
    """Ruling 2: the customer's own blocked money could cause the new hold to be declined."""
    case = given(*d.FAILED_SAFE, *d.approved("RETRY")).when(d.retry())
    case.refuses(r.FUNDS_PRECONDITION)  # the release of a hold that was reported
    case.given(d.deposits("RELEASE", "FAILED")).when(d.retry()).refuses(r.FUNDS_PRECONDITION)
    second = given(*d.RETRYABLE, *d.approved("RETRY"), d.retry())
    second.timer_until("AUTHORISED_WINDOW").given(*d.approved("RETRY", 2)).when(d.retry(3))
    second.refuses(r.FUNDS_PRECONDITION)  # the release by name of att_002's hold
    second.given(d.deposits("RELEASE", answer, attempt=2)).when(d.retry(3))
    assert request(second, "HOLD").funds_ref[:30] == external_ref(d.ID, 3)


def test_a_refused_release_by_name_waits_for_a_person_and_bars_the_retry() -> None:
    """Ruling 2, domain §3: the HOLD is still unanswered; the repeated release names it again."""
    case = given(*d.RETRYABLE, *d.approved("RETRY"), d.retry()).timer_until("AUTHORISED_WINDOW")
    case.when(d.deposits("RELEASE", "REFUSED", attempt=2, code="NO_CAPACITY"))
    case.then("FundsRequestFailed")
    case.given(*d.approved("RETRY", 2)).when(d.retry(3)).refuses(r.FUNDS_PRECONDITION)
    assert waiting_for_person(case.payment)
    case.when(d.repeat_funds("RELEASE", 2))
    again = request(case, "RELEASE")
    assert (again.funds_ref[31:], again.hold_ref) == ("02", None)
    assert again.hold_funds_ref == f"{d.REF2}H01"
    case.given(d.deposits("RELEASE", "NEVER_HELD", attempt=2, number=2))
    assert at_rest(case.payment)


# -- no answer, or a refusal, to what ends a hold --------------------------------------------------


def test_a_release_refused_because_the_hold_is_gone_counts_as_released() -> None:
    """The hold expired at Deposits Core."""
    case = given(*d.FAILED_SAFE).when(d.deposits("RELEASE", "REFUSED", code="HOLD_GONE"))
    case.then("FundsReleased")
    assert at_rest(case.payment)
    case.given(*d.approved("RETRY")).when(d.retry())
    assert request(case, "HOLD").amount == d.AMOUNT


def test_a_capture_refused_because_the_hold_is_gone_becomes_a_forced_debit() -> None:
    """Needs attention until it is debited; the money is taken once."""
    case = given(*d.SETTLED).when(d.deposits("CAPTURE", "REFUSED", code="HOLD_GONE"))
    case.then("FundsRequestFailed", "FundsReleased", "FundsRequested:DEBIT_FORCED")
    assert request(case, "DEBIT_FORCED").amount == d.AMOUNT
    assert needs_attention(case.payment)
    case.given(d.deposits("DEBIT_FORCED", "DEBITED")).is_in("SETTLED", "PAID", "DEBITED")
    attempt = case.payment.attempt
    assert (attempt.captured, attempt.released, attempt.debited) == (0, d.AMOUNT, d.AMOUNT)
    assert (at_rest(case.payment), needs_attention(case.payment)) == (True, False)


@pytest.mark.parametrize(
    ("before", "operation"),
    [(d.SETTLED, "CAPTURE"), (d.FAILED_SAFE, "RELEASE")],
    ids=["CAPTURE", "RELEASE"],
)
def test_any_other_refusal_waits_for_a_person_who_can_repeat_the_request(
    before: list[Any], operation: str
) -> None:
    """Domain §3: REFUSED is certain and closes the request; it is not repeated automatically."""
    case = given(*before).when(d.deposits(operation, "REFUSED", code="ACCOUNT_BLOCKED"))
    case.then("FundsRequestFailed")
    assert case.payment.deadline is None
    assert waiting_for_person(case.payment)
    assert needs_attention(case.payment)
    case.when(d.repeat_funds(operation))
    again = request(case, operation)
    assert (again.funds_ref[31:], again.repeat, again.hold_ref) == ("02", 0, "hold-1")
    done = {"CAPTURE": "CAPTURED", "RELEASE": "RELEASED"}[operation]
    case.given(d.deposits(operation, done, number=2))
    assert (at_rest(case.payment), needs_attention(case.payment)) == (True, False)


def test_a_refused_hold_is_repeated_by_a_person_only() -> None:
    """Domain §3: REFUSED is not DECLINED: the payment waits within its window."""
    case = given(d.create(), d.policy()).when(d.deposits("HOLD", "REFUSED", code="NO_CAPACITY"))
    case.then("FundsRequestFailed").is_in("CREATED", "OPEN", "HOLD_FAILED")
    assert case.payment.deadline_kind == "CREATED_WINDOW"
    assert needs_attention(case.payment)
    case.later(d.MINUTE).when(d.repeat_funds("HOLD"))
    assert facts(request(case, "HOLD")) == (f"{d.REF}H02", 0, None, None, d.START + WINDOW_MS)
    case.given(d.deposits("HOLD", "HELD", number=2)).is_in("SENT")
    given(d.create(), d.policy(), d.deposits("HOLD", "REFUSED")).timer().is_in("FAILED")


def test_an_unanswered_request_is_repeated_for_ever_and_a_refused_one_never() -> None:
    """Domain §3: a CAPTURE is repeated after all eight pauses too."""
    case = given(*d.SETTLED)
    for number in range(1, 13):
        case.given(d.deposits("CAPTURE", "FAILED")).timer()
        assert facts(request(case, "CAPTURE"))[:2] == (f"{d.REF}C01", number)
    case.given(d.deposits("CAPTURE", "CAPTURED"))
    assert at_rest(case.payment)
    refused = given(*d.SETTLED, d.deposits("CAPTURE", "REFUSED"))
    assert refused.payment.deadline is None


# -- what a hold is for ----------------------------------------------------------------------------


def test_nothing_is_sent_on_a_hold_of_another_amount_or_on_none() -> None:
    """Domain §1: funds HELD for this attempt, in the payment's amount."""
    less = given(d.create(), d.policy()).when(d.deposits("HOLD", "HELD", amount=d.AMOUNT - 1))
    less.then("ReconciliationRequired:FUNDS_CONTRADICTION").is_in("CREATED", "CONTRADICTED")
    sent = [x for x in less.instructions if isinstance(x, RailInstruction)]
    assert sent == []


def test_the_hold_of_an_uncertain_attempt_stays_with_it() -> None:
    """Domain §3: until the attempt is resolved; FundsReleaseDeferred is appended once."""
    case = given(*d.MARKED).is_in("FAILED", "UNCERTAIN", "RELEASE_DEFERRED")
    for _ in range(3):
        case.timer()
        assert case.payment.attempt.funds == "RELEASE_DEFERRED"
    case.when(d.rail("NOT_SUBMITTED")).is_in("FAILED", "NOT_PAID", "RELEASE_REQUESTED")


def test_a_hold_with_an_open_request_is_not_transferred() -> None:
    """RETRY_UNCERTAIN while an early release of the hold is open."""
    case = given(*d.MARKED, *d.approved("RELEASE_EARLY", 2), d.release_early())
    case.given(*d.approved("RETRY_UNCERTAIN", 3)).when(d.retry()).refuses(r.FUNDS_PRECONDITION)
    case.given(d.deposits("RELEASE", "RELEASED")).when(d.retry())
    case.then("PaymentAttemptCreated", "FundsRequested:HOLD")
