"""The read model equals the engine's state: folded from logs that the product's own code made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from control.fold import Control
from core import control_records, records
from core.payment import state as payment_state
from engine.records import LogRecord
from processors.projector import events as projection
from readmodel import minutes, rows
from readmodel.minutes import Figures
from readmodel.model import Model
from readmodel.ports import AuditFilter
from schemas import topology as t
from tests.clock import HeldClock
from tests.control.people import CLUSTER, Hands, activated
from tests.processors.payments.clean_history import Outside
from tests.processors.projector.harness import (
    POISON,
    dump,
    history,
    log_of,
    model_in,
    project,
    source_of,
)

pytestmark = pytest.mark.slow

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module", params=SEEDS)
def world(request: pytest.FixtureRequest) -> Outside:
    return history(request.param)


def test_every_payment_equals_the_engines_byte_for_byte(
    world: Outside, model: Model, clock: HeldClock
) -> None:
    """The projector's fold is the engine's: packed state, head, and everything computed
    from them.
    """
    project(source_of(log_of(world), seed=5), model, world.codec, clock)
    reader = model.reader()
    lifecycle = {
        r.key: world.codec.decode(t.LIFECYCLE, r.value) for r in world.driver.committed(t.LIFECYCLE)
    }
    assert len(lifecycle) > 5
    for last in lifecycle.values():
        row = reader.payment(last.payment_intent_id)
        assert row is not None
        assert row.snapshot == last.snapshot
        named = ("state", "money_outcome", "reason", "attempt", "external_ref", "funds", "sequence",
                 "head_hash", "open_conflicts", "overdue", "waiting_for_person", "rule_set",
                 "last_lifecycle_event", "amount", "currency", "decided_at")  # fmt: skip
        expected = {name: getattr(last, name) for name in named}
        assert {name: getattr(row, name) for name in named} == expected
        payment = payment_state.unpack(row.snapshot)
        assert row.needs_attention == payment_state.needs_attention(payment)
        assert (row.attention_since is not None) == row.needs_attention
    reader.close()


def test_batch_boundaries_make_no_difference(
    world: Outside, tmp_path: Path, clock: HeldClock
) -> None:
    dumps = []
    for cut in (None, 1, 2):
        model = model_in(tmp_path / str(cut))
        project(source_of(log_of(world), seed=cut), model, world.codec, clock)
        dumps.append(dump(model))
        model.close()
    assert dumps[1] == dumps[0]
    assert dumps[2] == dumps[0]


def test_payments_and_minutes_evicted_from_memory_are_read_again(
    one: Outside, tmp_path: Path, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fold's memory is bounded, which makes no difference."""
    dumps = []
    for states, buckets in ((10_000, 10_000), (2, 1)):
        monkeypatch.setattr(projection, "STATES_KEPT_MAX", states)
        monkeypatch.setattr(projection, "BUCKETS_KEPT_MAX", buckets)
        model = model_in(tmp_path / str(states))
        feed = project(source_of(log_of(one), seed=4), model, one.codec, clock)
        assert len(feed.projection.events.buckets) <= buckets
        dumps.append(dump(model))
        model.close()
    assert dumps[0] == dumps[1]


def test_every_record_of_the_log_has_its_row_with_its_bytes(
    world: Outside, model: Model, clock: HeldClock
) -> None:
    project(source_of(log_of(world)), model, world.codec, clock)
    seen = dump(model)
    journal = {(r.partition, r.offset): r.value for r in world.driver.committed(t.EVENTS)}
    assert {(e.partition, e.offset): e.raw for es in seen["events"] for e in es} == journal
    outcomes = {(r.partition, r.offset): r.value for r in world.driver.committed(t.OUTCOMES)}
    assert {(o.partition, o.offset): o.raw for os in seen["outcomes"] for o in os} == outcomes
    commands = world.driver.committed(t.OPERATOR_COMMANDS)
    requested = {row.audit_id for row in seen["audit"] if row.audit_id.startswith("o-")}
    assert requested == {f"o-{r.partition}-{r.offset}" for r in commands}


def test_every_operator_command_is_audited_with_six_fields_and_its_outcome(
    world: Outside, model: Model, clock: HeldClock
) -> None:
    """AUD: operator, time, action, payment, reason, approval, and the outcome."""
    project(source_of(log_of(world), seed=9), model, world.codec, clock)
    reader = model.reader()
    page = reader.audit(AuditFilter(), 200, None).items
    found = {row.audit_id: row for row in page if isinstance(row, rows.AuditRow)}
    for record in world.driver.committed(t.OPERATOR_COMMANDS):
        command = world.codec.decode(t.OPERATOR_COMMANDS, record.value)
        row = found.get(f"o-{record.partition}-{record.offset}")
        if row is None:
            continue  # on a later page
        said = getattr(command, "details", None) or command.reason
        assert row.operator_id == command.operator.operator_id
        assert row.at == record.timestamp_ms
        assert row.payment_intent_id == command.header.payment_intent_id
        assert row.reason == said
        assert row.action
        assert row.result in {"ACCEPTED", "REJECTED", "DUPLICATE"}
        assert (row.rule is None) == (row.result != "REJECTED")
        assert "CUST-1" not in (row.detail or "")
    reader.close()


def test_approvals_keep_their_text_and_follow_their_events(
    world: Outside, model: Model, clock: HeldClock
) -> None:
    project(source_of(log_of(world), seed=4), model, world.codec, clock)
    seen = dump(model)
    kept = {}
    for row in seen["payments"]:
        for approval in payment_state.unpack(row.snapshot).approvals:
            kept[row.payment_intent_id, approval.id] = approval.status
    found = {(a.payment_intent_id, a.approval_id): a for a in seen["approvals"]}
    assert found.keys() >= kept.keys()
    assert len(kept) > 3
    for key, status in kept.items():
        shown = found[key].status
        assert shown == status or shown == "EXPIRED"
        assert found[key].text == "seen at the bank" or found[key].text.startswith("\x1b[31m ")
        assert (found[key].decided_by is None) == (status in {"REQUESTED", "REFERRED"})


def test_conflicts_keep_their_detail_once_resolved(
    world: Outside, model: Model, clock: HeldClock
) -> None:
    project(source_of(log_of(world), seed=4), model, world.codec, clock)
    seen = dump(model)
    assert seen["conflicts"]
    for row in seen["payments"]:
        mine = [k for k in seen["conflicts"] if k.payment_intent_id == row.payment_intent_id]
        assert sum(k.verdict is None for k in mine) == row.open_conflicts
        assert all(k.detail for k in mine)
        assert all((k.verdict is None) == (k.resolved_at is None) for k in mine)


def test_the_minutes_add_up_to_the_journal(world: Outside, model: Model, clock: HeldClock) -> None:
    """An event touches exactly one bucket, that of its partition and decision minute."""
    project(source_of(log_of(world), seed=8), model, world.codec, clock)
    expected: dict[tuple[int, int], Figures] = {}
    for record in world.driver.committed(t.EVENTS):
        event = world.codec.decode(t.EVENTS, record.value)
        if minutes.counts(event):
            key = (record.partition, minutes.minute_of(event.header.decided_at))
            minutes.add(expected.setdefault(key, Figures()), event, record.offset)
    found = {(m.partition, m.minute): minutes.unpack(m.figures) for m in dump(model)["minutes"]}
    assert found == expected
    assert sum(f.created for f in found.values()) == 12


# -- what does not fit together ---


# -- control and audit ---


def control_log(one: Outside, *given: Any) -> list[LogRecord]:
    """Control records as on the log: signed where required."""
    control, hands, log = Control(one.codec.decode), Hands(), []
    for n, record in enumerate(given):
        signed = hands.in_turn(control, record, at=1_000 + n)
        control.apply_record(n, signed, 1_000 + n)
        raw = one.codec.encode(t.CONTROL, signed)
        log.append(LogRecord(t.CONTROL, 0, n, 1_000 + n, None, raw, []))
    return log


CONTROL = (
    control_records.ClusterRecorded(cluster_id=CLUSTER, partitions=6, recorded_at=1, actor="admin"),
    activated(),
    control_records.ProcessingStopped(
        stop_id="stop-1", reason="a doubt", automatic=False, stopped_at=2, actor="ada"
    ),
    control_records.ProofPassed(
        scope="whole log",
        fold=True,
        chain=True,
        redecide=True,
        offsets=(0,) * 6,
        passed_at=3,
        actor="replay",
    ),
    control_records.ResumeRequested(
        stop_id="stop-1", proof_offset=3, reason="all is well", requested_at=4, actor="ada"
    ),
    control_records.ResumeConfirmed(
        stop_id="stop-1", request_offset=4, confirmed_at=5, actor="ada"
    ),
    control_records.ResumeConfirmed(
        stop_id="stop-1", request_offset=4, confirmed_at=6, actor="ben"
    ),
    control_records.RedriveRequested(
        request_id="r-1",
        partition=0,
        offsets=(1, 3, 3),
        reason="mended",
        requested_at=7,
        actor="ada",
        payment_intent_id=None,
    ),
    control_records.RedriveConfirmed(request_id="r-1", confirmed_at=8, actor="ada"),
    control_records.RedriveConfirmed(request_id="r-1", confirmed_at=9, actor="ben"),
    control_records.RedriveDone(
        request_id="r-1", redriven=2, refused=None, done_at=10, actor="redriver"
    ),
    control_records.RedriveRequested(
        request_id="r-2",
        partition=0,
        offsets=(0,),
        reason="mended",
        requested_at=11,
        actor="ada",
        payment_intent_id=None,
    ),
    control_records.RedriveConfirmed(request_id="r-2", confirmed_at=12, actor="ben"),
    control_records.RedriveDone(
        request_id="r-2",
        redriven=0,
        refused="at most 100 records at once",
        done_at=13,
        actor="redriver",
    ),
)


@pytest.mark.parametrize("restart", [False, True])
def test_control_is_audited_by_person_and_a_refused_confirmation_is_shown(
    one: Outside, model: Model, clock: HeldClock, restart: bool
) -> None:
    """Dual control: the audit shows who requested, who confirmed, and what had no effect."""
    log = control_log(one, *CONTROL)
    log += [LogRecord(t.QUARANTINE, 0, n, 1, None, b"x", POISON[4]) for n in range(4)]
    if restart:
        project(source_of([r for r in log if r.offset < 6]), model, one.codec, clock)
    project(source_of(log), model, one.codec, clock)
    reader = model.reader()
    page = reader.audit(AuditFilter(), 200, None).items
    found = [(a.audit_id, a.action, a.operator_id, a.result) for a in page]
    assert sorted(found, key=lambda a: int(a[0].split("-")[2])) == [
        ("c-0-1", "ACTIVATE_OPERATORS", "test", "DONE"),
        ("c-0-2", "STOP", "ada", "DONE"),
        ("c-0-4", "REQUEST_RESUME", "ada", "DONE"),
        ("c-0-5", "CONFIRM_RESUME", "ada", "REFUSED"),
        ("c-0-6", "CONFIRM_RESUME", "ben", "DONE"),
        ("c-0-7", "REQUEST_REDRIVE", "ada", "DONE"),
        ("c-0-8", "CONFIRM_REDRIVE", "ada", "REFUSED"),
        ("c-0-9", "CONFIRM_REDRIVE", "ben", "DONE"),
        ("c-0-11", "REQUEST_REDRIVE", "ada", "DONE"),
        ("c-0-12", "CONFIRM_REDRIVE", "ben", "DONE"),
    ]
    redriven = {n: reader.quarantined(0, n) for n in range(4)}
    assert {n: r.redrive_id for n, r in redriven.items() if r} == {
        0: None,
        1: "r-1",
        2: None,
        3: "r-1",
    }
    assert [r.type for r in reader.control(-1, 100)] == [type(r).__name__ for r in CONTROL]
    assert [r.at for r in reader.control(-1, 100)] == list(range(1_000, 1_014))
    reader.close()


def test_the_apis_audit_records_keep_method_path_and_status(
    one: Outside, model: Model, clock: HeldClock
) -> None:
    requested = records.OperatorAudit(
        audit_id="x-1",
        at=77,
        operator_id="vera",
        roles=("viewer",),
        action="RETRY",
        method="POST",
        path="/api/payments/pi_x/retry",
        status=403,
        payment_intent_id="pi_x",
        reason="why\0not",
        code="POLICY_REJECTED",
        rule="ROLE",
    )
    raw = one.codec.encode(t.AUDIT, requested)
    project(source_of([LogRecord(t.AUDIT, 0, 0, 5, None, raw, [])]), model, one.codec, clock)
    reader = model.reader()
    (row,) = reader.audit(AuditFilter(operator_id="vera"), 10, None).items
    assert isinstance(row, rows.AuditRow)
    assert (row.audit_id, row.at, row.roles, row.result) == ("a-0-0", 77, "viewer", "REFUSED")
    assert row.reason == "why\0not"
    assert json.loads(row.detail or "") == {
        "auditId": "x-1", "method": "POST", "path": "/api/payments/pi_x/retry", "status": 403
    }  # fmt: skip
    reader.close()
