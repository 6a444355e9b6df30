"""The journal is kept, and the lifecycle topic is compacted."""

from __future__ import annotations

from schemas import catalogue, topology


def test_events_are_kept_for_ever_and_the_lifecycle_is_compacted() -> None:
    """EV-04, OP-01: two topics with the same partition count, since a compacted one keeps no
    history.
    """
    topics = catalogue.load()
    events, lifecycle = topics.topic(topology.EVENTS), topics.topic(topology.LIFECYCLE)
    assert (events.cleanup, lifecycle.cleanup) == ("keep", "compact")
    assert events.partitions == lifecycle.partitions
