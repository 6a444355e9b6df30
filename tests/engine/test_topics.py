"""Access rules from what a principal produces and consumes; topics on an unready cluster."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from engine.errors import Abort, Exit
from engine.topics import Access, AclSpec, TopicAdmin, TopicSpec, access_rules
from tests.clock import HeldClock


def test_access_rules_give_each_principal_only_the_rights_it_needs() -> None:
    """Least privilege, from its topics and its name."""
    rules = access_rules(
        [
            Access(
                "payments",
                produces=("events",),
                consumes=("commands",),
                groups=("npp-payments",),
                transactional_ids=("npp-payments-",),
            )
        ]
    )
    assert AclSpec("payments", "topic", "events", "WRITE") in rules
    assert AclSpec("payments", "topic", "events", "READ") not in rules
    assert AclSpec("payments", "topic", "commands", "READ") in rules
    assert AclSpec("payments", "transactional_id", "npp-payments-", "WRITE", True) in rules
    assert {r.principal for r in rules} == {"payments"}
    assert not any(r.name == "*" for r in rules)


class UnreadyCluster:
    """Answers each request for topics with the next of its errors, by topic; then makes them."""

    def __init__(self, *answers: dict[str, int]) -> None:
        self.answers = list(answers)
        self.made: list[str] = []

    def create_topics(self, topics: list[Any], **_: Any) -> dict[str, Future[None]]:
        errors = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        futures: dict[str, Future[None]] = {}
        for topic in topics:
            future = futures[topic.topic] = Future()
            if topic.topic in errors:
                future.set_exception(KafkaException(KafkaError(errors[topic.topic])))
            else:
                self.made.append(topic.topic)
                future.set_result(None)
        return futures

    def list_topics(self, **_: Any) -> Any:
        led = SimpleNamespace(partitions={0: SimpleNamespace(leader=1)})
        return SimpleNamespace(topics=dict.fromkeys(("a", "b"), led))


def create(cluster: UnreadyCluster) -> None:
    clock = HeldClock(0)
    admin = TopicAdmin({"bootstrap.servers": "127.0.0.1:1"}, clock)
    admin._admin = cast(Any, cluster)
    admin._create([TopicSpec(name, 1, 1, {}) for name in ("a", "b")])


def test_topics_are_requested_again_while_too_few_brokers_are_registered() -> None:
    """A broker is fenced for a moment; what was made meanwhile is not requested again."""
    cluster = UnreadyCluster({"b": KafkaError.INVALID_REPLICATION_FACTOR}, {})
    create(cluster)
    assert cluster.made == ["a", "b"]


def test_a_cluster_with_too_few_brokers_for_good_ends_at_the_deadline() -> None:
    with pytest.raises(Exit, match="INVALID_REPLICATION_FACTOR"):
        create(UnreadyCluster({"a": KafkaError.INVALID_REPLICATION_FACTOR}))


def test_a_topic_that_another_client_has_made_is_there() -> None:
    cluster = UnreadyCluster({"a": KafkaError.TOPIC_ALREADY_EXISTS})
    create(cluster)
    assert cluster.made == ["b"]


def test_a_topic_that_cannot_be_made_is_an_error_at_once() -> None:
    with pytest.raises(Abort, match="INVALID_CONFIG"):
        create(UnreadyCluster({"a": KafkaError.INVALID_CONFIG}))
