"""A ruling under dual control on a journal record that the rules do not give: FOREIGN or
TAKEN_AS_RECORDED.

Domain §10; every process folds the same rulings.
"""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from control.acts.actors import Refusal
from control.fold import Control
from core.control_records import ActConfirmed, DispositionRequested
from tests.control.people import Hands
from tests.control.test_fold import folded

VALUE = b"an event that nobody decided"
REQUEST = DispositionRequested(
    ruling="FOREIGN",
    partition=1,
    offset=7,
    event_hash=hashlib.sha256(VALUE).digest(),
    payment_intent_id="pay_1",
    sequence=4,
    event_type="PaymentSettled",
    reason="written with the engine's credential",
    requested_at=1,
    actor="ann",
)
CONFIRMED = ActConfirmed(request_offset=1, confirmed_at=9, actor="bob")


def test_a_ruling_names_one_record_by_offset_and_hash() -> None:
    control = folded(REQUEST, CONFIRMED)
    ruled = control.dispositions
    assert ruled.skips(1, 7, VALUE)
    assert not ruled.skips(1, 7, VALUE + b"!")
    assert not ruled.skips(1, 8, VALUE)
    assert not ruled.skips(0, 7, VALUE)
    assert control.foreign(1) == {7: REQUEST.event_hash}
    assert control.recovered_at(1) == 9, "a store of before then may hold the record"
    assert control.recovered_at(0) == 0
    (found,) = ruled.of_payment("pay_1")
    assert (found.request_offset, found.confirm_offset, found.confirmed_by) == (1, 2, "bob")


def test_a_record_taken_as_recorded_is_not_skipped() -> None:
    taken = msgspec.structs.replace(
        REQUEST, ruling="TAKEN_AS_RECORDED", event_type="PaymentSentToRail"
    )
    control = folded(taken, CONFIRMED)
    found = control.dispositions.of(1, 7, VALUE)
    assert found is not None
    assert found.ruling == "TAKEN_AS_RECORDED"
    assert not control.dispositions.skips(1, 7, VALUE)
    assert control.foreign(1) == {}


@pytest.mark.parametrize(
    "records",
    [
        (REQUEST,),
        (REQUEST, msgspec.structs.replace(CONFIRMED, actor="ann")),
        (REQUEST, msgspec.structs.replace(CONFIRMED, request_offset=9)),
        (msgspec.structs.replace(REQUEST, event_hash=b"short"), CONFIRMED),
        (msgspec.structs.replace(REQUEST, offset=-1), CONFIRMED),
        (msgspec.structs.replace(REQUEST, ruling="IGNORED"), CONFIRMED),
    ],
    ids=["one person", "the same person", "another request", "no hash", "no place", "no ruling"],
)
def test_an_incomplete_ruling_is_ignored(records: tuple[object, ...]) -> None:
    control = folded(*records)
    assert len(control.dispositions) == 0
    assert control.recovered_at(1) == 0


@pytest.mark.parametrize(
    "kind",
    ["PaymentSentToRail", "RecallRequested", "FundsRequested", "CustomerNotificationRequested"],
)
def test_an_event_that_may_have_sent_an_instruction_is_never_skipped(kind: str) -> None:
    control = folded(msgspec.structs.replace(REQUEST, event_type=kind), CONFIRMED)
    assert not control.dispositions.skips(1, 7, VALUE)
    assert control.requests() == []


def test_the_first_ruling_on_a_record_counts() -> None:
    """Two requests wait. Once one is confirmed, the other can no longer be confirmed."""
    other = msgspec.structs.replace(REQUEST, ruling="TAKEN_AS_RECORDED")
    control = folded(REQUEST, other, CONFIRMED)
    refusal = _next(control, msgspec.structs.replace(CONFIRMED, request_offset=2))
    assert refusal is not None
    assert "ruled on already" in refusal.sentence
    assert control.dispositions.skips(1, 7, VALUE)


def test_changing_a_copy_leaves_the_original_unchanged() -> None:
    control = folded(REQUEST)
    copied = control.copied()
    assert _next(copied, CONFIRMED) is None
    assert len(copied.dispositions) == 1
    assert len(control.dispositions) == 0


def _next(control: Control, record: object) -> Refusal | None:
    hands = Hands()
    hands._number = 100
    return control.apply_record(50, hands.in_turn(control, record))
