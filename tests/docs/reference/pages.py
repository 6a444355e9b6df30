"""The pages of docs/reference, made from the code: `python -m tests.docs.reference` writes them.

A test compares each committed page with what the code gives. Nothing here runs in a process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry

from api.edge.metrics import ApiMetrics
from app.config import build
from app.config.settings import KAFKA_PASS_THROUGH, PREFIX, Settings
from app.exits import ExitCode
from app.telemetry.tracing import TraceMetrics
from control.metrics import ControlMetrics
from core import refusals
from engine.clients.lag_metrics import LagMetrics
from engine.clients.partition_errors import PartitionErrorMetrics
from engine.metrics import ALARMS, EngineMetrics, catalogue
from engine.serving.metrics import ServingMetrics
from processors.adapter.metrics import AdapterMetrics
from processors.monitor.metrics import MonitorMetrics
from processors.payments.metrics import PaymentsMetrics
from processors.projector.metrics import ProjectorMetrics
from processors.replay.scheduled import ScheduledMetrics
from processors.verifier.hanging_transactions import HangingMetrics
from processors.verifier.metrics import PROBLEM_KINDS, VerifierMetrics
from processors.verifier.retention import RetentionMetrics
from schemas import catalogue as topics_catalogue
from tests.docs.reference.limits import limits_page
from tests.docs.reference.markdown import page, table
from tests.docs.reference.states import state_machine_page

ROOT: Final = Path(__file__).resolve().parents[3]
FOLDER: Final = ROOT / "docs" / "reference"
HELP_WIDTH_MAX: Final = 300
EVERYWHERE: Final = ("--json", "--data")  # options of all commands

QUARANTINE_REASONS: Final = (
    (
        "UNDECODABLE",
        "No schema reads it, or it is larger than its topic allows.",
        "The sender; then engineering",
    ),
    (
        "MISROUTED",
        "No key, a key that is not the body's payment or is too long, or the wrong partition.",
        "The sender",
    ),
    (
        "UNMATCHED",
        "A report for a payment that is not known, or a callback that names no payment.",
        "Level 1 assigns it with a second person",
    ),
    (
        "PARKED",
        "Its payment is parked after a defect; the inputs wait in order.",
        "Engineering, at once",
    ),
)


# -- metrics ---


def metrics() -> str:
    """Every metric of every process."""
    parts: list[list[str]] = [
        [
            (
                "Each process serves these on `NPP_METRICS_PORT` at `/metrics`. No label ever "
                "holds a payment id, an account or free text, but for the Kafka client's words "
                "about a batch; label sets that are known start at 0."
            )
        ]
    ]
    makers: tuple[tuple[str, tuple[Callable[[CollectorRegistry], object], ...]], ...] = (
        ("npp run payments", (EngineMetrics, PaymentsMetrics, LagMetrics)),
        ("npp run adapters", (AdapterMetrics, LagMetrics)),
        ("npp run verifier", (VerifierMetrics, RetentionMetrics, HangingMetrics)),
        ("npp run projector", (ProjectorMetrics,)),
        ("npp run monitor", (MonitorMetrics,)),
        ("npp run replay", (ScheduledMetrics,)),
        ("npp run api", (ApiMetrics,)),
    )
    for process, classes in makers:
        registry = CollectorRegistry()
        for each in (
            *(*classes, PartitionErrorMetrics, ControlMetrics, ServingMetrics, TraceMetrics),
            build.show,
        ):
            each(registry)
        labels = _labels(registry)
        rows = [
            (f"`{m.name}`", m.kind, ", ".join(labels.get(m.name) or m.labels) or "-", m.text)
            for m in catalogue(registry)
        ]
        parts.append([f"## `{process}`", "", *table(("metric", "type", "labels", "meaning"), rows)])
    return page("Metrics", *parts)


def _labels(registry: CollectorRegistry) -> dict[str, tuple[str, ...]]:
    """Label names by metric: a metric without samples does not show them."""
    found: dict[str, tuple[str, ...]] = {}
    for collector, names in registry._collector_to_names.items():
        for name in names:
            found[name] = tuple(getattr(collector, "_labelnames", ()))
    return found


# -- errors ---


SAID_OF_CODE: Final = {
    refusals.POLICY_REJECTED: (
        "Most of these only say that something else comes first. Compliance is meant where a row",
        "names it: somebody may be attempting an action without the right to it. Escalate anything",
        "unexplained too.",
        "",
    ),
    refusals.INVARIANT_VIOLATION: (
        "The refusal is the protection: nothing was broken, and the input changed nothing.",
        "",
    ),
}


def errors() -> str:
    """Every code and rule with cause, remedy and escalation."""
    whom = {
        refusals.VALIDATION_FAILED: "the sender; then Level 2",
        refusals.POLICY_REJECTED: "Level 2",
        refusals.PAYMENT_NOT_FOUND: "Level 2, engineering",
        refusals.INVARIANT_VIOLATION: "Level 2, engineering",
    }
    parts: list[list[str]] = [
        [
            (
                "Every input has one outcome. A refused one changed nothing; its record on "
                "`npp.payment.outcomes.v1` carries code, rule and sentence. Checks are made in the "
                "order of the codes below, and within operators' actions: role, duplicate, known "
                "payment, state, approval, invariant."
            )
        ],
        ["No flag, role or topic allows anybody to skip an invariant."],
    ]
    for code in refusals.CODES:
        rows = [
            (
                f"`{r.name}`",
                r.template,
                r.advice,
                "compliance" if r.advice.endswith(refusals.COMPLIANCE) else whom[code],
            )
            for r in refusals.RULES
            if r.code == code
        ]
        head = ("rule", "cause", "what to do", "escalate to, when unexpected")
        parts.append([f"## {code}", "", *SAID_OF_CODE.get(code, ()), *table(head, rows)])
    quiet = [(f"`{q.name}`", q.sentence) for q in refusals.NO_EFFECT_RULES]
    parts += [
        [
            "## NO_EFFECT",
            "",
            "Not errors: the input was read, is recorded, and changes nothing.",
            "",
            *table(("rule", "meaning"), quiet),
        ],
        [
            "## Quarantine",
            "",
            "Records that cannot be decided, with their bytes untouched.",
            "",
            *table(("reason", "cause", "who"), QUARANTINE_REASONS),
        ],
        [
            "## Failed proofs",
            "",
            (
                "Kinds of `npp_verifier_problems_total`. Each one stops processing by itself and "
                "is critical: Levels 2 and 3 at once."
            ),
            "",
            ", ".join(f"`{kind}`" for kind in PROBLEM_KINDS) + ".",
        ],
        [
            "## Engine alarms",
            "",
            "Label values of `npp_engine_alarms_total`: "
            + ", ".join(f"`{name}`" for name in ALARMS)
            + ". Level 2; `LOG_TAIL_LOST` also Level 3.",
        ],
        [
            "## Exit codes of `npp`",
            "",
            *table(("code", "name"), [(int(code), code.name) for code in ExitCode]),
        ],
    ]
    return page("Errors", *parts)


# -- topics ---


def topics() -> str:
    """topics.yaml as a page."""
    file = topics_catalogue.load()
    profiles = list(file.profiles)
    rows = []
    for topic in file.topics:
        config = file.configuration(topic.name, profiles[0])
        kept = config.get("retention.ms", "")
        rows.append(
            (
                f"`{topic.name}`",
                topic.role,
                " / ".join(str(file.partition_count(topic.name, p)) for p in profiles),
                config["cleanup.policy"],
                "forever" if kept == "-1" else _days(kept),
                ", ".join(topic.producers),
                ", ".join(topic.consumers),
            )
        )
    head = ("topic", "role", "partitions", "cleanup", "kept", "written by", "read by")
    records = [
        (
            f"`{t.name}`",
            t.compatibility or "-",
            ", ".join(t.record_names()) or "raw bytes",
            ", ".join(t.sources) or "-",
        )
        for t in file.topics
    ]
    people = [
        (
            f"`{name}`",
            ", ".join((*p.groups, *(f"{each}*" for each in p.group_prefixes))) or "-",
            ", ".join(f"{each}*" for each in p.transactional_ids) or "-",
            ", ".join(
                word
                for word, given in (
                    ("topics and rules", p.installs),
                    ("reads everything", p.sees_all),
                    ("offsets of groups", p.sets_offsets),
                )
                if given
            )
            or "-",
        )
        for name, p in file.principals.items()
    ]
    return page(
        "Topics",
        [
            (
                f"Generated from `topics.yaml`. Partitions: {' / '.join(profiles)}; those of the "
                "inputs are fixed for life. `npp topics drift` shows where a cluster differs."
            )
        ],
        table(head, rows),
        [
            "## Records",
            "",
            *table(("topic", "compatibility", "records", "sources it may carry"), records),
        ],
        [
            "## Principals",
            "",
            "The access rules generated from this are in `deploy/acls.txt`.",
            "",
            *table(("principal", "consumer groups", "transactional ids", "administers"), people),
        ],
    )


def _days(milliseconds: str) -> str:
    if not milliseconds:
        return "the last per key"
    days = int(milliseconds) / 86_400_000
    return f"{days / 365.25:.0f} years" if days > 366 else f"{days:.0f} days"


# -- settings and command line ---


def settings_page() -> str:
    """Every environment variable of a process."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "-" if field.default in (None, "") else str(field.default)
        rows.append((f"`{PREFIX}{name.upper()}`", default, field.description or ""))
    passed = ", ".join(f"`{each}`" for each in KAFKA_PASS_THROUGH)
    return page(
        "Settings",
        [
            (
                "Environment variables of every process; `npp config` prints those in force. "
                "Business rules are not among them: they are in `core/rules/<n>.yaml`."
            )
        ],
        table(("variable", "default", "what it is"), rows),
        [
            (
                "`NPP_KAFKA_<OPTION>` reaches the Kafka client as its own option, dots for "
                f"underscores (`NPP_KAFKA_SASL_USERNAME` → `sasl.username`). Passed: {passed}."
            )
        ],
    )


def cli() -> str:
    """The command tree, one line each, and the options of each command."""
    from app.cli.npp import parser

    rows: list[tuple[str, str, str]] = []
    _walk(parser(), "npp", rows)
    return page(
        "Command line",
        [
            "Every command has `--help`, `--json` (one JSON document, or one per line where "
            "records are followed), and `--data DIR`, which leads it to the demo that runs in that "
            "folder. Times are ISO 8601 with their zone. Exit codes: "
            + ", ".join(f"{code.value} {code.name}" for code in ExitCode)
            + "."
        ],
        table(("command", "what it does", "arguments and options"), rows),
    )


def _walk(command: Any, path: str, rows: list[tuple[str, str, str]]) -> None:
    for name, child in sorted(command.commands.items()):
        if child.hidden:
            continue
        here = f"{path} {name}"
        if hasattr(child, "commands"):
            _walk(child, here, rows)
            continue
        names = [
            f"`{p.opts[0]}`" if p.param_type_name == "option" else f"`{p.name.upper()}`"
            for p in child.params
            if p.opts[0] not in EVERYWHERE
        ]
        rows.append((f"`{here}`", child.get_short_help_str(HELP_WIDTH_MAX), " ".join(names) or "-"))


PAGES: Final[dict[str, Callable[[], str]]] = {
    "metrics.md": metrics,
    "errors.md": errors,
    "state-machine.md": state_machine_page,
    "limits.md": limits_page,
    "topics.md": topics,
    "settings.md": settings_page,
    "cli.md": cli,
}


def main() -> int:
    """Write every page; returns 0."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")
    return 0
