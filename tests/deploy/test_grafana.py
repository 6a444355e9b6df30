"""The Grafana dashboards: generated from their source, with existing metrics and valid PromQL."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.exported import exported, faults, rules
from tests.deploy.grafana import DASHBOARDS
from tests.deploy.grafana.__main__ import written
from tests.deploy.grafana.panels import COLUMNS, FOLDER, SOURCE, Dashboard
from tests.deploy.grafana.parts import EVERY
from tests.deploy.test_prometheus_rules import NEEDS_TOOLS
from tests.rooms import ROOT

GRAFANA: Final = ROOT / "deploy" / "grafana"
COMPOSE: Final = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
PROMTOOL_SECONDS_MAX: Final = 60
each_dashboard: Final = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)


@each_dashboard
def test_each_file_matches_its_source(dashboard: Dashboard) -> None:
    file = FOLDER / f"{dashboard.name}.json"
    assert file.read_text(encoding="utf-8") == written(dashboard), "python -m tests.deploy.grafana"


def test_there_is_no_other_file() -> None:
    found = {file.name for file in FOLDER.iterdir()}
    assert found == {f"{each.name}.json" for each in DASHBOARDS}


@each_dashboard
def test_every_expression_uses_exported_metrics_and_labels(
    dashboard: Dashboard,
) -> None:
    """A panel of a metric that is never exported stays empty and looks healthy."""
    assert [fault for expr in dashboard.expressions() for fault in faults(expr)] == []


def test_every_metric_is_on_a_dashboard_or_in_a_rule() -> None:
    """Otherwise it is never shown."""
    requested = " ".join(
        [expr for each in DASHBOARDS for expr in each.expressions()]
        + [str(rule["expr"]) for rule in rules()]
    )
    kinds = ("_bucket", "_sum", "_count", "_created")
    metrics = {name for name in exported() if not name.endswith(kinds)}
    assert {name for name in metrics if name not in requested} == set()


@NEEDS_TOOLS
@pytest.mark.slow
@each_dashboard
def test_every_expression_parses(dashboard: Dashboard, tmp_path: Path) -> None:
    recorded = [
        {"record": f"panel:{place}", "expr": expr.replace(EVERY, "1m")}
        for place, expr in enumerate(dashboard.expressions())
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(file)],
        capture_output=True,
        text=True,
        timeout=PROMTOOL_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@each_dashboard
def test_panels_have_a_description_and_do_not_overlap(dashboard: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    numbers = set()
    for panel in dashboard.as_json()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        numbers.add(panel["id"])
        assert panel["type"] == "row" or panel["description"].endswith("."), panel["title"]
    assert len(numbers) == len(dashboard.as_json()["panels"])


def test_grafana_gets_the_data_source_and_the_folder() -> None:
    """As compose mounts them."""

    def provisioned(kind: str) -> Any:
        return yaml.safe_load((GRAFANA / "provisioning" / kind / "npp.yaml").read_text())

    (source,) = provisioned("datasources")["datasources"]
    assert {"type": source["type"], "uid": source["uid"]} == SOURCE
    name, _, port = source["url"].removeprefix("http://").partition(":")
    assert name in COMPOSE["services"]
    assert port == "9090"
    (provider,) = provisioned("dashboards")["providers"]
    mounted = [volume.split(":") for volume in COMPOSE["services"]["grafana"]["volumes"]]
    inside = {inside: outside for outside, inside, *_ in mounted}
    assert inside[provider["options"]["path"]] == "./grafana/dashboards"
    assert inside["/etc/grafana/provisioning"] == "./grafana/provisioning"


def test_the_files_are_json_with_distinct_ids() -> None:
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(FOLDER.iterdir())]
    assert len({each["uid"] for each in found}) == len({each["title"] for each in found}) == 4
