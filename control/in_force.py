"""What the control topic puts in force: cluster, rule set, source map, inputs, operators file; and
whether the same is deployed with this process.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Final, assert_never

import msgspec
import structlog

from control.acts import actors
from control.acts.actors import Actors, Refusal
from control.acts.operators_file import Operators
from core import control_records as records
from core.control_records import Activation, ControlRecord, OperatorsActivated, PutInForce

log = structlog.get_logger("npp.control")

NUMBERS_ONLY_RISE: Final = "NUMBERS_ONLY_RISE"
NOT_POSSIBLE: Final = "NOT_POSSIBLE"


class Deployed(msgspec.Struct, frozen=True):
    """What is deployed with this process, to compare with the log. `sources` are those of source
    map number `source_map`.

    `resets` are the SHA-256 of operators files that are accepted unsigned (NPP_OPERATORS_RESET).
    """

    operators: Operators | None = None
    resets: frozenset[bytes] = frozenset()
    source_map: int = 0
    sources: Mapping[str, tuple[str, ...]] = {}


class InForce:
    """What is in force. Numbers only rise; a refused record changes nothing."""

    def __init__(self, deployed: Deployed | None) -> None:
        self.deployed = deployed
        self.actors = Actors()
        self.cluster: records.ClusterRecorded | None = None
        self.rule_set: records.RuleSetActivated | None = None
        self.source_map: records.SourceMapActivated | None = None
        self.sources: dict[str, frozenset[str]] = {}
        self.inputs: dict[str, int] = {}

    def copied(self) -> InForce:
        """An independent copy."""
        made = copy.copy(self)
        made.actors = self.actors.copied()
        made.sources, made.inputs = dict(self.sources), dict(self.inputs)
        return made

    def is_first(self, record: ControlRecord) -> bool:
        """Whether it is an unsigned activation that counts: the first of its kind, written by
        `npp topics apply`, or an operators file that a reset admits.
        """
        if not isinstance(record, Activation) or record.signature is not None:
            return False
        match record:
            case records.RuleSetActivated():
                return self.rule_set is None
            case records.SourceMapActivated():
                return self.source_map is None
            case OperatorsActivated(sha256=sha256):
                resets = self.deployed is not None and sha256 in self.deployed.resets
                return self.actors.in_force is None or resets
            case _:
                assert_never(record)

    def put(self, offset: int, record: PutInForce) -> Refusal | None:
        """Put in force the first of its kind, or what a second person has confirmed. Returns why
        not, or None.
        """
        match record:
            case records.ClusterRecorded():
                return self._cluster(record)
            case records.RuleSetActivated():
                return self._rules(record)
            case records.SourceMapActivated():
                return self._sources(record)
            case OperatorsActivated():
                return self._operators(record)
            case records.InputAdded(topic=topic):
                self.inputs.setdefault(topic, offset)
                return None
            case _:
                assert_never(record)

    def not_deployed(self) -> str | None:
        """How what is in force differs from what is deployed here, or None."""
        if self.deployed is None:
            return None
        own, in_force = self.deployed.operators, self.actors.in_force
        if own is None:
            return "no operators file is deployed here: NPP_OPERATORS_FILE names it"
        if in_force is None:
            return "no operators file is in force: run `npp topics apply`"
        if in_force.sha256 not in (own.sha256, own.previous):
            return (
                f"operators file {in_force.number} ({in_force.sha256.hex()[:16]}…) is in force, "
                f"{own.number} ({own.sha256.hex()[:16]}…) is deployed here: deploy the one in force"
            )
        mapped = 0 if self.source_map is None else self.source_map.number
        if mapped > self.deployed.source_map:
            return f"source map {mapped} is in force, this release's topics.yaml has an older one"
        return None

    def _cluster(self, record: records.ClusterRecorded) -> Refusal | None:
        kept = self.cluster
        if kept is None:
            self.cluster = record
        elif (kept.cluster_id, kept.partitions) != (record.cluster_id, record.partitions):
            return Refusal(NOT_POSSIBLE, f"cluster {kept.cluster_id} is recorded for life")
        return None

    def _rules(self, record: records.RuleSetActivated) -> Refusal | None:
        kept = self.rule_set
        if kept is not None and record.number < kept.number:
            return Refusal(NUMBERS_ONLY_RISE, f"{kept.number} is in force, not {record.number}")
        if kept is not None and record.number == kept.number and record.sha256 != kept.sha256:
            return Refusal(NUMBERS_ONLY_RISE, f"{kept.number} is in force with another content")
        self.rule_set = record
        return None

    def _sources(self, record: records.SourceMapActivated) -> Refusal | None:
        kept = self.source_map
        mapped = sources_of(record)
        if kept is not None and record.number <= kept.number:
            same = record.number == kept.number and mapped == self.sources
            why = f"source map {kept.number} is in force, not this {record.number}"
            return None if same else Refusal(NUMBERS_ONLY_RISE, why)
        own = self.deployed
        if own is not None and record.number == own.source_map:
            ours = {topic: frozenset(sources) for topic, sources in own.sources.items()}
            if mapped != ours:
                return Refusal("SOURCE_MAP_DIFFERS", "it maps other sources than topics.yaml")
        self.source_map, self.sources = record, mapped
        return None

    def _operators(self, record: OperatorsActivated) -> Refusal | None:
        before = self.actors.in_force
        found = actors.read_file(record, before)
        if isinstance(found, Refusal):
            return found
        if before is not None and record.signature is None:
            log.critical("operators_reset", number=found.number, sha256=found.sha256.hex())
        self.actors.in_force = found
        return None


def sources_of(record: records.SourceMapActivated) -> dict[str, frozenset[str]]:
    """The sources that each command topic may carry, by topic."""
    return {
        topic: frozenset(filter(None, listed.split(",")))
        for topic, listed in zip(record.topics, record.sources, strict=True)
    }
