"""Whether a cluster answers at all, and if not, in the client's words why; what topics it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka.admin import AdminClient

from engine.clock import Clock
from engine.errors import Exit, Retry, Step, call

ONCE_S: Final = 2.0


def first_answer(connection: Mapping[str, Any], clock: Clock, seconds: float) -> str:
    """The id of the cluster behind this connection. Raises Exit after so many seconds, in the
    client's own words for why it gets no answer; and at once for properties it cannot work with.
    """
    said: list[str] = []
    asked = {**connection, "log_level": 0, "error_cb": lambda error: said.append(error.str())}
    admin = call(Step.READ, AdminClient, asked)
    deadline_s = clock.monotonic_s() + seconds
    while True:
        try:
            return str(call(Step.READ, admin.cluster_id, ONCE_S))
        except Retry as silence:
            admin.poll(0)  # the client says its errors here
            if clock.monotonic_s() >= deadline_s:
                words = next((each for each in said if "brokers are down" not in each), "")
                raise Exit(silence.code, words or silence.detail) from silence


def topic_names(connection: Mapping[str, Any]) -> set[str]:
    """The topics that this identity sees, asked once. Raises any of the five meanings."""
    admin = call(Step.READ, AdminClient, {"log_level": 4, **connection})
    return set(call(Step.READ, admin.list_topics, timeout=ONCE_S).topics)
