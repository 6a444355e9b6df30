"""Connections that the process closed, and why: slow, too many, malformed."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial

from prometheus_client import CollectorRegistry

from engine.meters import ANY, Meters


class Closed(StrEnum):
    """Why a connection was closed by us."""

    LATE = "late"  # a deadline of what it sends, or of the next request
    UNREAD = "unread"  # it does not read what it is sent
    MADE_ROOM = "made_room"  # another one needed its place
    BUSY = "busy"  # there was no place for it
    MALFORMED = "malformed"  # a head that is too large, or can be read in two ways


Count = Callable[[Closed], None]


def uncounted(_: Closed) -> None:
    """For servers of tests and simulators."""


class ServingMetrics:
    """Created once per process; ports are named, never numbered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        new = Meters(registry)
        self._closed = new.counter(
            "npp_http_connections_closed",
            "Connections that we closed, by port (api, callbacks, metrics) and reason",
            port=ANY,
            reason=ANY,
        )

    def of(self, port: str) -> Count:
        """Counters of one port, each reason from 0."""
        for reason in Closed:
            self._closed.labels(port, reason.value)
        return partial(self._count, port)

    def _count(self, port: str, reason: Closed) -> None:
        self._closed.labels(port, reason.value).inc()
