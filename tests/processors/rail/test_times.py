"""The calls whose start and answer times are in a report: submissions and enquiries."""

from __future__ import annotations

from processors.rail.handler import RECALL_TRIES_MAX
from tests.processors.rail.harness import Harness
from tests.processors.rail.withdrawing import forget_record


def test_each_unanswered_try_and_the_answer_have_their_submission_times(harness: Harness) -> None:
    """Decision 21: three submissions under one reference are three requests."""
    harness.script({"kind": "HTTP", "status": 503, "times": 2})
    harness.instruct("SUBMIT")
    harness.instance().run()
    assert harness.said() == [("STATUS", "NO_ANSWER"), ("STATUS", "NO_ANSWER"), ("RECEIVED", None)]
    sent = [each.submitted_at for each in harness.reports()]
    assert None not in sent
    assert len(set(sent)) == 3
    assert not any(each.via_enquiry for each in harness.reports())


def test_an_immediate_rejection_has_its_submission_and_answer_times(harness: Harness) -> None:
    harness.script({"kind": "SYNC_REJECT", "code": "AC04"})
    harness.instruct("SUBMIT")
    harness.instance().run()
    (report,) = harness.reports()
    assert report.kind == "REJECTED"
    assert report.submitted_at is not None
    assert report.answered_at is not None


def test_neither_a_recall_nor_a_withdrawal_has_submission_times(harness: Harness) -> None:
    """Decision 21: without `viaEnquiry` the times are a submission's and nothing else's."""
    silent = {"httpStatus": 503, "times": RECALL_TRIES_MAX}
    harness.script({"kind": "RECALL", **silent}, {"kind": "ENQUIRY", **silent})
    instance = harness.instance()
    instance.assign()
    harness.instruct("SUBMIT")
    instance.run()
    harness.instruct("RECALL")
    harness.instance().run()
    forget_record(harness)
    harness.instruct("WITHDRAW")
    harness.instance().run()
    times = [(each.submitted_at, each.answered_at) for each in harness.reports()]
    assert harness.said() == [
        ("RECEIVED", None), ("STATUS", "NO_ANSWER"), ("ALREADY_SUBMITTED", "RECORD_INCOMPLETE"),
    ]  # fmt: skip
    assert times[1:] == [(None, None)] * 2
