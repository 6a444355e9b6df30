"""What must raise an alert: retries that fail again, and shortened retention."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from core.values import external_ref
from processors.verifier.retention import LOOK_EVERY_S
from schemas import topology
from tests.acceptance.harness import ACCEPT, SETTLE, Harness, rejects
from tests.rooms import ROOT

pytestmark = pytest.mark.broker

RULES = ROOT / "deploy" / "prometheus" / "rules" / "npp.yml"
KAFKA_SECONDS_MAX = 60.0
WEEK_MS = 7 * 24 * 3600 * 1000


def alert(name: str) -> dict[str, Any]:
    """A shipped alert."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return next(rule for group in groups for rule in group["rules"] if rule.get("alert") == name)


def contact_of(rule: dict[str, Any]) -> str:
    """The contact in prometheus.yml for the rule's level."""
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    named = {
        each["regex"]: str(each["replacement"])
        for each in config["alerting"]["alert_relabel_configs"]
        if each.get("source_labels") == ["level"]
    }
    return named[rule["labels"]["level"]]


def measured(harness: Harness, program: str, expression: str) -> float:
    """A process's value of the first metric in an alert's expression, over all its labels."""
    found = re.search(r"npp_\w+", expression)
    assert found is not None
    url = harness.stage.programs.ready_url(program).replace("/readyz", "/metrics")
    lines = harness.http.get(url).text.splitlines()
    mine = [line for line in lines if re.split(r"[{ ]", line)[0] == found[0]]
    assert mine, found[0]
    return sum(float(line.rpartition(" ")[2]) for line in mine)


def test_a_retry_that_fails_again_raises_an_alert_for_engineering(harness: Harness) -> None:
    """RT-05, RT-06: the alert's metric rises at the second attempt's failure, but not at the
    first's, nor at a retry that settles.
    """
    rule = alert("RetryFailedAgain")
    assert "engineering@" in contact_of(rule)
    before = measured(harness, "payments", rule["expr"])
    good, bad = harness.create([rejects("AB05")]), harness.create([rejects("AB05")])
    for payment, steps in ((good, [ACCEPT, SETTLE]), (bad, [rejects("AB05")])):
        harness.until(payment, state="FAILED", funds="RELEASED")
        harness.script(external_ref(payment, 2), steps)
    assert measured(harness, "payments", rule["expr"]) == before
    for payment in (good, bad):
        harness.approved("ops_1", payment, "RETRY")
        harness.done("ops_1", payment, "retry", {"attemptId": "att_002", "reason": "again"})
    harness.until(good, state="SETTLED")
    harness.until(bad, state="FAILED", attemptId="att_002")
    harness.soon(
        lambda: measured(harness, "payments", rule["expr"]) == before + 1, what="the alert"
    )
    assert harness.types(bad).count("PaymentFailed") == 2


@pytest.mark.parametrize(
    "topic", [topology.EVENTS, topology.AUDIT], ids=["the journal", "the audit log"]
)
def test_a_live_setting_that_removes_records_too_early_is_found_and_corrected(
    harness: Harness, topic: str
) -> None:
    """RET-01: `npp doctor` fails and names topic and setting; `npp topics apply` restores the
    declared value.
    """
    set_retention(harness, topic, WEEK_MS)
    try:
        seen = harness.npp("doctor", check=False)
        assert seen.returncode != 0, seen.stdout
        named = [line for line in seen.stdout.splitlines() if topic in line]
        assert any("retention.ms" in line or str(WEEK_MS) in line for line in named), seen.stdout
    finally:
        harness.npp("topics", "apply")
    drift = harness.npp_json("topics", "drift")["differences"]
    assert [each for each in drift if topic in each["name"]] == []


def test_a_shortened_retention_raises_an_alert_by_itself(harness: Harness) -> None:
    """RET-01: the alert's metric rises without any command, and falls once the setting is
    corrected.
    """
    rule = alert("RetentionShortened")
    assert "compliance@" in contact_of(rule)
    # The verifier may just have seen another test's temporary change.
    harness.soon(lambda: measured(harness, "verifier", rule["expr"]) == 0, LOOK_EVERY_S + 30)
    set_retention(harness, topology.EVENTS, WEEK_MS)
    try:
        harness.soon(lambda: measured(harness, "verifier", rule["expr"]) == 1, LOOK_EVERY_S + 30)
    finally:
        harness.npp("topics", "apply")
    harness.soon(lambda: measured(harness, "verifier", rule["expr"]) == 0, LOOK_EVERY_S + 30)


def test_a_transaction_that_stays_open_raises_an_alert_by_itself(harness: Harness) -> None:
    """JOB-03: the alert's metric grows while the journal cannot be read, and falls once the
    transaction has ended.
    """
    rule = alert("TransactionHangs")
    harness.soon(lambda: measured(harness, "verifier", rule["expr"]) == 0)
    config: dict[str, Any] = {
        "bootstrap.servers": harness.bootstrap, "transactional.id": "hangs",
        "transaction.timeout.ms": 300_000,
    }  # fmt: skip
    producer = Producer(config)
    producer.init_transactions(KAFKA_SECONDS_MAX)
    producer.begin_transaction()
    producer.produce(topology.EVENTS, b"x", b"k", 0)
    assert producer.flush(KAFKA_SECONDS_MAX) == 0
    try:
        harness.soon(lambda: measured(harness, "verifier", rule["expr"]) > 0)
    finally:
        producer.abort_transaction(KAFKA_SECONDS_MAX)
    harness.soon(lambda: measured(harness, "verifier", rule["expr"]) == 0)


@pytest.mark.parametrize(
    ("program", "name"), [("payments", "InputsStalled"), ("adapters", "AdapterStalled")]
)
def test_stalls_are_measured_in_every_process_that_reads(
    harness: Harness, program: str, name: str
) -> None:
    """JOB-03: at rest no partition is stalled."""
    rule = alert(name)
    assert "engineering@" in contact_of(rule)
    harness.until(harness.create([ACCEPT, SETTLE]), state="SETTLED")
    harness.soon(lambda: measured(harness, program, rule["expr"]) == 0)


def set_retention(harness: Harness, topic: str, milliseconds: int) -> None:
    admin = AdminClient({"bootstrap.servers": harness.bootstrap})
    entry = ConfigEntry(
        "retention.ms",
        str(milliseconds),
        incremental_operation=AlterConfigOpType.SET,
    )
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(KAFKA_SECONDS_MAX)
