"""The payments processor's metrics, event by event."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from processors.payments.metrics import PaymentsMetrics
from readmodel import minutes
from tests.core.payment import dsl as d
from tests.core.payment.case import given


def test_an_unmapped_code_is_counted() -> None:
    """MET-09: a new rail code shows in a metric at once."""
    registry = CollectorRegistry()
    metrics = PaymentsMetrics(registry)
    for code in ("AC04", "ZZ99", None):
        for event in given(*d.SENT).when(d.rail("REJECTED", code)).history:
            metrics.event(event)
    metrics.commit()
    assert registry.get_sample_value("npp_unknown_rail_codes_total") == 1


def test_ended_attempts_are_counted_by_outcome_as_the_success_rate_counts_them() -> None:
    """MET-01, OP-11: the rail's own CUST is a failure; an attempt cancelled by a person does not
    count as ended.
    """
    registry = CollectorRegistry()
    metrics = PaymentsMetrics(registry)
    figures = minutes.Figures()
    ends = (
        (*d.SENT, d.rail("REJECTED", "AC04")),
        (*d.SENT, d.rail("REJECTED", "CUST")),
        tuple(d.SETTLED),
        tuple(d.CANCELLED),
    )
    for *before, last in ends:
        for event in given(*before).when(last).history:
            metrics.event(event)
            minutes.add(figures, event, 0)
    metrics.commit()

    def ended(outcome: str) -> float | None:
        return registry.get_sample_value("npp_attempts_ended_total", {"outcome": outcome})

    assert (ended("settled"), ended("failed"), ended("expired"), ended("cancelled")) == (1, 2, 0, 1)
    share = minutes.success([figures])
    assert (share.part, share.whole) == (1, 3)
