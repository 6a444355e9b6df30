"""What a replay costs: CPU per event of all five strengths over a history in memory, without Kafka.

`make bench` measures the same over Kafka, by the command that people use.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from typing import Any, Final

from app.config import memory
from bench.rig.answer import give, options_of
from processors.replay import MemoryLog, Settings, verify
from schemas import topology as t
from schemas.codec.parties import open_parties
from tests.processors.replay.world import World, keyring, rules_of

PAYMENTS: Final = 1_000
RUNS: Final = 5
STRENGTHS: Final = ("fold", "chain", "redecide", "identity", "money")


def history(payments: int) -> tuple[World, MemoryLog]:
    """Payments that settled; a checkpoint over each partition."""
    world = World()
    for number in range(payments):
        world.settled(f"payment-{number}")
    return world, world.log()


def measure(world: World, log: MemoryLog) -> dict[str, Any]:
    """CPU microseconds per event, whole and by strength."""
    events = sum(len(found) for (topic, _), found in log.records.items() if topic == t.EVENTS)
    settings = Settings(
        codec=world.codec, rules_of=rules_of, open_parties=open_parties, keyring=keyring()
    )
    started = time.process_time()
    report = verify(log, settings)
    seconds = time.process_time() - started
    if not report.passed:
        raise RuntimeError(f"the replay failed: {report.first_failure}")
    fields = report.to_dict()
    return {
        "events": events,
        "microsPerEvent": seconds / events * 1e6,
        **{name: fields[name]["seconds"] / events * 1e6 for name in STRENGTHS},
    }


def main() -> int:
    parser = options_of("bench.replay", __doc__)
    parser.add_argument("--payments", type=int, default=PAYMENTS)
    options = parser.parse_args()
    world, log = history(options.payments)
    gc.collect()
    memory.freeze_heap()  # as the process does
    found = [measure(world, log) for _ in range(RUNS)]
    result = {name: round(statistics.median(each[name] for each in found), 2) for name in found[0]}
    give(result, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
