"""The verifier's figures."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from evidence import chain, checkpoints
from processors.verifier.partition import LOG_START_LOST, LOG_TAIL_LOST, UNAUTHORIZED

PROBLEM_KINDS: Final = (
    UNAUTHORIZED,
    chain.FOREIGN_EVENT,
    chain.SEQUENCE_GAP,
    chain.SEQUENCE_REPEATED,
    chain.PREVIOUS_HASH,
    checkpoints.UNREADABLE,
    checkpoints.WRONG_PARTITION,
    checkpoints.UNKNOWN_KEY,
    checkpoints.SIGNATURE,
    checkpoints.KEY_PERIOD,
    checkpoints.NUMBER,
    checkpoints.PREVIOUS,
    checkpoints.RANGE,
    checkpoints.LEAVES,
    checkpoints.ROOT,
    checkpoints.MISSING,
    checkpoints.ALTERED,
    LOG_TAIL_LOST,
    LOG_START_LOST,
)


class VerifierMetrics:
    """Counts of the verifier; every kind of problem starts at zero. No payment id in a label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter("npp_verifier_events", "Events verified.", registry=registry)
        self.checkpoints = Counter(
            "npp_verifier_checkpoints", "Checkpoints signed and committed.", registry=registry
        )
        self.problems = Counter(
            "npp_verifier_problems", "Failed proofs, by kind.", ["kind"], registry=registry
        )
        self.unsigned = Gauge(
            "npp_verifier_unsigned_events",
            "Events that no checkpoint covers yet.",
            registry=registry,
        )
        self.broken = Gauge(
            "npp_verifier_broken_partitions", "Partitions that are not signed.", registry=registry
        )
        self.signed_at = Gauge(
            "npp_verifier_last_checkpoint_seconds",
            "Time of the last checkpoint.",
            registry=registry,
        )
        self.lag = Gauge(
            "npp_verifier_lag_events",
            "Events of the journal that are not verified yet.",
            registry=registry,
        )
        self.delay = Gauge(
            "npp_verifier_delay_seconds",
            "For how long events wait to be verified, the longest.",
            registry=registry,
        )
        self.inputs = Counter(
            "npp_verifier_inputs_read", "Inputs read to decide again.", registry=registry
        )
        for kind in PROBLEM_KINDS:
            self.problems.labels(kind)
