"""Whether a cluster answers, the client's message if not, and the topics it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka.admin import AdminClient

from engine.clock import Clock
from engine.errors import Exit, Retry, Step, call

ONCE_S: Final = 2.0


def first_answer(connection: Mapping[str, Any], clock: Clock, seconds: float) -> str:
    """The cluster's id. Raises Exit with the client's message if there is no answer within the
    given seconds, and at once for unusable properties.
    """
    errors: list[str] = []
    properties = {
        **connection,
        "log_level": 0,
        "error_cb": lambda error: errors.append(error.str()),
    }
    admin = call(Step.READ, AdminClient, properties)
    deadline_s = clock.monotonic_s() + seconds
    while True:
        try:
            return str(call(Step.READ, admin.cluster_id, ONCE_S))
        except Retry as silence:
            admin.poll(0)  # the client reports its errors here
            if clock.monotonic_s() >= deadline_s:
                words = next((each for each in errors if "brokers are down" not in each), "")
                raise Exit(silence.code, words or silence.detail) from silence


def topic_names(connection: Mapping[str, Any]) -> set[str]:
    """The topics visible to this identity, requested once. Raises EngineError."""
    admin = call(Step.READ, AdminClient, {"log_level": 4, **connection})
    return set(call(Step.READ, admin.list_topics, timeout=ONCE_S).topics)
