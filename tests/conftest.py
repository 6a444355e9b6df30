"""Session-wide fixtures: one real Kafka, schema registry and PostgreSQL, started on first use.

A test that uses Kafka or a registry gets the mark `broker`, and the broker-free floors leave it
out. The other floors' marks are in the test files (tests/floors.py).
"""

from __future__ import annotations

import functools
import gc
import logging
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog

from app.platform.broker import Cluster
from app.platform.registry import Registry
from tests.broker.source import Kafka, open_kafka
from tests.postgres import Postgres, open_postgres

pytest_plugins = ["tests.readmodel.databases"]

NEEDS_BROKER = {"kafka", "registry", "fresh_cluster", "fresh_registry"}


# Tests live for milliseconds; with Python's default of 700 the collector would traverse their
# objects again and again.
GC_THRESHOLDS = (20_000, 20, 20)
# A mark on a whole file.
FILE_MARK = re.compile(r"^pytestmark = .*$", re.MULTILINE)
TESTS = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file whose own mark this run's `-m` excludes: imports are the largest cost."""
    return None if collection_path in wanted(config.getoption("markexpr")) else True


@functools.cache
def wanted(expression: str) -> frozenset[Path]:
    """The test files that may hold a test for this `-m`, and their folders."""
    left_out = [f"pytest.mark.{mark}" for mark in re.findall(r"\bnot (\w+)", expression)]
    files = [
        file
        for file in TESTS.rglob("test_*.py")
        if not any(mark in file_marks(file) for mark in left_out)
    ]
    return frozenset(files).union(*(file.parents for file in files))


def file_marks(file: Path) -> str:
    return " ".join(FILE_MARK.findall(file.read_text(encoding="utf-8")))


def pytest_configure() -> None:
    log_plainly()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Imported objects stay, so the garbage collector need not traverse them repeatedly."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()


def log_plainly() -> None:
    """structlog's defaults, but tracebacks without the frames' values, which cost a second each."""
    structlog.reset_defaults()
    *others, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(processors=[*others, plain])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests that need a broker; leave out full counts unless `NPP_TEST_RELEASE` is set.

    Runs first, so that `-m broker` sees the marks.
    """
    for item in items:
        if NEEDS_BROKER.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.broker)
    if os.environ.get("NPP_TEST_RELEASE"):
        return
    left_out = [item for item in items if item.get_closest_marker("release")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command run in this process configures logging for itself only."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    log_plainly()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """The session's Kafka, shared: use your own topics and groups, and never kill it."""
    folder = tmp_path_factory.mktemp("kafka")
    with open_kafka(folder) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the session's schema registry (`NPP_TEST_REGISTRY`, or our own)."""
    if url := os.environ.get("NPP_TEST_REGISTRY"):
        yield url
        return
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running.url


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's PostgreSQL, shared: `database()` gives a separate database."""
    with open_postgres() as running:
        yield running


@pytest.fixture
def fresh_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Makes Kafkas for this test alone, to kill, pause or lock: `fresh_cluster(nodes=3, ...)`.

    Takes `Cluster`'s arguments except the folder. Started unless `started=False`; stopped by the
    fixture.
    """
    with ExitStack() as ends:
        made: list[Path] = []

        def make(*, started: bool = True, **options: Any) -> Cluster:
            folder = tmp_path / f"cluster{len(made) + 1}"
            made.append(folder)
            cluster = Cluster(folder, **{"heap_mb": 256, **options})
            ends.callback(shutil.rmtree, folder, ignore_errors=True)
            ends.callback(cluster.stop)
            return cluster.start() if started else cluster

        yield make


@pytest.fixture
def fresh_registry(tmp_path: Path) -> Iterator[Registry]:
    """A started registry for this test alone: `.kill()`, `.start()` (empty again), `.url`."""
    with Registry(tmp_path / "registry") as running:
        yield running
