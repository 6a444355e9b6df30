"""Handwritten money histories: prefixes, correct ones, and ones in progress."""

from __future__ import annotations

from core.payment import events as e
from core.values import external_ref
from tests.processors.replay import story as s
from tests.processors.replay import story_verdicts as v
from tests.processors.replay.story import AMOUNT, Story

LESS, MORE = AMOUNT - 50, AMOUNT + 450


# -- prefixes --------------------------------------------------------------------------------------


def held() -> Story:
    return Story().then(s.created(), s.requested("HOLD")).then(s.held())


def sent() -> Story:
    return held().then(*s.authorised(), s.sent())


def captured() -> Story:
    return sent().then(*s.settled(), s.requested("CAPTURE")).then(s.moved("CAPTURE"))


def rejected() -> Story:
    """The rail rejected it with a code that makes non-payment certain."""
    return sent().then(s.failed(), s.requested("RELEASE"))


def marked() -> Story:
    """A person marked it failed: whether it was paid is unknown."""
    return sent().then(*v.approved("MARK_FAILED")).then(s.failed(certain=False, source="operator"))


def retried(story: Story, *, go: bool = True) -> Story:
    """The hold is transferred to attempt 2."""
    story.then(*v.approved("RETRY_UNCERTAIN", s.RETRY_APPROVAL))
    story.then(s.retried(2), s.transferred(1, 2))
    return story.then(s.passed(), s.sent()) if go else story


# -- correct histories -----------------------------------------------------------------------------


def right_rejected() -> Story:
    return rejected().then(s.moved("RELEASE"))


def right_retried_anew() -> Story:
    """The earlier hold is released, so the retry holds again."""
    story = right_rejected().then(*v.approved("RETRY", s.RETRY_APPROVAL))
    story.then(s.retried(2), s.requested("HOLD", attempt=2)).then(s.held(attempt=2))
    story.then(s.passed(), s.sent())
    story.then(*s.settled(), s.requested("CAPTURE", attempt=2))
    return story.then(s.moved("CAPTURE", attempt=2))


def right_less() -> Story:
    """The rail settled less and a person accepted it: the rest of the hold is released."""
    story = sent().then(v.conflict("AMOUNT_DIFFERS", LESS))
    story.then(
        *v.resolved("AMOUNT_ACCEPTED", LESS),
        *s.settled(LESS, "cnf_001"),
        s.requested("CAPTURE", LESS),
    )
    story.then(s.moved("CAPTURE", LESS), s.requested("RELEASE", 50))
    return story.then(s.moved("RELEASE", 50))


def right_more() -> Story:
    """The rail settled more and a person accepted it: what exceeds the hold is debited."""
    story = sent().then(v.conflict("AMOUNT_DIFFERS", MORE))
    story.then(
        *v.resolved("AMOUNT_ACCEPTED", MORE), *s.settled(MORE, "cnf_001"), s.requested("CAPTURE")
    )
    story.then(s.moved("CAPTURE"), s.requested("DEBIT_FORCED", 450))
    return story.then(s.moved("DEBIT_FORCED", 450))


def right_earlier_settles() -> Story:
    """AT-16x: attempt 1 settles after its hold was transferred to attempt 2: that hold pays it."""
    story = retried(marked(), go=False)
    story.then(v.conflict("SETTLED_AFTER_FAILED"))
    story.then(
        *v.resolved("SETTLED_AFTER_ALL"), s.failed("CANCELLED", source="system"),
        s.transferred(2, 1), s.requested("CAPTURE"),
    )  # fmt: skip
    return story.then(s.moved("CAPTURE"))


def right_later_unpaid() -> Story:
    """AT-16y: attempt 1 settles while attempt 2 is in progress; later that is unpaid: nothing stays
    held.
    """
    story = retried(marked()).then(v.conflict("SETTLED_AFTER_FAILED"))
    story.then(
        *v.resolved("SETTLED_AFTER_ALL"), s.failed("CANCELLED", certain=False, source="system"),
        s.requested("DEBIT_FORCED"),
    )  # fmt: skip
    story.then(s.moved("DEBIT_FORCED"))
    story.then(v.confirmed(2), s.requested("RELEASE", attempt=2))
    return story.then(s.moved("RELEASE", attempt=2))


def right_hold_refused() -> Story:
    """Nothing was held, and the hold is not requested again."""
    story = Story().then(s.created(), s.requested("HOLD")).then(s.refused("HOLD"))
    return story.then(s.failed("TIMEOUT", source="system"))


def right_early_release(*instead: s.Maker) -> Story:
    """RELEASE_EARLY, then settled, then returned. `instead`: the answer to the debit."""
    story = marked().then(*v.approved("RELEASE_EARLY", "apr_002"))
    story.then(s.requested("RELEASE", approval="apr_002")).then(s.moved("RELEASE"))
    story.then(v.conflict("SETTLED_AFTER_FAILED"))
    story.then(*v.resolved("SETTLED_AFTER_ALL"), s.requested("DEBIT_FORCED"))
    if instead:
        return story.then(*instead)
    story.then(s.moved("DEBIT_FORCED"))
    story.then(v.returned(AMOUNT, total=AMOUNT), s.requested("CREDIT"))
    return story.then(s.moved("CREDIT"))


def right_early_release_refused() -> Story:
    """A person repeats an approved request that Deposits Core refused."""
    story = marked().then(*v.approved("RELEASE_EARLY", "apr_002"))
    story.then(s.requested("RELEASE", approval="apr_002")).then(s.refused("RELEASE"))
    story.then(s.requested("RELEASE", number=2)).then(s.moved("RELEASE", number=2))
    return story.then(v.confirmed(1))


def right_silent_hold() -> Story:
    """The hold was reported never held, arrived late, and is released again."""
    story = Story().then(s.created(), s.requested("HOLD")).then(s.unanswered("HOLD"))
    story.then(s.requested("HOLD", repeat=1))
    story.then(s.failed("TIMEOUT", source="system"), s.requested("RELEASE", frees="1"))
    story.then(s.declined("NEVER_HELD"))
    story.then(s.held(), s.requested("RELEASE", number=2))
    return story.then(s.moved("RELEASE", number=2))


def right_silent_hold_released() -> Story:
    """The release that ends an unanswered hold shows that the hold existed."""
    story = Story().then(s.created(), s.requested("HOLD"))
    story.then(s.failed("TIMEOUT", source="system"), s.requested("RELEASE", frees="1"))
    return story.then(s.held(), s.moved("RELEASE"))


def right_hold_gone() -> Story:
    """The hold expired at Deposits Core: the capture is refused and the customer debited."""
    story = sent().then(*s.settled(), s.requested("CAPTURE"))
    story.then(
        s.made(
            e.FundsReleased,
            funds_ref=external_ref(story.payment, 1) + "C01",
            amount=AMOUNT,
            ledger_ref=None,
        ),
        s.requested("DEBIT_FORCED"),
    )
    return story.then(s.moved("DEBIT_FORCED"))


def right_returns() -> Story:
    """5000 and 3000 by message, then the enquiry's total 8000, and later 9000."""
    story = captured().then(v.returned(5_000, total=5_000), s.requested("CREDIT", 5_000))
    story.then(s.moved("CREDIT", 5_000))
    story.then(
        v.returned(3_000, message="RET-2", total=8_000), s.requested("CREDIT", 3_000, number=2)
    )
    story.then(s.moved("CREDIT", 3_000, number=2))
    story.then(v.returned(8_000, message="RET-3", enquiry=True, total=8_000))
    story.then(v.returned(9_000, message=None, total=9_000), s.requested("CREDIT", 1_000, number=3))
    return story.then(s.moved("CREDIT", 1_000, number=3))


def right_return_noted() -> Story:
    """A verdict's amount is a total; the return that it covered is noted, and the next
    one adds up.
    """
    story = marked().then(v.conflict("SETTLED_AFTER_FAILED"))
    story.then(*v.resolved("RETURNED", 5_000), s.requested("CAPTURE", AMOUNT - 5_000))
    story.then(s.moved("CAPTURE", AMOUNT - 5_000), s.requested("RELEASE", 5_000))
    story.then(s.moved("RELEASE", 5_000)).then(v.noted_return(5_000, "RET-1"))
    story.then(v.returned(3_000, message="RET-2", total=8_000), s.requested("CREDIT", 3_000))
    return story.then(s.moved("CREDIT", 3_000))


def right_reversed() -> Story:
    """A person reverses the capture; part of it had been returned before."""
    story = captured().then(v.returned(5_000, total=5_000), s.requested("CREDIT", 5_000))
    story.then(s.moved("CREDIT", 5_000)).then(*v.approved("REVERSE", "apr_002"))
    story.then(s.requested("REVERSE", AMOUNT - 5_000, approval="apr_002"))
    return story.then(s.moved("REVERSE", AMOUNT - 5_000))


def right_reversal_asked_again() -> Story:
    """Refused and repeated by a person, the reversal reduces the amount once."""
    story = captured().then(*v.approved("REVERSE", "apr_002"))
    story.then(s.requested("REVERSE", 5_000, approval="apr_002")).then(s.refused("REVERSE"))
    story.then(s.requested("REVERSE", 5_000, number=2))
    return story.then(s.moved("REVERSE", 5_000, number=2))


def second_settlement() -> Story:
    """Both attempts settled; no second debit has been approved."""
    story = retried(marked()).then(*s.settled(), s.requested("CAPTURE", attempt=2))
    story.then(s.moved("CAPTURE", attempt=2)).then(v.conflict("DOUBLE_SETTLEMENT"))
    return story.then(*v.resolved("SETTLED_AFTER_ALL"))


def right_second_debit() -> Story:
    story = second_settlement().then(*v.approved("DEBIT_AGAIN", "apr_003"))
    story.then(s.requested("DEBIT_FORCED", approval="apr_003"))
    return story.then(s.moved("DEBIT_FORCED"))


def _settled_after_all(amount: int | None, report: str) -> Story:
    story = marked().then(v.conflict("SETTLED_AFTER_FAILED", amount, report=report))
    story.then(*v.resolved("SETTLED_AFTER_ALL"), s.requested("CAPTURE"))
    return story.then(s.moved("CAPTURE"))


def right_settled_silently() -> Story:
    """A settlement without an amount is for the instructed amount."""
    return _settled_after_all(None, "SETTLED")


def right_settled_by_a_return() -> Story:
    """The amount of a return is not that of the settlement."""
    return _settled_after_all(LESS, "RETURNED")


def right_verdict_not_paid() -> Story:
    """SETTLED_AFTER_ALL, debited, then NOT_PAID by another verdict: it is given back."""
    story = marked().then(v.conflict("SETTLED_AFTER_FAILED"))
    story.then(*v.resolved("SETTLED_AFTER_ALL"), s.requested("CAPTURE")).then(s.moved("CAPTURE"))
    story.then(v.conflict("REJECTED_AFTER_SETTLED", name="cnf_002", report="REJECTED"))
    story.then(*v.resolved("NOT_PAID", name="cnf_002"), s.requested("REVERSE"))
    return story.then(s.moved("REVERSE"))


def _retry_beside_a_reversal(*answers: s.Maker) -> Story:
    """A verdict gives the money back; meanwhile a retry holds again and settles."""
    story = marked().then(v.conflict("SETTLED_AFTER_FAILED"))
    story.then(*v.resolved("SETTLED_AFTER_ALL"), s.requested("CAPTURE")).then(s.moved("CAPTURE"))
    story.then(v.conflict("REJECTED_AFTER_SETTLED", name="cnf_002", report="REJECTED"))
    story.then(*v.resolved("NOT_PAID", name="cnf_002"), s.requested("REVERSE"))
    for answer in answers:
        story.then(answer)
    story.then(*v.approved("RETRY", s.RETRY_APPROVAL))
    story.then(s.retried(2), s.requested("HOLD", attempt=2)).then(s.held(attempt=2))
    return story.then(s.passed(), s.sent())


def right_retry_beside_an_open_reversal() -> Story:
    """Money being given back does not count as debited."""
    story = _retry_beside_a_reversal().then(s.failed(), s.requested("RELEASE", attempt=2))
    return story.then(s.moved("REVERSE")).then(s.moved("RELEASE", attempt=2))


def right_retry_beside_a_refused_reversal() -> Story:
    """What Deposits Core refused waits for a person, who repeats it."""
    story = _retry_beside_a_reversal(s.refused("REVERSE"))
    story.then(s.failed(), s.requested("RELEASE", attempt=2))
    story.then(s.moved("RELEASE", attempt=2)).then(s.requested("REVERSE", number=2))
    return story.then(s.moved("REVERSE", number=2))


def right_captured_once() -> Story:
    """The payment was captured and reversed: the next hold is released and the customer debited."""
    story = _retry_beside_a_reversal(s.moved("REVERSE"))
    story.then(*s.settled(), s.requested("RELEASE", attempt=2))
    story.then(s.moved("RELEASE", attempt=2), s.requested("DEBIT_FORCED", attempt=2))
    return story.then(s.moved("DEBIT_FORCED", attempt=2))


def right_second_after_a_return() -> Story:
    """The first settlement was returned in full: the next one is debited without an approval."""
    story = retried(marked()).then(*s.settled(), s.requested("CAPTURE", attempt=2))
    story.then(s.moved("CAPTURE", attempt=2))
    story.then(v.returned(AMOUNT, total=AMOUNT), s.requested("CREDIT", attempt=2))
    story.then(s.moved("CREDIT", attempt=2)).then(v.conflict("DOUBLE_SETTLEMENT"))
    story.then(*v.resolved("SETTLED_AFTER_ALL"), s.requested("DEBIT_FORCED"))
    return story.then(s.moved("DEBIT_FORCED"))


def right_refused_and_not_needed() -> Story:
    """A capture is refused, then the verdict is NOT_PAID: it is not repeated."""
    story = sent().then(*s.settled(), s.requested("CAPTURE")).then(s.refused("CAPTURE"))
    story.then(v.conflict("REJECTED_AFTER_SETTLED", report="REJECTED"))
    story.then(*v.resolved("NOT_PAID"), s.requested("RELEASE"))
    return story.then(s.moved("RELEASE"))


def right_reversal_not_needed() -> Story:
    """A reversal is refused, then a verdict says that the payment was paid."""
    story = _retry_beside_a_reversal(s.refused("REVERSE"))
    story.then(s.failed(), s.requested("RELEASE", attempt=2)).then(s.moved("RELEASE", attempt=2))
    story.then(v.conflict("REPORTED_AFTER_NOT_PAID", name="cnf_003"))
    return story.then(*v.resolved("SETTLED_AFTER_ALL", name="cnf_003"))


def right_amount_of_deposits_core() -> Story:
    """Deposits Core credited less than requested, and a person accepted that: the rest is
    requested.
    """
    story = captured().then(v.returned(AMOUNT, total=AMOUNT), s.requested("CREDIT"))
    story.then(v.conflict("FUNDS_CONTRADICTION", LESS, report="CREDIT:CREDITED:K01"))
    story.then(
        *v.resolved("AMOUNT_ACCEPTED", LESS), s.moved("CREDIT", LESS),
        s.requested("CREDIT", 50, number=2),
    )  # fmt: skip
    return story.then(s.moved("CREDIT", 50, number=2))


def _returned_partly(amount: int | None, report: str) -> Story:
    """Verdicts: the instructed amount settled, and all but 50 cents came back."""
    story = marked().then(v.conflict("DOUBLE_SETTLEMENT", amount, report=report))
    story.then(*v.resolved("RETURNED", LESS), s.requested("CAPTURE", 50))
    story.then(s.moved("CAPTURE", 50), s.requested("RELEASE", LESS))
    return story.then(s.moved("RELEASE", LESS))


def right_verdict_returned_partly() -> Story:
    return _returned_partly(LESS, "RETURNED")


def right_verdict_returned_silently() -> Story:
    return _returned_partly(None, "SETTLED")


def right_release_refused_of_nothing() -> Story:
    """The hold that the release names turns out declined: nothing has to be repeated."""
    return free_refused().then(s.declined("LIMIT"))


def right_resumed() -> Story:
    """Parked, resumed, and finished."""
    story = rejected().then(s.made(e.ProcessingSuspended, error="defect"))
    story.then(s.made(e.ProcessingResumed, requested_by="ann", text="mended"))
    return story.then(s.moved("RELEASE"))


def right_verdict_returned() -> Story:
    """Returned before it was known to be settled."""
    story = marked().then(v.conflict("RETURNED_BEFORE_SETTLED", report="RETURNED"))
    story.then(*v.resolved("RETURNED", AMOUNT), s.requested("RELEASE"))
    return story.then(s.moved("RELEASE"))


def release_refused() -> Story:
    """The hold exists until a person repeats its release."""
    return rejected().then(s.refused("RELEASE"))


def free_refused() -> Story:
    """Whether the hold exists is unknown; a person repeats the release."""
    story = Story().then(s.created(), s.requested("HOLD"))
    story.then(s.failed("TIMEOUT", source="system"), s.requested("RELEASE", frees="1"))
    return story.then(s.refused("RELEASE"))


def debit_refused() -> Story:
    return right_early_release(s.refused("DEBIT_FORCED"))


def contradicted_by_deposits_core() -> Story:
    """Its contradiction says nothing about the rail: a rejected attempt's hold is released."""
    story = sent().then(v.conflict("FUNDS_CONTRADICTION", LESS, report="HOLD:DECLINED:H01"))
    return story.then(s.failed(), s.requested("RELEASE"))


def reversal_open_beside_a_hold_that_never_was() -> Story:
    """NEVER_HELD ends the release that names the hold, and nothing else."""
    story = marked().then(v.conflict("SETTLED_AFTER_FAILED"))
    story.then(*v.resolved("SETTLED_AFTER_ALL"), s.requested("CAPTURE")).then(s.moved("CAPTURE"))
    story.then(v.conflict("REJECTED_AFTER_SETTLED", name="cnf_002", report="REJECTED"))
    story.then(*v.resolved("NOT_PAID", name="cnf_002"), s.requested("REVERSE"))
    story.then(*v.approved("RETRY", s.RETRY_APPROVAL))
    story.then(s.retried(2), s.requested("HOLD", attempt=2))
    story.then(s.failed("TIMEOUT", source="system"), s.requested("RELEASE", attempt=2, frees="1"))
    return story.then(s.declined("NEVER_HELD", attempt=2))


UNDER_WAY = [held, sent, rejected, marked, second_settlement, release_refused, free_refused]
UNDER_WAY += [debit_refused, contradicted_by_deposits_core]
UNDER_WAY += [reversal_open_beside_a_hold_that_never_was]
RIGHT = [captured] + [each for name, each in sorted(globals().items()) if name.startswith("right_")]
