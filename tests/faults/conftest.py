"""One running product for the fault rows, which break it one after the other and share its log."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.platform.broker import Cluster
from tests.broker.harness import Harness
from tests.broker.source import Kafka


@pytest.fixture(scope="session")
def shared_harness(
    kafka: Kafka, registry: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Harness]:
    """Topics, schemas, simulators, adapters and verifier on the session's Kafka; no payments
    processor.

    The log grows with each test, and the auditor checks all of it each time.
    """
    made = Harness(kafka.bootstrap, registry, tmp_path_factory.mktemp("harness"))
    try:
        made.apply()
        made.start_simulators()
        made.ready(*made.processes, made.start_adapters(), made.start_verifier())
        yield made
    finally:
        made.close()


@pytest.fixture
def harness(shared_harness: Harness) -> Iterator[Harness]:
    """The shared set-up, with no payments processor running before or after the test."""
    shared_harness.catch_up()
    try:
        yield shared_harness
    finally:
        for process in shared_harness.processes:
            if process.name.startswith("payments") and process.alive():
                process.kill()


@pytest.fixture
def make_own(
    fresh_cluster: Callable[..., Cluster], registry: str, tmp_path: Path
) -> Iterator[Callable[[], tuple[Cluster, Harness]]]:
    """Makes a Kafka that may be stopped, and a whole set-up on it."""
    with ExitStack() as ends:
        numbers = itertools.count(1)

        def make() -> tuple[Cluster, Harness]:
            cluster = fresh_cluster(heap_mb=384)
            harness = Harness(cluster.bootstrap, registry, tmp_path / f"harness{next(numbers)}")
            ends.callback(harness.close)
            harness.apply()
            harness.start_simulators()
            harness.ready(*harness.processes, harness.start_adapters())
            return cluster, harness

        yield make


@pytest.fixture
def own(make_own: Callable[[], tuple[Cluster, Harness]]) -> tuple[Cluster, Harness]:
    """One of them."""
    return make_own()
