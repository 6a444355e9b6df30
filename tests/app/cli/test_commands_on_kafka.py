"""The command line against a real Kafka and registry, without any processor running."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from app.cli.cluster import doctor
from app.cli.cluster.doctor_reading import LAST_OFFSETS
from app.cli.npp import run_cli
from app.cluster import Cluster
from app.config import settings
from app.exits import ExitCode
from app.platform import broker
from app.platform.registry import Registry
from core.payment.commands import ResumeProcessing
from core.records import STATE_VERSION, PaymentLifecycle
from core.values import Cents, PaymentIntentId
from engine.clients.reader import LogEnds
from schemas import topology

Run = Callable[..., tuple[int, str]]
KAFKA_S_MAX = 30.0
PAYMENT_OF_KEY_1 = PaymentIntentId("pi_ahb55bwmim6rmilttbb4g5otqe")  # mobile-app, k1
PARKED_RECORD = PaymentLifecycle(
    at_rest=True, deadline=None, payment_intent_id=PAYMENT_OF_KEY_1, state_version=STATE_VERSION,
    sequence=4, head_hash=bytes(32), last_lifecycle_event="PaymentAuthorised", state="AUTHORISED",
    money_outcome="OPEN", reason=None, attempt=1, external_ref=None, amount=Cents(1_250),
    currency="AUD",
    funds="NONE", open_conflicts=0, overdue=None, waiting_for_person=True, rule_set=9001,
    decided_at=1, snapshot=b"",
)  # fmt: skip


@pytest.fixture
def run(
    fresh_cluster: Callable[..., broker.Cluster],
    fresh_registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run `npp` with these arguments; return the exit code and both outputs."""
    monkeypatch.setenv("NPP_BOOTSTRAP_SERVERS", fresh_cluster().bootstrap)
    monkeypatch.setenv("NPP_SCHEMA_REGISTRY_URL", fresh_registry.url)
    monkeypatch.setenv("NPP_PROFILE", "test")
    monkeypatch.setenv("NPP_DATA_DIR", str(tmp_path / "npp"))
    monkeypatch.setattr(doctor, "TRANSACTION_S_MAX", 4.0)

    def call(*words: str) -> tuple[int, str]:
        code = run_cli(list(words))
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call


def test_an_empty_cluster_becomes_ready_step_by_step_and_each_step_is_repeatable(
    run: Run, tmp_path: Path
) -> None:
    for process in ("payments", "adapters", "projector"):
        code, text = run("run", process)
        assert code == ExitCode.FAILED
        assert "npp topics apply" in text
        assert "partitions" not in text
    code, text = run("topics", "apply")
    assert code == ExitCode.FAILED
    assert "npp schemas register" in text  # control records need the schemas

    assert run("schemas", "register")[0] == 0
    ids = (tmp_path / "npp" / "ids.lock").read_bytes()
    assert run("topics", "drift")[0] == 0  # the first try created the topics
    code, text = run("doctor")
    assert code == ExitCode.FAILED
    assert "npp topics apply" in text

    code, text = run("topics", "apply")
    assert code == 0
    assert "ClusterRecorded" in text
    assert "RuleSetActivated" in text
    assert "SourceMapActivated" in text
    code, text = run("topics", "apply")
    assert (code, text.strip()) == (0, "nothing to change")
    assert run("schemas", "register")[0] == 0
    assert (tmp_path / "npp" / "ids.lock").read_bytes() == ids
    assert run("schemas", "check")[0] == 0
    code, text = run("doctor")
    assert code == 0, text
    assert "rule set 9001 is in force" in text
    assert "npp-rail has not run yet" in text
    assert "none hangs" in text

    _a_hanging_transaction_is_named(run)
    _the_rule_set_number_only_rises(run)
    _without_processors_every_command_says_so(run)
    _missing_records_are_neither_redriven_nor_proved(run)
    _a_stop_is_not_ended_without_a_proof(run)
    _changed_ids_stop_everything(run, tmp_path)
    _a_resume_names_its_requester(run)
    _an_unreadable_batch_is_named(run)


def _missing_records_are_neither_redriven_nor_proved(run: Run) -> None:
    """A mistyped offset used to be signed by two people; a replay of an unknown payment passed."""
    words = ("--kafka", "--request", "--as", "ann", "--reason", "r")
    for place in (("--offset", "7"), ("--offset", "0", "--partition", "99")):
        code, text = run("quarantine", "redrive", *words, *place)
        assert (code, "There is no quarantined record at" in text) == (ExitCode.NOT_FOUND, True)
    code, text = run("replay", "verify", "--payment", PAYMENT_OF_KEY_1)
    assert (code, "is not on the log" in text) == (ExitCode.NOT_FOUND, True)
    for option in ("--payment", "--keyring", "--to-time"):
        code, text = run("replay", "verify", option, "")
        assert (code, f"The value of {option} is empty" in text) == (ExitCode.USAGE, True)
    assert run("replay", "verify", "--payment=")[0] == ExitCode.USAGE
    assert run("replay", "verify", "--to-sequence", "3")[0] == ExitCode.USAGE
    code, text = run("replay", "verify", "--to-offset", "5000000")
    assert (code, "There is no journal offset 5000000" in text) == (ExitCode.NOT_FOUND, True)


def _the_rule_set_number_only_rises(run: Run) -> None:
    code, text = run("control", "rules", "1", "--as", "ann")
    assert code == ExitCode.USAGE
    assert "Numbers only rise" in text
    assert "in force already" in run("control", "rules", "9001", "--as", "ann")[1]


def _a_hanging_transaction_is_named(run: Run) -> None:
    """Open for longer than the broker allows ours; one that ends during the check is fine."""
    config: dict[str, Any] = {
        "bootstrap.servers": os.environ["NPP_BOOTSTRAP_SERVERS"], "transactional.id": "hangs",
        "transaction.timeout.ms": 300_000,
    }  # fmt: skip
    producer = Producer(config)
    producer.init_transactions(KAFKA_S_MAX)
    producer.begin_transaction()
    producer.produce(topology.EVENTS, b"x", b"k", 2)
    assert producer.flush(KAFKA_S_MAX) == 0
    ending = threading.Timer(doctor.TRANSACTION_S_MAX / 2, producer.abort_transaction)
    code, text = run("doctor")
    assert code == ExitCode.FAILED
    line = next(line for line in text.splitlines() if line.startswith("FAILED"))
    assert f"{topology.EVENTS} 2: open at offset 0" in " ".join(text.split())
    assert "transactions" in line
    assert "find-hanging" in text
    ending.start()
    assert run("doctor")[0] == 0
    ending.join()


def _without_processors_every_command_says_so(run: Run) -> None:
    """A payment is published and not decided, and every command reports that."""
    words = ("payment", "publish", "--key", "k1", "--amount", "12.50", "--wait", "0.5", "--json")
    code, text = run(*words)
    assert code == 0
    first, note = text.splitlines()[:2]
    assert json.loads(first)["paymentIntentId"] == PAYMENT_OF_KEY_1
    assert "1 not decided within" in note
    code, text = run("payment", "show", PAYMENT_OF_KEY_1)
    assert code == ExitCode.NOT_FOUND
    assert "npp run payments" in text
    code, text = run("payment", "cancel", PAYMENT_OF_KEY_1, "--as", "ann", "--reason", "changed")
    assert code == ExitCode.UNKNOWN
    assert "can still happen" in text
    code, text = run("replay", "verify", "--json")
    assert code == 0
    assert json.loads(text)["inputs"]["pending"] == 2


def _a_stop_is_not_ended_without_a_proof(run: Run) -> None:
    assert (
        run("control", "resume", "--request", "--as", "ann", "--reason", "r")[0]
        == ExitCode.NOT_FOUND
    )
    assert run("control", "stop", "--reason", "drill", "--as", "ann")[0] == 0
    assert "stopped by ann" in run("doctor")[1]
    code, text = run("control", "resume", "--request", "--as", "ann", "--reason", "drill over")
    assert code == ExitCode.FAILED
    assert "no replay has passed" in text
    assert run("replay", "verify", "--publish")[0] == 0
    code, text = run("control", "resume", "--request", "--as", "ann", "--reason", "drill over")
    assert code == ExitCode.FAILED  # no verifier has signed anything, so no chain is proved
    assert "fold and chain" in text


def _changed_ids_stop_everything(run: Run, tmp_path: Path) -> None:
    lock = tmp_path / "npp" / "ids.lock"
    good = lock.read_text()
    pinned = json.loads(good)
    first = pinned["ids"]["1"]
    first["fingerprint"] = first["fingerprint"][::-1]
    lock.write_text(json.dumps(pinned))
    code, text = run("payment", "publish", "--key", "k2", "--amount", "1.00")
    lock.write_text(good)
    assert code == ExitCode.FAILED
    assert "other ids" in text


def _a_resume_names_its_requester(run: Run) -> None:
    """SEC-02: the command carries the first person from the control topic, whoever is named."""
    of_bob = ("--as", "bob", "--reason", "mended")
    of_ann = ("--as", "ann", "--reason", "mended")
    resume = ("payment", "resume", PAYMENT_OF_KEY_1)
    assert run(*resume, "--request", *of_bob)[0] == ExitCode.NOT_FOUND
    with Cluster(settings.load()) as cluster:
        partition = cluster.partition(PAYMENT_OF_KEY_1)
        cluster.publish(topology.LIFECYCLE, partition, PAYMENT_OF_KEY_1, PARKED_RECORD)
    code, text = run(*resume, "--confirm", *of_ann)
    assert code == ExitCode.FAILED
    assert "There is no request to resume" in text
    code, text = run(*resume, "--request", *of_bob)
    assert code == 0, text
    code, text = run(*resume, "--request", "--as", "nobody", "--reason", "mended")
    assert code == ExitCode.USAGE
    assert "has no key" in text
    assert run(*resume, "--confirm", *of_ann)[0] == ExitCode.UNKNOWN  # not decided
    with Cluster(settings.load()) as cluster:
        written = [e.record for e in cluster.read(topology.OPERATOR_COMMANDS, partition)]
    requested = [each for each in written if isinstance(each, ResumeProcessing)]
    assert [(each.requested_by, each.operator.operator_id) for each in requested] == [
        ("bob", "ann")
    ]


def _an_unreadable_batch_is_named(run: Run) -> None:
    """Topic, partition, offset and the client's text, for the next offset to be read and for the
    end of every topic.
    """
    connection: Any = {"bootstrap.servers": os.environ["NPP_BOOTSTRAP_SERVERS"]}
    producer = Producer(
        {
            **connection, "compression.type": "zstd", "message.max.bytes": 200_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
        }
    )  # fmt: skip
    place = topology.COMMANDS, 4
    at = LogEnds(connection).high([place])[place]  # a record may be before it
    producer.produce(place[0], bytes(101_000_000), b"k", place[1])  # a client unpacks 100 MB
    assert producer.flush(KAFKA_S_MAX) == 0
    wanted = f"{place[0]} partition {place[1]} at offset {at}: _BAD_COMPRESSION"
    assert read_on(run) == [("failed", wanted)]

    for _ in range(2 * LAST_OFFSETS):
        producer.produce(place[0], b"x", b"k", place[1])
    assert producer.flush(KAFKA_S_MAX) == 0
    assert read_on(run) == [("ok", "each reader's next record can be read")]
    consumer = Consumer({**connection, "group.id": "npp-payments"})
    for offset, said in (
        (at, [("failed", wanted)]),
        (at + 1, [("ok", "each reader's next record can be read")]),
        (7_000, [("failed", f"npp-payments is to read {place[0]} partition {place[1]} from")]),
    ):
        consumer.commit(offsets=[TopicPartition(*place, offset)], asynchronous=False)
        assert read_on(run) == said
    consumer.close()


def read_on(run: Run) -> list[tuple[str, str]]:
    """The doctor's findings about reading, reduced to what a test compares."""
    code, text = run("doctor", "--json")
    findings = json.loads(text[text.index("{") :])["findings"]
    found = [(f["level"], f["says"]) for f in findings if f["check"] == "reading"]
    assert (code == ExitCode.FAILED) >= any(level == "failed" for level, _ in found)
    return [(level, says.partition(" offset 7000")[0].partition(": Decomp")[0])
            for level, says in found]  # fmt: skip
