"""The verifier's figures."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry

from engine.meters import Meters
from evidence import chain, checkpoints
from processors.verifier.partition import (
    LOG_START_LOST,
    LOG_TAIL_LOST,
    OUTCOMES_LOST,
    UNAUTHORIZED,
)

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
    OUTCOMES_LOST,
)


class VerifierMetrics:
    """Counts of the verifier; every kind of problem starts at zero. No payment id in a label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        new = Meters(registry)
        self.events = new.counter("npp_verifier_events", "Events verified.")
        self.checkpoints = new.counter(
            "npp_verifier_checkpoints", "Checkpoints signed and committed."
        )
        self.problems = new.counter(
            "npp_verifier_problems", "Failed proofs, by kind.", kind=PROBLEM_KINDS
        )
        self.unsigned = new.gauge(
            "npp_verifier_unsigned_events", "Events that no checkpoint covers yet."
        )
        self.broken = new.gauge("npp_verifier_broken_partitions", "Partitions that are not signed.")
        self.signed_at = new.gauge(
            "npp_verifier_last_checkpoint_seconds", "Time of the last checkpoint."
        )
        self.lag = new.gauge(
            "npp_verifier_lag_events", "Events of the journal that are not verified yet."
        )
        self.delay = new.gauge(
            "npp_verifier_delay_seconds",
            "The longest time that an event has waited to be verified.",
        )
        self.inputs = new.counter("npp_verifier_inputs_read", "Inputs read to decide again.")
