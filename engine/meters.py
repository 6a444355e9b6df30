"""The metrics of one registry, each declared with its name, help and labels.

Record keys and free text are never labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any, Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

M = TypeVar("M", Counter, Gauge, Histogram)
ANY: Final = ()  # values of a label that are not known beforehand


class Meters:
    """Makes metrics. A label is declared with its known values: each combination exists from the
    start, at 0, so that the first event shows as an increase.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, **labels: Iterable[str]) -> Counter:
        return self._made(Counter, name, text, labels)

    def gauge(self, name: str, text: str, **labels: Iterable[str]) -> Gauge:
        return self._made(Gauge, name, text, labels)

    def histogram(
        self, name: str, text: str, buckets: Sequence[float], **labels: Iterable[str]
    ) -> Histogram:
        return self._made(Histogram, name, text, labels, buckets=buckets)

    def _made(
        self,
        kind: Callable[..., M],
        name: str,
        text: str,
        labels: dict[str, Iterable[str]],
        **more: Any,
    ) -> M:
        made = kind(name, text, tuple(labels), registry=self._registry, **more)
        for values in product(*labels.values()) if labels else ():
            made.labels(*values)
        return made
