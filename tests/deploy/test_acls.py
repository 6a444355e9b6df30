"""Access rules on a real broker with SCRAM and an authorizer: each principal may do what
topics.yaml says and nothing else.

Every combination is tried: each principal with each topic, group and transactional id. That the
allowed rights are sufficient is shown by the whole product in test_acls_product.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from app.platform.broker import Cluster
from app.topic_specs import acl_specs, kept_specs, topic_specs
from engine.clients.publisher import Publisher
from engine.clock import SystemClock
from engine.errors import EngineError, Exit
from engine.loop.transaction import TransactionalProducer, TransactionSettings
from engine.topics import TopicAdmin
from schemas import catalogue
from tests.rooms import ROOT

pytestmark = pytest.mark.broker

TOPICS: Final = catalogue.load()
NAMES: Final = tuple(topic.name for topic in TOPICS.topics)
PRINCIPALS: Final = tuple(TOPICS.principals)
GROUPS: Final = tuple(g for p in TOPICS.principals.values() for g in p.groups)
TRANSACTIONAL_IDS: Final = ("npp-payments-1", "npp-verifier-journal", "another-process")
ROOT_USER: Final = "broker"  # the broker's own super user; `admin` of topics.yaml is none
THREADS: Final = 8
ANSWER_SECONDS_MAX: Final = 60.0
FORBIDDEN: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)

LOCKED: Final[dict[str, Any]] = {
    "security": "SASL_PLAINTEXT",
    "users": {ROOT_USER: "root", **{name: f"secret-of-{name}" for name in PRINCIPALS}},
    "properties": {
        "super.users": f"User:{ROOT_USER};User:ANONYMOUS",
        "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required "
            f'username="{ROOT_USER}" password="root";'
        ),
    },
    "heap_mb": 256,
}

Cell = tuple[str, str]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A broker that denies by default, with our topics and rules."""
    with Cluster(tmp_path_factory.mktemp("locked"), **LOCKED) as cluster:
        admin = TopicAdmin(cluster.client_config(ROOT_USER))
        specs, rules = topic_specs(TOPICS, "embedded"), acl_specs(TOPICS)
        admin.apply(specs, rules)
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while admin.drift(specs, rules):  # the broker's authorizer follows the metadata log
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield cluster


def each_principal(work: Callable[[str], dict[Cell, bool]]) -> dict[Cell, bool]:
    """Run `work` for every principal in parallel; return all results."""
    with ThreadPoolExecutor(THREADS) as pool:
        answers: dict[Cell, bool] = {}
        for found in pool.map(work, PRINCIPALS):
            answers.update(found)
        return answers


def allowed(error: KafkaError | None, where: Cell) -> bool:
    """Whether the answer is a yes; anything but yes and "not authorized" is a broken test."""
    if error is None:
        return True
    assert error.code() in FORBIDDEN, f"{where}: {error}"
    return False


def test_every_principal_writes_exactly_the_topics_it_is_a_producer_of(locked: Cluster) -> None:
    """SEC-04: principal × topic, each tried with a record."""

    def write(principal: str) -> dict[Cell, bool]:
        answers: dict[Cell, bool] = {}
        producer = Producer(
            {**locked.client_config(principal), "message.timeout.ms": 60_000, "log_level": 0}
        )
        for name in NAMES:

            def answered(error: KafkaError | None, _: object, name: str = name) -> None:
                answers[principal, name] = allowed(error, (principal, name))

            producer.produce(name, b"x", b"k", 0, on_delivery=answered)
        assert producer.flush(ANSWER_SECONDS_MAX) == 0
        return answers

    expected = {(p, t.name): p in t.producers for p in PRINCIPALS for t in TOPICS.topics}
    assert each_principal(write) == expected


def test_every_principal_reads_exactly_the_topics_it_is_a_consumer_of(locked: Cluster) -> None:
    """SEC-04: principal × topic, each tried with a fetch; principals that can see all topics read
    all.
    """

    def read(principal: str) -> dict[Cell, bool]:
        consumer = Consumer(
            {
                **locked.client_config(principal),
                "group.id": "npp-reader",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        answers: dict[Cell, bool] = {}
        for name in NAMES:  # a reader of a topic can see it; otherwise the client asks no broker
            seen = consumer.list_topics(name, timeout=ANSWER_SECONDS_MAX).topics[name]
            if not allowed(seen.error, (principal, name)):
                answers[principal, name] = False
        left = [name for name in NAMES if (principal, name) not in answers]
        consumer.assign([TopicPartition(name, 0, 0) for name in left])
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while len(answers) < len(NAMES) and time.monotonic() < deadline:
            for message in consumer.consume(100, 0.1):
                error, at = message.error(), message.topic()
                if at is None or at not in left:
                    continue  # the group's coordinator, which a pure producer may not look up
                ended = error is not None and error.code() == KafkaError._PARTITION_EOF
                answers[principal, at] = ended or allowed(error, (principal, at))
        consumer.close()
        return answers

    expected = {
        (p, t.name): p in t.consumers or TOPICS.principals[p].sees_all
        for p in PRINCIPALS
        for t in TOPICS.topics
    }
    assert each_principal(read) == expected


def test_every_principal_sees_exactly_the_topics_it_uses(locked: Cluster) -> None:
    def see(principal: str) -> dict[Cell, bool]:
        known = AdminClient(locked.client_config(principal)).list_topics(timeout=10).topics
        return {(principal, name): name in known for name in NAMES}

    expected = {
        (p, t.name): p in (*t.producers, *t.consumers)
        or TOPICS.principals[p].sees_all
        or TOPICS.principals[p].installs
        for p in PRINCIPALS
        for t in TOPICS.topics
    }
    assert each_principal(see) == expected


def test_every_principal_commits_offsets_of_its_own_groups_only(locked: Cluster) -> None:
    """A foreign member or commit could make a process skip inputs. Only `recovery`, which restores
    lost offsets under dual control, may set another group's.
    """

    def commit(principal: str) -> dict[Cell, bool]:
        client = AdminClient(locked.client_config(principal))
        reads = [t.name for t in TOPICS.topics if principal in t.consumers]
        topic = reads[0] if reads else NAMES[0]
        answers = {}
        for group in GROUPS:
            requested = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 0)])
            future = client.alter_consumer_group_offsets([requested], request_timeout=10)[group]
            error = None
            try:
                error = future.result(ANSWER_SECONDS_MAX).topic_partitions[0].error
            except KafkaException as refused:
                error = refused.args[0]
            answers[principal, group] = allowed(error, (principal, group))
        return answers

    expected = {
        (p, group): group in TOPICS.principals[p].groups
        or group.startswith(TOPICS.principals[p].group_prefixes or ("\0",))
        or TOPICS.principals[p].sets_offsets
        for p in PRINCIPALS
        for group in GROUPS
    }
    assert each_principal(commit) == expected


def test_every_principal_uses_its_own_transactional_ids_only(locked: Cluster) -> None:
    """Using another principal's transactional id would fence it."""

    def take(principal: str) -> dict[Cell, bool]:
        answers = {}
        for name in TRANSACTIONAL_IDS:
            config = {**locked.client_config(principal), "transactional.id": name, "log_level": 0}
            producer = Producer(config)
            error = None
            try:
                producer.init_transactions(ANSWER_SECONDS_MAX)
            except KafkaException as refused:
                error = refused.args[0]
            answers[principal, name] = allowed(error, (principal, name))
        return answers

    expected = {
        (p, name): name.startswith(TOPICS.principals[p].transactional_ids or ("\0",))
        for p in PRINCIPALS
        for name in TRANSACTIONAL_IDS
    }
    assert each_principal(take) == expected


@pytest.mark.parametrize(
    ("principal", "topic"),
    [
        ("mobile-app", "npp.payment.commands.batch.v1"),
        ("payroll-batch", "npp.payment.commands.v1"),
        ("api", "npp.payment.commands.v1"),
        ("api", "npp.rail.reports.v1"),
        ("api", "npp.resolve.decisions.v1"),
        ("api", "npp.payment.events.v1"),
        ("payments", "npp.payment.checkpoints.v1"),
        ("rail-adapter", "npp.payment.events.v1"),
        ("rail-callback", "npp.rail.submitted.v1"),
        ("resolve", "npp.payment.operator-commands.v1"),
        ("verifier", "npp.payment.events.v1"),
        ("redriver", "npp.payment.events.v1"),
        ("admin", "npp.payment.events.v1"),
        ("admin", "npp.deposits.results.v1"),
        ("admin", "npp.rail.reports.v1"),
        ("admin", "npp.payment.lifecycle.v1"),
        ("recovery", "npp.payment.events.v1"),
        ("installer", "npp.rail.reports.v1"),
        ("replay", "npp.control.v1"),
    ],
)
def test_the_forbidden_rights_are_denied(locked: Cluster, principal: str, topic: str) -> None:
    """SEC-04, SEC-06: listed by hand, so that an edit of topics.yaml alone allows none of them."""
    publisher = Publisher(locked.client_config(principal), "test", SystemClock())
    with ExitStack() as ends:
        ends.callback(publisher.close, 1.0)
        with pytest.raises(Exception, match="AUTHORIZATION_FAILED"):
            publisher.publish(topic, b"k", b"x", partition=0)


@pytest.mark.parametrize(
    ("topic", "writers"),
    [
        ("npp.payment.events.v1", {"payments"}),
        (
            "npp.payment.lifecycle.v1",
            {"payments", "recovery"},
        ),  # recovery: `npp control recover`, decision 11
        (
            "npp.control.v1",
            {"api", "admin", "recovery", "installer", "verifier", "redriver", "payments"},
        ),
        ("npp.payment.outcomes.v1", {"payments"}),
        ("npp.payment.checkpoints.v1", {"verifier"}),
        # recovery: `npp control recover` reports instructions whose events are lost, decision 11
        ("npp.rail.reports.v1", {"rail-adapter", "rail-callback", "redriver", "recovery"}),
        ("npp.resolve.decisions.v1", {"resolve", "redriver"}),
        ("npp.deposits.results.v1", {"deposits-adapter", "redriver"}),
        ("npp.payment.operator-commands.v1", {"api", "redriver"}),
    ],
)
def test_the_declared_writers_are_these_and_no_others(topic: str, writers: set[str]) -> None:
    """SEC-04: listed by hand, for the topics where a forged record would move money or hide it."""
    assert set(TOPICS.topic(topic).producers) == writers


def test_the_engines_own_producers_work_under_the_rules(locked: Cluster) -> None:
    """The idempotent publisher needs no right on the cluster, and the transactional one only its
    id.
    """
    publisher = Publisher(locked.client_config("mobile-app"), "test", SystemClock())
    placed = publisher.publish("npp.payment.commands.v1", b"k", b"x")
    assert placed.offset >= 0
    publisher.close()
    producer = TransactionalProducer(
        locked.client_config("payments"), "npp-payments-7", SystemClock(), TransactionSettings()
    )
    producer.init()
    producer.begin()
    producer.produce([("npp.payment.events.v1", b"x", b"k", 0, None)], {})
    producer.abort_or_rebuild()  # a slow end is an unclear one
    producer.destroy()


def test_a_foreign_producer_of_the_journal_exits_at_once(locked: Cluster) -> None:
    """The engine raises Exit: waiting does not help."""
    producer = TransactionalProducer(
        locked.client_config("verifier"), "npp-payments-1", SystemClock(), TransactionSettings()
    )
    with pytest.raises(Exit, match="TRANSACTIONAL_ID_AUTHORIZATION_FAILED"):
        producer.init()
    producer.destroy()


def test_admin_finds_no_drift_and_names_a_superfluous_rule(locked: Cluster) -> None:
    """`npp topics drift` runs as `admin` and shows a rule that was added by hand."""
    topics = TopicAdmin(locked.client_config("admin"))
    assert topics.drift(topic_specs(TOPICS, "embedded"), acl_specs(TOPICS)) == []
    fewer = [r for r in acl_specs(TOPICS) if (r.principal, r.operation) != ("api", "WRITE")]
    found = topics.drift([], fewer)
    assert {(d.kind, d.name.split()[0]) for d in found} == {("acl_extra", "api")}


def test_only_the_installer_changes_topics_or_rules() -> None:
    """SEC-04: listed by hand; daily use has no ALTER, so it cannot give itself more rights."""
    changes = {"ALTER", "ALTER_CONFIGS", "CREATE"}
    assert {r.principal for r in acl_specs(TOPICS) if r.operation in changes} == {"installer"}


@pytest.mark.parametrize("principal", PRINCIPALS)
def test_the_verifier_and_the_admins_read_the_retention_settings(
    locked: Cluster, principal: str
) -> None:
    """RET-01: the watch sees every setting as its own principal, and no other principal does."""
    topics = TopicAdmin(locked.client_config(principal))
    if principal in ("verifier", "admin", "recovery", "installer"):
        assert topics.config_drift(kept_specs(TOPICS, "embedded")) == []
    else:
        with pytest.raises(EngineError, match="TOPIC_AUTHORIZATION_FAILED"):
            topics.config_drift(kept_specs(TOPICS, "embedded"))


def test_without_a_password_every_connection_is_refused(locked: Cluster) -> None:
    config: Mapping[str, Any] = {**locked.client_config("payments"), "sasl.password": "guessed"}
    errors: list[int] = []
    client = Producer({**config, "error_cb": lambda e: errors.append(e.code()), "log_level": 0})
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    while KafkaError._AUTHENTICATION not in errors and time.monotonic() < deadline:
        client.poll(0.1)
    assert KafkaError._AUTHENTICATION in errors


def test_the_shipped_list_matches_topics_yaml() -> None:
    """`npp topics acls > deploy/acls.txt` writes it again."""
    from app.topic_specs import acl_lines

    shipped = ROOT / "deploy" / "acls.txt"
    assert shipped.read_text(encoding="utf-8").splitlines() == acl_lines(TOPICS)
