"""topics.yaml as the engine's topic and access specifications, for one profile."""

from __future__ import annotations

from typing import Final

from engine.topics import Access, AclSpec, TopicSpec, access_rules
from schemas.catalogue import TopicsFile

RETENTION_KEYS: Final = ("cleanup.policy", "retention.bytes", "retention.ms")


def topic_specs(topics: TopicsFile, profile: str) -> list[TopicSpec]:
    """Every topic as it must be on a cluster of this profile."""
    return [
        TopicSpec(
            name=topic.name,
            partitions=topics.partition_count(topic.name, profile),
            replication=topics.profiles[profile].replication,
            config=topics.configuration(topic.name, profile),
        )
        for topic in topics.topics
    ]


def kept_specs(topics: TopicsFile, profile: str) -> list[TopicSpec]:
    """The topics that are kept for years, with only the configuration that sets for how long."""
    kept = {topic.name for topic in topics.kept_for_years()}
    return [
        TopicSpec(
            spec.name,
            spec.partitions,
            spec.replication,
            {key: spec.config[key] for key in RETENTION_KEYS},
        )
        for spec in topic_specs(topics, profile)
        if spec.name in kept
    ]


def acl_specs(topics: TopicsFile) -> list[AclSpec]:
    """The minimal access rules with which each principal can do what topics.yaml says."""
    accesses = []
    for name, principal in topics.principals.items():
        accesses.append(
            Access(
                principal=name,
                produces=tuple(t.name for t in topics.topics if name in t.producers),
                consumes=tuple(t.name for t in topics.topics if name in t.consumers),
                groups=principal.groups,
                group_prefixes=principal.group_prefixes,
                transactional_ids=principal.transactional_ids,
                looks_at=tuple(t.name for t in topics.kept_for_years())
                if principal.watches_retention
                else (),
                installs=principal.installs,
                sees_all=principal.sees_all,
                sets_offsets=principal.sets_offsets,
            )
        )
    return access_rules(accesses)


def acl_lines(topics: TopicsFile) -> list[str]:
    """The access rules for people, one per line, as `npp topics acls` prints them and
    deploy/acls.txt has them.
    """
    return [
        f"User:{rule.principal} {rule.operation} {rule.resource} "
        f"{'prefixed' if rule.prefixed else 'literal'} {rule.name}"
        for rule in acl_specs(topics)
    ]


def quota_lines(topics: TopicsFile) -> list[str]:
    """Arguments of Kafka's `kafka-configs` that limit how much each principal writes, one per line,
    as `npp topics quotas` prints them and deploy/quotas.txt has them.
    """
    return [
        f"--alter --entity-type users --entity-name {name} "
        f"--add-config producer_byte_rate={principal.producer_bytes_per_second}"
        for name, principal in topics.principals.items()
        if principal.producer_bytes_per_second is not None
    ]
