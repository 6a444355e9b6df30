"""A small run of the bench on its own cluster: its output is complete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import peer
from bench.rig import builds
from schemas import topology

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]

SMALL = peer.Size(payments=200, warm_s=0.0, latency_s=0.5)
EVENTS_OF_ONE = 11


def test_a_round_of_the_product_has_every_figure() -> None:
    """Every input is decided, at full speed and paced: all payments' events exist, none twice, with
    latency and CPU figures.
    """
    lines: list[str] = []
    found = peer.measured("product", builds.ROOT, Path("no program"), SMALL, lines.append)
    payments = SMALL.payments + int(SMALL.payments * peer.WARM_SHARE)
    assert found["records"][topology.EVENTS] == payments * EVENTS_OF_ONE
    assert found["records"][topology.DEPOSITS_REQUESTS] == payments * 2
    assert found["inputsPerSecond"] > 0
    assert found["cpuSecondsPerMillionInputs"] > 0
    assert 0 < found["endToEndMillisAt2000"]["p50"] <= found["endToEndMillisAt2000"]["p99"]
    assert found["cpuShareAt2000"] > 0
    assert json.loads(lines[-1].partition("product: ")[2]) == found
