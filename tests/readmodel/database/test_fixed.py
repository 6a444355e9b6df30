"""What a payment's first event says is written once, over SQLite and PostgreSQL."""

from __future__ import annotations

import msgspec

from readmodel import rows
from readmodel.model import Model
from tests.readmodel.rows import NOW_MS, payment


def test_a_later_row_changes_nothing_that_the_first_event_said(read_model: Model) -> None:
    writer, reader = read_model.writer(1), read_model.reader()
    first = payment(1, uetr="U-1")
    writer.apply(rows.Batch(payments=[first]))
    later = payment(
        1,
        state="SETTLED",
        source="elsewhere",
        idempotency_key="other",
        created_at=NOW_MS - 1,
        end_to_end_id="E2E-other",
        uetr="U-2",
    )
    writer.apply(rows.Batch(payments=[later]))
    assert reader.payment("pi_0001") == msgspec.structs.replace(first, state="SETTLED")
