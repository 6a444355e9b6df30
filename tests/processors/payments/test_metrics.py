"""The metrics of the payments processor, event by event."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from processors.payments.metrics import PaymentsMetrics
from tests.core.payment import dsl as d
from tests.core.payment.case import given


def test_a_code_that_no_row_maps_is_counted() -> None:
    """MET-09: a rail that says something new is seen before people wonder."""
    registry = CollectorRegistry()
    metrics = PaymentsMetrics(registry)
    for code in ("AC04", "ZZ99", None):
        for event in given(*d.SENT).when(d.rail("REJECTED", code)).history:
            metrics.event(event)
    metrics.commit()
    assert registry.get_sample_value("npp_unknown_rail_codes_total") == 1
