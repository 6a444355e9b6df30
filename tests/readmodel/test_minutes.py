"""The business figures: what is counted where, rates over windows, and runs of slow requests."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from core.header import Actor, Cause, EventHeader
from core.payment import events as e
from core.values import Cents, ConflictId, ExternalRef, PaymentIntentId, Sealed
from readmodel import minutes
from readmodel.minutes import Figures, Latency, SlowRuns

NOW = 1_700_000_040_000  # twenty seconds into a minute
MINUTE = NOW // 60_000


def header(attempt: int = 1, reason: Any = None) -> EventHeader:
    cause = Cause(cluster_id="c", topic="t", partition=0, offset=0, input_hash=bytes(32))
    return EventHeader(
        payment_intent_id=PaymentIntentId("pi_x"),
        sequence=1,
        previous_hash=bytes(32),
        decided_at=NOW,
        cause=cause,
        actor=Actor(kind="rail", id="r"),
        attempt=attempt,
        state_after="FAILED",
        reason=reason,
        approval_id=None,
        rule_set=1,
        traceparent=None,
    )


def created() -> e.Event:
    return e.PaymentIntentCreated(
        header=header(),
        source="s",
        idempotency_key="k",
        amount=Cents(1),
        currency="AUD",
        parties=Sealed(scheme="avro.1", key_id=None, bytes=b""),
        end_to_end_id="E",
        service="sct",
        uetr=None,
        customer_id=None,
        requested_execution_time=None,
        expires_at=None,
    )


def failed(reason: str, source: Any = "rail", late: bool = False, **times: Any) -> e.Event:
    return e.PaymentFailed(
        header=header(reason=reason),
        attempt_id="att_001",
        source=source,
        retry_safe=False,
        non_payment_certain=True,
        late_failure=late,
        text=None,
        details=None,
        code=None,
        code_table=None,
        customer_id=None,
        rail_message_id=None,
        via_enquiry=False,
        assigned_from=None,
        **times,
    )


def attempt(number: int) -> e.Event:
    return e.PaymentAttemptCreated(
        header=header(number),
        attempt_id=f"att_{number:03d}",
        external_ref=ExternalRef("N"),
        text=None,
    )


def settled() -> e.Event:
    return e.PaymentSettled(
        header=header(),
        attempt_id="att_001",
        external_ref=ExternalRef("N"),
        amount=Cents(1),
        currency="AUD",
        rail_message_id=None,
        transaction_id=None,
        code=None,
        via_enquiry=False,
        conflict_id=None,
        assigned_from=None,
    )


def acknowledged() -> e.Event:
    return e.PaymentAcknowledged(
        header=header(),
        attempt_id="att_001",
        external_ref=ExternalRef("N"),
        implied=False,
        rail_message_id=None,
        transaction_id=None,
        code=None,
        via_enquiry=False,
        assigned_from=None,
    )


def expired() -> e.Event:
    return e.PaymentExpired(
        header=header(reason="EXPIRED"),
        attempt_id="att_001",
        source="rail",
        non_payment_certain=True,
        text=None,
        code=None,
        code_table=None,
        rail_message_id=None,
        via_enquiry=False,
        assigned_from=None,
    )


def answered(submitted_at: int | None, took_ms: int, via_enquiry: bool = False) -> e.Event:
    until = None if submitted_at is None else submitted_at + took_ms
    return e.RailStatusReported(
        header=header(),
        external_ref=ExternalRef("N"),
        kind="RECEIVED",
        adapter="a",
        code=None,
        amount=None,
        currency=None,
        rail_message_id=None,
        transaction_id=None,
        details=None,
        submitted_at=submitted_at,
        answered_at=until,
        technical_result="HTTP_202",
        via_enquiry=via_enquiry,
        adapter_stopped=False,
        assigned_from=None,
    )


def figures_of(*events: e.Event) -> Figures:
    figures = Figures()
    for offset, event in enumerate(events):
        minutes.add(figures, event, offset)
    return figures


@pytest.mark.parametrize(
    ("event", "changed"),
    [
        (created(), {"created": 1}),
        (attempt(1), {"first_attempts": 1}),
        (attempt(2), {"retries": 1}),
        (attempt(3), {"retries": 1}),
        (acknowledged(), {"acknowledged": 1}),
        (settled(), {"settled": 1}),
        (expired(), {"expired": 1}),
        (failed("RAIL"), {"failed": {"RAIL/rail": 1}}),
        (failed("TIMEOUT", "system"), {"failed": {"TIMEOUT/system": 1}}),
        (failed("RAIL", late=True), {"failed": {"RAIL/rail": 1}, "late_failures": 1}),
        (failed("CANCELLED", "operator"), {"cancelled": 1}),
        (failed("CANCELLED", "upstream"), {"cancelled": 1}),
        (failed("CANCELLED", "rail"), {"failed": {"CANCELLED/rail": 1}}),
    ],
)
def test_each_event_is_counted_in_its_own_figure_and_in_no_other(
    event: e.Event, changed: dict[str, Any]
) -> None:
    """Domain §11, MET-01..05."""
    assert figures_of(event) == Figures(**changed, offset=0)
    assert minutes.counts(event)


def test_an_event_without_a_figure_leaves_the_bucket_unchanged() -> None:
    beside = e.RecallRequested(header=header(), external_ref=ExternalRef("N"))
    assert not minutes.counts(beside)
    assert figures_of(beside) == Figures()
    assert not minutes.counts(answered(None, 5))
    assert not minutes.counts(answered(NOW, 5, via_enquiry=True))


def confirmed(**times: Any) -> e.Event:
    return e.NonPaymentConfirmed(
        header=header(), attempt_id="att_001", external_ref=ExternalRef("N"), by="REJECTED",
        code="AC04", code_table="1", **times,
    )  # fmt: skip


def conflicting(**times: Any) -> e.Event:
    return e.ReconciliationRequired(
        header=header(), conflict_id=ConflictId("cnf_001"), kind="REJECTED_AFTER_SETTLED",
        external_ref=ExternalRef("N"), detail="", **times,
    )  # fmt: skip


TIMES: dict[str, Any] = {"submitted_at": NOW, "answered_at": NOW + 1_500}


@pytest.mark.parametrize(
    "event", [failed("RAIL", **TIMES), confirmed(**TIMES), conflicting(**TIMES)]
)
def test_an_immediate_rejection_is_a_rail_request_too(event: e.Event) -> None:
    """MET-02, decision 21: whatever the rejection did to the payment."""
    assert minutes.counts(event)
    figures = figures_of(event)
    assert (figures.latencies, figures.latency_ms_sum) == ([Latency(NOW, 1_500)], 1_500)
    assert sum(figures.histogram) == 1


@pytest.mark.parametrize("event", [confirmed(), conflicting()])
def test_a_report_that_answers_no_submission_changes_no_bucket(event: e.Event) -> None:
    assert not minutes.counts(event)
    assert figures_of(event) == Figures()
    assert figures_of(failed("RAIL")).latencies == []


def test_the_last_five_latencies_are_kept_by_time_of_submission() -> None:
    times = [NOW + n for n in range(9)]
    random.Random(5).shuffle(times)
    figures = figures_of(*(answered(at, at - NOW) for at in times))
    assert figures.latencies == [Latency(NOW + n, n) for n in range(4, 9)]
    assert sum(figures.histogram) == 9
    assert figures.latency_ms_sum == sum(range(9))


def test_the_histograms_bounds_are_inclusive_and_the_last_bucket_is_open() -> None:
    bound = minutes.LATENCY_BOUNDS_MS[0]
    figures = figures_of(answered(NOW, bound), answered(NOW, bound + 1), answered(NOW, 3_600_000))
    assert figures.histogram[:2] == [1, 1]
    assert figures.histogram[-1] == 1
    assert len(figures.histogram) == len(minutes.LATENCY_BOUNDS_MS) + 1


def test_figures_survive_packing_and_pack_to_the_same_bytes() -> None:
    figures = figures_of(created(), failed("RAIL"), answered(NOW, 20))
    packed = minutes.pack(figures)
    assert minutes.unpack(packed) == figures
    assert minutes.pack(minutes.unpack(packed)) == packed
    with pytest.raises(ValueError, match="cannot be read"):
        minutes.unpack(b"\xc1")


def buckets(**at: Figures) -> dict[tuple[int, int], Figures]:
    """`m0` is the current minute, `m4` four minutes ago; partition 0."""
    return {(0, MINUTE - int(name[1:])): figures for name, figures in at.items()}


def test_the_success_rate_excludes_cancelled_attempts_over_five_minutes() -> None:
    """OP-11, MET-01: settled among the attempts that ended."""
    now = figures_of(settled(), failed("RAIL"), failed("CANCELLED", "operator"), expired())
    old = figures_of(*[settled()] * 100)
    rate = minutes.rates(buckets(m0=now, m4=figures_of(settled()), m5=old), NOW)["success"]
    assert (rate.part, rate.whole) == (2, 4)


def test_the_other_rates_cover_an_hour() -> None:
    """OP-11, MET-03, MET-04, MET-05."""
    now = figures_of(
        *[created()] * 10, *[attempt(1)] * 8, attempt(2), failed("CANCELLED", "operator"),
        *[acknowledged()] * 4, failed("RAIL", late=True),
    )  # fmt: skip
    rates = minutes.rates(buckets(m0=now, m59=now, m60=now), NOW)
    assert (rates["retry"].part, rates["retry"].whole) == (2, 16)
    assert (rates["cancellation"].part, rates["cancellation"].whole) == (2, 20)
    assert (rates["late_failure"].part, rates["late_failure"].whole) == (2, 8)


def test_without_traffic_a_rate_has_no_value_and_below_twenty_it_is_insufficient() -> None:
    """OP-11."""
    rates = minutes.rates({}, NOW)
    assert {kind: rate.value for kind, rate in rates.items()} == dict.fromkeys(minutes.RATES)
    assert not minutes.Rate(19, 19).enough
    assert minutes.Rate(0, 20).enough


def test_cancellations_by_rail_operator_and_upstream_have_one_failure_reason() -> None:
    """DSH-02: by the recorded reason, whatever its source."""
    figures = Figures()
    for offset, source in enumerate(("rail", "operator", "upstream")):
        minutes.add(figures, failed("CANCELLED", source), offset)
    minutes.add(figures, failed("FRAUD"), 3)
    found = minutes.failures(figures)
    assert {name: count for name, count in found.items() if count} == {"CANCELLED": 3, "FRAUD": 1}
    assert len(found) == 7


def test_a_minute_in_the_future_is_left_out() -> None:
    rate = minutes.rates({(0, MINUTE + 1): figures_of(settled())}, NOW)["success"]
    assert rate.whole == 0


def test_partitions_add_up_whatever_the_order_of_the_events() -> None:
    """One bucket of everything is the sum of the buckets of its parts."""
    generator = random.Random(11)
    events = [
        generator.choice(
            [created(), attempt(1), attempt(2), settled(), acknowledged(), expired(),
             failed("RAIL"), failed("FRAUD", "system"), failed("CANCELLED", "operator"),
             failed("RAIL", late=True), answered(NOW + n, generator.randint(0, 20_000))]
        )
        for n in range(300)
    ]  # fmt: skip
    whole = figures_of(*events)
    parts = [figures_of(*events[n::3]) for n in range(3)]
    added = minutes.total(parts)
    added.offset = whole.offset
    assert added == whole


@pytest.mark.parametrize(
    ("took", "runs"),
    [
        ([1_001] * 4, 0),
        ([1_001] * 5, 1),
        ([1_000] * 5, 0),
        ([1_001] * 9, 1),
        ([1_001] * 10, 2),
        ([1_001, 1_001, 999, 1_001, 1_001, 1_001], 0),
        ([999] + [1_001] * 5 + [999], 1),
    ],
)
def test_every_fifth_consecutive_slow_request_counts_once(took: list[int], runs: int) -> None:
    """MET-02: five, not four, and not five with a fast one between; slow is more than 1 s."""
    given = [Latency(NOW + n, ms) for n, ms in enumerate(took)]
    at_once, one_by_one = SlowRuns(), SlowRuns()
    at_once.feed(given)
    for each in given:
        one_by_one.feed([each])
    assert at_once.counted == one_by_one.counted == runs


def test_a_fast_request_reported_late_still_interrupts_a_run() -> None:
    """MET-02: the order is that of submission."""
    runs = SlowRuns()
    runs.feed([Latency(NOW + n, 2_000) for n in (0, 1, 3)])
    runs.feed([Latency(NOW + 2, 10)])
    runs.feed([Latency(NOW + n, 2_000) for n in (4, 5)])
    assert runs.counted == 0
    runs.feed([Latency(NOW + n, 2_000) for n in (6, 7)])
    assert runs.counted == 1


def test_a_run_continues_across_a_restart_and_is_not_counted_again() -> None:
    slow = [Latency(NOW + n, 2_000) for n in range(6)]
    four_before = SlowRuns(slow[:4])
    four_before.feed(slow[4:5])
    assert four_before.counted == 1
    five_before = SlowRuns(slow[:5])
    five_before.feed(slow[5:6])
    assert five_before.counted == 0


def test_consecutive_slow_requests_are_counted_back_from_the_last() -> None:
    assert (
        minutes.slow_in_a_row([Latency(n, ms) for n, ms in enumerate((9_000, 5, 2_000, 2_000))])
        == 2
    )
    assert minutes.slow_in_a_row([]) == 0


def test_the_mean_latency_of_no_requests_is_not_a_number() -> None:
    from processors.projector.metrics import mean_latency_s

    assert math.isnan(mean_latency_s(Figures()))
    assert mean_latency_s(figures_of(answered(NOW, 100), answered(NOW, 300))) == 0.2
