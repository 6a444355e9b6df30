"""The payments processor's topics: what it reads, in decision order, and where instructions go."""

from __future__ import annotations

from typing import Final

from core.payment import instructions
from engine.ports import EngineTopology
from schemas import topology
from schemas.catalogue import TopicsFile

INSTRUCTION_TOPICS: Final[dict[type, str]] = {
    instructions.RailInstruction: topology.RAIL_SUBMISSIONS,
    instructions.DepositsRequest: topology.DEPOSITS_REQUESTS,
    instructions.PolicyCheckRequest: topology.RESOLVE_REQUESTS,
    instructions.ApprovalRequest: topology.RESOLVE_REQUESTS,
    instructions.CustomerNotification: topology.NOTIFICATIONS,
}


def further_inputs(topics: TopicsFile) -> tuple[str, ...]:
    """Command topics of further upstream systems."""
    return tuple(t.name for t in topics.inputs() if t.name not in topology.INPUTS and t.sources)


def engine_topology(partitions: int, *, extra_inputs: tuple[str, ...] = ()) -> EngineTopology:
    """The payments processor's topics; `extra_inputs` are command topics of further upstream
    systems.
    """
    return EngineTopology(
        application="payments",
        inputs=topology.INPUTS + extra_inputs,
        low_priority=(
            *(topology.COMMANDS, topology.BATCH_COMMANDS, topology.API_COMMANDS),
            *extra_inputs,
        ),
        read_before_timers=(
            topology.RESOLVE_DECISIONS,
            topology.OPERATOR_COMMANDS,
            topology.RAIL_REPORTS,
            topology.DEPOSITS_RESULTS,
            topology.CUSTOMER_NOTIFIED,
        ),
        timers=topology.TIMERS,
        journal=topology.EVENTS,
        state=topology.LIFECYCLE,
        quarantine=topology.QUARANTINE,
        control=topology.CONTROL,
        partitions=partitions,
    )
