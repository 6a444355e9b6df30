"""A verifier without its key although checkpoints exist: it exits, reports it once, and stops
nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from app.platform.broker import Cluster
from schemas import topology as t
from tests.broker.harness import Harness

pytestmark = pytest.mark.broker


@pytest.fixture
def harness(
    fresh_cluster: Callable[..., Cluster], registry: str, tmp_path: Path
) -> Iterator[Harness]:
    """On a Kafka of its own: the forged checkpoint would stay on the session's."""
    made = Harness(fresh_cluster().bootstrap, registry, tmp_path / "harness")
    try:
        made.apply()
        yield made
    finally:
        made.close()


def test_an_empty_data_folder_is_one_alert_and_no_stop(harness: Harness) -> None:
    """It used to stop everything, with one STOP per partition."""
    producer = Producer({"bootstrap.servers": harness.bootstrap})
    producer.produce(t.CHECKPOINTS, b"a checkpoint of before", b"0", 0)
    assert producer.flush(30) == 0
    folder = harness.folder / "data" / "verifier"
    shutil.rmtree(folder, ignore_errors=True)
    before = json.loads(harness.npp("control", "show", "--kafka", "--json").stdout)["stops"]
    ended = harness.npp("run", "verifier", check=False)
    assert ended.returncode == 2
    assert ended.stderr.count('"alarm":"VERIFIER_KEY"') == 1
    assert "restore it from its backup" in ended.stderr
    assert not folder.exists() or not list(folder.glob("*.pem"))
    after = json.loads(harness.npp("control", "show", "--kafka", "--json").stdout)["stops"]
    assert after == before


def test_doctor_names_what_is_missing(harness: Harness) -> None:
    found = json.loads(harness.npp("doctor", "--json", check=False).stdout)["findings"]
    says = " ".join(each["says"] for each in found if each["check"] == "keys")
    assert "schema ids are pinned" in says
    assert "no keyring at" in says
    assert "no signing key here" in says
