"""Metrics of the API process. Labels are routes, methods and codes; never ids or texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from engine.meters import ANY, Meters

SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0)
OTHER: Final = "other"


class ApiMetrics:
    """The API's metrics; create one for each process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        new = Meters(registry)
        self._requests = new.counter(
            "npp_api_requests_total",
            "Requests answered, by route, method and status",
            route=ANY,
            method=ANY,
            status=ANY,
        )
        self._seconds = new.histogram(
            "npp_api_request_seconds",
            "Seconds from a request to the start of its response",
            SECONDS,
            route=ANY,
            method=ANY,
        )
        self.defects = new.counter("npp_api_defects_total", "Requests that ended in a defect (500)")
        self._streams = new.gauge("npp_api_streams_open", "Open live event streams")
        self._malformed_keys = new.gauge(
            "npp_api_malformed_keys",
            "Members of the token issuer's key set that cannot be read and are ignored",
        )
        self._delay = new.gauge(
            "npp_api_read_model_delay_seconds",
            "For how long the read model has lacked journal records",
        )
        self._counted: dict[tuple[str, str, int], Counter] = {}
        self._timed: dict[tuple[str, str], Histogram] = {}

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request; `route` is the path as declared, `other` for none."""
        counted = self._counted.get((route, method, status))
        if counted is None:
            counted = self._requests.labels(route, method, str(status))
            self._counted[route, method, status] = counted
        counted.inc()
        timed = self._timed.get((route, method))
        if timed is None:
            timed = self._seconds.labels(route, method)
            self._timed[route, method] = timed
        timed.observe(seconds)

    def delay(self, seconds: float) -> None:
        """The read model's delay as last seen."""
        self._delay.set(seconds)

    def watch_malformed_keys(self, count: Callable[[], int]) -> None:
        """Read the number of malformed members of the issuer's key set from this function."""
        self._malformed_keys.set_function(count)

    def watch_streams(self, count: Callable[[], int]) -> None:
        """Read the number of open streams from this function."""
        self._streams.set_function(count)
