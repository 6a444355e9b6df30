"""Rulings on records of the journal are shown with the payment forever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.control_records import TAKEN_AS_RECORDED
from schemas import topology as t
from tests.api.harness import ApiHarness
from tests.processors.payments.clean_history import Outside
from tests.processors.projector.foreign import ask, forged, rule

pytestmark = pytest.mark.slow


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHarness]:
    made = ApiHarness(tmp_path)
    yield made
    made.close()


def test_a_foreign_record_is_gone_and_the_payment_shows_the_ruling(
    api: ApiHarness,
) -> None:
    world = api.harness.world
    payment = world.create("k")
    api.harness.project()
    before = api.get(f"/api/payments/{payment}").json()
    assert before["rulings"] == []
    foreign = forged(world, payment)
    api.harness.project()
    assert api.get(f"/api/payments/{payment}").json()["state"] == "ACKNOWLEDGED"
    rule(world, foreign)
    api.harness.project()
    body = api.get(f"/api/payments/{payment}", "auditor").json()
    assert (body["state"], body["sequence"]) == (before["state"], before["sequence"])
    (ruling,) = body["rulings"]
    assert ruling.pop("requestedAt")
    assert ruling.pop("confirmedAt")
    assert len(ruling.pop("eventHash")) == 64
    assert ruling == {
        "ruling": "FOREIGN",
        "partition": foreign.partition,
        "offset": foreign.offset,
        "sequence": before["sequence"] + 1,
        "eventType": "PaymentAcknowledged",
        "reason": "written with the engine's credential",
        "requestedBy": "ann",
        "confirmedBy": "bob",
    }
    (seen,) = api.get(f"/api/payments/{payment}").json()["rulings"]
    assert seen["eventHash"] is None, "it confirms what is guessed of personal data"


def test_a_ruling_needs_two_people_and_a_record_taken_as_recorded_stays(
    api: ApiHarness,
) -> None:
    world = api.harness.world
    payment = world.create("k")
    foreign = forged(world, payment)
    ask(world, foreign)
    api.harness.project()
    assert api.get(f"/api/payments/{payment}").json()["rulings"] == []
    rule(world, foreign, TAKEN_AS_RECORDED)
    api.harness.project()
    said = api.get(f"/api/payments/{payment}").json()
    assert said["state"] == "ACKNOWLEDGED"
    assert [each["ruling"] for each in said["rulings"]] == ["TAKEN_AS_RECORDED"]
    events = api.get(f"/api/payments/{payment}/events").json()["items"]
    marked = {each["sequence"]: each["ruling"] for each in events if each["ruling"]}
    assert marked == {said["sequence"]: "TAKEN_AS_RECORDED"}, "that event, and no other"
    assert events[-1]["place"]["offset"] == foreign.offset


def test_a_payment_created_only_by_the_foreign_record_is_not_found(api: ApiHarness) -> None:
    other = Outside()
    payment = other.create("not requested")
    made = next(r for r in other.driver.committed(t.EVENTS) if r.key == payment.encode())
    world = api.harness.world
    foreign = world.driver._append(t.EVENTS, made.partition, made.key, made.value, [], None)
    api.harness.project()
    assert api.get(f"/api/payments/{payment}").status_code == 200
    rule(world, foreign)
    api.harness.project()
    assert api.get(f"/api/payments/{payment}").status_code == 404
    assert api.get(f"/api/payments/{payment}/events").status_code == 404
