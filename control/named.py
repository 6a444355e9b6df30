"""What decisions depend on, as named by the control topic: the cluster, every rule set, every
source map. The fold keeps the last of each; deciding again needs all of them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from control.fold import Control
from control.in_force import sources_of
from core.control_records import RuleSetActivated, SourceMapActivated

SOURCE_MAP_LEEWAY_MS: Final = 60_000  # domain §10: a processor may read a new map this much later


class SourceMap(msgspec.Struct, frozen=True):
    """Which sources a command topic may carry, from a time (epoch ms) on."""

    activated_at: int
    sources: dict[str, frozenset[str]]


class Named:
    """Collects them: call `look` with the fold after each control record. A refused record names
    nothing.
    """

    def __init__(self) -> None:
        self.cluster_id = ""
        self.rule_sets: dict[int, bytes] = {}  # number to the file's SHA-256
        self.source_maps: list[SourceMap] = []  # in the order of the control topic
        self._rules: RuleSetActivated | None = None
        self._sources: SourceMapActivated | None = None

    def look(self, control: Control) -> None:
        """Note what the last record changed."""
        if control.cluster is not None:
            self.cluster_id = control.cluster.cluster_id
        if control.rule_set is not self._rules and control.rule_set is not None:
            self._rules = control.rule_set
            self.rule_sets[control.rule_set.number] = control.rule_set.sha256
        if control.source_map is not self._sources and control.source_map is not None:
            self._sources = control.source_map
            self.source_maps.append(source_map(control.source_map))


def source_map(record: SourceMapActivated) -> SourceMap:
    """The source map that the record puts in force."""
    return SourceMap(record.activated_at, sources_of(record))


def in_force(
    maps: tuple[SourceMap, ...] | list[SourceMap], topic: str, decided_at: int
) -> list[frozenset[str]]:
    """The sets of sources that `topic` may have carried within SOURCE_MAP_LEEWAY_MS before or after
    a decision: each set once, first the one at `decided_at` (epoch ms), which is empty before the
    first map.
    """
    found: list[frozenset[str]] = []
    at_the_time: frozenset[str] = frozenset()
    for number, each in enumerate(maps):
        until = maps[number + 1].activated_at if number + 1 < len(maps) else None
        if each.activated_at <= decided_at:
            at_the_time = each.sources.get(topic, frozenset())
        begun = each.activated_at <= decided_at + SOURCE_MAP_LEEWAY_MS
        if begun and (until is None or until >= decided_at - SOURCE_MAP_LEEWAY_MS):
            found.append(each.sources.get(topic, frozenset()))
    return list(dict.fromkeys([at_the_time, *found]))
