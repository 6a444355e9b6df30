"""The engine's refusals as the verifier sees them: covered by checkpoints, and noticed when they
are gone (domain §10).
"""

from __future__ import annotations

from typing import Any

import pytest

from app import recovery
from core.control_records import RecoverConfirmed, RecoverRequested
from core.payment.commands import RetryPayment
from core.records import Checkpoint
from schemas.topology import CHECKPOINTS, CONTROL, EVENTS, OPERATOR_COMMANDS, OUTCOMES
from tests.processors.verifier.world_rig import WorldRig

pytestmark = pytest.mark.slow


class Rig(WorldRig):
    """A verifier that has signed all of a mixed history, and one of its settled payments."""

    def __init__(self) -> None:
        super().__init__()
        self.payment = self.world.mixed()["settled"]
        self.work()
        assert self.stops() == []

    def refuse(self, attempt: str) -> None:
        """An operator's command is refused: only the outcome is new on the log."""
        command = RetryPayment(
            header=self.world.header(self.payment), operator=self.world.operator(),
            attempt_id=attempt, reason="not allowed",
        )  # fmt: skip
        self.world.give(OPERATOR_COMMANDS, command)

    def checkpoints(self) -> list[Checkpoint]:
        log = self.log.log(CHECKPOINTS, self.partition(self.payment))
        return [self.world.codec.decode(CHECKPOINTS, each.value) for each in log]


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize("restarted", [False, True])
def test_covered_outcomes_that_are_gone_are_a_stop(rig: Rig, restarted: bool) -> None:
    """SEC-03: the journal is complete, but refusals were lost with the tail of their topic. The
    verifier must not sign on as if they had never existed.
    """
    rig.refuse("att_002")
    rig.refuse("att_003")
    rig.work()
    signed = rig.checkpoints()
    assert rig.stops() == []
    del rig.log.log(OUTCOMES, 0)[-1:]
    if restarted:
        rig.start()
    rig.work()
    (stop,) = rig.stops()
    assert stop.cause == "OUTCOMES_LOST"
    assert "what was refused has vanished" in stop.reason
    assert rig.checkpoints() == signed


@pytest.mark.parametrize("store", ["kept", "lost"])
def test_after_a_recovery_it_continues_from_the_last_checkpoint_over_existing_outcomes(
    rig: Rig, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`npp control recover`: checkpoints over lost outcomes are void; what remains is signed again,
    and what follows.
    """
    rig.refuse("att_002")
    rig.work()
    kept = rig.checkpoints()
    rig.refuse("att_003")
    rig.work()
    del rig.log.log(OUTCOMES, 0)[-1:]
    rig.work()
    number = rig.partition(rig.payment)
    end = recovery.journal_end(_cluster(rig, monkeypatch), number)
    assert end <= kept[-1].to_offset < rig.log.bounds(EVENTS)[number][1]
    for record in (
        RecoverRequested(
            request_id="rec", partitions=(number,), reason="r", requested_at=0, actor="ann"
        ),
        RecoverConfirmed(
            request_id="rec", confirmed_at=0, actor="bob",
            journal_ends=tuple(end if n == number else -1 for n in rig.log.bounds(EVENTS)),
            checkpoints=tuple(
                len(rig.checkpoints()) if n == number else 0 for n in rig.log.bounds(EVENTS)
            ),
        ),
    ):  # fmt: skip
        rig.world._control(record)
    if store == "lost":
        rig.store = type(rig.store)()
        rig.start()
    rig.work()
    rig.refuse("att_004")
    rig.work()
    assert rig.verifier.problems() == {}
    last = rig.checkpoints()[-1]
    assert (last.to_outcome, last.to_offset) == (
        rig.log.bounds(OUTCOMES)[0][1] - 1, rig.log.bounds(EVENTS)[number][1] - 1,
    )  # fmt: skip
    assert rig.log.log(CONTROL, 0)


def _cluster(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A recovery's view of the cluster, answered by the rig's log."""

    class Ends:
        def high(self, names: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
            return {(topic, n): rig.log.bounds(topic)[n][1] for topic, n in names}

    class Cluster:
        ends = Ends()

        def partitions(self, topic: str) -> int:
            return rig.log.outcomes_partitions()

    monkeypatch.setattr(recovery, "_checkpoints", lambda *_: iter(rig.checkpoints()))
    return Cluster()
