"""The simulated Deposits Core for every test of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateways.deposits.simulator import DepositsSimulator
from tests.clock import HeldClock
from tests.gateways.deposits.harness import NOW_MS, Harness
from tests.gateways.harness import serving


@pytest.fixture
def harness() -> Iterator[Harness]:
    clock = HeldClock(NOW_MS)
    simulator = DepositsSimulator(clock=clock)
    with serving(simulator.app()) as client:
        yield Harness(client, clock, simulator)
