"""Trace context in headers: what counts as one, and which trace belongs to what."""

from __future__ import annotations

import hashlib

import pytest

from engine import tracing

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_trace_context_survives_the_headers() -> None:
    assert tracing.carried_by(tracing.as_headers(TRACE)) == TRACE
    assert tracing.as_headers(None) is None
    assert tracing.carried_by(None) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"rubbish",
        b"\xff\xfe",
        TRACE.upper().encode(),
        TRACE.encode() + b"-more",
        b"01" + TRACE[2:].encode(),
        b"00-" + b"0" * 32 + TRACE[35:].encode(),
        TRACE[:36].encode() + b"0" * 16 + b"-01",
    ],
)
def test_a_header_that_is_no_version_00_traceparent_is_ignored(value: bytes | None) -> None:
    assert tracing.carried_by([("other", b"x"), (tracing.HEADER, value)]) is None


def test_without_a_traceparent_every_process_derives_the_same_trace_of_a_payment() -> None:
    own = hashlib.sha256(b"pi_1").hexdigest()[:32]
    assert tracing.trace_id(None, "pi_1") == own
    assert tracing.trace_id("rubbish", "pi_1") == own
    assert tracing.trace_id(TRACE, "pi_1") == TRACE[3:35]


def test_a_trace_context_ends_with_its_work() -> None:
    with tracing.passing_on(TRACE):
        with tracing.passing_on(None):
            assert tracing.passed_on() is None
        assert tracing.passed_on() == TRACE
    assert tracing.passed_on() is None
