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
    """Of each process that obeys the control topic. A start reads the topic from its begin, so old
    refusals are counted again: look at the increase."""

    def __init__(self, registry: CollectorRegistry) -> None:
        new = Meters(registry)
        self._refused = new.counter(
            "npp_control_acts_refused",
            "Control records that this process does not obey, by the rule that they break.",
            rule=RULES,
        )

    def refused(self, rule: str) -> None:
        """One more."""
        self._refused.labels(rule).inc()
