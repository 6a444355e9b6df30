"""Money histories that no correct core decides, each with the finding that names it."""

from __future__ import annotations

from collections.abc import Callable

from processors.replay.money import findings as money
from tests.processors.replay import story as s
from tests.processors.replay import story_verdicts as v
from tests.processors.replay.money.money_histories import (
    LESS,
    MORE,
    captured,
    marked,
    rejected,
    retried,
    right_rejected,
    second_settlement,
    sent,
)
from tests.processors.replay.story import AMOUNT, Story


def hold_never_released() -> Story:
    return sent().then(s.failed())


def hold_given_up() -> Story:
    """Silence, the window passes, and no release is requested."""
    story = Story().then(s.created(), s.requested("HOLD")).then(s.unanswered("HOLD"))
    return story.then(s.failed("TIMEOUT", source="system"))


def debited_and_still_held() -> Story:
    """Attempt 1 settled and was debited; the later hold stays forever."""
    story = retried(marked()).then(v.conflict("SETTLED_AFTER_FAILED"))
    story.then(
        *v.resolved("SETTLED_AFTER_ALL"), s.failed("CANCELLED", certain=False, source="system"),
        s.requested("DEBIT_FORCED"),
    )  # fmt: skip
    story.then(s.moved("DEBIT_FORCED"))
    return story.then(v.confirmed(2))


def wrong_amount_by_verdict() -> Story:
    """The rail settled 125.00; the verdict captures 125.50."""
    story = sent().then(v.conflict("AMOUNT_DIFFERS", LESS))
    story.then(
        *v.resolved("SETTLED_AFTER_ALL"), *s.settled(AMOUNT, "cnf_001"), s.requested("CAPTURE")
    )
    return story.then(s.moved("CAPTURE"))


def debit_beside_hold() -> Story:
    """The later attempt was never sent: its hold should have paid."""
    story = retried(marked(), go=False)
    story.then(v.conflict("SETTLED_AFTER_FAILED"))
    return story.then(
        *v.resolved("SETTLED_AFTER_ALL"), s.failed("CANCELLED", source="system"),
        s.requested("DEBIT_FORCED"),
    )  # fmt: skip


def held_twice() -> Story:
    """A retry while the RELEASE of the earlier hold is open."""
    story = rejected().then(*v.approved("RETRY", s.RETRY_APPROVAL))
    return story.then(s.retried(2), s.requested("HOLD", attempt=2))


def double_capture() -> Story:
    return captured().then(s.requested("CAPTURE", number=2)).then(s.moved("CAPTURE", number=2))


def captured_under_one_reference_twice() -> Story:
    return captured().then(s.moved("CAPTURE"))


def captured_for_each_attempt() -> Story:
    story = second_settlement().then(*v.approved("DEBIT_AGAIN", "apr_003"))
    return story.then(s.requested("CAPTURE", approval="apr_003"), s.moved("CAPTURE"))


def captured_unasked() -> Story:
    return sent().then(*s.settled()).then(s.moved("CAPTURE"))


def captured_another_amount() -> Story:
    return sent().then(*s.settled(), s.requested("CAPTURE")).then(s.moved("CAPTURE", LESS))


def captured_before_settled() -> Story:
    return sent().then(s.requested("CAPTURE"))


def captured_less_and_left_so() -> Story:
    story = sent().then(*s.settled(), s.requested("CAPTURE", LESS)).then(s.moved("CAPTURE", LESS))
    return story.then(s.requested("RELEASE", 50)).then(s.moved("RELEASE", 50))


def released_more_than_held() -> Story:
    return (
        right_rejected().then(s.requested("RELEASE", number=2)).then(s.moved("RELEASE", number=2))
    )


def released_twice_at_once() -> Story:
    return rejected().then(s.requested("RELEASE", number=2))


def released_uncertain() -> Story:
    return marked().then(s.requested("RELEASE"))


def released_again_under_a_conflict() -> Story:
    """Refused and repeated by a person while the rail says that it has the attempt."""
    story = rejected().then(s.refused("RELEASE")).then(v.conflict("ACKNOWLEDGED_AFTER_FAILED"))
    return story.then(s.requested("RELEASE", number=2))


def credited_less_by_verdict_and_left_so() -> Story:
    """A person accepted the amount that Deposits Core credited; the rest is never requested."""
    story = captured().then(v.returned(AMOUNT, total=AMOUNT), s.requested("CREDIT"))
    story.then(v.conflict("FUNDS_CONTRADICTION", LESS, report="CREDIT:CREDITED:K01"))
    return story.then(*v.resolved("AMOUNT_ACCEPTED", LESS), s.moved("CREDIT", LESS))


def released_under_a_conflict() -> Story:
    return sent().then(s.failed(), v.conflict("SETTLED_AFTER_FAILED"), s.requested("RELEASE"))


def released_before_the_settlement_is_taken() -> Story:
    story = retried(marked(), go=False).then(v.conflict("SETTLED_AFTER_FAILED"))
    return story.then(
        *v.resolved("SETTLED_AFTER_ALL"), s.failed("CANCELLED", source="system"),
        s.requested("RELEASE", attempt=2),
    )  # fmt: skip


def freed_twice_at_once() -> Story:
    story = Story().then(s.created(), s.requested("HOLD"))
    story.then(s.failed("TIMEOUT", source="system"), s.requested("RELEASE", frees="1"))
    return story.then(s.requested("RELEASE", number=2, frees="1"))


def transferred_while_released() -> Story:
    return (
        rejected()
        .then(*v.approved("RETRY", s.RETRY_APPROVAL))
        .then(s.retried(2), s.transferred(1, 2))
    )


def transferred_more_than_held() -> Story:
    return sent().then(s.failed(), s.transferred(1, 2, MORE))


def credited_twice() -> Story:
    """A REVERSE while an unanswered CREDIT will be repeated."""
    story = captured().then(v.returned(AMOUNT), s.requested("CREDIT")).then(s.unanswered("CREDIT"))
    return story.then(*v.approved("REVERSE", "apr_002")).then(
        s.requested("REVERSE", approval="apr_002")
    )


def given_back_what_was_never_taken() -> Story:
    return right_rejected().then(s.requested("CREDIT"), s.moved("CREDIT"))


def second_settlement_debited() -> Story:
    return second_settlement().then(s.requested("DEBIT_FORCED"))


def settled_another_amount() -> Story:
    return sent().then(*s.settled(LESS))


def accepted_another_amount() -> Story:
    return (
        sent().then(v.conflict("AMOUNT_DIFFERS", LESS)).then(*v.resolved("AMOUNT_ACCEPTED", MORE))
    )


def returned_beyond() -> Story:
    return captured().then(v.returned(MORE, total=MORE))


def returned_counted_wrongly() -> Story:
    story = captured().then(v.returned(5_000, total=5_000))
    return story.then(v.returned(3_000, message="RET-2", total=5_000))


def repeated_for_more() -> Story:
    return rejected().then(s.unanswered("RELEASE")).then(s.requested("RELEASE", MORE, repeat=1))


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
    (captured_for_each_attempt, money.CAPTURED_TWICE),
    (captured_unasked, money.NOT_ASKED),
    (captured_another_amount, money.MOVED_OTHER_AMOUNT),
    (captured_before_settled, money.TAKEN_BEYOND_SETTLED),
    (captured_less_and_left_so, money.NOT_EVEN_AT_REST),
    (released_more_than_held, money.HOLD_OVERDRAWN),
    (released_twice_at_once, money.HOLD_ASKED_TWICE),
    (released_uncertain, money.RELEASED_UNCERTAIN),
    (released_again_under_a_conflict, money.RELEASED_UNCERTAIN),
    (credited_less_by_verdict_and_left_so, money.NOT_EVEN_AT_REST),
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
