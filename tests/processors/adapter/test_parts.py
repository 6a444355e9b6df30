"""Each gateway's worker has the lanes that its handler asks for."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from engine.worker.lanes import LANES_COUNT
from engine.worker.settings import WorkerSettings
from processors.adapter import parts
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.parts import Parts, gateway_worker
from processors.deposits.handler import DepositsHandler
from processors.resolve.handler import ResolveHandler


@pytest.mark.parametrize(
    ("handler", "lanes"), [(DepositsHandler, 40), (ResolveHandler, LANES_COUNT)]
)
def test_a_worker_has_the_lanes_of_its_handler(
    handler: Any, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two calls a payment go to Deposits Core: with fewer lanes it bounds the payments/s."""
    made: list[WorkerSettings] = []
    monkeypatch.setattr(parts, "Worker", lambda settings, *_: made.append(settings))
    given: dict[str, Any] = dict.fromkeys(Parts.__struct_fields__)
    given |= {
        "connection": {},
        "instance_id": "one",
        "metrics": AdapterMetrics(CollectorRegistry()),
    }
    gateway_worker(Parts(**given), object.__new__(handler))
    assert [each.lanes for each in made] == [lanes]
