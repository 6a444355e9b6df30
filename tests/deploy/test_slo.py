"""The error budgets: each burn rate just below and just above its limit, without traffic, below the
minimum count and after a restart; evaluated by promtool on generated counters.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import yaml

from readmodel.minutes import LEAST_COUNT
from tests.deploy.test_prometheus_rules import NEEDS_TOOLS
from tests.rooms import ROOT

pytestmark = [pytest.mark.slow, NEEDS_TOOLS]

RULES: Final = ROOT / "deploy" / "prometheus" / "rules" / "slo.yml"
PROMTOOL_SECONDS_MAX: Final = 60
HOUR: Final = 60  # minutes, as everywhere here
DAY: Final = 24 * HOUR


class Budget(NamedTuple):
    """`share` is the long-term error budget; the names of its two alerts start alike. `least`: with
    fewer inputs in the long window there is no alert.
    """

    alerts: str
    share: float
    least: int


BUDGETS: Final = (
    Budget("SuccessBudget", 0.05, LEAST_COUNT),
    Budget("DecisionBudget", 0.01, 1000),
)
LIMITS: Final = (  # alert, burn rate, duration, traffic during it relative to before
    ("Fast", 14.4, HOUR, 1.0),
    ("Fast", 6.0, 6 * HOUR, 0.2),
    ("Slowly", 3.0, DAY, 0.1),
    ("Slowly", 1.0, 3 * DAY, 1.0),
)
PER_MINUTE: Final = 10_000
WELL: Final = (DAY, PER_MINUTE, 0.0)
STEP: Final = 2  # from sample to sample
JUDGED_EVERY: Final = "4m"  # within the five minutes for which a sample is current


def counters(budget: Budget, spans: Sequence[tuple[int, float, float]]) -> list[Mapping[str, str]]:
    """Per span: minutes, inputs per minute and the share of errors. With a negative number of
    minutes every counter restarts at 0.
    """
    good, bad, good_text, bad_text = 0.0, 0.0, [], []
    for minutes, rate, wrong in spans:
        if minutes < 0:
            good, bad = 0.0, 0.0
        count, step = abs(minutes) // STEP - 1, rate * STEP
        good_text.append(f"{good:.0f}+{step * (1 - wrong):.2f}x{count}")
        bad_text.append(f"{bad:.0f}+{step * wrong:.2f}x{count}")
        good += rate * (1 - wrong) * abs(minutes)
        bad += rate * wrong * abs(minutes)
    if budget.alerts == "SuccessBudget":
        ended = 'npp_attempts_ended_total{outcome="%s", instance="e"}'
        cancelled = {"series": ended % "cancelled", "values": f"0+{PER_MINUTE}x9000"}
        return [
            {"series": ended % "settled", "values": " ".join(good_text)},
            {"series": ended % "failed", "values": " ".join(bad_text)},
            cancelled,  # not counted
        ]
    both = []
    for one, other in zip(good_text, bad_text, strict=True):
        (a, rise), (b, more) = (each.split("x")[0].split("+") for each in (one, other))
        both.append(f"{int(a) + int(b)}+{float(rise) + float(more):.2f}x{one.split('x')[1]}")
    name = "npp_engine_end_to_end_seconds"
    return [
        {"series": f'{name}_bucket{{le="0.25", instance="e"}}', "values": " ".join(good_text)},
        {"series": f'{name}_count{{instance="e"}}', "values": " ".join(both)},
    ]


def fires(
    folder: Path, budget: Budget, spans: Sequence[tuple[int, float, float]], *expected: str
) -> None:
    """Exactly these alerts fire at the end of the spans."""
    at = sum(abs(minutes) for minutes, _, _ in spans) - STEP
    samples = [{"labels": f'{{alertname="{budget.alerts}Burns{e}"}}', "value": 1} for e in expected]
    requested = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": f"{at}m",
        "exp_samples": samples,
    }
    case = {
        "interval": f"{STEP}m",
        "input_series": counters(budget, spans),
        "promql_expr_test": [requested],
    }
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in rules["groups"]:
        group["interval"] = JUDGED_EVERY  # days in seconds
    (folder / "slo.yml").write_text(yaml.safe_dump(rules))
    file = folder / "slo_test.yml"
    text = {"rule_files": ["slo.yml"], "evaluation_interval": JUDGED_EVERY, "tests": [case]}
    file.write_text(yaml.safe_dump(text))
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)],
        capture_output=True,
        text=True,
        timeout=PROMTOOL_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize(("alert", "burn", "minutes", "traffic"), LIMITS)
def test_each_burn_rate_fires_just_above_its_limit_and_not_just_below(
    tmp_path: Path, budget: Budget, alert: str, burn: float, minutes: int, traffic: float
) -> None:
    """MET-01, MET-06: long and short windows as in the SRE workbook."""
    limit = burn * budget.share
    before = WELL if minutes < 3 * DAY else (HOUR, PER_MINUTE, 0.0)
    for wrong, expected in ((limit * 0.97, ()), (limit * 1.03, (alert,))):
        burning = (minutes + 6, PER_MINUTE * traffic, wrong)
        fires(tmp_path, budget, [before, burning], *expected)


@pytest.mark.parametrize("budget", BUDGETS)
def test_an_alert_ends_soon_after_its_cause(tmp_path: Path, budget: Budget) -> None:
    """Because of the short window: the hour's rate is still above the limit."""
    bad, good = (HOUR, PER_MINUTE, 16 * budget.share), (8, PER_MINUTE, 0.0)
    fires(tmp_path, budget, [WELL, bad], "Fast")
    fires(tmp_path, budget, [WELL, bad, good])


@pytest.mark.parametrize("budget", BUDGETS)
def test_without_traffic_nothing_fires(tmp_path: Path, budget: Budget) -> None:
    fires(tmp_path, budget, [(2 * HOUR, 0.0, 0.0)])


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_few_errors_are_not_a_rate(tmp_path: Path, budget: Budget) -> None:
    """OP-11: below the minimum count there is no alert, whatever the share of errors."""
    few, many = 0.9 * budget.least / HOUR, 1.15 * budget.least / HOUR
    fires(tmp_path, budget, [(DAY, 0.0, 0.0), (HOUR, few, 1.0)])
    fires(tmp_path, budget, [(DAY, 0.0, 0.0), (HOUR, many, 1.0)], "Fast", "Slowly")


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_restart_of_the_process_is_no_error_and_hides_none(
    tmp_path: Path, budget: Budget
) -> None:
    """Its counters restart at 0."""
    limit = 14.4 * budget.share
    fires(tmp_path, budget, [WELL, (-30, PER_MINUTE, 0.0), (-30, PER_MINUTE, 0.0)])
    for wrong, expected in ((limit * 0.97, ()), (limit * 1.05, ("Fast",))):
        spans = [WELL, (34, PER_MINUTE, wrong), (-34, PER_MINUTE, wrong)]
        fires(tmp_path, budget, spans, *expected)
