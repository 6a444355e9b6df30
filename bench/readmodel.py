"""Speed of the read model at many payments: rows in, point reads, list pages, counts.

python -m bench.readmodel --database sqlite|postgres --payments N [--seconds S] [--json]: the last
line is one JSON object. Rows are of the size of real ones; PostgreSQL syncs its log as by default.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from readmodel import rows
from readmodel.model import Model, default_url, open_model
from readmodel.ports import PaymentFilter, Reader
from readmodel.writer import DatabaseWriter
from tests.postgres import open_postgres

SEED: Final = 20_261_122
PARTITIONS: Final = 12
EVENTS_A_BATCH: Final = 2_000
STARTED_MS: Final = 1_790_000_000_000
JOURNAL: Final = "npp.payment.events.v1"
PAGE: Final = 50
PAGES: Final = 400
READS: Final = 200
RAW: Final = random.Random(SEED).randbytes(4_096)

# A payment's ordinary way: event, state after it.
WAY: Final = (
    ("PaymentIntentCreated", "CREATED"),
    ("PolicyPassed", "CREATED"),
    ("FundsHeld", "AUTHORISED"),
    ("PaymentSentToRail", "SENT"),
    ("PaymentAcknowledged", "ACKNOWLEDGED"),
    ("PaymentSettled", "SETTLED"),
    ("FundsCaptured", "SETTLED"),
)


def payment_id(number: int) -> str:
    return "pi_" + hashlib.sha256(b"%d" % number).hexdigest()[:26]


class Load:
    """Batches as the projector makes them. `offsets` are the journal's by partition."""

    def __init__(self) -> None:
        self.offsets = [0] * PARTITIONS
        self.payments = 0
        self._random = random.Random(SEED)

    def batch(self, payments: int, events_each: int) -> rows.Batch:
        """New payments, each with the first events of its way."""
        before = list(self.offsets)
        batch = rows.Batch()
        for _ in range(payments):
            self._add(batch, events_each)
        batch.moved = [
            rows.Moved(JOURNAL, partition, before[partition], after)
            for partition, after in enumerate(self.offsets)
            if after != before[partition]
        ]
        minute = batch.events[-1].decided_at // 60_000
        batch.minutes = [rows.MinuteRow(p, minute, RAW[:400]) for p in range(PARTITIONS)]
        return batch

    def _add(self, batch: rows.Batch, events_each: int) -> None:
        number = self.payments
        self.payments += 1
        payment, partition = payment_id(number), number % PARTITIONS
        created_at = STARTED_MS + number * 20
        reference = f"N{payment[3:].upper()}001"
        for sequence in range(1, events_each + 1):
            kind, state = WAY[sequence - 1]
            offset = self.offsets[partition]
            self.offsets[partition] += 1
            start = (number * 7 + sequence) % 3_000
            batch.events.append(
                rows.EventRow(
                    payment, sequence, partition, offset, kind, created_at + sequence * 100,
                    None, state, 1, "npp.rail.reports.v1", partition, offset * 3,
                    f"cmd-{number}-{sequence}", None, RAW[start : start + 32],
                    RAW[start : start + 450],
                )
            )  # fmt: skip
        if events_each == len(WAY):
            batch.identifiers += [
                rows.IdentifierRow("externalRef", reference, payment),
                rows.IdentifierRow("railMessageId", f"MSG{number:020d}A", payment),
                rows.IdentifierRow("railMessageId", f"MSG{number:020d}B", payment),
                rows.IdentifierRow("transactionId", f"TX{number:020d}", payment),
            ]
            batch.outcomes.append(
                rows.OutcomeRow(
                    partition, number, payment, "npp.payment.commands.v1", partition, number,
                    f"cmd-{number}", "CreatePayment", "ACCEPTED", None, None, None, created_at,
                    1, 2, RAW[:250],
                )
            )  # fmt: skip
        batch.payments.append(self._payment(payment, number, partition, events_each, reference))

    def _payment(
        self, payment: str, number: int, partition: int, events_each: int, reference: str
    ) -> rows.PaymentRow:
        state = WAY[events_each - 1][1]
        failed = self._random.random() < 0.02
        attention = self._random.random() < 0.001
        created_at = STARTED_MS + number * 20
        return rows.PaymentRow(
            payment, f"channel-{number % 5}", f"key-{number}", "FAILED" if failed else state,
            "RAIL_REJECTED" if failed else None, "NOT_PAID" if failed else "OPEN", 12_345, "AUD",
            1, reference, "HELD", events_each, RAW[:32], created_at, created_at + 900,
            WAY[events_each - 1][0], None, 0, attention, created_at if attention else None,
            False, False, f"E2E-{number:016d}", "x2p1", None, f"cust-{number % 9_999}", 1,
            partition, RAW[: 600],
        )  # fmt: skip


@contextmanager
def opened(database: str, folder: Path) -> Iterator[Model]:
    """An empty model."""
    if database == "sqlite":
        yield open_model(default_url(folder))
        return
    tuned = {"shared_buffers": "512MB", "max_wal_size": "4GB"}
    with open_postgres(tuned) as server, server.database() as url:
        model = open_model(url)
        yield model
        model.close()


def fill(writer: DatabaseWriter, load: Load, payments: int) -> float:
    """Payments with their first event each; rows of events a second."""
    started = time.perf_counter()
    while load.payments < payments:
        writer.apply(load.batch(min(EVENTS_A_BATCH, payments - load.payments), 1))
        if load.payments % 100_000 < EVENTS_A_BATCH:
            say(f"{load.payments:,} payments after {time.perf_counter() - started:.0f} s")
    return payments / (time.perf_counter() - started)


def project(writer: DatabaseWriter, load: Load, seconds: float) -> dict[str, float]:
    """Whole ways: reading what is known, and writing. Making the rows is not counted."""
    spent = written = events = 0.0
    while spent < seconds:
        batch = load.batch(EVENTS_A_BATCH // len(WAY), len(WAY))
        ids = [row.payment_intent_id for row in batch.payments]
        started = time.perf_counter()
        writer.snapshots(ids)
        writer.minutes([(row.partition, row.minute) for row in batch.minutes])
        writer.apply(batch)
        spent += time.perf_counter() - started
        events += len(batch.events)
        written += sum(
            len(part)
            for part in (
                batch.events, batch.payments, batch.identifiers, batch.outcomes, batch.minutes,
                batch.moved,
            )
        )  # fmt: skip
    return {"eventsPerSecond": round(events / spent), "rowsPerSecond": round(written / spent)}


def timed(call: Callable[[], object]) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1_000


def quantiles(figures: list[float]) -> dict[str, float]:
    figures.sort()
    return {
        "p50Ms": round(figures[len(figures) // 2], 2),
        "p99Ms": round(figures[int(len(figures) * 0.99)], 2),
        "maxMs": round(figures[-1], 2),
    }


def gets(reader: Reader, known: int, seconds: float) -> int:
    """Point reads of payments at random, one thread, a second."""
    chance = random.Random(SEED)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        assert reader.payment(payment_id(chance.randrange(known))) is not None
        done += 1
    return round(done / (time.perf_counter() - started))


def pages(reader: Reader, wanted: Callable[[int], PaymentFilter]) -> dict[str, float]:
    """Pages of a list, walked from several places in it."""
    figures: list[float] = []
    for number in range(PAGES // 10):
        cursor: str | None = None
        for _ in range(10):
            started = time.perf_counter()
            page = reader.payments(wanted(number), PAGE, cursor)
            figures.append((time.perf_counter() - started) * 1_000)
            cursor = page.next
            if cursor is None:
                break
    return quantiles(figures)


def lists(reader: Reader, known: int) -> dict[str, dict[str, float]]:
    """Pages of 50 under every filter that the API offers."""

    def at(number: int) -> int:
        return STARTED_MS + known * 20 * number // (PAGES // 10)

    asked: dict[str, Callable[[int], PaymentFilter]] = {
        "all": lambda _: PaymentFilter(),
        "until": lambda n: PaymentFilter(until=at(n) + 1),
        "since": lambda n: PaymentFilter(since=at(n)),
        "source": lambda n: PaymentFilter(source=f"channel-{n % 5}", until=at(n) + 1),
        "state": lambda n: PaymentFilter(state="FAILED", until=at(n) + 1),
        "moneyOutcome": lambda n: PaymentFilter(money_outcome="OPEN", until=at(n) + 1),
        "reason": lambda n: PaymentFilter(reason="RAIL_REJECTED", until=at(n) + 1),
        "attention": lambda _: PaymentFilter(needs_attention=True),
        "noAttention": lambda n: PaymentFilter(needs_attention=False, until=at(n) + 1),
        "stateAndSource": lambda n: PaymentFilter(state="FAILED", source=f"channel-{n % 5}"),
        "attentionAndSource": lambda n: PaymentFilter(
            needs_attention=True, source=f"channel-{n % 5}"
        ),
        "stateAndReason": lambda n: PaymentFilter(state="CREATED", reason="RAIL_REJECTED"),
        "sourceAndMoney": lambda n: PaymentFilter(source=f"channel-{n % 5}", money_outcome="PAID"),
        "nothingFits": lambda _: PaymentFilter(state="FAILED", reason="NO_SUCH_REASON"),
        "idempotencyKey": lambda n: PaymentFilter(idempotency_key=f"key-{n * 97}"),
    }
    found = {}
    for name, wanted in asked.items():
        found[name] = pages(reader, wanted)
        say(f"{name:20} {found[name]}")
    cursor: list[str | None] = [None]

    def attention() -> None:
        cursor[0] = reader.attention(PAGE, cursor[0]).next

    found["attentionQueue"] = quantiles([timed(attention) for _ in range(PAGES // 4)])
    return found


def measure(model: Model, payments: int, seconds: float) -> dict[str, Any]:
    writer, reader, load = model.writer(), model.reader(), Load()
    say(f"filling {payments:,} payments")
    filled = fill(writer, load, payments)
    say(f"filled at {filled:,.0f} payments a second; projecting whole ways")
    project(writer, load, 2.0)
    projected = project(writer, load, seconds)
    say(f"{projected}")
    result = {
        "payments": load.payments,
        "fillPerSecond": round(filled),
        **projected,
        "getsPerSecond": gets(reader, payments, seconds),
        "counts": quantiles([timed(reader.counts) for _ in range(READS)]),
        "events": quantiles(
            [timed(partial(reader.events, payment_id(payments + n), 0, 100)) for n in range(READS)]
        ),
        "find": quantiles(
            [timed(partial(reader.find, f"TX{payments + n:020d}", 10)) for n in range(READS)]
        ),
        "pagesOf50": lists(reader, payments),
    }
    writer.close()
    reader.close()
    return result


def say(line: str) -> None:
    """Progress goes to standard error: standard output ends with the JSON line."""
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.readmodel", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--payments", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each rate")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="npp-bench-") as folder,
        opened(options.database, Path(folder)) as model,
    ):
        result = {"database": options.database, **measure(model, options.payments, options.seconds)}
    for name, value in result.items():
        say(f"{name:20} {value}")
    if options.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
