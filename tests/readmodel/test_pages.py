"""Paged lists over SQLite and PostgreSQL: every filter, no row twice and none missing, and only
cursors that we issued.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from readmodel import rows
from readmodel.lists import ROWS_MAX, payment_conditions
from readmodel.model import Model
from readmodel.ports import AuditFilter, Page, PaymentFilter, Reader
from tests.readmodel.rows import (
    NOW_MS,
    approval,
    audit,
    conflict,
    given,
    ids,
    incident,
    outcome,
    payment,
    quarantined,
    walked,
)

pytestmark = pytest.mark.slow

SEED = 20_261_122

FILTERS = {
    "none": PaymentFilter(),
    "source": PaymentFilter(source="branch"),
    "state": PaymentFilter(state="SENT"),
    "money": PaymentFilter(money_outcome="NOT_PAID"),
    "reason": PaymentFilter(reason="RAIL"),
    "attention": PaymentFilter(needs_attention=True),
    "no attention": PaymentFilter(needs_attention=False),
    "since": PaymentFilter(since=NOW_MS + 20),
    "until": PaymentFilter(until=NOW_MS + 20),
    "nothing between": PaymentFilter(since=NOW_MS + 20, until=NOW_MS + 20),
    "key": PaymentFilter(idempotency_key="key-7"),
    "key and source": PaymentFilter(idempotency_key="key-7", source="branch"),
    "two": PaymentFilter(state="FAILED", source="mobile-app"),
    "attention and state": PaymentFilter(needs_attention=True, state="SENT"),
    "no attention, money": PaymentFilter(needs_attention=False, money_outcome="OPEN"),
    "all": PaymentFilter(
        source="branch",
        state="FAILED",
        money_outcome="NOT_PAID",
        reason="RAIL",
        needs_attention=True,
        since=NOW_MS,
        until=NOW_MS + 900,
    ),
    "no such": PaymentFilter(state="SETTLED", reason="FRAUD"),
    "empty words": PaymentFilter(source="", state=""),  # type: ignore[arg-type]  # in no set
}


def fits(row: rows.PaymentRow, wanted: PaymentFilter) -> bool:
    """The filter in Python."""
    equal = {
        "source": wanted.source,
        "idempotency_key": wanted.idempotency_key,
        "state": wanted.state,
        "money_outcome": wanted.money_outcome,
        "reason": wanted.reason,
        "needs_attention": wanted.needs_attention,
    }
    since = wanted.since if wanted.since is not None else 0
    until = wanted.until if wanted.until is not None else 2**62
    return since <= row.created_at < until and all(
        getattr(row, name) == value for name, value in equal.items() if value is not None
    )


def many_payments() -> list[rows.PaymentRow]:
    """Forty of every kind, several of them made in the same millisecond."""
    chance = random.Random(SEED)
    found = []
    for number in range(40):
        failed, noted = chance.random() < 0.5, chance.random() < 0.5
        found.append(
            payment(
                number,
                created_at=NOW_MS + number // 4 * 4,
                source=chance.choice(("branch", "mobile-app")),
                state="FAILED" if failed else "SENT",
                money_outcome="NOT_PAID" if failed else "OPEN",
                reason="RAIL" if failed else None,
                needs_attention=noted,
                attention_since=NOW_MS + 1_000 - number // 3 if noted else None,
            )
        )
    return found


def test_payments_are_listed_newest_first_under_every_filter(read_model: Model) -> None:
    known = many_payments()
    reader = given(read_model, payments=known)
    newest = sorted(known, key=lambda row: (row.created_at, row.payment_intent_id), reverse=True)
    for limit in (1, 3, 40, 200):
        for name, wanted in FILTERS.items():
            expected = [row for row in newest if fits(row, wanted)]
            assert walked(partial(reader.payments, wanted), limit) == expected, (name, limit)


@pytest.mark.parametrize(
    ("counts", "first"),
    [
        ({"state:FAILED": 5, "source:branch": 9, "attention": 7}, "payments.state = "),
        ({"state:FAILED": 5, "source:branch": 2, "attention": 7}, "payments.source = "),
        ({"state:FAILED": 5, "source:branch": 9, "attention": 1}, "needs_attention"),
        ({"state:FAILED": 5, "attention": 1}, "payments.source = "),
    ],
)
def test_a_list_is_read_by_its_most_selective_condition(counts: dict[str, int], first: str) -> None:
    wanted = PaymentFilter(state="FAILED", source="branch", needs_attention=True)
    by_index, *by_row = map(str, payment_conditions(wanted, counts))
    assert by_index.startswith(first)
    assert all("||" in condition or "CASE" in condition for condition in by_row)
    one_key = msgspec.structs.replace(wanted, idempotency_key="k")
    assert str(payment_conditions(one_key, counts)[0]).startswith("payments.idempotency_key = ")


def test_pages_neither_skip_nor_repeat_while_payments_are_added(read_model: Model) -> None:
    writer = read_model.writer(1)
    writer.apply(rows.Batch(payments=[payment(number) for number in range(100, 120)]))
    reader = read_model.reader()
    found: list[str] = []
    cursor: str | None = None
    for number in range(10):
        page = reader.payments(PaymentFilter(), 2, cursor)
        found += ids(page.items)
        cursor = page.next
        newer, older = payment(200 + number), payment(50 - number)
        writer.apply(rows.Batch(payments=[newer, older]))
    assert found == [f"pi_{number:04d}" for number in range(119, 99, -1)]
    page = reader.payments(PaymentFilter(), 200, cursor)
    assert ids(page.items) == [f"pi_{number:04d}" for number in range(50, 40, -1)]


def test_a_full_last_page_has_no_next(read_model: Model) -> None:
    reader = given(read_model, payments=[payment(number) for number in range(4)])
    page = reader.payments(PaymentFilter(), 2, None)
    assert page.next is not None
    assert reader.payments(PaymentFilter(), 2, page.next).next is None


def test_attention_is_sorted_by_longest_waiting_first(read_model: Model) -> None:
    known = [*many_payments(), payment(99, needs_attention=True, attention_since=None)]
    reader = given(read_model, payments=known)
    waiting = [row for row in known if row.needs_attention]
    waiting.sort(key=lambda row: (row.attention_since or 0, row.payment_intent_id))
    assert walked(reader.attention, 3) == waiting


LISTS: dict[str, Callable[[Reader, int, str | None], Page[Any]]] = {
    "payments": lambda reader, n, cursor: reader.payments(PaymentFilter(), n, cursor),
    "attention": lambda reader, n, cursor: reader.attention(n, cursor),
    "approvals": lambda reader, n, cursor: reader.approvals(None, None, n, cursor),
    "conflicts": lambda reader, n, cursor: reader.conflicts(None, False, n, cursor),
    "quarantine": lambda reader, n, cursor: reader.quarantine(None, None, n, cursor),
    "audit": lambda reader, n, cursor: reader.audit(AuditFilter(), n, cursor),
    "incidents": lambda reader, n, cursor: reader.incidents(False, n, cursor),
    "violations": lambda reader, n, cursor: reader.violations(0, 2**62, n, cursor),
}


def forged(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


BROKEN = (
    "",
    "x",
    "!!!!",
    "=",
    "A" * 10_000,
    "\ud800",
    "ünïcode",
    "payments",
    forged(),
    forged("payments"),
    forged("payments", 1),
    forged("payments", "1", "pi"),
    forged("payments", 1, 2),
    forged("payments", 1, "pi", 3),
    forged("payments", True, "pi"),
    forged("payments", 1.5, "pi"),
    forged("payments", None, "pi"),
    forged("payments", 2**63, "pi"),
    forged("payments", -(2**63) - 1, "pi"),
    forged("payments", 1, ["pi"]),
    forged("payments", 1, "\ud800"),
    forged("audit", 1, "o-0-1"),
    base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    base64.urlsafe_b64encode(b'{"payments": 1}').decode(),
)


def test_a_broken_cursor_is_refused(read_model: Model) -> None:
    reader = read_model.reader()
    for cursor in BROKEN:
        with pytest.raises(ValueError, match="cursor"):
            reader.payments(PaymentFilter(), 5, cursor)


def test_a_cursor_belongs_to_its_own_list(read_model: Model) -> None:
    reader = given(
        read_model,
        payments=[payment(n, needs_attention=True, attention_since=n) for n in range(3)],
        approvals=[approval(n) for n in range(3)],
        conflicts=[conflict(n) for n in range(3)],
        quarantine=[quarantined(n) for n in range(3)],
        incidents=[incident(n) for n in range(3)],
        audit=[audit(n) for n in range(3)],
        outcomes=[outcome(n, code="INVARIANT_VIOLATION") for n in range(3)],
    )
    for name, listed in LISTS.items():
        cursor = listed(reader, 1, None).next
        for other, other_listed in LISTS.items():
            if other == name:
                assert len(other_listed(reader, 50, cursor).items) == 2
                continue
            with pytest.raises(ValueError, match="belongs to another list"):
                other_listed(reader, 50, cursor)


def test_a_forged_cursor_changes_only_where_a_list_continues(read_model: Model) -> None:
    reader = given(read_model, payments=[payment(n) for n in range(3)])
    for text in ("'; DROP TABLE payments; --", "\x00", "", "pi_0001"):
        cursor = forged("payments", NOW_MS + 1, text)
        found = ids(reader.payments(PaymentFilter(), 50, cursor).items)
        assert found in (["pi_0000"], ["pi_0001", "pi_0000"])
    assert reader.payments(PaymentFilter(), 50, forged("payments", -(2**63), "")).items == []


def test_a_limit_out_of_bounds_is_refused(read_model: Model) -> None:
    reader = read_model.reader()
    requested: list[Callable[[int], object]] = [
        *(partial(_first_page, listed, reader) for listed in LISTS.values()),
        lambda limit: reader.events("pi_0001", 0, limit),
        lambda limit: reader.events_since({0: 0}, limit, None),
        lambda limit: reader.outcomes("pi_0001", limit),
        lambda limit: reader.find("x", limit),
        lambda limit: reader.control(-1, limit),
    ]
    for limit in (0, -1, ROWS_MAX + 1, 2**70):
        for ask in requested:
            with pytest.raises(ValueError, match="limit"):
                ask(limit)


def _first_page(
    listed: Callable[[Reader, int, str | None], Page[Any]], reader: Reader, limit: int
) -> Page[Any]:
    return listed(reader, limit, None)


def test_a_list_continues_after_a_payment_with_an_unknown_attention_time(
    read_model: Model,
) -> None:
    """Its cursor has 0, as in the list's order."""
    noted = [payment(n, needs_attention=True, attention_since=None) for n in range(3)]
    reader = given(read_model, payments=noted)
    assert len(walked(reader.attention, 1)) == len(noted)
