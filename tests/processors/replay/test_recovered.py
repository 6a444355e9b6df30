"""Decisions after a lost log tail are repeated to the same bytes: the recovered references are
pinned.
"""

from __future__ import annotations

from typing import Any

import pytest

from core import control_records as records
from core.payment import commands as c
from core.values import external_ref, payment_intent_id
from schemas import topology as t
from tests.processors.payments.clean_history import SOURCE
from tests.processors.replay.world import World, replay

pytestmark = pytest.mark.slow

WINDOW_MS = 600_000  # rule set 1: created_ms
STEP_MS = 10_000


class SilentDepositsCore(World):
    """Deposits Core does not answer a hold: the payment stays in CREATED."""

    def _one(self, request: Any) -> tuple[str, Any] | None:
        return None if getattr(request, "operation", "") == "HOLD" else super()._one(request)


def find(world: World, reference: str) -> None:
    """A recovery under dual control finds an instruction of `reference` without its event."""
    control = (
        records.RecoverRequested(
            request_id="rec_1",
            partitions=(),
            reason="the disk is gone",
            requested_at=0,
            actor="ann",
        ),
        records.RecoverConfirmed(
            request_id="rec_1", confirmed_at=0, actor="bob", submissions=(reference,)
        ),
    )
    for record in control:
        world._control(record)


def pass_the_window(world: World) -> None:
    """Advance the clock, reading every timer when it is due."""
    for _ in range(WINDOW_MS // STEP_MS + 10):
        world.driver.advance(STEP_MS)
        world.settle()


def names(world: World, payment: str) -> list[str]:
    return [type(world.codec.decode(t.EVENTS, raw)).__name__ for raw in world.values(payment)]


def test_a_timer_on_a_recovered_instruction_is_decided_again_to_the_same_bytes() -> None:
    """EV-07, JOB-02, ruling 3: the window passes, a conflict opens, nothing is called unpaid."""
    world = SilentDepositsCore()
    payment = payment_intent_id(SOURCE, "found")
    find(world, external_ref(payment, 1))
    world.create("found")
    other = world.create("not found")
    pass_the_window(world)

    assert "PaymentFailed" not in names(world, payment)
    assert names(world, payment)[-2:] == ["ReconciliationRequired", "RailEnquiryRequested"]
    assert "PaymentFailed" in names(world, other)
    report = replay(world, world.log())
    assert report.passed, report
    assert report.redecide.checked > 0


def test_without_the_recovered_references_the_same_log_gives_other_bytes() -> None:
    world = SilentDepositsCore()
    find(world, external_ref(payment_intent_id(SOURCE, "found"), 1))
    world.create("found")
    pass_the_window(world)
    log = world.log()
    place = (t.CONTROL, 0)
    log.records[place] = [
        each
        for each in log.records[place]
        if type(world.codec.decode(t.CONTROL, each.value)) is not records.RecoverConfirmed
    ]

    assert not replay(world, log).passed


def test_a_report_of_a_lost_retry_is_decided_again_to_the_same_bytes() -> None:
    world = World()
    payment = world.failed("lost retry", "AB08")
    reference = external_ref(payment, 2)
    find(world, reference)
    report = c.RailReport(
        header=world.header(payment),
        external_ref=reference,
        kind="ALREADY_SUBMITTED",
        adapter="recover",
    )
    world.give(t.RAIL_REPORTS, report)

    assert names(world, payment)[-1] == "ReconciliationRequired"
    assert replay(world, world.log()).passed
