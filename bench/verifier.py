"""What the verifier costs beside the payments processor: CPU per event of each, without Kafka.

The processor: decoding, deciding and encoding a whole history. The verifier: the same history read,
decided again on its own states, compared with the lifecycle records and signed.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.rig.answer import give, options_of
from processors.payments.handler import PaymentsApplication
from processors.verifier.store import DiskStore
from schemas import topology as t
from tests.processors.payments.clean_history import PARTITIONS
from tests.processors.verifier.world_rig import WorldRig

PAYMENTS: Final = 300
RUNS: Final = 3


class Timed:
    """CPU seconds spent in the processor's decisions."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._decide = PaymentsApplication.decide

    def __enter__(self) -> Timed:
        decide, timed = self._decide, self

        def counted(application: Any, batch: Any, record: Any) -> None:
            started = time.process_time()
            decide(application, batch, record)
            timed.seconds += time.process_time() - started

        setattr(PaymentsApplication, "decide", counted)  # noqa: B010
        return self

    def __exit__(self, *raised: object) -> None:
        setattr(PaymentsApplication, "decide", self._decide)  # noqa: B010


def measure(payments: int, folder: Path) -> dict[str, float]:
    """CPU microseconds per event of both."""
    with Timed() as timed:
        rig = WorldRig()
        for number in range(payments):
            rig.world.settled(f"payment-{number}")
    rig.copy()
    events = sum(len(rig.log.log(t.EVENTS, n)) for n in range(PARTITIONS))
    rig.store = DiskStore(folder)
    rig.start()
    started = time.process_time()
    rig.verifier.step(0)
    rig.verifier.sign_round()
    verifier_s = time.process_time() - started
    rig.store.close()
    assert rig.whole(), "not everything was signed"
    assert not rig.stops()
    return {
        "events": events,
        "processorMicros": timed.seconds / events * 1e6,
        "verifierMicros": verifier_s / events * 1e6,
        "ratio": verifier_s / timed.seconds,
    }


def main() -> int:
    parser = options_of("bench.verifier", __doc__)
    parser.add_argument("--payments", type=int, default=PAYMENTS)
    options = parser.parse_args()
    found = []
    for _ in range(RUNS):
        with TemporaryDirectory(prefix="npp-bench-") as folder:
            found.append(measure(options.payments, Path(folder) / "states"))
    result = {name: round(statistics.median(each[name] for each in found), 2) for name in found[0]}
    result["ratioMin"] = round(min(each["ratio"] for each in found), 2)
    result["ratioMax"] = round(max(each["ratio"] for each in found), 2)
    give(result, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
