"""One running product for the fault rows: they break it one after the other and share its log."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.platform.broker import Cluster
from tests.broker.harness import House
from tests.broker.source import Kafka


@pytest.fixture(scope="session")
def standing_house(
    kafka: Kafka, registry: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """Topics, schemas, simulators, adapters and verifier on the session's Kafka; no payments
    processor.

    The log grows with each test, and the auditor judges all of it each time.
    """
    made = House(kafka.bootstrap, registry, tmp_path_factory.mktemp("house"))
    try:
        made.apply()
        made.start_simulators()
        made.ready(*made.processes, made.start_adapters(), made.start_verifier())
        yield made
    finally:
        made.close()


@pytest.fixture
def house(standing_house: House) -> Iterator[House]:
    """The shared set-up with no payments processor running, before and after."""
    standing_house.catch_up()
    try:
        yield standing_house
    finally:
        for process in standing_house.processes:
            if process.name.startswith("payments") and process.alive():
                process.kill()


@pytest.fixture
def make_own(
    fresh_cluster: Callable[..., Cluster], registry: str, tmp_path: Path
) -> Iterator[Callable[[], tuple[Cluster, House]]]:
    """Makes a Kafka that may be taken away, and a whole set-up on it."""
    with ExitStack() as ends:
        numbers = itertools.count(1)

        def make() -> tuple[Cluster, House]:
            cluster = fresh_cluster(heap_mb=384)
            house = House(cluster.bootstrap, registry, tmp_path / f"house{next(numbers)}")
            ends.callback(house.close)
            house.apply()
            house.start_simulators()
            house.ready(*house.processes, house.start_adapters())
            return cluster, house

        yield make


@pytest.fixture
def own(make_own: Callable[[], tuple[Cluster, House]]) -> tuple[Cluster, House]:
    """One of them."""
    return make_own()
