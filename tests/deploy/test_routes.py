"""Who receives each alert, and which alert inhibits which: the shipped routes, evaluated by amtool
and by a real Alertmanager.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from app.demo.prometheus import ALERTMANAGER, Monitoring
from app.platform.children import end_child, free_ports, start_child, tail_of
from tests.deploy.exported import rules
from tests.deploy.routing import shipped, with_addresses

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        None in map(shutil.which, ("prometheus", "prometheus-alertmanager", "amtool"))
        and "CI" not in os.environ,
        reason="install prometheus and prometheus-alertmanager",
    ),
]

CONFIG: Final = shipped()
ALERTS: Final = {rule["alert"]: rule for rule in rules() if "alert" in rule}
AMTOOL_SECONDS_MAX: Final = 20
SEEN_SECONDS_MAX: Final = 20.0
QUOTED: Final = re.compile(r'"([^"]+)"')


def amtool(*words: str) -> str:
    done = subprocess.run(
        ["amtool", *words],
        capture_output=True,
        text=True,
        timeout=AMTOOL_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_addresses(tmp_path_factory.mktemp("for-amtool"))


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_every_alert_reaches_its_level_and_levels_2_and_3_repeat_soon(
    name: str, routes: Path
) -> None:
    """MET-12: level 1 is paged occasionally, level 2 every hour, level 3 every quarter
    of an hour.
    """
    level = ALERTS[name]["labels"]["level"]
    labels = [f"{key}={value}" for key, value in ALERTS[name]["labels"].items()]
    requested = (
        "config",
        "routes",
        "test",
        f"--config.file={routes}",
        f"alertname={name}",
        *labels,
    )
    assert amtool(*requested).strip() == f"level-{level}"
    repeats = {"1": CONFIG["route"]["repeat_interval"]} | {
        route["matchers"][0][-2]: route["repeat_interval"] for route in CONFIG["route"]["routes"]
    }
    assert repeats == {"1": "4h", "2": "1h", "3": "15m"}


def named(matchers: list[str]) -> list[str]:
    """The alerts that these matchers select."""
    (pattern,) = QUOTED.findall(matchers[0])
    return [name for name in ALERTS if re.fullmatch(pattern, name)]


RULES: Final = [
    pytest.param(cause, symptom, rule.get("equal", []), id=f"{cause} silences {symptom}")
    for rule in CONFIG["inhibit_rules"]
    for cause in named(rule["source_matchers"])
    for symptom in named(rule["target_matchers"])
]


# The labels that a cause and its symptom share; without them every symptom would be silenced.
OF_THE_SAME: Final = {
    ("AdapterMissing", "AdapterStalled"): ["adapter"],
    ("AdapterMissing", "AdapterBehind"): ["adapter"],
    ("AdapterStalled", "AdapterBehind"): ["adapter"],
    ("LogContradicted", "PartitionHalted"): ["instance"],
    ("PaymentsStuck", "PaymentOverdueEscalated"): ["state"],
}


def test_only_a_symptom_of_the_same_cause_is_silenced() -> None:
    """Two adapters may stall for two reasons."""
    found = {tuple(each.values[:2]): each.values[2] for each in RULES if each.values[2]}
    assert found == OF_THE_SAME


def test_a_hanging_transaction_silences_no_alert_that_it_cannot_cause() -> None:
    """Readers of committed records do not see the records behind it, so their alerts have another
    cause. That the verifier's alert fires with it is shown in acceptance/watched/test_silence.py.
    """
    found = [each.values[1] for each in RULES if each.values[0] == "TransactionHangs"]
    assert found == ["VerifierBehind"]


def test_every_inhibition_names_alerts_that_exist() -> None:
    for rule in CONFIG["inhibit_rules"]:
        for side in ("source_matchers", "target_matchers"):
            (pattern,) = QUOTED.findall(rule[side][0])
            assert all(
                any(re.fullmatch(part, name) for name in ALERTS) for part in pattern.split("|")
            ), pattern


class Manager:
    """A running Alertmanager with the shipped file."""

    def __init__(self, folder: Path) -> None:
        _, port = ports = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        (program,) = (
            each
            for each in Monitoring(folder, (ports[0], port), pages="").programs({})
            if each.name == ALERTMANAGER
        )
        self.log = folder / "alertmanager.log"
        self.child = start_child(
            program.command, log_file=self.log, env=program.env, cwd=program.cwd
        )

    def say(self, name: str, labels: Mapping[str, str]) -> None:
        words = [f"{key}={value}" for key, value in labels.items()]
        amtool("alert", "add", f"--alertmanager.url={self.url}", name, *words)

    def silenced(self, labels: Mapping[str, str], *, expected: bool) -> None:
        """Wait until the alert with these labels is inhibited, or is not."""
        until = time.monotonic() + SEEN_SECONDS_MAX
        while True:
            requested = ("alert", "query", f"--alertmanager.url={self.url}", "--output=json")
            both = [*json.loads(amtool(*requested)), *json.loads(amtool(*requested, "--inhibited"))]
            found: list[Any] = [
                each["status"]["inhibitedBy"]
                for each in both
                if labels.items() <= each["labels"].items()
            ]
            if found and bool(found[-1]) is expected:
                return
            assert time.monotonic() < until, f"{labels}: {both}\n{tail_of(self.log)}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    made = Manager(tmp_path_factory.mktemp("routes"))
    try:
        until = time.monotonic() + SEEN_SECONDS_MAX
        while True:
            requested = ["amtool", "alert", "query", f"--alertmanager.url={made.url}"]
            if subprocess.run(requested, capture_output=True, check=False).returncode == 0:
                break
            assert time.monotonic() < until, tail_of(made.log)
            time.sleep(0.1)
        yield made
    finally:
        end_child(made.child, 10.0)


@pytest.mark.parametrize(("cause", "symptom", "equal"), RULES)
def test_a_cause_silences_its_symptom_and_no_other(
    manager: Manager, cause: str, symptom: str, equal: list[str]
) -> None:
    """For the same adapter, state or instance, where the rule says so."""
    case = f"{cause}-{symptom}"
    same = dict.fromkeys(equal, case)
    other = dict.fromkeys(equal, f"{case}-other")
    mine = {"alertname": symptom, "case": case, **same}
    manager.say(symptom, {"case": case, **same})
    if equal:
        manager.silenced(mine, expected=False)
        manager.say(symptom, {"case": case, **other})
    manager.say(cause, {"case": case, **same})
    manager.silenced(mine, expected=True)
    if equal:
        manager.silenced({"alertname": symptom, "case": case, **other}, expected=False)
