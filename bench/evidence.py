"""Speed of evidence packs of a payment with 100 events, among 10,000 others under its checkpoint.

A real read model, folded from events that the product decided; no broker.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench.rig.answer import give, options_of
from evidence import verify_evidence as verifier
from evidence.merkle import LeafData
from evidence.packs.pack import public_keys
from tests.evidence.harness import Harness
from tests.postgres import open_postgres

EVENTS: Final = 100
NEIGHBOURS: Final = 10_000
RUNS: Final = 20
REPORTS_MAX: Final = 400


class WithNeighbours:
    """The reader, with the leaves of many other payments in each checkpoint's range."""

    def __init__(self, reader: Any, leaves: list[LeafData]) -> None:
        self._reader = reader
        self._leaves: list[Any] = [
            (each.payment_intent_id, each.sequence, each.hash, []) for each in leaves
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def leaves(self, *where: Any) -> list[Any]:
        return [*self._reader.leaves(*where), *self._leaves]


def main() -> int:
    parser = options_of("bench.evidence", __doc__)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="npp-bench-") as folder, ExitStack() as stack:
        url = None
        if options.database == "postgres":
            server = stack.enter_context(open_postgres())
            url = stack.enter_context(server.database())
        harness = Harness(Path(folder) / "readmodel", url)
        stack.callback(harness.close)
        result = measure(harness)
    result["database"] = options.database
    give(result, as_json=options.json)
    return 0


def measure(harness: Harness) -> dict[str, Any]:
    """Milliseconds of each thing: median and worst of RUNS, after one to warm up."""
    payment = long_payment(harness)
    others = [LeafData(f"pi_{n:026d}", 7, n.to_bytes(32, "big")) for n in range(NEIGHBOURS)]
    harness.checkpoint_among(others)
    harness.project()
    packs: Any = harness.packs
    packs._reader = WithNeighbours(harness.reader, others)
    _, content = packs.build(payment, None, proof=True)
    keys = public_keys(harness.ring)
    answer = verifier.verify(content, keys)
    assert answer["verified"], answer
    result: dict[str, Any] = {
        "events": answer["events"],
        "jsonBytes": len(content),
        "pdfBytes": len(packs.pdf(content)),
    }
    for name, work in (
        ("json", lambda: packs.build(payment, None, proof=True)),
        ("pdf", lambda: packs.pdf(content)),
        ("verifyOffline", lambda: verifier.verify(content, keys)),
    ):
        for what, figure in timed(work).items():
            result[name + what] = figure
    return result


def long_payment(harness: Harness) -> str:
    """A payment with EVENTS events: the rail gives its status again and again."""
    payment = harness.create("long", "Ada Lovelace", "invoice 7")
    for number in range(REPORTS_MAX):
        if len(harness.world.values(payment)) >= EVENTS:
            return payment
        harness.world.report(payment, "STATUS", code=f"PD{number:02d}")
    raise AssertionError(f"only {len(harness.world.values(payment))} events")


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Wall time, and the CPU time of this process, which is less on a loaded machine."""
    work()
    taken, cpu = [], []
    for _ in range(RUNS):
        begun, begun_cpu = time.perf_counter(), time.process_time()
        work()
        taken.append((time.perf_counter() - begun) * 1_000)
        cpu.append((time.process_time() - begun_cpu) * 1_000)
    return {
        "MsMedian": round(statistics.median(taken), 1),
        "MsMax": round(max(taken), 1),
        "CpuMsMedian": round(statistics.median(cpu), 1),
    }


if __name__ == "__main__":
    sys.exit(main())
