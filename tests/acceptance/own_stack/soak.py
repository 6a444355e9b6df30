"""The resources of a running product's processes, second by second, and whether they level off.

Measuring and judging are separate: `looked` queries the kernel and the processes' metrics;
`findings` only judges numbers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

KIB = 1024
MIB = KIB * KIB
SECONDS_PER_MINUTE = 60
LAG = re.compile(r"^npp_consumer_lag_records\{.*\} ([0-9.e+]+)$", re.MULTILINE)


class Sample(NamedTuple):
    """One measurement of a process: resident bytes, threads, open files, unprocessed records."""

    at_s: float
    resident: int
    threads: int
    files: int
    lag: int


class Bounds(NamedTuple):
    """The maximum resources of a process, and its maximum growth in the second half of a soak; None
    where pools fill on demand, so that a step up to their bound is no leak.
    """

    resident: int
    resident_per_minute: float
    threads: int
    files: int
    lag: int
    threads_per_minute: float | None
    files_per_minute: float | None


def looked(pid: int, at_s: float, metrics: httpx.Response | None) -> Sample:
    """Measure the process now; without metrics its lag is 0."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    resident = int(fields["VmRSS"].split()[0]) * KIB
    files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    lag = 0 if metrics is None else sum(int(float(n)) for n in LAG.findall(metrics.text))
    return Sample(at_s, resident, int(fields["Threads"]), files, lag)


def cpu_seconds_of(pid: int) -> float:
    """CPU seconds of the process since its start, in user and kernel mode (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def threads_of(pid: int) -> Mapping[str, int]:
    """The number of threads by name; librdkafka's are rdk:…, Python's have the process's name."""
    found: dict[str, int] = {}
    for each in Path(f"/proc/{pid}/task").iterdir():
        name = re.sub("[0-9]+", "", (each / "comm").read_text(encoding="utf-8").strip())
        found[name] = found.get(name, 0) + 1
    return found


def per_minute(points: Sequence[tuple[float, float]]) -> float:
    """The slope of the least-squares line through (seconds, value)."""
    count = len(points)
    middle_at = sum(at for at, _ in points) / count
    middle = sum(value for _, value in points) / count
    spread = sum((at - middle_at) ** 2 for at, _ in points)
    rise = sum((at - middle_at) * (value - middle) for at, value in points)
    return rise / spread * SECONDS_PER_MINUTE


def findings(process: str, samples: Sequence[Sample], bounds: Bounds) -> list[str]:
    """One sentence for each resource that does not level off or exceeds its bound."""
    half = samples[len(samples) // 2 :]
    found = []
    grows = per_minute([(s.at_s, s.resident) for s in half])
    if grows > bounds.resident_per_minute:
        found.append(
            f"{process} still grows by {grows / MIB:.1f} MiB a minute, "
            f"at most {bounds.resident_per_minute / MIB:.1f}"
        )
    limits = {"threads": bounds.threads, "files": bounds.files, "lag": bounds.lag}
    for name, limit in limits.items():
        highest = max(int(getattr(s, name)) for s in half)
        if highest > limit:
            found.append(f"{process} has {highest} {name}, at most {limit}")
    for name, most in (("threads", bounds.threads_per_minute), ("files", bounds.files_per_minute)):
        grows = per_minute([(s.at_s, float(getattr(s, name))) for s in half])
        if most is not None and grows > most:
            found.append(f"{process} gets {grows:.1f} {name} more a minute")
    if (highest := max(s.resident for s in half)) > bounds.resident:
        found.append(
            f"{process} takes {highest / MIB:.0f} MiB, at most {bounds.resident / MIB:.0f}"
        )
    return found
