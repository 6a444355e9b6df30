"""Fault row 30: the adapter's offsets and record are lost, its topic is replayed, a backup is
restored: no second submission. The simulated rail's ledger decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from app.platform.broker import Cluster
from core.values import external_ref, payment_intent_id
from schemas import topology
from tests.broker.harness import rounds
from tests.processors.rail.kafka_rig import WINDOW_MS, Rig, rail_rig

PAYMENTS = 30
WITHDRAWN_EVERY = 5  # each fifth payment is withdrawn before the adapter reads its instruction
# No adapter record covers that time yet: a withdrawal is certain only after submitBefore.
WITHDRAWN_WINDOW_MS = 8_000
CERTAIN = {"WITHDRAWN", "NOT_SUBMITTED"}


@pytest.fixture
def rig(fresh_cluster: Callable[..., Cluster]) -> Iterator[Rig]:
    with rail_rig(fresh_cluster()) as made:
        yield made


@pytest.mark.parametrize("again", rounds(10))
def test_old_instructions_are_never_submitted(rig: Rig, again: int) -> None:
    for number in range(PAYMENTS):
        withdrawn = number % WITHDRAWN_EVERY == 0
        window_ms = WITHDRAWN_WINDOW_MS if withdrawn else WINDOW_MS
        rig.instruct("SUBMIT", number, window_ms)
        if withdrawn:
            rig.instruct("WITHDRAW", number, window_ms)
    rig.run_to_the_end()
    before = rig.submissions()
    assert len(before) == PAYMENTS - PAYMENTS // WITHDRAWN_EVERY
    assert set(before.values()) == {1}
    instructions = rig.records(topology.RAIL_SUBMISSIONS)
    output = len(rig.records(topology.RAIL_REPORTS))

    rig.lose_offsets()
    rig.run_to_the_end()
    assert rig.submissions() == before, "offsets lost"

    rig.lose_offsets()
    rig.lose_record()
    rig.run_to_the_end()
    assert rig.submissions() == before, "offsets and record lost"
    assert sum(rig.simulator.ledger.enquiries.values()) >= len(before), "nothing was replayed"

    rig.copy(topology.RAIL_SUBMISSIONS, instructions)
    rig.run_to_the_end()
    assert rig.submissions() == before, "topic replayed"

    rig.lose_offsets()
    rig.lose_record(keep=5)
    rig.copy(topology.RAIL_SUBMISSIONS, instructions)
    rig.run_to_the_end()
    assert rig.submissions() == before, "backup restored"
    assert len(rig.records(topology.RAIL_REPORTS)) > output
    assert _certain_of(rig) == {
        external_ref(payment_intent_id("mobile-app", f"row30-{n}"), 1)
        for n in range(0, PAYMENTS, WITHDRAWN_EVERY)
    }, "what the rail has was called certainly not paid"

    rig.instruct("SUBMIT", PAYMENTS)
    rig.instruct("SUBMIT", PAYMENTS + 1, window_ms=-1)
    rig.run_to_the_end()
    assert len(rig.submissions()) == len(before) + 1, "what is new is still submitted, once"
    assert rig.simulator.ledger.too_late == {}


def _certain_of(rig: Rig) -> set[str]:
    return {report.external_ref for report in rig.reports() if report.kind in CERTAIN}
