"""The state of proofs, published for the dashboard on its own topic."""

from __future__ import annotations

from typing import Final

import structlog

from app.cluster import Cluster
from core.monitoring import ProofState
from engine.clients.publisher import NotConfirmed
from engine.clients.reader import read_all
from engine.errors import EngineError
from processors.replay.reporter import ProofReporter
from schemas.topology import PROOFS

log = structlog.get_logger("npp.replay")

PROOF_KEY: Final = b"replay"
PUBLISH_S_MAX: Final = 5.0


def proof_reporter(cluster: Cluster) -> ProofReporter:
    """Publishes the state of this cluster's proofs for the dashboard. Raises Exit."""
    return ProofReporter(
        lambda state: publish_state(cluster, state), cluster.clock, last_published(cluster)
    )


def last_published(cluster: Cluster) -> ProofState | None:
    """The last published state of proofs; None if there is none. Raises Exit if it cannot be
    read.
    """
    found = None
    for batch in read_all(cluster.connection, PROOFS, clock=cluster.clock):
        for record in batch:
            found = cluster.codec.decode(PROOFS, record.value, record.headers)
    return found


def publish_state(cluster: Cluster, state: ProofState) -> None:
    """Publish it for the dashboard. A failure is only logged, because a proof, and the STOP after a
    failed one, must not wait for the dashboard.
    """
    value = cluster.codec.encode(PROOFS, state)
    try:
        cluster.publisher.publish(PROOFS, PROOF_KEY, value, partition=0, timeout_s=PUBLISH_S_MAX)
    except (NotConfirmed, EngineError) as error:
        log.warning("proof_state_not_published", why=str(error))
