"""Histories about money, written by hand: right ones, ones under way, and wrong ones by finding."""

from __future__ import annotations

from collections.abc import Callable

from core.payment import events as e
from core.values import external_ref
from processors.replay import money
from tests.replay import story as s
from tests.replay.story import AMOUNT, Story

LESS, MORE = AMOUNT - 50, AMOUNT + 450


# -- beginnings -----------------------------------------------------------------------------------


def held() -> Story:
    return Story().then(s.created(), s.asked("HOLD")).then(s.held())


def sent() -> Story:
    return held().then(*s.authorised(), s.sent())


def captured() -> Story:
    return sent().then(*s.settled(), s.asked("CAPTURE")).then(s.moved("CAPTURE"))


def rejected() -> Story:
    """The rail rejected, with a code that makes non-payment certain."""
    return sent().then(s.failed(), s.asked("RELEASE"))


def marked() -> Story:
    """A person marked it failed: nobody knows whether it was paid."""
    return sent().then(*s.approved("MARK_FAILED")).then(s.failed(certain=False, source="operator"))


def retried(story: Story, *, go: bool = True) -> Story:
    """Attempt 2 takes the hold over."""
    story.then(*s.approved("RETRY_UNCERTAIN", s.RETRY_APPROVAL))
    story.then(s.retried(2), s.transferred(1, 2))
    return story.then(s.sent()) if go else story


# -- right histories ------------------------------------------------------------------------------


def right_rejected() -> Story:
    return rejected().then(s.moved("RELEASE"))


def right_retried_anew() -> Story:
    """The earlier hold is released, so the retry holds anew."""
    story = right_rejected().then(*s.approved("RETRY", s.RETRY_APPROVAL))
    story.then(s.retried(2), s.asked("HOLD", attempt=2)).then(s.held(attempt=2), s.sent())
    story.then(*s.settled(), s.asked("CAPTURE", attempt=2))
    return story.then(s.moved("CAPTURE", attempt=2))


def right_less() -> Story:
    """The rail settled less, a person accepted it: the rest of the hold is released."""
    story = sent().then(s.conflict("AMOUNT_DIFFERS", LESS))
    story.then(
        *s.resolved("AMOUNT_ACCEPTED", LESS), *s.settled(LESS, "cnf_001"), s.asked("CAPTURE", LESS)
    )
    story.then(s.moved("CAPTURE", LESS), s.asked("RELEASE", 50))
    return story.then(s.moved("RELEASE", 50))


def right_more() -> Story:
    """The rail settled more, a person accepted it: what no hold covers is debited."""
    story = sent().then(s.conflict("AMOUNT_DIFFERS", MORE))
    story.then(
        *s.resolved("AMOUNT_ACCEPTED", MORE), *s.settled(MORE, "cnf_001"), s.asked("CAPTURE")
    )
    story.then(s.moved("CAPTURE"), s.asked("DEBIT_FORCED", 450))
    return story.then(s.moved("DEBIT_FORCED", 450))


def right_earlier_settles() -> Story:
    """AT-16x: attempt 1 settles after attempt 2 took its hold over: the hold pays it."""
    story = retried(marked(), go=False)
    story.then(s.conflict("SETTLED_AFTER_FAILED"))
    story.then(
        *s.resolved("SETTLED_AFTER_ALL"), s.failed("CANCELLED", source="system"),
        s.transferred(2, 1), s.asked("CAPTURE"),
    )  # fmt: skip
    return story.then(s.moved("CAPTURE"))


def right_later_unpaid() -> Story:
    """AT-16y: attempt 1 settles, attempt 2 is in flight; later it is unpaid: nothing stays held."""
    story = retried(marked()).then(s.conflict("SETTLED_AFTER_FAILED"))
    story.then(
        *s.resolved("SETTLED_AFTER_ALL"), s.failed("CANCELLED", certain=False, source="system"),
        s.asked("DEBIT_FORCED"),
    )  # fmt: skip
    story.then(s.moved("DEBIT_FORCED"))
    story.then(s.confirmed(2), s.asked("RELEASE", attempt=2))
    return story.then(s.moved("RELEASE", attempt=2))


def right_early_release() -> Story:
    """RELEASE_EARLY, then settled, then returned."""
    story = marked().then(*s.approved("RELEASE_EARLY", "apr_002"))
    story.then(s.asked("RELEASE", approval="apr_002")).then(s.moved("RELEASE"))
    story.then(s.conflict("SETTLED_AFTER_FAILED"))
    story.then(*s.resolved("SETTLED_AFTER_ALL"), s.asked("DEBIT_FORCED"))
    story.then(s.moved("DEBIT_FORCED"))
    story.then(s.returned(AMOUNT, total=AMOUNT), s.asked("CREDIT"))
    return story.then(s.moved("CREDIT"))


def right_early_release_refused() -> Story:
    """A person repeats what an approval allowed and Deposits Core refused."""
    story = marked().then(*s.approved("RELEASE_EARLY", "apr_002"))
    story.then(s.asked("RELEASE", approval="apr_002")).then(s.refused("RELEASE"))
    story.then(s.asked("RELEASE", number=2)).then(s.moved("RELEASE", number=2))
    return story.then(s.confirmed(1))


def right_silent_hold() -> Story:
    """The hold was never carried out, came late all the same, and is released anew."""
    story = Story().then(s.created(), s.asked("HOLD")).then(s.unanswered("HOLD"))
    story.then(s.asked("HOLD", repeat=1))
    story.then(s.failed("TIMEOUT", source="system"), s.asked("RELEASE", frees="1"))
    story.then(s.declined("NEVER_HELD"))
    story.then(s.held(), s.asked("RELEASE", number=2))
    return story.then(s.moved("RELEASE", number=2))


def right_silent_hold_released() -> Story:
    """The release that ends an unanswered hold shows that it was there."""
    story = Story().then(s.created(), s.asked("HOLD"))
    story.then(s.failed("TIMEOUT", source="system"), s.asked("RELEASE", frees="1"))
    return story.then(s.held(), s.moved("RELEASE"))


def right_hold_gone() -> Story:
    """The hold expired at Deposits Core: the capture is refused, the customer is debited."""
    story = sent().then(*s.settled(), s.asked("CAPTURE"))
    story.then(
        s.made(e.FundsReleased, external_ref(story.payment, 1) + "C01", AMOUNT, None),
        s.asked("DEBIT_FORCED"),
    )
    return story.then(s.moved("DEBIT_FORCED"))


def right_returns() -> Story:
    """5000 and 3000 by message, then the enquiry's total 8000."""
    story = captured().then(s.returned(5_000, total=5_000), s.asked("CREDIT", 5_000))
    story.then(s.moved("CREDIT", 5_000))
    story.then(s.returned(3_000, message="RET-2", total=8_000), s.asked("CREDIT", 3_000, number=2))
    story.then(s.moved("CREDIT", 3_000, number=2))
    return story.then(s.returned(8_000, message="RET-3", enquiry=True, total=8_000))


def right_reversed() -> Story:
    """A person gives the captured money back; a part of it had been returned before."""
    story = captured().then(s.returned(5_000, total=5_000), s.asked("CREDIT", 5_000))
    story.then(s.moved("CREDIT", 5_000)).then(*s.approved("REVERSE", "apr_002"))
    story.then(s.asked("REVERSE", AMOUNT - 5_000, approval="apr_002"))
    return story.then(s.moved("REVERSE", AMOUNT - 5_000))


def second_settlement() -> Story:
    """Both attempts settled; nobody has decided about a second debit."""
    story = retried(marked()).then(*s.settled(), s.asked("CAPTURE", attempt=2))
    story.then(s.moved("CAPTURE", attempt=2)).then(s.conflict("DOUBLE_SETTLEMENT"))
    return story.then(*s.resolved("SETTLED_AFTER_ALL"))


def right_second_debit() -> Story:
    story = second_settlement().then(*s.approved("DEBIT_AGAIN", "apr_003"))
    story.then(s.asked("DEBIT_FORCED", approval="apr_003"))
    return story.then(s.moved("DEBIT_FORCED"))


def right_verdict_not_paid() -> Story:
    """Settled after all, taken, and then not paid by another verdict: it goes back."""
    story = marked().then(s.conflict("SETTLED_AFTER_FAILED"))
    story.then(*s.resolved("SETTLED_AFTER_ALL"), s.asked("CAPTURE")).then(s.moved("CAPTURE"))
    story.then(s.conflict("REJECTED_AFTER_SETTLED", name="cnf_002", report="REJECTED"))
    story.then(*s.resolved("NOT_PAID", name="cnf_002"), s.asked("REVERSE"))
    return story.then(s.moved("REVERSE"))


def right_verdict_returned() -> Story:
    """Returned before we knew that it was settled."""
    story = marked().then(s.conflict("RETURNED_BEFORE_SETTLED", report="RETURNED"))
    story.then(*s.resolved("RETURNED", AMOUNT), s.asked("RELEASE"))
    return story.then(s.moved("RELEASE"))


UNDER_WAY = [held, sent, rejected, marked]
RIGHT = [captured, second_settlement] + [
    each for name, each in sorted(globals().items()) if name.startswith("right_")
]


# -- wrong histories ------------------------------------------------------------------------------


def hold_never_released() -> Story:
    return sent().then(s.failed())


def hold_given_up() -> Story:
    """Issue 10, finding 3: silence, the window passes, nobody asks for a release."""
    story = Story().then(s.created(), s.asked("HOLD")).then(s.unanswered("HOLD"))
    return story.then(s.failed("TIMEOUT", source="system"))


def debited_and_still_held() -> Story:
    """Issue 10, finding 4: attempt 1 settled and was debited, the later hold stays for ever."""
    story = retried(marked()).then(s.conflict("SETTLED_AFTER_FAILED"))
    story.then(
        *s.resolved("SETTLED_AFTER_ALL"), s.failed("CANCELLED", certain=False, source="system"),
        s.asked("DEBIT_FORCED"),
    )  # fmt: skip
    story.then(s.moved("DEBIT_FORCED"))
    return story.then(s.confirmed(2))


def wrong_amount_by_verdict() -> Story:
    """Issue 10, finding 5: the rail settled 125.00, the verdict captures 125.50."""
    story = sent().then(s.conflict("AMOUNT_DIFFERS", LESS))
    story.then(*s.resolved("SETTLED_AFTER_ALL"), *s.settled(AMOUNT, "cnf_001"), s.asked("CAPTURE"))
    return story.then(s.moved("CAPTURE"))


def debit_beside_hold() -> Story:
    """The later attempt was never sent: its hold should have paid."""
    story = retried(marked(), go=False)
    story.then(s.conflict("SETTLED_AFTER_FAILED"))
    return story.then(
        *s.resolved("SETTLED_AFTER_ALL"), s.failed("CANCELLED", source="system"),
        s.asked("DEBIT_FORCED"),
    )  # fmt: skip


def held_twice() -> Story:
    """A retry while the RELEASE of the earlier hold is open."""
    story = rejected().then(*s.approved("RETRY", s.RETRY_APPROVAL))
    return story.then(s.retried(2), s.asked("HOLD", attempt=2))


def double_capture() -> Story:
    return captured().then(s.asked("CAPTURE", number=2)).then(s.moved("CAPTURE", number=2))


def captured_under_one_reference_twice() -> Story:
    return captured().then(s.moved("CAPTURE"))


def captured_unasked() -> Story:
    return sent().then(*s.settled()).then(s.moved("CAPTURE"))


def captured_another_amount() -> Story:
    return sent().then(*s.settled(), s.asked("CAPTURE")).then(s.moved("CAPTURE", LESS))


def captured_before_settled() -> Story:
    return sent().then(s.asked("CAPTURE"))


def captured_less_and_left_so() -> Story:
    story = sent().then(*s.settled(), s.asked("CAPTURE", LESS)).then(s.moved("CAPTURE", LESS))
    return story.then(s.asked("RELEASE", 50)).then(s.moved("RELEASE", 50))


def released_more_than_held() -> Story:
    return right_rejected().then(s.asked("RELEASE", number=2)).then(s.moved("RELEASE", number=2))


def released_twice_at_once() -> Story:
    return rejected().then(s.asked("RELEASE", number=2))


def released_uncertain() -> Story:
    return marked().then(s.asked("RELEASE"))


def released_under_a_conflict() -> Story:
    return sent().then(s.failed(), s.conflict("SETTLED_AFTER_FAILED"), s.asked("RELEASE"))


def released_before_the_settlement_is_taken() -> Story:
    story = retried(marked(), go=False).then(s.conflict("SETTLED_AFTER_FAILED"))
    return story.then(
        *s.resolved("SETTLED_AFTER_ALL"), s.failed("CANCELLED", source="system"),
        s.asked("RELEASE", attempt=2),
    )  # fmt: skip


def freed_twice_at_once() -> Story:
    story = Story().then(s.created(), s.asked("HOLD"))
    story.then(s.failed("TIMEOUT", source="system"), s.asked("RELEASE", frees="1"))
    return story.then(s.asked("RELEASE", number=2, frees="1"))


def transferred_while_released() -> Story:
    return (
        rejected()
        .then(*s.approved("RETRY", s.RETRY_APPROVAL))
        .then(s.retried(2), s.transferred(1, 2))
    )


def transferred_more_than_held() -> Story:
    return sent().then(s.failed(), s.transferred(1, 2, MORE))


def credited_twice() -> Story:
    """Issue 10, finding 2: a REVERSE while a CREDIT that had no answer will be repeated."""
    story = captured().then(s.returned(AMOUNT), s.asked("CREDIT")).then(s.unanswered("CREDIT"))
    return story.then(*s.approved("REVERSE", "apr_002")).then(
        s.asked("REVERSE", approval="apr_002")
    )


def given_back_what_was_never_taken() -> Story:
    return right_rejected().then(s.asked("CREDIT"), s.moved("CREDIT"))


def second_settlement_debited() -> Story:
    return second_settlement().then(s.asked("DEBIT_FORCED"))


def settled_another_amount() -> Story:
    return sent().then(*s.settled(LESS))


def accepted_another_amount() -> Story:
    return (
        sent().then(s.conflict("AMOUNT_DIFFERS", LESS)).then(*s.resolved("AMOUNT_ACCEPTED", MORE))
    )


def returned_beyond() -> Story:
    return captured().then(s.returned(MORE, total=MORE))


def returned_counted_wrongly() -> Story:
    story = captured().then(s.returned(5_000, total=5_000))
    return story.then(s.returned(3_000, message="RET-2", total=5_000))


def repeated_for_more() -> Story:
    return rejected().then(s.unanswered("RELEASE")).then(s.asked("RELEASE", MORE, repeat=1))


WRONG: list[tuple[Callable[[], Story], str]] = [
    (hold_never_released, money.HELD_AT_REST),
    (hold_given_up, money.HELD_AT_REST),
    (debited_and_still_held, money.HELD_AT_REST),
    (wrong_amount_by_verdict, money.TAKEN_BEYOND_SETTLED),
    (wrong_amount_by_verdict, money.SETTLED_OTHER_AMOUNT),
    (debit_beside_hold, money.BLOCKED_BEYOND_SETTLED),
    (held_twice, money.BLOCKED_BEYOND_SETTLED),
    (double_capture, money.CAPTURED_TWICE),
    (double_capture, money.TAKEN_BEYOND_SETTLED),
    (captured_under_one_reference_twice, money.MOVED_TWICE),
    (captured_unasked, money.NOT_ASKED),
    (captured_another_amount, money.MOVED_OTHER_AMOUNT),
    (captured_before_settled, money.TAKEN_BEYOND_SETTLED),
    (captured_less_and_left_so, money.NOT_EVEN_AT_REST),
    (released_more_than_held, money.HOLD_OVERDRAWN),
    (released_twice_at_once, money.HOLD_ASKED_TWICE),
    (released_uncertain, money.RELEASED_UNCERTAIN),
    (released_under_a_conflict, money.RELEASED_UNCERTAIN),
    (released_before_the_settlement_is_taken, money.RELEASED_UNCERTAIN),
    (freed_twice_at_once, money.HOLD_ASKED_TWICE),
    (transferred_while_released, money.HOLD_MOVED_WHILE_ASKED),
    (transferred_more_than_held, money.HOLD_OVERDRAWN),
    (credited_twice, money.GIVEN_BACK_BEYOND_TAKEN),
    (given_back_what_was_never_taken, money.GIVEN_BACK_BEYOND_TAKEN),
    (second_settlement_debited, money.TAKEN_AGAIN_UNAPPROVED),
    (settled_another_amount, money.SETTLED_OTHER_AMOUNT),
    (accepted_another_amount, money.SETTLED_OTHER_AMOUNT),
    (returned_beyond, money.RETURNED_WRONGLY),
    (returned_counted_wrongly, money.RETURNED_WRONGLY),
    (repeated_for_more, money.MOVED_OTHER_AMOUNT),
]
