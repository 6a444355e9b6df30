"""Creates topics and access rules on a cluster, and reports differences. Knows no topic by name.

Partition counts never change: a difference is reported and never applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from engine.clock import Clock, SystemClock
from engine.errors import Retry, Step, call, call_until

REQUEST_S: Final = 15.0
DEADLINE_S: Final = 60.0
READER_GROUP: Final = "npp-reader"


class TopicSpec(msgspec.Struct, frozen=True):
    """The required form of one topic."""

    name: str
    partitions: int
    replication: int
    config: dict[str, str]


class AclSpec(msgspec.Struct, frozen=True, order=True):
    """One permission of one principal. `resource`: topic, group, transactional_id, cluster.
    `prefixed`: by prefix.
    """

    principal: str
    resource: str
    name: str
    operation: str
    prefixed: bool = False


SEE_CLUSTER: Final = ("DESCRIBE", "DESCRIBE_CONFIGS")
SEE: Final = ("DESCRIBE", "DESCRIBE_CONFIGS", "READ")
INSTALL_CLUSTER: Final = ("ALTER", "CREATE", *SEE_CLUSTER)
INSTALL_TOPICS: Final = ("ALTER", "ALTER_CONFIGS", "CREATE", *SEE_CLUSTER)


class Access(msgspec.Struct, frozen=True):
    """What one principal needs, in the product's terms."""

    principal: str
    produces: tuple[str, ...] = ()
    consumes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    group_prefixes: tuple[str, ...] = ()
    transactional_ids: tuple[str, ...] = ()  # prefixes
    looks_at: tuple[str, ...] = ()  # topics whose configuration it reads
    installs: bool = False  # creates topics and access rules
    sees_all: bool = False  # reads every topic, and looks at settings, rules and groups
    sets_offsets: bool = False  # of any group, after a loss


class Difference(msgspec.Struct, frozen=True):
    """One difference between the cluster and the declaration. kind: missing, partitions,
    replication, config, acl_missing, acl_extra.
    """

    kind: str
    name: str
    wanted: str
    found: str

    @property
    def fixable(self) -> bool:
        """False for properties that must never change on an existing topic, and for access rules
        that belong to others.
        """
        return self.kind in ("missing", "config", "acl_missing")


def access_rules(accesses: Iterable[Access]) -> list[AclSpec]:
    """The minimal rules for what each principal must do."""
    rules: set[AclSpec] = set()
    for a in accesses:
        if a.installs:
            rules |= _wide(a.principal, topic=INSTALL_TOPICS, cluster=INSTALL_CLUSTER)
        if a.sees_all:
            rules |= _wide(a.principal, topic=SEE, cluster=SEE_CLUSTER, group=("DESCRIBE",))
        if a.sets_offsets:
            rules |= _wide(a.principal, group=("DESCRIBE", "READ"))
        rules |= {AclSpec(a.principal, "topic", t, "WRITE") for t in a.produces}
        rules |= {AclSpec(a.principal, "topic", t, "READ") for t in a.consumes}
        rules |= {AclSpec(a.principal, "topic", t, "DESCRIBE") for t in (*a.produces, *a.consumes)}
        rules |= {AclSpec(a.principal, "topic", t, "DESCRIBE_CONFIGS") for t in a.looks_at}
        rules |= {AclSpec(a.principal, "group", g, "READ") for g in a.groups}
        for prefix in a.group_prefixes:
            rules.add(AclSpec(a.principal, "group", prefix, "READ", True))
        if a.consumes:
            # The client looks up its group's coordinator even if it reads without a group.
            rules.add(AclSpec(a.principal, "group", READER_GROUP, "DESCRIBE"))
        for prefix in a.transactional_ids:
            rules.add(AclSpec(a.principal, "transactional_id", prefix, "WRITE", True))
            rules.add(AclSpec(a.principal, "transactional_id", prefix, "DESCRIBE", True))
    return sorted(rules)


def _wide(
    principal: str,
    *,
    topic: Sequence[str] = (),
    cluster: Sequence[str] = (),
    group: Sequence[str] = (),
) -> set[AclSpec]:
    """Rights on everything except writing records: to forge one, the principal must first change
    the access rules, which `drift` shows.
    """
    return {
        *(AclSpec(principal, "topic", "*", operation) for operation in topic),
        *(AclSpec(principal, "group", "*", operation) for operation in group),
        *(AclSpec(principal, "cluster", "kafka-cluster", operation) for operation in cluster),
    }


class TopicAdmin:
    """Plan, apply and drift. Every call waits at most DEADLINE_S and raises Exit then."""

    def __init__(self, connection: Mapping[str, Any], clock: Clock | None = None) -> None:
        self._admin = call(Step.READ, AdminClient, {"log_level": 4, **connection})
        self._clock = clock or SystemClock()

    def cluster_id(self) -> str:
        """The cluster's own id."""
        return str(self._until(self._admin.cluster_id, REQUEST_S))

    def drift(
        self, topics: Sequence[TopicSpec], rules: Sequence[AclSpec] | None = None
    ) -> list[Difference]:
        """Every difference; an empty list means that the cluster matches. `rules` None: access
        rules are not compared.
        """
        found = self._until(self._admin.list_topics, timeout=REQUEST_S).topics
        differences = []
        for spec in topics:
            there = found.get(spec.name)
            if there is None:
                text = f"{spec.partitions} partitions, replication {spec.replication}"
                differences.append(Difference("missing", spec.name, text, "nothing"))
                continue
            count = len(there.partitions)
            if count != spec.partitions:
                differences.append(
                    Difference("partitions", spec.name, str(spec.partitions), str(count))
                )
            copies = min((len(p.replicas) for p in there.partitions.values()), default=0)
            if copies != spec.replication:
                differences.append(
                    Difference("replication", spec.name, str(spec.replication), str(copies))
                )
        differences += self.config_drift([s for s in topics if s.name in found])
        return differences + (self._rule_drift(rules) if rules is not None else [])

    def config_drift(self, topics: Sequence[TopicSpec]) -> list[Difference]:
        """Configuration differences of existing topics only. Raises EngineError if the cluster does
        not answer or does not allow it.
        """
        differences = []
        for spec, config in zip(topics, self._configs([s.name for s in topics]), strict=True):
            for key, wanted in sorted(spec.config.items()):
                if config.get(key) != wanted:
                    name = f"{spec.name} {key}"
                    differences.append(Difference("config", name, wanted, str(config.get(key))))
        return differences

    def plan(
        self, topics: Sequence[TopicSpec], rules: Sequence[AclSpec] | None = None
    ) -> list[Difference]:
        """What `apply` would change."""
        return [d for d in self.drift(topics, rules) if d.fixable]

    def apply(
        self, topics: Sequence[TopicSpec], rules: Sequence[AclSpec] | None = None
    ) -> list[Difference]:
        """Create missing topics and rules, correct configurations; returns the changes."""
        changed = self.plan(topics, rules)
        by_name = {spec.name: spec for spec in topics}
        missing = [by_name[d.name] for d in changed if d.kind == "missing"]
        if missing:
            self._create(missing)
        self._alter([d for d in changed if d.kind == "config"])
        if rules is not None and any(d.kind == "acl_missing" for d in changed):
            wanted = {_rule_name(r): r for r in rules}
            self._grant([wanted[d.name] for d in changed if d.kind == "acl_missing"])
        return changed

    def _create(self, specs: Sequence[TopicSpec]) -> None:
        missing = {
            s.name: NewTopic(
                s.name,
                num_partitions=s.partitions,
                replication_factor=s.replication,
                config=s.config,
            )
            for s in specs
        }
        deadline_s = self._clock.monotonic_s() + DEADLINE_S
        call_until(self._clock, deadline_s, Step.WORK, self._request, missing)
        call_until(self._clock, deadline_s, Step.READ, self._check_there, {s.name for s in specs})

    def _request(self, missing: dict[str, NewTopic]) -> None:
        """Request the `missing` topics and take out those that the cluster has. Raises Retry while
        too few brokers are registered: one that has just started, or was fenced, comes back.
        """
        answers = self._admin.create_topics(list(missing.values()), request_timeout=REQUEST_S)
        too_few = ""
        for name, future in answers.items():
            try:
                future.result()
            except KafkaException as exception:
                error = exception.args[0]
                if error.code() == KafkaError.INVALID_REPLICATION_FACTOR:
                    too_few = error.str()
                    continue
                if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
            del missing[name]
        if too_few:
            raise Retry("INVALID_REPLICATION_FACTOR", too_few)

    def _check_there(self, names: set[str]) -> None:
        """A topic is ready when every broker's metadata has it and its partitions have leaders."""
        known = self._admin.list_topics(timeout=REQUEST_S).topics
        for name in names:
            there = known.get(name)
            if there is None or any(p.leader < 0 for p in there.partitions.values()):
                raise Retry("NOT_YET", name)

    def _configs(self, names: Sequence[str]) -> list[dict[str, str]]:
        if not names:
            return []
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        answers = self._admin.describe_configs(resources, request_timeout=REQUEST_S)
        by_name = {}
        for resource, future in answers.items():
            entries = call(Step.WORK, future.result)
            by_name[resource.name] = {key: entry.value for key, entry in entries.items()}
        return [by_name[name] for name in names]

    def _alter(self, differences: Sequence[Difference]) -> None:
        by_topic: dict[str, list[ConfigEntry]] = {}
        for difference in differences:
            topic, key = difference.name.split(" ", 1)
            by_topic.setdefault(topic, []).append(
                ConfigEntry(key, difference.wanted, incremental_operation=AlterConfigOpType.SET)
            )
        resources = [
            ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
            for topic, entries in by_topic.items()
        ]
        if resources:
            answers = self._admin.incremental_alter_configs(resources, request_timeout=REQUEST_S)
            for future in answers.values():
                call(Step.WORK, future.result)

    def _rule_drift(self, rules: Sequence[AclSpec]) -> list[Difference]:
        anything: Any = None  # the client takes None for "any", its types do not say so
        everything = AclBindingFilter(
            ResourceType.ANY,
            anything,
            ResourcePatternType.ANY,
            anything,
            anything,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        found = call(
            Step.WORK, self._admin.describe_acls(everything, request_timeout=REQUEST_S).result
        )
        there = {_rule_of(binding) for binding in found}
        wanted = set(rules)
        return [
            *(
                Difference("acl_missing", _rule_name(r), "allowed", "nothing")
                for r in sorted(wanted - there)
            ),
            *(
                Difference("acl_extra", _rule_name(r), "nothing", "allowed")
                for r in sorted(there - wanted)
            ),
        ]

    def _grant(self, rules: Sequence[AclSpec]) -> None:
        bindings = [_binding(rule) for rule in rules]
        for future in self._admin.create_acls(bindings, request_timeout=REQUEST_S).values():
            call(Step.WORK, future.result)

    def _until(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        deadline_s = self._clock.monotonic_s() + DEADLINE_S
        return call_until(self._clock, deadline_s, Step.READ, function, *args, **kwargs)


_RESOURCES: Final = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional_id": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,
}


def _binding(rule: AclSpec) -> AclBinding:
    return AclBinding(
        _RESOURCES[rule.resource],
        rule.name,
        ResourcePatternType.PREFIXED if rule.prefixed else ResourcePatternType.LITERAL,
        f"User:{rule.principal}",
        "*",
        AclOperation[rule.operation],
        AclPermissionType.ALLOW,
    )


def _rule_of(binding: AclBinding) -> AclSpec:
    kind, operation = ResourceType(binding.restype), AclOperation(binding.operation)
    resource = {kind: name for name, kind in _RESOURCES.items()}.get(kind, "other")
    return AclSpec(
        binding.principal.removeprefix("User:"),
        resource,
        binding.name,
        operation.name,
        binding.resource_pattern_type is ResourcePatternType.PREFIXED,
    )


def _rule_name(rule: AclSpec) -> str:
    star = "*" if rule.prefixed else ""
    return f"{rule.principal} {rule.operation} {rule.resource} {rule.name}{star}"
