"""Session-wide fixtures: one real Kafka, schema registry and PostgreSQL, started when first asked
for.

A test that asks for Kafka or a registry gets the mark `broker`, and the broker-free floors leave it
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


# Tests live for milliseconds; Python's default of 700 walks over their objects again and again.
GC_THRESHOLDS = (20_000, 20, 20)
# A mark of a whole file.
FILE_MARK = re.compile(r"^pytestmark = .*$", re.MULTILINE)
TESTS = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--share", default="1/1", help="2/3: every third test file, beginning with the second"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file of another share, none whose own mark this run's `-m` leaves out, and no
    folder of such files alone: imports cost the most.
    """
    if collection_path.is_dir():
        inside = [file for file in test_files() if collection_path in file.parents]
        return True if inside and not any(wanted(file, config) for file in inside) else None
    if collection_path not in test_files():
        return None
    return None if wanted(collection_path, config) else True


def wanted(file: Path, config: pytest.Config) -> bool:
    number, _, shares = config.getoption("share").partition("/")
    if test_files()[file] % int(shares) != int(number) - 1:
        return False
    left_out = re.findall(r"\bnot (\w+)", config.getoption("markexpr"))
    return not any(f"pytest.mark.{mark}" in file_marks(file) for mark in left_out)


@functools.cache
def test_files() -> dict[Path, int]:
    """Every test file with its number in the order of the alphabet."""
    return {file: number for number, file in enumerate(sorted(TESTS.rglob("test_*.py")))}


@functools.cache
def file_marks(file: Path) -> str:
    return " ".join(FILE_MARK.findall(file.read_text(encoding="utf-8")))


def pytest_configure() -> None:
    log_plainly()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What the imports make stays: the garbage collector need not walk over it again and again."""
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
    """Mark who needs a broker; leave out the full counts unless `NPP_TEST_RELEASE` asks for them.

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
    """A command that a test runs in this process sets logging up for itself, and no other test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    log_plainly()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """The session's Kafka, shared: use topics and groups of your own, and never kill it."""
    folder = tmp_path_factory.mktemp("kafka")
    with open_kafka(folder) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the session's schema registry (`NPP_TEST_REGISTRY`, else our own)."""
    if url := os.environ.get("NPP_TEST_REGISTRY"):
        yield url
        return
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running.url


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's PostgreSQL, shared: `database()` gives one of one's own."""
    with open_postgres() as running:
        yield running


@pytest.fixture
def fresh_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Makes Kafkas for this test alone, to kill, pause or lock: `fresh_cluster(nodes=3, ...)`.

    Takes what `Cluster` takes but the folder. Started unless `started=False`; ended by the fixture.
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
