"""Every page of a list is read from an index in its order, however many rows there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from readmodel import rows
from readmodel.database.session import Session
from readmodel.model import default_url, open_model
from readmodel.ports import AuditFilter, Page, PaymentFilter, Reader
from tests.readmodel.rows import NOW_MS, approval, audit, conflict, outcome, payment, quarantined

pytestmark = pytest.mark.slow

COUNT = 40
LIMIT = 10
VIOLATION = "INVARIANT_VIOLATION"

Ask = Callable[[Reader, str | None], Page[Any]]

PAYMENTS = {
    "all": PaymentFilter(),
    "source": PaymentFilter(source="mobile-app"),
    "state": PaymentFilter(state="SENT"),
    "money": PaymentFilter(money_outcome="OPEN"),
    "reason": PaymentFilter(reason="RAIL"),
    "attention": PaymentFilter(needs_attention=True),
    "two": PaymentFilter(state="SENT", source="mobile-app"),
    "time": PaymentFilter(since=NOW_MS, until=NOW_MS + COUNT),
    "state and time": PaymentFilter(state="SENT", since=NOW_MS, until=NOW_MS + COUNT),
}
OTHERS: dict[str, Ask] = {
    "needs attention": lambda reader, at: reader.attention(LIMIT, at),
    "approvals": lambda reader, at: reader.approvals(None, None, LIMIT, at),
    "conflicts": lambda reader, at: reader.conflicts(None, False, LIMIT, at),
    "open conflicts": lambda reader, at: reader.conflicts(None, True, LIMIT, at),
    "quarantine": lambda reader, at: reader.quarantine(None, None, LIMIT, at),
    "audit": lambda reader, at: reader.audit(AuditFilter(), LIMIT, at),
    "violations": lambda reader, at: reader.violations(0, 2**50, LIMIT, at),
}


def _payments(wanted: PaymentFilter) -> Ask:
    return lambda reader, at: reader.payments(wanted, LIMIT, at)


LISTS = OTHERS | {f"payments by {name}": _payments(each) for name, each in PAYMENTS.items()}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A reader of a SQLite read model with more than a page of everything."""
    model = open_model(default_url(tmp_path_factory.mktemp("plans")))
    model.store.prepare()
    writer = model.writer(1)
    numbers = range(COUNT)
    wanted = {"needs_attention": True, "attention_since": 7, "reason": "RAIL"}
    writer.apply(
        rows.Batch(
            payments=[payment(n, **wanted) for n in numbers],
            approvals=[approval(n) for n in numbers],
            conflicts=[conflict(n) for n in numbers],
            outcomes=[outcome(n, code=VIOLATION) for n in numbers],
            quarantine=[quarantined(n) for n in numbers],
            audit=[audit(n) for n in numbers],
        )
    )
    writer.close()
    return model.reader()


@pytest.mark.parametrize("name", LISTS)
def test_a_page_uses_an_index_and_continues_from_its_cursor(
    reader: Reader, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[list[str]] = []
    whole = Session.all

    def explained(session: Session, sql: str, parameters: Any = ()) -> list[Any]:
        if " ORDER BY " in sql.replace("\n", " "):
            plan = whole(session, f"EXPLAIN QUERY PLAN {sql}", parameters)
            plans.append([step[-1] for step in plan])
        return whole(session, sql, parameters)

    monkeypatch.setattr(Session, "all", explained)
    first = LISTS[name](reader, None)
    assert first.next is not None
    assert LISTS[name](reader, first.next).items
    assert len(plans) == 2
    assert all(len(plan) == 1 and " USING INDEX " in plan[0] for plan in plans), plans
    assert plans[1][0].startswith("SEARCH "), plans
