"""The settings of a replay, the scope that all its parts share, and its division into parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from control.fold import Control
from control.named import Named
from core.values import Parties, Sealed
from evidence.keys import Keyring
from evidence.redecide import RulesOf
from processors.replay.log import ReplayLog
from processors.replay.prove import Limit
from processors.replay.reading import Progress
from schemas import topology
from schemas.codec import Codec
from schemas.topology import CHECKPOINTS, CONTROL, EVENTS, LIFECYCLE, OUTCOMES, QUARANTINE

JOURNALS: Final = (EVENTS, LIFECYCLE, OUTCOMES, QUARANTINE, CHECKPOINTS, CONTROL)


class Settings(msgspec.Struct, frozen=True):
    """What to verify and with what. No `payment`: the whole log. No `keyring`: no signatures."""

    codec: Codec
    rules_of: RulesOf
    open_parties: Callable[[Sealed], Parties]
    payment: str | None = None
    limit: Limit = Limit()
    keyring: Keyring | None = None
    from_checkpoint: bool = False
    without: tuple[str, ...] = ()  # payments left out; with `from_checkpoint` only
    extra_inputs: tuple[str, ...] = ()
    progress: Progress | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The input topics, in decision order."""
        return topology.INPUTS + self.extra_inputs


class Scope(msgspec.Struct, frozen=True):
    """What is the same for all parts: the control topic up to one end, and the partitions."""

    log: ReplayLog
    settings: Settings
    control: Control
    named: Named
    control_end: int
    counts: Mapping[str, int]  # partitions by topic


def scope_of(log: ReplayLog, settings: Settings, control_end: int | None = None) -> Scope:
    """Reads the control topic up to `control_end`, or to its current end if that is None."""
    counts = log.partitions([*JOURNALS, *settings.inputs])
    end = control_end
    if end is None:
        end = log.ends([(CONTROL, 0)])[CONTROL, 0] if counts[CONTROL] else 0
    control, named = control_of(log, settings.codec, end)
    return Scope(log, settings, control, named, end, counts)


def control_of(log: ReplayLog, codec: Codec, end: int) -> tuple[Control, Named]:
    """The control topic folded up to `end`, to know where a damaged log may continue, and
    what it named.
    """
    control, named = Control(codec.decode), Named()
    for record in log.read(CONTROL, {0: (0, end)}):
        if record.value is not None:
            control.apply(record.offset, record.value, record.timestamp_ms)
            named.look(control)
    return control, named


def divided(sizes: Mapping[int, int], parts: int, records_max: int) -> list[list[int]]:
    """Partitions in at least `parts` parts of about the same number of records, none above
    `records_max` unless one partition is; the largest part first. `sizes`: records by partition.
    """
    total = sum(sizes.values())
    count = min(max(parts, -(-total // records_max), 1), max(len(sizes), 1))
    bins: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    for number in sorted(sizes, key=lambda each: (-sizes[each], each)):
        least = filled.index(min(filled))
        if bins[least] and filled[least] + sizes[number] > records_max:
            bins.append([])
            filled.append(0)
            least = len(bins) - 1
        bins[least].append(number)
        filled[least] += sizes[number]
    order = sorted(range(len(bins)), key=lambda each: (-filled[each], each))
    return [sorted(bins[each]) for each in order if bins[each]]


def sizes_of(scope: Scope, numbers: Sequence[int]) -> dict[int, int]:
    """Records of the journal and the inputs by partition; an upper bound, because offsets are
    counted.
    """
    counts, topics = scope.counts, (EVENTS, *scope.settings.inputs)
    places = {(t, n % counts[t]) for t in topics if counts[t] for n in numbers}
    ends = scope.log.ends(sorted(places))
    return {
        number: sum(ends[t, number % counts[t]] for t in topics if counts[t]) for number in numbers
    }
