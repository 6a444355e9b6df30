"""The whole product as real processes against a real Kafka: start, load, break, wait, audit.

One `Harness` is one set-up: topics, schemas, simulators, payments processors and adapters. It does
not decide whether a run was right: the auditor does.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from app.platform.children import end_child, free_ports, start_child, tail_of
from examples import upstream_load as upstream
from examples import upstream_publisher
from tests.auditor import Evidence, Report, audit, read_kafka
from tests.auditor.evidence import EVENTS
from tests.auditor.wire import Decoder
from tests.broker.processes import HTTP_SECONDS_MAX, Process, answers, get
from tests.broker.rest import POLL_SECONDS, Rest, committed_offsets, end_offsets
from tests.rooms import ROOT

NPP_SECONDS_MAX = 60.0
READY_SECONDS_MAX = 180.0
REST_SECONDS_MAX = 60.0
NOTHING = "(?!)"
RELEASE = bool(os.environ.get("NPP_TEST_RELEASE"))
SUNNY = [{"kind": "ACCEPTED", "afterMillis": 20}, {"kind": "SETTLED", "afterMillis": 60}]


def rounds(release: int, ci: int = 1) -> range:
    """How often a fault is repeated: in CI, or before a release (NPP_TEST_RELEASE=1)."""
    return range(release if RELEASE else ci)


class Harness:
    """A set-up on its own Kafka or the session's; closes what it started."""

    def __init__(self, bootstrap: str, registry: str, folder: Path, *, seed: int = 1) -> None:
        self.bootstrap, self.registry, self.folder = bootstrap, registry, folder
        self.random = random.Random(seed)
        self.processes: list[Process] = []
        self.published: Counter[str] = Counter()
        self.runs = 0
        self.automatic_stops = 0  # caused on purpose by a test
        self._rest: Rest | None = None
        self._schemas: dict[int, dict[str, Any]] = {}
        self._decoder = Decoder(self._schemas)
        self._last: Counter[str] = Counter()  # of the last audit
        self._judged: dict[tuple[str, int], int] = {}  # the journal's ends at the last audit
        rail, deposits, notifications, self.webhook = free_ports(4)
        self.rail = f"http://127.0.0.1:{rail}"
        self.deposits = f"http://127.0.0.1:{deposits}"
        self.notifications = f"http://127.0.0.1:{notifications}"
        self.env = {
            "NPP_PROFILE": "test",
            "NPP_BOOTSTRAP_SERVERS": bootstrap,
            "NPP_SCHEMA_REGISTRY_URL": registry,
            "NPP_DATA_DIR": str(folder / "data"),
            "NPP_METRICS_HOST": "127.0.0.1",
            "NPP_RAIL_URL": self.rail,
            "NPP_DEPOSITS_URL": self.deposits,
            "NPP_NOTIFICATIONS_URL": self.notifications,
            "NPP_WEBHOOK_HOST": "127.0.0.1",
            "NPP_WEBHOOK_PORT": str(self.webhook),
            "NPP_LOG_LEVEL": "INFO",
        }

    # -- starting and ending ----------------------------------------------------------------------

    def npp(
        self, *arguments: str, check: bool = True, more: Mapping[str, str] = {}
    ) -> subprocess.CompletedProcess[str]:
        """One command of the product's command line."""
        done = subprocess.run(
            [sys.executable, "-m", "app.cli.npp", *arguments],
            env={**os.environ, **self.env, **more}, cwd=ROOT, capture_output=True, text=True,
            timeout=NPP_SECONDS_MAX, check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"npp {arguments}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def apply(self) -> None:
        """Schemas, topics, and the first control records: the rule set with windows of seconds."""
        self.npp("schemas", "register")
        self.npp("topics", "apply")

    def start_simulators(self, behaviour: str = "happy_path") -> None:
        for name, url in (
            ("rail", self.rail), ("deposits", self.deposits), ("notifications", self.notifications),
        ):  # fmt: skip
            command = [sys.executable, "-m", f"gateways.{name}.simulator"]
            port = url.rpartition(":")[2]
            options = ["--port", port, "--profile", "test", "--behaviour", behaviour]
            if name == "rail":
                options += ["--callback-url", f"http://127.0.0.1:{self.webhook}/callbacks/rail"]
            self._start(name, [*command, *options], {}, int(port))

    def start_payments(
        self, instance: str = "payments-1", *, crash_at: str | None = None
    ) -> Process:
        env = {"NPP_INSTANCE_ID": instance}
        if crash_at is not None:
            env["NPP_CRASH_AT"] = crash_at
            if crash_at.startswith(("commit_sent", "commit_held")):  # the client's log shows it
                env |= {"NPP_KAFKA_DEBUG": "protocol", "NPP_KAFKA_LOG_LEVEL": "7"}
        return self._run("payments", instance, env)

    def start_adapters(self, instance: str = "adapters-1") -> Process:
        return self._run("adapters", instance, {"NPP_INSTANCE_ID": instance})

    def start_verifier(self) -> Process:
        return self._run("verifier", "verifier-1", {"NPP_INSTANCE_ID": "verifier-1"})

    def _run(self, kind: str, name: str, env: dict[str, str]) -> Process:
        port = free_ports(1)[0]
        command = [sys.executable, "-m", "app.cli.npp", "run", kind]
        return self._start(name, command, {**env, "NPP_METRICS_PORT": str(port)}, port)

    def _start(self, name: str, command: list[str], env: dict[str, str], port: int) -> Process:
        log = self.folder / "logs" / f"{name}.log"
        child = start_child(command, log_file=log, env={**self.env, **env}, cwd=ROOT)
        process = Process(name, child, log, port)
        self.processes.append(process)
        return process

    def ready(self, *processes: Process) -> None:
        """Wait until each is ready; a process that exits instead fails the test with its log."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        for process in processes:
            path = (
                "readyz" if process.name.startswith(("payments", "adapters", "verif")) else "livez"
            )
            while not answers(f"http://127.0.0.1:{process.port}/{path}"):
                if not process.alive() or time.monotonic() > deadline:
                    raise AssertionError(f"{process.name} is not ready:\n{tail_of(process.log)}")
                time.sleep(POLL_SECONDS)

    def all_alive(self) -> None:
        """No process has ended that no test broke."""
        for process in self.processes:
            if not process.ended_by_us and not process.alive():
                code = process.child.returncode
                raise AssertionError(f"{process.name} ended: {code}\n{tail_of(process.log)}")

    def condition(self) -> str:
        """What the processes of the product say of themselves, in one line."""
        known = ("payments", "adapters", "projector", "api", "verifier")
        return " | ".join(p.condition() for p in self.processes if p.name.startswith(known))

    def lose_disk(self, instance: str = "payments-1") -> None:
        """Delete the local store of a payments processor that is not running."""
        stores = list((self.folder / "data").rglob(f"npp-payments-{instance}"))
        assert stores, "there was no store"
        for store in stores:
            shutil.rmtree(store)

    def waiting(self) -> int:
        """Inputs after the payments processor's committed offsets."""
        positions = committed_offsets(self.bootstrap)
        ends = end_offsets(self.bootstrap, list(positions))
        return sum(max(0, ends[place] - max(0, at)) for place, at in positions.items())

    def close(self) -> None:
        for process in reversed(self.processes):
            if process.alive():
                process.child.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            end_child(process.child, 10.0)
        if self._rest is not None:
            self._rest.close()

    # -- load -------------------------------------------------------------------------------------

    def publish(
        self, payments: int, rate: float = 0.0, *, happy_path: bool = False
    ) -> dict[str, Any]:
        """A known load by the example's publisher, with every error that upstream systems make.

        `happy_path`: payments only. What was published is added to `published`.
        """
        self.runs += 1
        options = argparse.Namespace(
            payments=payments, rate=rate, seed=self.runs, run=f"r{self.runs}", kafka=[],
            bootstrap_servers=self.bootstrap, schema_registry_url=self.registry, json=True,
        )  # fmt: skip
        if happy_path:
            report = self.publish_payments(payments)
        else:
            report = upstream_publisher.publish(options)
            self.published.update(report["expected"])
            self.published["records"] += report["records"]
        return report

    def in_background(self, payments: int, rate: float) -> Callable[[], None]:
        """Publish in a thread; the returned function waits for its end."""
        failed: list[Exception] = []

        def work() -> None:
            try:
                self.publish(payments, rate)
            except Exception as error:  # noqa: BLE001  # raised again by `join`
                failed.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()

        def join() -> None:
            thread.join(upstream_publisher.FLUSH_SECONDS_MAX + payments / max(rate, 1.0))
            assert not thread.is_alive(), "the publisher did not end"
            if failed:
                raise failed[0]

        return join

    def load(self) -> upstream.Load:
        """Creates single payments, for tests that need their ids in advance."""
        self.runs += 1
        encoder = upstream.Encoder(self.registry)
        partitions = {topic: self.partitions(topic) for topic in upstream.SOURCES}
        return upstream.Load(encoder, self.random, f"l{self.runs}", partitions)

    def publish_payments(self, count: int) -> dict[str, Any]:
        load = self.load()
        return self.send([load.payment() for _ in range(count)])

    def send(self, records: list[upstream.Record]) -> dict[str, Any]:
        """Publish these records; each valid payment counts as accepted."""
        producer = self.producer()
        failures: list[str] = []
        for record in records:
            partition = record.partition
            if partition is None:
                assert record.key is not None
                partition = upstream.partition_of(record.key, self.partitions(record.topic))
            producer.produce(
                record.topic, record.value, record.key, partition,
                on_delivery=lambda error, _: failures.append(str(error)) if error else None,
            )  # fmt: skip
        left = producer.flush(30.0)
        assert not left
        assert not failures, failures[:3]
        good = sum(record.kind == "payment" for record in records)
        self.published["accepted"] += good
        self.published["records"] += len(records)
        return {"records": len(records), "payments": good}

    def producer(self, **config: Any) -> Producer:
        own = {"enable.idempotence": True, "linger.ms": 1, "message.max.bytes": 2_000_000}
        return Producer({"bootstrap.servers": self.bootstrap, **own, **config})

    def partitions(self, topic: str) -> int:
        if not hasattr(self, "_counts"):
            known = self.producer().list_topics(timeout=HTTP_SECONDS_MAX).topics
            self._counts = {name: len(each.partitions) for name, each in known.items()}
        return self._counts[topic]

    def places(self, topic: str) -> list[tuple[str, int]]:
        return [(topic, number) for number in range(self.partitions(topic))]

    # -- simulators --------------------------------------------------------------------------------

    def script(self, name: str, steps: list[dict[str, Any]], *, at: str | None = None) -> None:
        """A simulator's behaviour for a payment, a reference or `*`."""
        body = json.dumps({"for": name, "steps": steps}).encode()
        request = urllib.request.Request(
            f"{at or self.rail}/scripts", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=HTTP_SECONDS_MAX):
            pass

    def ledger(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(get(f"{self.rail}/ledger"))
        return found

    def ledger_of(self, payment: str) -> list[dict[str, Any]]:
        """The rail ledger's entries of a payment, one for each reference."""
        found = self.ledger()["payments"]
        return [e for e in found if e["externalRef"][1:27].lower() == payment[3:]]

    # -- rest and audit ----------------------------------------------------------------------------

    def at_rest(self, seconds: float = REST_SECONDS_MAX) -> Rest:
        """Wait until every payment is final or waits for a person, and nothing is in progress."""
        if self._rest is None:
            self._rest = Rest(self)
        self._rest.wait(seconds)
        return self._rest

    def signed(self, verifier: Process, seconds: float = REST_SECONDS_MAX) -> None:
        """Wait until the verifier has signed a checkpoint."""
        deadline = time.monotonic() + seconds
        while not verifier.metrics()["npp_verifier_checkpoints_total"]:
            assert time.monotonic() < deadline, f"it signed nothing:\n{tail_of(verifier.log)}"
            time.sleep(POLL_SECONDS)

    def forget_rest(self) -> None:
        """The followed log was replaced."""
        if self._rest is not None:
            self._rest.close()
        self._rest = None

    def evidence(self) -> Evidence:
        return read_kafka(
            self.bootstrap, self.registry, rail_ledger=f"{self.rail}/ledger",
            deposits_ledger=f"{self.deposits}/ledger", keys=self.keys(),
        )  # fmt: skip

    def keys(self) -> dict[str, bytes]:
        """The verifier's public keys by id, from its file; none if none has run."""
        file = self.folder / "data" / "verifier" / "keyring.json"
        if not file.exists():
            return {}
        return {
            each["keyId"]: bytes.fromhex(each["publicKey"])
            for each in json.loads(file.read_text())["keys"]
        }

    def outcome_of_run(self) -> tuple[Report, Counter[str]]:
        """Wait for rest and audit; return the change of each of the auditor's counters since the
        last audit.
        """
        before = Counter(self._last)
        self.at_rest()
        report = self.judge()
        moved = Counter(report.counters)
        moved.subtract(before)
        return report, moved

    def catch_up(self) -> None:
        """Unaudited records that a test left on the log do not count for the next test."""
        if end_offsets(self.bootstrap, self.places(EVENTS)) != self._judged:
            self.judge(drained=False)

    def judge(self, *, drained: bool = True, allow: str = NOTHING) -> Report:
        """The auditor's report on everything so far. Fails the test on a violation whose sentence
        does not match the pattern `allow`.
        """
        evidence = self.evidence()
        self._schemas.update(evidence.schemas)
        report = audit(evidence, drained=drained, decoder=self._decoder)
        found = [each for each in report.violations if not re.fullmatch(allow, each.sentence)]
        assert not found, report.text()
        self._last = report.counters
        self._judged = {p: s for p, (s, _) in evidence.stable.items() if p[0] == EVENTS}
        assert report.counters["automatic stops"] == self.automatic_stops, "a false STOP"
        if drained:
            assert report.counters["PaymentIntentCreated"] >= self.published["accepted"]
        return report
