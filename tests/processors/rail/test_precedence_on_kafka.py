"""The rail adapter on Kafka: urgent instructions overtake waiting ones, and offsets wait for all of
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from app.platform.broker import Cluster
from core.values import external_ref, payment_intent_id
from tests.processors.rail.kafka_rig import Rig, rail_rig

ENQUIRIES = 100
HANGS = {"kind": "ENQUIRY", "hang": True, "millis": 10_000}
RECALLED_REF = external_ref(payment_intent_id("mobile-app", "row30-0"), 1)


@pytest.fixture
def rig(fresh_cluster: Callable[..., Cluster]) -> Iterator[Rig]:
    with rail_rig(fresh_cluster()) as made:
        yield made


def test_a_recall_overtakes_hanging_enquiries(rig: Rig) -> None:
    """The recall of a possible duplicate payment used to take 67 s behind enquiries."""
    rig.instruct("SUBMIT", 0)
    rig.run_to_the_end()
    done = rig.committed()
    rig.simulator.scripts.put({"for": "*", "steps": [HANGS]})
    for _ in range(3):
        rig.instruct("ENQUIRE", 0)
    for number in range(1, ENQUIRIES):
        rig.instruct("ENQUIRE", number)
    rig.instruct("RECALL", 0)
    with rig.running():
        rig.wait(lambda: "RECALL_ACCEPTED" in [report.kind for report in rig.reports()])
        rig.instruct("SUBMIT", ENQUIRIES)
        rig.wait(lambda: len(rig.submissions()) == 2)
        enquired = [report for report in rig.reports() if report.via_enquiry]
        assert enquired == [], "recall and submission were done while every enquiry hung"
        assert rig.committed() == done, "offsets pass only what is finished"
    assert rig.simulator.ledger.entries[RECALLED_REF].recalled
