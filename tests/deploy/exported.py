"""The metrics that our processes export, for the tests of alerts and dashboards."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import yaml
from prometheus_client import CollectorRegistry

from api.edge.metrics import ApiMetrics
from control.metrics import ControlMetrics
from engine.clients.lag_metrics import LagMetrics
from engine.clients.partition_errors import PartitionErrorMetrics
from engine.metrics import EngineMetrics
from engine.serving.metrics import ServingMetrics
from processors.adapter.metrics import AdapterMetrics
from processors.monitor.metrics import MonitorMetrics
from processors.payments.metrics import PaymentsMetrics
from processors.projector.metrics import ProjectorMetrics
from processors.replay.scheduled import ScheduledMetrics
from processors.verifier.hanging_transactions import HangingMetrics
from processors.verifier.metrics import VerifierMetrics
from processors.verifier.retention import RetentionMetrics
from tests.rooms import ROOT

RULES_FOLDER: Final = ROOT / "deploy" / "prometheus" / "rules"
RULE_FILES: Final = ("npp.yml", "slo.yml")
KINDS: Final = (
    AdapterMetrics,
    EngineMetrics,
    HangingMetrics,
    LagMetrics,
    PartitionErrorMetrics,
    PaymentsMetrics,
    ProjectorMetrics,
    RetentionMetrics,
    VerifierMetrics,
    MonitorMetrics,
    ApiMetrics,
    ControlMetrics,
    ScheduledMetrics,
    ServingMetrics,
)
METRIC: Final = re.compile(r"\bnpp[_:][a-z0-9_:]+\b")
PART: Final = re.compile(r"_(bucket|sum|count)$")  # of a histogram
SELECTOR: Final = re.compile(r"\b(npp_[a-z0-9_]+)\{([^}]*)\}")
MATCHER: Final = re.compile(r'(\w+)(!?[=~]+)"([^"]*)"')
# Label sets of these are known only once they have occurred, or are computed at the scrape.
APPEAR_LATER: Final = {
    "npp_api_requests_total",
    "npp_adapter_stalled_seconds",
    "npp_adapter_oldest_instruction_seconds",
    "npp_adapter_calls_total",
    "npp_consumer_lag_records",
    "npp_adapter_call_seconds_bucket",
}


@cache
def rules() -> list[dict[str, Any]]:
    """Every shipped rule, alerts and recordings."""
    return [
        rule
        for name in RULE_FILES
        for group in yaml.safe_load((RULES_FOLDER / name).read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]


def alert(name: str) -> dict[str, Any]:
    """A shipped alert."""
    return next(rule for rule in rules() if rule.get("alert") == name)


@cache
def exported() -> dict[str, list[dict[str, str]]]:
    """The label sets of each sample at a process's start, and the name of each metric without
    samples.
    """
    registry = CollectorRegistry()
    for kind in KINDS:
        kind(registry)
    found: dict[str, list[dict[str, str]]] = {}
    for family in registry.collect():
        found.setdefault(family.name + ("_total" if family.type == "counter" else ""), [])
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def faults(expression: str) -> list[str]:
    """Why this expression finds nothing: a name that no process exports and no rule records, or a
    label value that no process has.
    """
    known = {*exported(), *(rule["record"] for rule in rules() if "record" in rule)}
    requested = METRIC.findall(expression)
    wrong = [
        f"nobody exports {name}" for name in requested if not {name, PART.sub("", name)} & known
    ]
    for metric, matchers in SELECTOR.findall(expression):
        if wrong or metric in APPEAR_LATER:
            continue
        for label, sign, value in MATCHER.findall(matchers):
            values = {labels.get(label, "") for labels in exported()[metric]}
            wanted = re.compile(value if "~" in sign else re.escape(value))
            if not any(map(wanted.fullmatch, values)):
                wrong.append(f"{metric}: {label} is one of {sorted(values)}, not {value}")
    return wrong
