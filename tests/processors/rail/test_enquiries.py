"""When the rail's "unknown" is final, and which instance may report it (ruling 8)."""

from __future__ import annotations

import pytest

from schemas import topology
from tests.processors.rail.harness import CODEC, HOUR_MS, REFERENCE, WINDOW_MS, Harness
from tests.processors.rail.withdrawing import ALREADY, answers, forget_record


def _withdrawn(harness: Harness) -> str:
    harness.instruct("WITHDRAW")
    return "WITHDRAWN"


def _late(harness: Harness) -> str:
    harness.instruct("SUBMIT")
    harness.clock.advance(WINDOW_MS)
    return "NOT_SUBMITTED"


def _recorded(harness: Harness) -> str:
    harness.record_of(REFERENCE, "NOT_SUBMITTED")
    harness.instruct("SUBMIT")
    return "NOT_SUBMITTED"


def _unknown(harness: Harness) -> str:
    harness.record_of(REFERENCE, "NOT_SUBMITTED")
    harness.instruct("ENQUIRE")
    return "STATUS"


@pytest.mark.parametrize("make", [_withdrawn, _late, _recorded, _unknown])
def test_only_the_owner_of_the_partition_reports_certainty(harness: Harness, make: object) -> None:
    """Another instance may have submitted it: without the group's confirmation nothing
    is reported.
    """
    kind = make(harness)  # type: ignore[operator]
    harness.ownership.ours = False
    instance = harness.instance()
    for _ in range(3):
        assert instance.try_once(0) is not None
    assert harness.reports() == []
    harness.ownership.ours = True
    instance.run()
    (report,) = harness.reports()
    assert (report.kind, report.adapter_stopped) == (kind, True)


@pytest.mark.parametrize(
    ("phases", "after_ms", "stopped"),
    [
        ([], WINDOW_MS - 1, False),  # it may still be submitted
        ([], WINDOW_MS + 1_000, False),  # a call of ours may be in progress
        ([], WINDOW_MS + 30_000, True),
        (["SUBMITTING"], 0, False),
        (["SUBMITTING"], WINDOW_MS + 1_000, False),
        (["SUBMITTING"], WINDOW_MS + 30_000, True),
        (["SUBMITTING", "SUBMITTED"], 0, True),
        (["WITHDRAWN"], 0, True),
        (["SUBMITTING", "NOT_SUBMITTED"], 0, True),
        ([], WINDOW_MS + 2 * HOUR_MS, True),
        (["SUBMITTING"], WINDOW_MS + 2 * HOUR_MS, True),
    ],
)
def test_unknown_is_final_only_when_the_adapter_has_certainly_stopped(
    harness: Harness, phases: list[str], after_ms: int, stopped: bool
) -> None:
    """Ruling 3: the adapter record covers the instruction and shows that it was never and will
    never be sent.
    """
    harness.record_of(REFERENCE, *phases)
    harness.instruct("ENQUIRE")
    harness.clock.advance(after_ms)
    harness.instance().run()
    (report,) = harness.reports()
    assert (report.code, report.via_enquiry) == ("UNKNOWN", True)
    assert report.adapter_stopped is stopped


def test_without_a_record_unknown_is_never_final(harness: Harness) -> None:
    """Ruling 3: a record that does not cover the instruction says nothing about it."""
    forget_record(harness)
    harness.instruct("ENQUIRE")
    harness.clock.advance(WINDOW_MS + 30_000)
    harness.instance().run()
    (report,) = harness.reports()
    assert (report.code, report.adapter_stopped) == ("UNKNOWN", False)


def test_a_record_that_starts_after_the_instruction_does_not_cover_it(harness: Harness) -> None:
    """Records of today alone, on a topic that was lost yesterday, prove nothing about earlier
    times.
    """
    forget_record(harness)
    harness.record_of("N" + "A" * 26 + "001", "SUBMITTED")
    harness.instruct("WITHDRAW")
    harness.instance().run()
    assert answers(harness) == [(ALREADY, "RECORD_INCOMPLETE")]


def test_a_recall_of_a_payment_unknown_to_the_rail_is_answered_like_an_enquiry(
    harness: Harness,
) -> None:
    """Ruling 3: the same certainty, requested in another way."""
    harness.record_of(REFERENCE, "SUBMITTING")
    harness.instruct("RECALL")
    harness.clock.advance(WINDOW_MS + 30_000)
    harness.instance().run()
    (report,) = harness.reports()
    assert (report.code, report.via_enquiry, report.adapter_stopped) == ("UNKNOWN", True, True)


def test_the_codec_keeps_the_code_of_an_already_submitted(harness: Harness) -> None:
    """The log has it as core reads it."""
    harness.record_of(REFERENCE, "SUBMITTING")
    harness.instruct("WITHDRAW")
    harness.instance().run()
    (record,) = harness.log.of(topology.RAIL_REPORTS)
    assert record.value is not None
    assert CODEC.decode(record.topic, record.value, record.headers).code == "SUBMITTING"
