"""What a proof of the log tells the operators' dashboard of itself, on its own topic."""

from __future__ import annotations

from typing import Final

import structlog

from app.cluster import Cluster
from core.monitoring import ProofState
from engine.clients.publisher import NotConfirmed
from engine.clients.reader import read_all
from engine.errors import EngineError
from processors.replay.telling import Telling
from schemas.topology import PROOFS

log = structlog.get_logger("npp.replay")

PROOF_KEY: Final = b"replay"
TOLD_S_MAX: Final = 5.0


def telling_of(cluster: Cluster) -> Telling:
    """What tells the dashboard of a proof of this cluster's log. Raises Exit."""
    return Telling(lambda state: tell(cluster, state), cluster.clock, last_told(cluster))


def last_told(cluster: Cluster) -> ProofState | None:
    """What was last told of proofs; None when nothing was. Raises Exit when it cannot be read."""
    found = None
    for batch in read_all(cluster.connection, PROOFS, clock=cluster.clock):
        for record in batch:
            found = cluster.codec.decode(PROOFS, record.value, record.headers)
    return found


def tell(cluster: Cluster, state: ProofState) -> None:
    """Put it where the dashboard reads it. What Kafka does not take is told with the next word: a
    proof, and the STOP of one that failed, wait for no picture."""
    value = cluster.codec.encode(PROOFS, state)
    try:
        cluster.publisher.publish(PROOFS, PROOF_KEY, value, partition=0, timeout_s=TOLD_S_MAX)
    except (NotConfirmed, EngineError) as error:
        log.warning("proof_not_told", why=str(error))
