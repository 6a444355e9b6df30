"""Speed of the read model at many payments: rows in, point reads, list pages, counts.

python -m bench.readmodel --database sqlite|postgres --payments N [--seconds S] [--json]: the last
line is one JSON object. Rows are of the size of real ones; PostgreSQL syncs its log as by default.
"""

from __future__ import annotations

import hashlib
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from app.platform.fetch import say_on_stderr as say
from bench.rig.answer import give, options_of
from core.values import Cents, ExternalRef, PaymentIntentId
from core.words import StateName
from readmodel import rows
from readmodel.model import JOURNAL, Model, default_url, open_model
from readmodel.ports import PaymentFilter, Reader
from readmodel.tables import METADATA
from readmodel.writer import DatabaseWriter
from tests.postgres import open_postgres

SEED: Final = 20_261_122
PARTITIONS: Final = 12
EVENTS_A_BATCH: Final = 2_000
STARTED_MS: Final = 1_790_000_000_000
ORIGINALS_MAX: Final = 500_000  # payments beyond these are copies
COPIED_NAMES: Final = ("idempotency_key", "external_ref", "end_to_end_id")
PAGE: Final = 50
PAGES: Final = 400
RAW: Final = random.Random(SEED).randbytes(4_096)

# A payment's happy path: event, state after it.
WAY: Final[tuple[tuple[str, StateName], ...]] = (
    ("PaymentIntentCreated", "CREATED"),
    ("PolicyPassed", "CREATED"),
    ("FundsHeld", "AUTHORISED"),
    ("PaymentSentToRail", "SENT"),
    ("PaymentAcknowledged", "ACKNOWLEDGED"),
    ("PaymentSettled", "SETTLED"),
    ("FundsCaptured", "SETTLED"),
)


def payment_id(number: int) -> PaymentIntentId:
    return PaymentIntentId("pi_" + hashlib.sha256(b"%d" % number).hexdigest()[:26])


class Load:
    """Batches as the projector makes them. `offsets` are the journal's by partition."""

    def __init__(self) -> None:
        self.offsets = [0] * PARTITIONS
        self.payments = 0
        self._random = random.Random(SEED)

    def batch(self, payments: int, events_each: int) -> rows.Batch:
        """New payments, each with the first events of WAY."""
        before = list(self.offsets)
        batch = rows.Batch()
        for _ in range(payments):
            self._add(batch, events_each)
        batch.moved = [
            rows.Moved(topic=JOURNAL, partition=partition, before=before[partition], after=after)
            for partition, after in enumerate(self.offsets)
            if after != before[partition]
        ]
        minute = batch.events[-1].decided_at // 60_000
        batch.minutes = [
            rows.MinuteRow(partition=p, minute=minute, figures=RAW[:400]) for p in range(PARTITIONS)
        ]
        return batch

    def _add(self, batch: rows.Batch, events_each: int) -> None:
        number, self.payments = self.payments, self.payments + 1
        payment, partition = payment_id(number), number % PARTITIONS
        created_at = STARTED_MS + number * 20
        reference = ExternalRef(f"N{payment[3:].upper()}001")
        for sequence in range(1, events_each + 1):
            kind, state = WAY[sequence - 1]
            offset = self.offsets[partition]
            self.offsets[partition] += 1
            start = (number * 7 + sequence) % 3_000
            batch.events.append(
                rows.EventRow(
                    payment_intent_id=payment,
                    sequence=sequence,
                    partition=partition,
                    offset=offset,
                    type=kind,
                    decided_at=created_at + sequence * 100,
                    from_state=None,
                    state=state,
                    attempt=1,
                    cause_topic="npp.rail.reports.v1",
                    cause_partition=partition,
                    cause_offset=offset * 3,
                    command_id=f"cmd-{number}-{sequence}",
                    approval_id=None,
                    hash=RAW[start : start + 32],
                    raw=RAW[start : start + 450],
                )
            )
        if events_each == len(WAY):
            batch.identifiers += [
                rows.IdentifierRow(kind="externalRef", value=reference, payment_intent_id=payment),
                rows.IdentifierRow(
                    kind="railMessageId", value=f"MSG{number:020d}A", payment_intent_id=payment
                ),
                rows.IdentifierRow(
                    kind="railMessageId", value=f"MSG{number:020d}B", payment_intent_id=payment
                ),
                rows.IdentifierRow(
                    kind="transactionId", value=f"TX{number:020d}", payment_intent_id=payment
                ),
            ]
            batch.outcomes.append(
                rows.OutcomeRow(
                    partition=partition,
                    offset=number,
                    payment_intent_id=payment,
                    cause_topic="npp.payment.commands.v1",
                    cause_partition=partition,
                    cause_offset=number,
                    command_id=f"cmd-{number}",
                    input_type="CreatePayment",
                    result="ACCEPTED",
                    code=None,
                    rule=None,
                    sentence=None,
                    decided_at=created_at,
                    from_sequence=1,
                    to_sequence=2,
                    raw=RAW[:250],
                )
            )
        batch.payments.append(self._payment(payment, number, partition, events_each, reference))

    def _payment(
        self,
        payment: PaymentIntentId,
        number: int,
        partition: int,
        events_each: int,
        reference: ExternalRef,
    ) -> rows.PaymentRow:
        state = WAY[events_each - 1][1]
        failed = self._random.random() < 0.02
        attention = self._random.random() < 0.001
        created_at = STARTED_MS + number * 20
        return rows.PaymentRow(
            payment_intent_id=payment,
            source=f"channel-{number % 5}",
            idempotency_key=f"key-{number}",
            state="FAILED" if failed else state,
            reason="RAIL" if failed else None,
            money_outcome="NOT_PAID" if failed else "OPEN",
            amount=Cents(12_345),
            currency="AUD",
            attempt=1,
            external_ref=reference,
            funds="HELD",
            sequence=events_each,
            head_hash=RAW[:32],
            created_at=created_at,
            decided_at=created_at + 900,
            last_lifecycle_event=WAY[events_each - 1][0],
            overdue=None,
            open_conflicts=0,
            needs_attention=attention,
            attention_since=created_at if attention else None,
            waiting_for_person=False,
            parked=False,
            end_to_end_id=f"E2E-{number:016d}",
            service="x2p1",
            uetr=None,
            customer_id=f"cust-{number % 9_999}",
            rule_set=1,
            partition=partition,
            snapshot=RAW[:600],
        )


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
    """Write payments with their first event each; returns events per second."""
    started = time.perf_counter()
    while load.payments < payments:
        writer.apply(load.batch(min(EVENTS_A_BATCH, payments - load.payments), 1))
        if load.payments % 100_000 < EVENTS_A_BATCH:
            say(f"{load.payments:,} payments after {time.perf_counter() - started:.0f} s")
    return payments / (time.perf_counter() - started)


def multiply(model: Model, load: Load, times: int) -> None:
    """`times` copies, made inside the database, of every payment and its first event."""
    count, connection = load.payments, model.store.writing(model.current()).raw_connection()
    cursor = connection.cursor()
    if (made := getattr(connection.driver_connection, "create_function", None)) is not None:
        made("md5", 1, lambda value: hashlib.md5(value.encode()).hexdigest())  # PostgreSQL has it
    else:
        cursor.execute("SET statement_timeout = 0")
    places = (f"created_at < {STARTED_MS + count * 20}", f'"offset" < {count}')
    for copy in range(1, times + 1):
        changed = {
            "payment_intent_id": f"'pi_' || substr(md5(payment_intent_id || '-{copy}'), 1, 26)",
            **{each: f"{each} || '-{copy}'" for each in COPIED_NAMES},
            **{each: f"{each} + {copy * count * 20}" for each in ("created_at", "decided_at")},
            "offset": f'"offset" + {copy * count}',
        }
        for table, where in zip(("payments", "events"), places, strict=True):
            columns = [f'"{column.name}"' for column in METADATA.tables[table].columns]
            into, values = ", ".join(columns), ", ".join(changed.get(c[1:-1], c) for c in columns)
            cursor.execute(
                f"INSERT INTO {table} ({into}) SELECT {values} FROM {table} WHERE {where}"
            )
        connection.commit()
        say(f"{count * (copy + 1):,} payments")
    cursor.execute(f"UPDATE counts SET amount = amount * {times + 1}")
    cursor.execute(f'UPDATE offsets SET "next" = "next" + {times * count}')
    connection.commit()
    connection.close()
    load.offsets = [each + times * count for each in load.offsets]
    load.payments += times * count


def project(writer: DatabaseWriter, load: Load, seconds: float) -> dict[str, float]:
    """Write payments with all events of WAY. Timed are the reads of known rows and the writes, not
    the making of the rows.
    """
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


def timed_ms(call: Callable[[], object]) -> float:
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
    """Point reads of random payments per second, in one thread."""
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

    requested: dict[str, Callable[[int], PaymentFilter]] = {
        "all": lambda _: PaymentFilter(),
        "until": lambda n: PaymentFilter(until=at(n) + 1),
        "since": lambda n: PaymentFilter(since=at(n)),
        "source": lambda n: PaymentFilter(source=f"channel-{n % 5}", until=at(n) + 1),
        "state": lambda n: PaymentFilter(state="FAILED", until=at(n) + 1),
        "moneyOutcome": lambda n: PaymentFilter(money_outcome="OPEN", until=at(n) + 1),
        "reason": lambda n: PaymentFilter(reason="RAIL", until=at(n) + 1),
        "attention": lambda _: PaymentFilter(needs_attention=True),
        "noAttention": lambda n: PaymentFilter(needs_attention=False, until=at(n) + 1),
        "stateAndSource": lambda n: PaymentFilter(state="FAILED", source=f"channel-{n % 5}"),
        "attentionAndSource": lambda n: PaymentFilter(
            needs_attention=True, source=f"channel-{n % 5}"
        ),
        "stateAndReason": lambda n: PaymentFilter(state="CREATED", reason="RAIL"),
        "sourceAndMoney": lambda n: PaymentFilter(source=f"channel-{n % 5}", money_outcome="PAID"),
        "nothingFits": lambda _: PaymentFilter(state="FAILED", reason="FRAUD"),
        "idempotencyKey": lambda n: PaymentFilter(idempotency_key=f"key-{n * 97}"),
    }
    found = {}
    for name, wanted in requested.items():
        found[name] = pages(reader, wanted)
        say(f"{name:20} {found[name]}")
    cursor: list[str | None] = [None]

    def attention() -> None:
        cursor[0] = reader.attention(PAGE, cursor[0]).next

    found["attentionQueue"] = quantiles([timed_ms(attention) for _ in range(PAGES // 4)])
    return found


def measure(model: Model, payments: int, seconds: float) -> dict[str, Any]:
    writer, reader, load = model.writer(), model.reader(), Load()
    originals = min(payments, ORIGINALS_MAX)
    say(f"filling {originals:,} payments")
    filled = fill(writer, load, originals)
    multiply(model, load, payments // originals - 1)
    say(f"filled at {filled:,.0f} payments a second; projecting whole ways")
    project(writer, load, 2.0)
    projected = project(writer, load, seconds)
    say(f"{projected}")
    transactions = [f"TX{payments + n:020d}" for n in range(PAGES // 2)]
    result = {
        "payments": load.payments,
        "fillPerSecond": round(filled),
        **projected,
        "getsPerSecond": gets(reader, originals, seconds),
        "counts": quantiles([timed_ms(reader.counts) for _ in range(PAGES // 2)]),
        "events": quantiles(
            [
                timed_ms(partial(reader.events, payment_id(payments + n), 0, 100))
                for n in range(PAGES // 2)
            ]
        ),
        "find": quantiles([timed_ms(partial(reader.find, tx, 10)) for tx in transactions]),
        "pagesOf50": lists(reader, payments),
    }
    writer.close()
    reader.close()
    return result


def main() -> int:
    parser = options_of("bench.readmodel", __doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--payments", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each rate")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="npp-bench-") as folder,
        opened(options.database, Path(folder)) as model,
    ):
        result = {"database": options.database, **measure(model, options.payments, options.seconds)}
    give(result, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
