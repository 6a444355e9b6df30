"""The writer's contract over SQLite and PostgreSQL: atomic batches, one writer, immutable facts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from core.values import PaymentIntentId
from readmodel import rows
from readmodel.model import Model
from readmodel.ports import AuditFilter, Contradiction, Fenced, PaymentFilter
from tests.readmodel.rows import (
    HOSTILE,
    JOURNAL,
    NOW_MS,
    OPERATOR,
    approval,
    audit,
    checkpoint,
    conflict,
    event,
    moved,
    outcome,
    payment,
    quarantined,
)
from tests.rooms import ROOT

pytestmark = pytest.mark.slow


def full_batch() -> rows.Batch:
    return rows.Batch(
        moved=[moved(0, 2)],
        payments=[payment(1)],
        events=[event(1, 1, 0), event(1, 2, 1)],
        identifiers=[
            rows.IdentifierRow(
                kind="externalRef", value="N0001001", payment_intent_id=PaymentIntentId("pi_0001")
            )
        ],
        approvals=[approval(1)],
        conflicts=[conflict(1)],
        outcomes=[outcome(1)],
        quarantine=[quarantined(1)],
        audit=[audit(101)],
        commands=[rows.CommandRow(partition=0, offset=100, raw=b"command")],
        checkpoints=[checkpoint(0, 1, 0, 9)],
        control=[
            rows.ControlRow(
                offset=0, type="Stopped", at=NOW_MS, actor="olivia", raw=b"raw", refused=None
            )
        ],
        minutes=[rows.MinuteRow(partition=0, minute=29_833_333, figures=b"figures")],
    )


def batch_of(table: str, *given: msgspec.Struct, **more: Any) -> rows.Batch:
    """A batch with rows of that table only."""
    batch = rows.Batch(**more)
    setattr(batch, table, list(given))
    return batch


def everything(model: Model) -> dict[str, Any]:
    """Everything that a reader can see."""
    reader = model.reader()
    found: dict[str, Any] = {
        "projected": dict(reader.projected()),
        "payments": reader.payments(PaymentFilter(), 50, None).items,
        "events": reader.events("pi_0001", 0, 50),
        "found": reader.find("N0001001", 10),
        "approvals": reader.approvals(None, None, 50, None).items,
        "conflicts": reader.conflicts(None, False, 50, None).items,
        "outcomes": reader.outcomes("pi_0001", 50),
        "quarantine": reader.quarantine(None, None, 50, None).items,
        "audit": reader.audit(AuditFilter(), 50, None).items,
        "command": reader.command_at(0, 100),
        "checkpoint": reader.checkpoint_over(0, 5),
        "control": reader.control(-1, 50),
        "minutes": reader.minutes(0, 10**9),
        "counts": {name: number for name, number in reader.counts().items() if number},
    }
    reader.close()
    return found


def test_a_batch_becomes_visible_as_a_whole(read_model: Model) -> None:
    batch = full_batch()
    read_model.writer(1).apply(batch)
    assert everything(read_model) == {
        "projected": {(JOURNAL, 0): 2},
        "payments": batch.payments,
        "events": batch.events,
        "found": [("externalRef", "pi_0001")],
        "approvals": batch.approvals,
        "conflicts": batch.conflicts,
        "outcomes": batch.outcomes,
        "quarantine": batch.quarantine,
        "audit": [
            audit(101, result="ACCEPTED", from_sequence=5, to_sequence=6),
        ],
        "command": batch.commands[0],
        "checkpoint": batch.checkpoints[0],
        "control": batch.control,
        "minutes": batch.minutes,
        "counts": {
            "state:SENT": 1,
            "money:OPEN": 1,
            "openConflicts": 1,
            "approvalsReferred": 1,
            "quarantined": 1,
            "quarantinedLately": 1,
        },
    }


class Unwritable(list[Any]):
    """The last item of a batch; iterating over it triggers the fault."""

    def __init__(self, happening: Callable[[], object]) -> None:
        super().__init__([1])
        self._happening = happening

    def __iter__(self) -> Any:
        self._happening()
        return super().__iter__()


def test_an_error_in_the_middle_of_a_batch_leaves_nothing_of_it(read_model: Model) -> None:
    writer = read_model.writer(1)
    before = everything(read_model)
    batch = full_batch()
    batch.redriven = Unwritable(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        writer.apply(batch)
    assert everything(read_model) == before
    writer.apply(full_batch())
    assert everything(read_model) != before


KILLED_IN_APPLY = """
import os, signal, sys
from readmodel.model import open_model
from tests.readmodel.test_writer import Unwritable, full_batch
batch = full_batch()
batch.redriven = Unwritable(lambda: os.kill(os.getpid(), signal.SIGKILL))
open_model(sys.argv[1]).writer(1).apply(batch)
"""


def test_a_kill_in_the_middle_of_a_batch_leaves_nothing_of_it(
    read_model: Model, read_model_url: str
) -> None:
    before = everything(read_model)
    command = [sys.executable, "-c", KILLED_IN_APPLY, read_model_url]
    killed = subprocess.run(command, cwd=ROOT, timeout=60, check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    assert everything(read_model) == before
    read_model.writer(1).apply(full_batch())
    assert everything(read_model)["projected"] == {(JOURNAL, 0): 2}


def test_the_second_of_two_writers_is_fenced_and_writes_nothing(
    read_models: Callable[[], Model], read_model: Model
) -> None:
    first, second = read_model.writer(1), read_models().writer(1)
    assert dict(second.offsets()) == {}
    first.apply(rows.Batch(moved=[moved(0, 5)], payments=[payment(1)]))
    with pytest.raises(Fenced, match=r"npp\.payment\.events\.v1/0 is not at 0"):
        second.apply(rows.Batch(moved=[moved(0, 3)], payments=[payment(2)]))
    assert dict(second.offsets()) == {(JOURNAL, 0): 5}
    assert set(second.snapshots(["pi_0001", "pi_0002"])) == {"pi_0001"}


@pytest.mark.parametrize(
    ("before", "after"), [(4, 6), (6, 8), (0, 9), (0, 0)], ids=["less", "more", "new", "nothing"]
)
def test_offsets_move_only_from_where_they_stand(
    read_model: Model, before: int, after: int
) -> None:
    writer = read_model.writer(1)
    writer.apply(rows.Batch(moved=[moved(0, 5), moved(0, 1, partition=1)]))
    with pytest.raises(Fenced):
        writer.apply(rows.Batch(moved=[moved(1, 2, partition=1), moved(before, after)]))
    assert dict(writer.offsets()) == {(JOURNAL, 0): 5, (JOURNAL, 1): 1}


def test_offsets_of_many_places_move_together(read_model: Model) -> None:
    writer = read_model.writer(1)
    writer.apply(rows.Batch(moved=[moved(0, 5), moved(0, 7, topic=OPERATOR), moved(5, 9)]))
    assert dict(writer.offsets()) == {(JOURNAL, 0): 9, (OPERATOR, 0): 7}


ADDED: dict[str, tuple[msgspec.Struct, dict[str, Any]]] = {
    "events": (event(1, 1, 0), {"raw": b"other"}),
    "outcomes": (outcome(1), {"raw": b"other"}),
    "quarantine": (quarantined(1), {"value": None}),
    "commands": (rows.CommandRow(partition=0, offset=100, raw=b"command"), {"raw": b"other"}),
    "checkpoints": (checkpoint(0, 1, 0, 9), {"raw": b"other"}),
}


@pytest.mark.parametrize("table", ADDED)
def test_a_fact_again_is_ignored_and_another_under_its_key_is_an_error(
    read_model: Model, table: str
) -> None:
    row, change = ADDED[table]
    writer = read_model.writer(1)
    for _ in range(2):
        writer.apply(batch_of(table, row))
    other = msgspec.structs.replace(row, **change)
    with pytest.raises(Contradiction, match=table):
        writer.apply(batch_of(table, row, other, moved=[moved(0, 1)]))
    assert dict(writer.offsets()) == {}


def test_two_events_at_one_place_of_the_journal_are_an_error(read_model: Model) -> None:
    writer = read_model.writer(1)
    writer.apply(rows.Batch(events=[event(1, 1, 0)]))
    with pytest.raises(Contradiction):
        writer.apply(rows.Batch(events=[event(2, 1, 0)]))


def test_rows_of_things_that_change_replace_the_one_before(read_model: Model) -> None:
    writer, reader = read_model.writer(1), read_model.reader()
    writer.apply(full_batch())
    changed = rows.Batch(
        payments=[payment(1, state="ACKNOWLEDGED"), payment(1, state="SETTLED", customer_id="C")],
        approvals=[approval(1, status="USED", decided_by="anna")],
        conflicts=[conflict(1, verdict="NOT_PAID", resolved_at=NOW_MS)],
        minutes=[rows.MinuteRow(partition=0, minute=29_833_333, figures=b"more")],
        identifiers=[
            rows.IdentifierRow(
                kind="externalRef", value="N0001001", payment_intent_id=PaymentIntentId("pi_0001")
            )
        ],
        control=[
            rows.ControlRow(
                offset=0, type="Stopped", at=NOW_MS, actor="olivia", raw=b"raw", refused=None
            )
        ],
    )
    writer.apply(changed)
    assert reader.payment("pi_0001") == changed.payments[1]
    assert reader.approvals(None, None, 50, None).items == changed.approvals
    assert reader.conflicts(None, False, 50, None).items == changed.conflicts
    assert reader.minutes(0, 10**9) == changed.minutes
    assert reader.find("N0001001", 10) == [("externalRef", "pi_0001")]
    assert list(writer.approvals_of(["pi_0001"])) == changed.approvals
    assert list(writer.conflicts_of(["pi_0001", "pi_0002"])) == changed.conflicts


@pytest.mark.parametrize("command_first", [True, False])
def test_an_outcome_completes_the_audit_of_its_own_command_whichever_comes_first(
    read_model: Model, command_first: bool
) -> None:
    writer, reader = read_model.writer(1), read_model.reader()
    requested = [audit(101), audit(102, command_id="cmd-1"), audit(103, command_id=None)]
    done = [
        outcome(1, result="REJECTED", code="POLICY_REJECTED", rule="R", sentence="a 'quoted' one"),
        outcome(2, result="DUPLICATE", command_id="cmd-1", from_sequence=1, to_sequence=2),
    ]
    batches = [rows.Batch(audit=requested), rows.Batch(outcomes=done)]
    for batch in batches if command_first else reversed(batches):
        writer.apply(batch)
    first = audit(
        101,
        result="REJECTED",
        code="POLICY_REJECTED",
        rule="R",
        sentence="a 'quoted' one",
        from_sequence=5,
        to_sequence=6,
    )
    second = audit(102, command_id="cmd-1", result="DUPLICATE", from_sequence=1, to_sequence=2)
    assert reader.audit(AuditFilter(), 50, None).items == [requested[2], second, first]
    writer.apply(rows.Batch(audit=requested))
    assert reader.audit(AuditFilter(), 50, None).items == [requested[2], second, first]


def test_an_outcome_of_another_command_at_that_place_completes_nothing(read_model: Model) -> None:
    writer = read_model.writer(1)
    writer.apply(
        rows.Batch(
            audit=[audit(101), audit(102, audit_id="a-0-101"), audit(103, audit_id="c-0-101")],
            outcomes=[outcome(1, command_id="another"), outcome(2, command_id=None)],
        )
    )
    found = read_model.reader().audit(AuditFilter(), 50, None).items
    assert [row.result for row in found] == [None, None, None]


def test_a_redrive_is_noted_at_what_it_was_for(read_model: Model) -> None:
    writer, reader = read_model.writer(1), read_model.reader()
    writer.apply(rows.Batch(quarantine=[quarantined(1), quarantined(2)], redriven=[(0, 2, "r1")]))
    writer.apply(rows.Batch(redriven=[(0, 1, "r2"), (0, 9, "r3")], quarantine=[quarantined(2)]))
    assert reader.quarantined(0, 1) == quarantined(1, redrive_id="r2")
    assert reader.quarantined(0, 2) == quarantined(2, redrive_id="r1")
    assert reader.counts()["quarantined"] == 0


def test_the_projector_gets_back_what_it_knows(read_model: Model) -> None:
    writer = read_model.writer(1)
    payments = [payment(number) for number in range(1_200)]
    figures = [
        rows.MinuteRow(partition=p, minute=m, figures=b"%d %d" % (p, m))
        for p in range(3)
        for m in range(3)
    ]
    writer.apply(rows.Batch(payments=payments, minutes=figures))
    requested = [row.payment_intent_id for row in payments]
    assert writer.snapshots([*requested, requested[0], "pi_none"]) == dict(
        zip(requested, payments, strict=True)
    )
    assert writer.minutes([(0, 1), (2, 2), (7, 1)]) == {(0, 1): b"0 1", (2, 2): b"2 2"}
    assert writer.snapshots([]) == {}
    assert writer.minutes([]) == {}


def test_any_text_comes_back_equal_and_is_found(read_model: Model) -> None:
    writer, reader = read_model.writer(1), read_model.reader()
    for number, text in enumerate(HOSTILE):
        writer.apply(batch := batch_with(number, text))
        row = batch.payments[0]
        payment_id = row.payment_intent_id
        assert reader.payment(payment_id) == row, repr(text)
        assert writer.snapshots([payment_id]) == {payment_id: row}
        wanted = PaymentFilter(source=text, reason=text)
        assert reader.payments(wanted, 50, None).items == [row], repr(text)
        assert reader.payments(PaymentFilter(idempotency_key=text), 50, None).items == [row]
        kinds = {kind for kind, _ in reader.find(text, 50)}
        assert kinds == {"endToEndId", "idempotencyKey", "transactionId"}
        assert reader.approvals(payment_id, None, 50, None).items == batch.approvals
        assert reader.conflicts(payment_id, True, 50, None).items == batch.conflicts
        assert reader.quarantine(text, text, 50, None).items == batch.quarantine
        wanted_audit = AuditFilter(operator_id=text, action=text)
        assert reader.audit(wanted_audit, 50, None).items == batch.audit
        assert reader.events(payment_id, 0, 50) == batch.events
        assert reader.outcome_of(text) == batch.outcomes[0]
        assert reader.projected()[(text, 0)] == 1
        writer.apply(rows.Batch(quarantine=batch.quarantine, events=batch.events))
        assert reader.payment(text) is None


def batch_with(number: int, text: str) -> rows.Batch:
    """Rows of payment `number` with that text wherever it can stand."""
    changed = {"idempotency_key": text, "source": text, "end_to_end_id": text, "reason": text}
    payment_id = f"pi_{number:04d}"
    return rows.Batch(
        moved=[moved(0, 1, topic=text)],
        payments=[payment(number, **changed)],
        identifiers=[
            rows.IdentifierRow(
                kind="transactionId", value=text, payment_intent_id=PaymentIntentId(payment_id)
            )
        ],
        approvals=[approval(number, text=text)],
        conflicts=[conflict(number, detail=text)],
        quarantine=[quarantined(number, detail=text, reason=text, payment_intent_id=text)],
        audit=[audit(number, operator_id=text, action=text, detail=text, command_id=text)],
        events=[event(number, 1, number, command_id=text)],
        outcomes=[outcome(number, sentence=text, command_id=text)],
    )


def test_counts_follow_every_change_of_every_payment(read_model: Model) -> None:
    writer, reader = read_model.writer(1), read_model.reader()
    assert set(reader.counts().values()) == {0}
    marks = {"needs_attention": True, "attention_since": NOW_MS, "waiting_for_person": True}
    writer.apply(rows.Batch(payments=[payment(n, **marks) for n in range(10)]))
    writer.apply(
        rows.Batch(
            payments=[
                *(payment(n, state="SETTLED", money_outcome="PAID") for n in range(4)),
                payment(3, state="FAILED", money_outcome="NOT_PAID", reason="X"),
                payment(11, overdue="ATTENTION"),
                payment(12, overdue="ESCALATED", parked=True),
            ]
        )
    )
    writer.apply(rows.Batch(payments=[payment(3, state="FAILED", money_outcome="NOT_PAID")]))
    counts = {name: number for name, number in reader.counts().items() if number}
    assert counts == {
        "state:SETTLED": 3, "state:FAILED": 1, "state:SENT": 8,
        "money:PAID": 3, "money:NOT_PAID": 1, "money:OPEN": 8,
        "attention": 6, "waitingForPerson": 6, "parked": 1,
        "overdue:SENT:ATTENTION": 1, "overdue:SENT:ESCALATED": 1,
    }  # fmt: skip
