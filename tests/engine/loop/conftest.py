"""The toy application on topics of its own, for one test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.source import Kafka
from tests.engine.kafka_rig import Rig, rig


@pytest.fixture
def toy(kafka: Kafka, tmp_path: Path) -> Iterator[Rig]:
    """An application of its own on the shared Kafka."""
    with rig(kafka.bootstrap, tmp_path, f"toy{uuid.uuid4().hex[:8]}") as made:
        yield made
