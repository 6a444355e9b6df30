"""What `npp control recover` counts as lost: a payment instruction without its event in the
journal.
"""

from __future__ import annotations

import pytest

from app.recovered_submissions import Submissions, report_of
from core.values import external_ref, payment_intent_id
from engine.partitioner import partition_of

PARTITIONS = 3
PAYMENT = payment_intent_id("mobile-app", "key-0001")
KEY = PAYMENT.encode()
FIRST, SECOND = external_ref(PAYMENT, 1), external_ref(PAYMENT, 2)
EVERY = frozenset(range(PARTITIONS))


def submissions_of(*references: str) -> Submissions:
    submissions = Submissions(EVERY, PARTITIONS)
    for reference in references:
        submissions.stands(reference)
    return submissions


def test_an_instruction_with_its_event_in_the_journal_is_not_reported() -> None:
    """If the journal lost nothing, nothing is reported."""
    submissions = submissions_of(FIRST, SECOND)
    submissions.sent(FIRST)
    assert submissions.found() == [SECOND]
    submissions.sent(SECOND)
    assert submissions.found() == []


def test_instructions_of_other_partitions_are_ignored() -> None:
    other = Submissions(EVERY - {partition_of(KEY, PARTITIONS)}, PARTITIONS)
    other.stands(FIRST)
    other.stands("not a reference of ours")
    assert other.found() == []


@pytest.mark.parametrize(
    ("reference", "known", "attempts", "created", "orphaned"),
    [
        (FIRST, True, 1, False, False),
        (SECOND, True, 1, False, True),
        (SECOND, True, 2, False, False),
        (FIRST, False, 0, True, False),
        (FIRST, False, 0, False, True),
        (SECOND, False, 0, True, True),
    ],
    ids=[
        "known and made",
        "its retry is lost",
        "its retry is made",
        "created again",
        "its command is lost too",
        "created again, the retry lost",
    ],
)
def test_an_instruction_that_no_input_repeats_is_reported(
    reference: str, known: bool, attempts: int, created: bool, orphaned: bool
) -> None:
    """Ruling 5: a person must know, since no input of the payment would repeat it."""
    submissions = submissions_of(reference)
    submissions.made(KEY, attempts)
    if created:
        submissions.will_be_created(KEY)
    assert submissions.keys() == {KEY}
    assert submissions.orphaned({KEY} if known else set()) == ([reference] if orphaned else [])


def test_the_report_names_the_payment_of_its_reference() -> None:
    report = report_of(SECOND, "rec_1", 7)
    assert (report.header.payment_intent_id, report.header.sent_at) == (PAYMENT, 7)
    assert (report.kind, report.external_ref) == ("ALREADY_SUBMITTED", SECOND)
    assert report.details is not None
    assert "rec_1" in report.details
