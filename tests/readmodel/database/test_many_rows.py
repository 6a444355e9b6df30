"""A batch of many rows gives the same result as the rows one by one, over SQLite and PostgreSQL."""

from __future__ import annotations

import pytest

from readmodel import rows
from readmodel.database.bulk import BULK_ROWS
from readmodel.model import Model
from readmodel.ports import Contradiction, PaymentFilter
from tests.readmodel.rows import HOSTILE, event, outcome, payment

pytestmark = pytest.mark.slow

MANY = 3 * BULK_ROWS


def written(model: Model, batch: rows.Batch) -> None:
    writer = model.writer(1)
    writer.apply(batch)
    writer.close()


def payments(model: Model) -> list[rows.PaymentRow]:
    reader = model.reader()
    found = list(reader.payments(PaymentFilter(), 2 * MANY, None).items)
    reader.close()
    return [each for each in reversed(found) if isinstance(each, rows.PaymentRow)]


def test_many_payments_are_added_and_replaced_in_full(read_model: Model) -> None:
    before = [payment(number) for number in range(MANY)]
    written(read_model, rows.Batch(payments=before))
    assert payments(read_model) == before
    after = [
        payment(
            number, state="SETTLED", amount=-(2**63), overdue="ATTENTION", attention_since=0,
            needs_attention=True, parked=True, reason="REJECTED", snapshot=b"\x00\\x\n",
        )
        for number in range(MANY)
    ]  # fmt: skip
    written(read_model, rows.Batch(payments=after))
    assert payments(read_model) == after


def test_any_text_comes_back_equal_among_many(read_model: Model) -> None:
    given = [
        payment(number, source=HOSTILE[number % len(HOSTILE)], customer_id=None)
        for number in range(MANY)
    ]
    written(read_model, rows.Batch(payments=given))
    assert payments(read_model) == given


def test_of_two_rows_with_one_key_among_many_the_last_one_stays(read_model: Model) -> None:
    given = [payment(number) for number in range(MANY)]
    written(read_model, rows.Batch(payments=[payment(3, state="CREATED"), *given]))
    assert payments(read_model) == given


def test_existing_facts_among_many_are_ignored(read_model: Model) -> None:
    events = [event(number, 1, number) for number in range(MANY)]
    outcomes = [outcome(number) for number in range(MANY)]
    written(read_model, rows.Batch(events=events[: MANY // 2], outcomes=outcomes))
    written(read_model, rows.Batch(events=events, outcomes=outcomes))
    reader = read_model.reader()
    found = [reader.events(each.payment_intent_id, 0, 5) for each in events]
    reader.close()
    assert found == [[each] for each in events]


def test_a_different_fact_under_an_existing_key_is_an_error_and_writes_nothing(
    read_model: Model,
) -> None:
    events = [event(number, 1, number) for number in range(MANY)]
    written(read_model, rows.Batch(events=[event(7, 1, 7, raw=b"another")]))
    with pytest.raises(Contradiction, match="events pi_0007/1"):
        written(read_model, rows.Batch(events=events))
    reader = read_model.reader()
    assert list(reader.events("pi_0008", 0, 5)) == []
    reader.close()


def test_a_batch_contains_nothing_from_earlier_ones(read_model: Model) -> None:
    first = [payment(number) for number in range(MANY)]
    changed = payment(3, state="SETTLED")
    others = [payment(number) for number in range(MANY, 2 * MANY)]
    writer = read_model.writer(1)
    for given in (first, [changed], others):
        writer.apply(rows.Batch(payments=given))
    writer.close()
    assert payments(read_model) == [*first[:3], changed, *first[4:], *others]
