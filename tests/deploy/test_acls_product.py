"""The whole product under its access rules: every process and command as its own principal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from app.platform.broker import Cluster
from app.platform.children import free_ports
from tests.broker.harness import Harness
from tests.broker.processes import Process, answers
from tests.deploy.test_acls import ANSWER_SECONDS_MAX, LOCKED, ROOT_USER

VERIFIED_THROUGH = 3  # the last events may not be signed yet
WIDE = {"compression.type": "gzip", "message.max.bytes": 10_000_000}


class LockedHarness(Harness):
    """The product on a locked broker: every process and command as its own principal."""

    def __init__(self, cluster: Cluster, registry: str, folder: Path) -> None:
        super().__init__(cluster.bootstrap, registry, folder)
        self.cluster = cluster
        self.env |= {
            "NPP_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "NPP_KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
        }

    def login(self, principal: str) -> dict[str, str]:
        password = self.cluster.users[principal]
        return {"NPP_KAFKA_SASL_USERNAME": principal, "NPP_KAFKA_SASL_PASSWORD": password}

    def run_as(self, principal: str, kind: str, *arguments: str) -> Process:
        port = free_ports(1)[0]
        env = {**self.login(principal), "NPP_METRICS_PORT": str(port)}
        env["NPP_INSTANCE_ID"] = f"{kind}-{principal}"
        command = [sys.executable, "-m", "app.cli.npp", "run", kind, *arguments]
        return self._start(f"{kind}-{principal}", command, env, port)

    def ask_as(self, principal: str, *arguments: str) -> str:
        self.env |= self.login(principal)
        return self.npp(*arguments).stdout


def redrive_rubbish(harness: LockedHarness) -> None:
    """Undecodable records go to quarantine, one whole and one by reference, whose original the
    redriver may read. Two people put them back, and they are quarantined again.
    """
    producer = Producer({**harness.cluster.client_config("mobile-app"), **WIDE})
    for value in (b"rubbish", bytes(3 * 1024 * 1024)):
        producer.produce("npp.payment.commands.v1", value, b"k", 0)
        assert producer.flush(ANSWER_SECONDS_MAX) == 0
    first, large = quarantined(harness, 2)
    assert (first["reason"], first["origin"]["topic"]) == ("UNDECODABLE", "npp.payment.commands.v1")
    assert (first["byReference"], large["byReference"]) == (False, True)
    place = ["--partition", str(first["partition"]), "--offset", str(first["offset"])]
    place += ["--offset", str(large["offset"])]
    requested = ["quarantine", "redrive", "--request", "--as", "ann", "--reason", "trial", *place]
    name = harness.ask_as("admin", *requested).partition(":")[0]
    alone = harness.npp("quarantine", "redrive", "--confirm", name, "--as", "ANN ", check=False)
    assert alone.returncode == 1
    harness.ask_as("admin", "quarantine", "redrive", "--confirm", name, "--as", "bob")
    again = quarantined(harness, 4)[2:]
    assert [each["byReference"] for each in again] == [False, True]
    assert again[0]["origin"]["offset"] > large["origin"]["offset"]
    assert again[1]["valueSha256"] == large["valueSha256"]


def quarantined(harness: LockedHarness, count: int) -> list[dict[str, Any]]:
    """The output of `npp quarantine list` once it has that many records."""
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    while True:
        lines = harness.ask_as("replay", "quarantine", "list", "--json").splitlines()
        if len(lines) >= count:
            return [json.loads(line) for line in lines]
        assert time.monotonic() < deadline


def export_with_a_refused_action(harness: LockedHarness, payment: str, folder: Path) -> None:
    """A pack contains the engine's refusals and is verified against the log; the API reads the
    operators' commands for it.
    """
    port = free_ports(1)[0]
    harness.env |= {"NPP_API_PORT": str(port)}
    through = {"NPP_API_URL": f"http://127.0.0.1:{port}"}
    more = [harness.run_as("projector", "projector"), harness.run_as("api", "api")]
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    while not answers(f"http://127.0.0.1:{port}/readyz"):
        assert time.monotonic() < deadline, more[1].log.read_text()[-2000:]
        time.sleep(0.2)
    words = ("payment", "cancel", payment, "--reason", "too late", "--as", "olga", "--json")
    while True:
        output = harness.npp(*words, check=False, more=through)
        if "POLICY_REJECTED" in output.stdout:
            break
        assert time.monotonic() < deadline, output.stdout + output.stderr
        time.sleep(0.5)
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    file, auditor = folder / "pack.json", ("--as", "aud", "--role", "auditor")
    while harness.npp(
        "evidence", "pack", payment, "--out", str(file), *auditor, check=False, more=through
    ).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert "POLICY_REJECTED" in file.read_text(encoding="utf-8")
    found = harness.npp(
        "evidence", "verify", str(file), "--online", *auditor, "--json", check=False, more=through
    )
    assert found.returncode in (0, VERIFIED_THROUGH), found.stdout + found.stderr
    for process in more:
        assert process.stop() == 0


def recover(harness: LockedHarness) -> None:
    """As `recovery`; the daily credential sets no offsets and writes no reports."""
    requested = ("control", "recover", "--request", "--as", "ann", "--reason", "drill", "--json")
    name = json.loads(harness.ask_as("recovery", *requested))["requestId"]
    confirm = ("control", "recover", "--confirm", name, "--as", "bob")
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    harness.env |= harness.login("admin")
    while (
        "Payments processors are running" in (refused := harness.npp(*confirm, check=False)).stderr
    ):
        assert time.monotonic() < deadline
        time.sleep(1.0)
    assert "AUTHORIZATION" in refused.stderr, refused.stdout + refused.stderr
    assert "→" in harness.ask_as("recovery", *confirm)


@pytest.mark.slow
def test_the_product_runs_under_the_rules(
    fresh_cluster: Callable[..., Cluster], registry: str, tmp_path: Path
) -> None:
    """SEC-04: every process and command has its own principal; a payment settles, the log is
    proved, a stop is ended under dual control.
    """
    harness = LockedHarness(fresh_cluster(**LOCKED), registry, tmp_path)
    try:
        harness.ask_as(ROOT_USER, "schemas", "register")
        harness.ask_as(ROOT_USER, "topics", "apply")
        assert "nothing to change" in harness.ask_as("installer", "topics", "apply")
        assert "matches topics.yaml" in harness.ask_as("admin", "topics", "drift")
        harness.start_simulators()
        harness.ready(*harness.processes)
        started = [
            harness.run_as("payments", "payments"),
            harness.run_as("verifier", "verifier"),
            harness.run_as("rail-adapter", "adapters", "--only", "rail"),
            harness.run_as("deposits-adapter", "adapters", "--only", "deposits"),
            harness.run_as("resolve", "adapters", "--only", "resolve"),
            harness.run_as("notifications", "adapters", "--only", "notifications"),
            harness.run_as("redriver", "adapters", "--only", "redriver"),
        ]
        harness.ready(*started)
        payment = harness.ask_as("mobile-app", "payment", "publish", "--amount", "12.50").strip()
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while "SETTLED" not in (shown := harness.ask_as("replay", "payment", "show", payment)):
            assert time.monotonic() < deadline, shown
        redrive_rubbish(harness)
        harness.ask_as("admin", "doctor")
        harness.ask_as("admin", "control", "stop", "--reason", "trial", "--as", "ann")
        harness.ask_as("admin", "replay", "verify", "--publish")
        harness.ask_as(
            "admin", "control", "resume", "--request", "--reason", "proven", "--as", "ann"
        )
        harness.ask_as("admin", "control", "resume", "--confirm", "--as", "bob")
        assert "PASSED" in harness.ask_as("replay", "replay", "verify")
        assert [process.name for process in started if not process.alive()] == []
    finally:
        harness.close()


@pytest.mark.slow
def test_export_verification_and_recovery_work_under_the_rules(
    fresh_cluster: Callable[..., Cluster], registry: str, tmp_path: Path
) -> None:
    """SEC-04: a pack with a refused action is made and verified online as `api`; two people recover
    as `recovery`, and `admin` may not.
    """
    harness = LockedHarness(fresh_cluster(**LOCKED), registry, tmp_path)
    try:
        harness.ask_as(ROOT_USER, "schemas", "register")
        harness.ask_as(ROOT_USER, "topics", "apply")
        harness.start_simulators()
        harness.ready(*harness.processes)
        payments = harness.run_as("payments", "payments")
        started = [
            payments,
            harness.run_as("verifier", "verifier"),
            harness.run_as("deposits-adapter", "adapters", "--only", "deposits"),
            harness.run_as("resolve", "adapters", "--only", "resolve"),
        ]
        harness.ready(*started)
        payment = harness.ask_as("mobile-app", "payment", "publish", "--amount", "12.50").strip()
        export_with_a_refused_action(harness, payment, tmp_path)
        assert [process.name for process in started if not process.alive()] == []
        assert payments.stop() == 0
        recover(harness)
    finally:
        harness.close()
