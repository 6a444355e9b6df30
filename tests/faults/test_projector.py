"""The read model on a real Kafka: killed under load, two at once, rebuilt while it is read."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.platform.children import free_ports, tail_of
from core.records import PaymentLifecycle
from readmodel.model import Model, open_model
from schemas import catalogue
from schemas import topology as t
from schemas.registry import setup
from tests.broker.harness import Harness
from tests.broker.processes import Process, answers
from tests.processors.projector.harness import dump

SECONDS_MAX = 60.0
SIGKILLED = -9
KILLS = 5

pytestmark = pytest.mark.broker


@pytest.fixture
def model(harness: Harness, tmp_path: Path) -> Iterator[Model]:
    """The test's own read model, configured for every process of the harness."""
    url = f"sqlite:///{tmp_path / 'readmodel'}"
    harness.env["NPP_READ_MODEL_URL"] = url
    made = open_model(url)
    try:
        yield made
    finally:
        del harness.env["NPP_READ_MODEL_URL"]
        made.close()
        for process in harness.processes:
            if process.name.startswith("projector") and process.alive():
                process.kill()


def start(harness: Harness, name: str = "projector-1") -> Process:
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "app.cli.npp", "run", "projector"]
    env = {"NPP_INSTANCE_ID": name, "NPP_METRICS_PORT": str(port)}
    return harness._start(name, command, env, port)


def ready(process: Process) -> None:
    until(
        lambda: answers(f"http://127.0.0.1:{process.port}/readyz"),
        lambda: f"{process.name} is not ready:\n{tail_of(process.log)}",
    )


def until(holds: Callable[[], bool], why: Callable[[], str]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)


def shows_everything(harness: Harness, model: Model) -> None:
    """Wait until the model has all events, then compare each payment with its lifecycle record."""
    records = harness.evidence().records
    journal = {(r.partition, r.offset): r.value for r in records[t.EVENTS]}
    reader = model.reader()

    until(
        lambda: len(events_of(model)) == len(journal),
        lambda: f"{len(events_of(model))} of {len(journal)} events",
    )
    assert events_of(model) == journal
    opened = setup.open_codec(
        harness.registry, catalogue.load(), Path(harness.env["NPP_DATA_DIR"]) / "ids.lock",
        setup.Options(monotonic_seconds=time.monotonic),
    )  # fmt: skip
    last = {r.key: opened.decode(t.LIFECYCLE, r.value) for r in records[t.LIFECYCLE] if r.value}
    for record in last.values():
        assert isinstance(record, PaymentLifecycle)
        row = reader.payment(record.payment_intent_id)
        assert row is not None
        assert row.snapshot == record.snapshot
        assert row.head_hash == record.head_hash
    reader.close()


def events_of(model: Model) -> dict[tuple[int, int], bytes]:
    seen = dump(model)["events"]
    return {(e.partition, e.offset): e.raw for events in seen for e in events}


def test_killed_under_load_it_shows_every_event_once_and_the_engines_states(
    harness: Harness, model: Model
) -> None:
    """kill -9 during the load; the offsets in the database are the truth."""
    payments = harness.start_payments()
    harness.ready(payments)
    projector = start(harness)
    join = harness.in_background(KILLS * 30, 40.0)
    for _ in range(KILLS):
        time.sleep(harness.random.uniform(0.3, 2.0))
        assert projector.alive(), tail_of(projector.log)
        assert projector.kill() == SIGKILLED
        projector = start(harness)
    join()
    ready(projector)
    harness.at_rest()
    shows_everything(harness, model)
    assert projector.stop() == 0
    payments.stop()


@pytest.mark.parametrize("second_name", ["projector-1", "projector-2"])
def test_of_two_projectors_of_one_read_model_one_is_active_and_the_other_takes_over(
    harness: Harness, model: Model, second_name: str
) -> None:
    """Whatever its instance id, it stands by and takes over after a kill -9 of the first."""
    payments = harness.start_payments()
    first = start(harness, "projector-1")
    harness.ready(payments)
    ready(first)
    second = start(harness, second_name)
    until(lambda: "another projector fills this" in tail_of(second.log), lambda: "it says nothing")
    harness.publish(10, happy_path=True)
    harness.at_rest()
    shows_everything(harness, model)
    assert not answers(f"http://127.0.0.1:{second.port}/readyz")
    assert first.alive()
    assert second.alive()
    assert first.kill() == SIGKILLED
    ready(second)
    harness.publish(10, happy_path=True)
    harness.at_rest()
    shows_everything(harness, model)
    assert second.stop() == 0
    payments.stop()


def test_a_rebuild_runs_while_readers_read_and_the_projector_switches_to_it(
    harness: Harness, model: Model
) -> None:
    """`npp replay rebuild`: reads continue with the same results, and later events follow."""
    payments = harness.start_payments()
    projector = start(harness)
    harness.ready(payments)
    ready(projector)
    join = harness.in_background(60, 20.0)
    before = model.current()
    done = json.loads(harness.npp("replay", "rebuild", "--json").stdout)
    join()
    assert done["replaced"] == before
    assert done["dropped"] == [before]
    assert model.current() == done["generation"]
    until(
        lambda: projector.metric("npp_projector_generation") == done["generation"],
        lambda: tail_of(projector.log),
    )
    harness.publish(5, happy_path=True)
    harness.at_rest()
    shows_everything(harness, model)
    assert projector.alive()
    assert projector.stop() == 0
    payments.stop()
