"""Panels, rows and dashboards, and their JSON as Grafana 12 reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.rooms import ROOT

FOLDER: Final[Path] = ROOT / "deploy" / "grafana" / "dashboards"
SCHEMA_VERSION: Final = 41
COLUMNS: Final = 24
SOURCE: Final = {"type": "prometheus", "uid": "npp-prometheus"}  # as provisioned
ALERTS: Final = 'ALERTS{alertstate="firing", alertname=~".+"}'
HEIGHTS: Final = {"stat": 4, "gauge": 4, "timeseries": 8, "piechart": 8, "bargauge": 8, "table": 8}
GREEN, ORANGE, RED = "green", "orange", "red"

Query = tuple[str, str]  # expression and legend
Step = tuple[str, float | None]  # colour from this value on


@dataclass(frozen=True, slots=True)
class Panel:
    """`text` explains the figure, its window and its limit; it is shown in the panel's corner."""

    title: str
    text: str
    queries: Sequence[Query]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    steps: Sequence[Step] = ((GREEN, None),)
    top: float | None = None

    def as_json(self, number: int, x: int, y: int) -> dict[str, Any]:
        limits = {
            "mode": "absolute",
            "steps": [{"color": color, "value": value} for color, value in self.steps],
        }
        defaults: dict[str, Any] = {"unit": self.unit, "thresholds": limits, "min": 0}
        if self.top is not None:
            defaults["max"] = self.top
        if self.kind == "timeseries":
            drawn = "dashed" if len(self.steps) > 1 else "off"
            defaults["custom"] = {"fillOpacity": 8, "thresholdsStyle": {"mode": drawn}}
        elif len(self.steps) > 1:
            defaults["color"] = {"mode": "thresholds"}
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.text,
            "datasource": SOURCE,
            "gridPos": {"h": HEIGHTS[self.kind], "w": self.width, "x": x, "y": y},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": _options(self.kind),
            "targets": [
                {
                    "refId": chr(ord("A") + place),
                    "datasource": SOURCE,
                    "expr": expr,
                    "legendFormat": legend,
                    "instant": self.kind != "timeseries",
                    "range": self.kind == "timeseries",
                }
                for place, (expr, legend) in enumerate(self.queries)
            ],
        }


def _options(kind: str) -> dict[str, Any]:
    last = {"reduceOptions": {"calcs": ["lastNotNull"], "values": False}}
    match kind:
        case "timeseries":
            legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
            return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
        case "piechart":
            legend = {"displayMode": "table", "placement": "right", "values": ["value"]}
            return last | {"legend": legend, "pieType": "donut"}
        case "bargauge":
            return last | {"orientation": "horizontal", "displayMode": "basic"}
        case _:
            return last


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`name` is used for the file and the URL."""

    name: str
    title: str
    rows: Sequence[Row] = field(default_factory=tuple)

    def expressions(self) -> Iterator[str]:
        """Every expression of this dashboard."""
        yield ALERTS
        for row in self.rows:
            for panel in row.panels:
                yield from (expr for expr, _ in panel.queries)

    def as_json(self) -> dict[str, Any]:
        return {
            "uid": f"npp-{self.name}",
            "title": self.title,
            "tags": ["npp"],
            "schemaVersion": SCHEMA_VERSION,
            "editable": False,
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "links": [
                {
                    "title": "NPP",
                    "type": "dashboards",
                    "tags": ["npp"],
                    "asDropdown": False,
                    "keepTime": True,
                }
            ],
            "annotations": {"list": [_alerts()]},
            "templating": {"list": []},
            "panels": list(_placed(self.rows)),
        }


def _alerts() -> dict[str, Any]:
    """Marks the times at which an alert fired."""
    return {
        "name": "Alerts",
        "enable": True,
        "datasource": SOURCE,
        "expr": ALERTS,
        "titleFormat": "{{alertname}}",
        "textFormat": "level {{level}}",
        "iconColor": RED,
    }


def _placed(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Left to right, continuing on the next line."""
    number, y = 0, 0
    for row in rows:
        number += 1
        where = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
        yield {"id": number, "type": "row", "title": row.title, "gridPos": where, "panels": []}
        x, y, height = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            number += 1
            yield panel.as_json(number, x, y)
            x, height = x + panel.width, max(height, HEIGHTS[panel.kind])
        y += height
