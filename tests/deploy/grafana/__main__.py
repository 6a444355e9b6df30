"""Writes the dashboards that Grafana loads."""

from __future__ import annotations

import json

from tests.deploy.grafana import DASHBOARDS
from tests.deploy.grafana.panels import FOLDER, Dashboard


def written(dashboard: Dashboard) -> str:
    """The file's text."""
    return json.dumps(dashboard.as_json(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for each in DASHBOARDS:
        (FOLDER / f"{each.name}.json").write_text(written(each), encoding="utf-8")
