"""Each client error has one meaning at each step."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from engine.errors import (
    Abort,
    ConsumerLost,
    Exit,
    Fenced,
    LostMembership,
    Rebuild,
    Retry,
    Step,
    call,
    call_until,
    classify,
)
from tests.clock import HeldClock


@pytest.mark.parametrize(
    ("error", "step", "meaning"),
    [
        (KafkaError(KafkaError._TIMED_OUT, retriable=True), Step.END, Rebuild),
        (KafkaError(KafkaError._TIMED_OUT, retriable=True), Step.INIT, Retry),
        (KafkaError(KafkaError._TIMED_OUT, retriable=True), Step.WORK, Abort),
        (KafkaError(KafkaError._TIMED_OUT, retriable=True), Step.OFFSETS, Rebuild),
        (KafkaError(KafkaError._TRANSPORT), Step.OFFSETS, Rebuild),
        (KafkaError(KafkaError.ILLEGAL_GENERATION), Step.OFFSETS, LostMembership),
        (KafkaError(KafkaError.NOT_COORDINATOR), Step.OFFSETS, Abort),
        (KafkaError(KafkaError._TRANSPORT), Step.READ, Retry),
        (KafkaError(KafkaError.NOT_COORDINATOR, txn_requires_abort=True), Step.END, Abort),
        (KafkaError(KafkaError.PRODUCER_FENCED, fatal=True), Step.END, Fenced),
        (KafkaError(KafkaError._FENCED, fatal=True), Step.WORK, Fenced),
        (KafkaError(KafkaError.INVALID_PRODUCER_EPOCH), Step.INIT, Fenced),
        (KafkaError(KafkaError.FENCED_INSTANCE_ID, fatal=True), Step.READ, ConsumerLost),
        (KafkaError(KafkaError.FENCED_INSTANCE_ID), Step.OFFSETS, LostMembership),
        (KafkaError(KafkaError._FATAL), Step.READ, ConsumerLost),
        (KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL, fatal=True), Step.READ, Exit),
        (KafkaError(KafkaError._GAPLESS_GUARANTEE, fatal=True), Step.WORK, Rebuild),
        (KafkaError(KafkaError.ILLEGAL_GENERATION), Step.WORK, LostMembership),
        (KafkaError(KafkaError.UNKNOWN_MEMBER_ID), Step.WORK, LostMembership),
        (KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED), Step.INIT, Exit),
        (KafkaError(KafkaError._AUTO_OFFSET_RESET), Step.READ, Exit),
    ],
    ids=lambda value: value.name() if isinstance(value, KafkaError) else None,
)
def test_each_client_error_has_one_meaning_at_each_step(
    error: KafkaError, step: Step, meaning: type[Exception]
) -> None:
    """RETRY, ABORT, REBUILD, CONSUMER_LOST and EXIT; an unclear end is never an abort."""
    assert type(classify(error, step)) is meaning


def test_only_a_content_error_counts_as_a_refused_record() -> None:
    """Only an error about content may lead to parking a record; a broker's failure never does."""
    too_large = classify(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), Step.WORK)
    down = classify(KafkaError(KafkaError._TRANSPORT), Step.WORK)
    assert isinstance(too_large, Abort)
    assert isinstance(down, Abort)
    assert (too_large.by_content, down.by_content) == (True, False)


def test_a_call_is_retried_until_its_deadline() -> None:
    """RETRY is bounded: at the deadline it becomes EXIT."""
    clock = HeldClock(0)
    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    with pytest.raises(Exit):
        call_until(clock, 1.0, Step.READ, fails)
    assert 10 < len(calls) < 30


def test_an_exception_that_is_no_client_error_passes_through() -> None:
    """Only KafkaException is interpreted."""
    with pytest.raises(ZeroDivisionError):
        call(Step.READ, lambda: 1 // 0)


def test_a_fatal_error_hidden_in_a_system_error_keeps_its_meaning() -> None:
    """Seen in `flush`: the fence came between two callbacks. Any other SystemError stays one."""

    def flush(cause: BaseException | None) -> None:
        raise SystemError("returned a result with an exception set") from cause

    fenced = KafkaException(KafkaError(KafkaError._FENCED, "fenced", fatal=True))
    with pytest.raises(Fenced):
        call(Step.WORK, flush, fenced)
    with pytest.raises(SystemError):
        call(Step.WORK, flush, None)
