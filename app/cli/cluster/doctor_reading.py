"""The read checks of `npp doctor`: whether each reader's next record can be read.

A reader without a group keeps its position elsewhere: the verifier in its checkpoints, the
projector in the read model. The latest record of every topic is read too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from app.cli.cluster.findings import Finding
from app.cluster import Cluster
from app.config.settings import Environment
from core.records import Checkpoint
from engine.clients.groups import GroupAdmin
from engine.clients.readable import try_places
from engine.clients.reader import read_all
from engine.errors import PartitionError
from engine.ports import TopicPartition
from readmodel.ports import ReadModelDown
from schemas import catalogue, topology

TRY_S_MAX: Final = 10.0
LAST_OFFSETS: Final = 100
CHECKPOINTS_READ_MAX: Final = 100  # the last of a partition is among its last records


def groups() -> dict[str, set[str]]:
    """Consumer groups and what they read: the inputs, or an adapter's instructions."""
    topics = catalogue.load()
    return {
        group: {
            t.name for t in topics.topics if name in t.consumers and t.role in ("input", "output")
        }
        for name, principal in topics.principals.items()
        for group in principal.groups
    }


def check_reading(environment: Environment) -> Iterator[Finding]:
    cluster = Cluster(environment)
    counts = cluster.ends.partition_counts([topic.name for topic in catalogue.load().topics])
    names = [(topic, number) for topic, count in counts.items() for number in range(count)]
    low, stable = cluster.ends.low(names), cluster.ends.stable(names)
    bad: dict[TopicPartition, PartitionError] = {}
    problems = 0
    for finding_or_start in _starts(environment, cluster, low, stable):
        if isinstance(finding_or_start, Finding):
            problems += finding_or_start.level != "ok"
            yield finding_or_start
            continue
        start = {n: at for n, at in finding_or_start.items() if at < stable.get(n, at)}
        tried = try_places(cluster.connection, cluster.clock, start, TRY_S_MAX)
        bad |= {(each.topic, each.partition): each for each in tried.errors}
        for topic, number in tried.silent:
            problems += 1
            yield Finding(
                "reading", "warning",
                f"{topic} partition {number} gave nothing from offset {start[topic, number]} on "
                f"for {TRY_S_MAX:.0f} s", "docs/runbook.md, Stalled processing",
            )  # fmt: skip
    for _, error in sorted(bad.items()):
        yield Finding(
            "reading", "failed", f"{error}. Later records are not read",
            "docs/runbook.md, A batch that cannot be read",
        )  # fmt: skip
    if not bad and not problems:
        yield Finding("reading", "ok", "each reader's next record can be read")


def _starts(
    environment: Environment,
    cluster: Cluster,
    low: Mapping[TopicPartition, int],
    stable: Mapping[TopicPartition, int],
) -> Iterator[Finding | dict[TopicPartition, int]]:
    """The next offsets of the readers, one dict for each kind of reader, because several may read
    one partition; and a finding for a position that is not on the log.
    """
    passed = cluster.control()[0].passed_over()
    yield {
        name: max(low[name], end - LAST_OFFSETS, *(last + 1 for _, last in passed.get(name, ())))
        for name, end in stable.items()
    }
    admin = GroupAdmin(cluster.connection, cluster.clock)
    for group, topics in groups().items():
        found: dict[TopicPartition, int] = {}
        for name, at in admin.committed(group).items():
            if name[0] not in topics or name not in stable:
                continue
            if low[name] <= at <= stable[name]:
                found[name] = at
            else:
                topic, number = name
                yield Finding(
                    "reading", "failed",
                    f"{group} is to read {topic} partition {number} from offset {at}, the log has "
                    f"{low[name]} to {stable[name]}",
                    "docs/runbook.md, Lost offsets, lost log",
                )  # fmt: skip
        yield found
    yield _verified(cluster, low, stable)
    yield from _projected(environment, cluster, low)


def _verified(
    cluster: Cluster, low: Mapping[TopicPartition, int], stable: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """The offset after each partition's last checkpoint: there the verifier continues."""
    topic = topology.CHECKPOINTS
    numbers = [number for name, number in stable if name == topic]
    found: dict[TopicPartition, int] = {}
    start = {n: max(low[topic, n], stable[topic, n] - CHECKPOINTS_READ_MAX) for n in numbers}
    for batch in read_all(cluster.connection, topic, start=start, clock=cluster.clock):
        for at in batch:
            record = cluster.entry(at).record
            if isinstance(record, Checkpoint):
                found[topology.EVENTS, at.partition] = record.to_offset + 1
    return found


def _projected(
    environment: Environment, cluster: Cluster, low: Mapping[TopicPartition, int]
) -> Iterator[Finding | dict[TopicPartition, int]]:
    """Where the projector continues, if its database is configured here."""
    given = environment.settings.read_model_url
    if given is None and not (environment.settings.data_dir / "readmodel").exists():
        return
    from app.read_model import read_model  # only here: databases take half of a command's start

    model = read_model(environment, cluster.clock)
    try:
        reader = model.reader()
        places = dict(reader.projected())
        reader.close()
    except ReadModelDown as down:
        yield Finding("reading", "warning", f"the read model does not say how far it is: {down}")
        return
    finally:
        model.close()
    yield {name: at for name, at in places.items() if low.get(name, at + 1) <= at}
