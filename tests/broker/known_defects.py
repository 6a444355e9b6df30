"""Defects of Kafka and of its client that a fault may meet and the product cannot mend
(docs/decisions/0013-lost-clients.md). A test that meets one says so, and starts again elsewhere.
"""

from __future__ import annotations

import json
import signal

from tests.broker.harness import Harness
from tests.broker.processes import Process


def named_as_hanging(harness: Harness) -> list[str]:
    """What the product reports about hanging transactions."""
    findings = json.loads(harness.npp("doctor", "--json", check=False).stdout)["findings"]
    return [f["says"] for f in findings if f["check"] == "transactions" and f["level"] == "failed"]


def crashed_in_client(process: Process) -> bool:
    """Whether it ended by SIGSEGV. Only C code can do that, and ours has none."""
    return process.child.poll() == -signal.SIGSEGV
