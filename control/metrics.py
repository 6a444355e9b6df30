"""How many control records this process has refused, by the rule that they break."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry

from engine.meters import Meters

# Every rule of the fold, and an operators file that a reset let in. All start at 0, else the first
# refusal of a kind would be no increase.
RULES: Final = (
    "BAD_SIGNATURE",
    "EXPIRED",
    "MALFORMED",
    "NOT_POSSIBLE",
    "NUMBERS_ONLY_RISE",
    "NUMBER_USED",
    "OPERATORS_RESET",
    "PERSON_VANISHED",
    "ROLE",
    "SAME_PERSON",
    "SOURCE_MAP_DIFFERS",
    "TIME",
    "UNKNOWN_KEY",
    "UNKNOWN_PERSON",
    "UNREADABLE",
    "UNSIGNED",
    "WRONG_REQUEST",
)


class ControlMetrics:
    """For each process that follows the control topic. A process reads the topic from its start, so
    it counts old refusals again: alert on the increase."""

    def __init__(self, registry: CollectorRegistry) -> None:
        new = Meters(registry)
        self._refused = new.counter(
            "npp_control_acts_refused",
            "Control records that this process refused, by rule.",
            rule=RULES,
        )

    def refused(self, rule: str) -> None:
        """Count a refused record under the rule that it breaks."""
        self._refused.labels(rule).inc()
