"""Panels and expressions that every dashboard uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.deploy.grafana.panels import GREEN, RED, Panel, Query, Step

EVERY: Final = "$__rate_interval"  # Grafana makes it at least four scrapes


def per_second(metric: str, *by: str) -> list[Query]:
    """The rate of a counter, one line for each value of these labels."""
    legend = " ".join("{{" + label + "}}" for label in by) or "all"
    return [(f"sum by ({', '.join(by)}) (rate({metric}[{EVERY}]))", legend)]


def quantiles(histogram: str, by: str = "", where: str = "") -> list[Query]:
    """The median and the 99th percentile of a histogram, by a label or over everything."""
    labels = f"le, {by}" if by else "le"
    name = "{{" + by + "}} " if by else ""
    rates = f"sum by ({labels}) (rate({histogram}_bucket{where}[{EVERY}]))"
    return [
        (f"histogram_quantile({share}, {rates})", f"{name}{called}")
        for share, called in ((0.5, "p50"), (0.99, "p99"))
    ]


def stat(title: str, text: str, expr: str, *, width: int = 4, **more: object) -> Panel:
    """A single number."""
    return Panel(title, text, [(expr, "")], kind="stat", width=width, **more)  # type: ignore[arg-type]


def share(kind: str, title: str, text: str, steps: Sequence[Step]) -> Panel:
    """One of the business rates; eight key metrics are a line."""
    expr = f'npp_business_rate{{kind="{kind}"}}'
    return stat(title, text, expr, width=3, unit="percentunit", steps=steps)


ZERO_IS_WELL: Final[Sequence[Step]] = ((GREEN, None), (RED, 1))
ONE_IS_WELL: Final[Sequence[Step]] = ((RED, None), (GREEN, 1))
