"""What `npp topics apply` and `npp control rules` write to the control topic."""

from __future__ import annotations

from typing import Final

import msgspec

from app.cluster import Cluster
from app.control import operators
from app.exits import Problem, usage
from control.fold import Control
from core.control_records import ClusterRecorded, RuleSetActivated, SourceMapActivated
from core.records import STATE_VERSION
from core.rules import Rules
from schemas import topology
from schemas.catalogue import TopicsFile

EVENT_SCHEMA_VERSION: Final = 1


OTHER_BUILD_ADVICE: Final = (
    "Run the build that decided this log; or, before the first release, begin with empty topics "
    "and data (the demo: --reset)."
)


def missing(
    cluster: Cluster, control: Control, topics: TopicsFile, rules: Rules, actor: str
) -> list[msgspec.Struct]:
    """Control records that are not there yet, in order. Raises Problem for a contradiction."""
    now = cluster.clock.now_ms()
    records: list[msgspec.Struct] = []
    cluster_id = cluster.ends.cluster_id()
    partitions = cluster.partitions(topology.EVENTS)
    if control.cluster is None:
        records.append(
            ClusterRecorded(
                cluster_id=cluster_id, partitions=partitions, recorded_at=now, actor=actor
            )
        )
    elif (control.cluster.cluster_id, control.cluster.partitions) != (cluster_id, partitions):
        raise Problem(
            f"The control topic was written for cluster {control.cluster.cluster_id} with "
            f"{control.cluster.partitions} partitions; this is {cluster_id} with {partitions}.",
            means="Known payments would be looked up in the wrong partitions.",
            do="Do not start anything. Restore the topics, or use an empty cluster.",
        )
    if control.rule_set is None:
        records.append(activation(rules, now, actor))
    elif control.rule_set.number == rules.number and control.rule_set.sha256 != rules.sha256:
        raise other_build(rules.number)
    if control.operators is None:
        file = operators.require(cluster.environment)
        records.append(operators.activation(file, now, actor))
    number = topics.source_map
    mapped = topics.source_topics()
    in_force = control.source_map
    if in_force is None or in_force.number < number:
        records.append(
            SourceMapActivated(
                number=number,
                topics=tuple(mapped),
                sources=tuple(",".join(sources) for sources in mapped.values()),
                activated_at=now,
                actor=actor,
            )
        )
    elif in_force.number == number and set(in_force.topics) != set(mapped):
        raise Problem(
            f"topics.yaml maps other command topics than source map {number} in force.",
            do="Raise `source_map` in topics.yaml by one.",
        )
    return records


def has_to_be_signed(control: Control, record: msgspec.Struct) -> bool:
    """Whether the record changes what is in force, and so needs dual control."""
    return isinstance(record, SourceMapActivated) and control.source_map is not None


def other_build(number: int) -> Problem:
    """The log was decided by a build whose rule file of this number was another one."""
    return Problem(
        f"core/rules/{number}.yaml is not the file in force: another build decided this log.",
        means="Its decisions could not be replayed, so nothing is decided on top of them.",
        do=OTHER_BUILD_ADVICE,
    )


def activation(rules: Rules, now_ms: int, actor: str) -> RuleSetActivated:
    """The record that puts a rule set in force."""
    return RuleSetActivated(
        number=rules.number,
        sha256=rules.sha256,
        state_version=STATE_VERSION,
        event_schema_version=EVENT_SCHEMA_VERSION,
        activated_at=now_ms,
        actor=actor,
    )


def next_rules(control: Control, rules: Rules) -> bool:
    """Whether activating `rules` changes anything. Raises Problem if a higher number is in force,
    or the same number with another file.
    """
    in_force = control.rule_set
    if in_force is None:
        return True
    if rules.number < in_force.number:
        raise usage(
            f"Rule set {in_force.number} is in force; {rules.number} is lower.",
            do="Numbers only rise: copy the old content to the next number and activate that.",
        )
    if rules.number == in_force.number:
        if rules.sha256 != in_force.sha256:
            raise other_build(rules.number)
        return False
    return True
