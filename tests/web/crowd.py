"""A read model with any number of payments, each a copy of one that the real core made, and a whole
day of minutes on twelve partitions.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import Final

import msgspec

from readmodel import minutes, rows
from readmodel.minutes import Figures, Latency
from tests.web.harness import PagesHarness

PARTITIONS: Final = 12
BATCH: Final = 5_000
ATTENTION: Final = 300  # payments: more than operators can handle
DAY_MINUTES: Final = 1_440


def crowded(harness: PagesHarness, payments: int) -> None:
    """Add them. The harness's own payments are copied: failed, sent, and waiting."""
    originals = [
        row
        for each in (harness.failed("one"), harness.sent("two"))
        if (row := harness.reader.payment(each)) is not None
    ]
    originals.append(msgspec.structs.replace(originals[0], needs_attention=True, attention_since=1))
    order = itertools.chain([2] * ATTENTION, itertools.cycle([0, 1]))
    harness._writer.apply(rows.Batch(minutes=day(harness.clock.now_ms())))
    for begin in range(0, payments, BATCH):
        numbers = range(begin, min(payments, begin + BATCH))
        batch = rows.Batch(payments=[copy(originals[next(order)], number) for number in numbers])
        harness._writer.apply(batch)


def copy(row: rows.PaymentRow, number: int) -> rows.PaymentRow:
    """The same payment under other ids."""
    name = hashlib.sha256(b"%d" % number).hexdigest()[:26].translate(str.maketrans("0189", "wxyz"))
    return msgspec.structs.replace(
        row,
        payment_intent_id=f"pi_{name}",
        idempotency_key=f"crowd-{number}",
        external_ref=f"N{name.upper()}001",
        created_at=row.created_at + number,
        partition=number % PARTITIONS,
    )


def day(now_ms: int) -> list[rows.MinuteRow]:
    """Every minute of the last 24 hours on every partition, with traffic in each."""
    busy = Figures(
        created=60, first_attempts=58, retries=3, acknowledged=55, settled=50,
        failed={"INVALID_ACCOUNT/rail": 2, "TIMEOUT/system": 1, "INSUFFICIENT_FUNDS/rail": 3},
        cancelled=1, late_failures=1, expired=1,
        latencies=[Latency(now_ms - 100 + n, 90 + n) for n in range(5)],
        histogram=[0, 40, 10, 5, 1, 1, 1, 0, 0, 0, 0], latency_ms_sum=6_000,
        retries_settled=2, retries_ended=3, offset=1,
    )  # fmt: skip
    packed, last = minutes.pack(busy), minutes.minute_of(now_ms)
    return [
        rows.MinuteRow(partition=partition, minute=minute, figures=packed)
        for partition in range(PARTITIONS)
        for minute in range(last - DAY_MINUTES + 1, last + 1)
    ]
