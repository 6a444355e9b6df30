"""The reader's contract over SQLite and PostgreSQL: every query and its edge cases."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from core.values import PaymentIntentId
from core.words import ApprovalStatus, QuarantineReason
from readmodel import rows
from readmodel.model import JOURNAL as DEFAULT_JOURNAL
from readmodel.model import Model, open_model
from readmodel.ports import AuditFilter, Page, PaymentFilter, Reader, ReadModelDown
from schemas import topology
from tests.clock import HeldClock
from tests.readmodel.rows import (
    JOURNAL,
    NOW_MS,
    REPORTS,
    approval,
    audit,
    checkpoint,
    conflict,
    event,
    given,
    incident,
    moved,
    outcome,
    payment,
    quarantined,
    walked,
)

pytestmark = pytest.mark.slow

SEED = 20_261_122
REASONS: tuple[QuarantineReason, ...] = ("UNDECODABLE", "UNMATCHED")


def test_an_empty_model_answers_everything_with_nothing(read_model: Model) -> None:
    reader: Reader = read_model.reader()
    assert reader.payment("pi_0001") is None
    assert reader.payments(PaymentFilter(), 1, None) == Page([], None)
    assert reader.events("pi_0001", 0, 1) == []
    assert reader.events_since({0: 0}, 1, None) == []
    assert reader.event_at(JOURNAL, 0, 0) is None
    assert reader.outcomes("pi_0001", 1) == []
    assert reader.outcome_of("cmd-1") is None
    assert reader.find("x", 1) == []
    assert reader.approvals(None, None, 1, None) == Page([], None)
    assert reader.conflicts(None, True, 1, None) == Page([], None)
    assert reader.attention(1, None) == Page([], None)
    assert reader.quarantine(None, None, 1, None) == Page([], None)
    assert reader.quarantined(0, 0) is None
    assert reader.audit(AuditFilter(), 1, None) == Page([], None)
    assert reader.checkpoint_over(0, 0) is None
    assert reader.checkpoint_over_outcome(0, 0) is None
    assert reader.checkpoint(0, 1) is None
    assert reader.last_checkpoint(0) is None
    assert reader.sequence_at("pi_0001", 10**9) == 0
    assert reader.command_at(0, 0) is None
    assert reader.leaves(checkpoint(0, 1, 0, 10), "operators") == []
    assert reader.control(-1, 1) == []
    assert reader.minutes(0, 10**9) == []
    assert reader.incidents(False, 1, None) == Page([], None)
    assert set(reader.counts().values()) == {0}
    assert dict(reader.projected()) == {}


def test_an_incident_is_shown_in_its_latest_state(read_model: Model) -> None:
    ended = incident(1, status="RESOLVED", part=1, resolved_at=NOW_MS + 90_000)
    reader = given(read_model, incidents=[incident(1), incident(2), ended])
    assert reader.incidents(False, 9, None).items == [incident(2), ended]
    assert reader.incidents(True, 9, None).items == [incident(2)]


def test_events_of_a_payment_come_in_order_after_a_sequence(read_model: Model) -> None:
    known = [event(1, sequence, 10 - sequence) for sequence in (3, 1, 2)] + [event(2, 1, 20)]
    reader = given(read_model, events=known)
    assert [row.sequence for row in reader.events("pi_0001", 0, 50)] == [1, 2, 3]
    assert [row.sequence for row in reader.events("pi_0001", 1, 1)] == [2]
    assert reader.events("pi_0001", 3, 50) == []


def test_events_since_are_those_from_each_partitions_offset_on(read_model: Model) -> None:
    known = [event(n % 2, n, n, partition=n % 3) for n in range(12)]
    reader = given(read_model, events=known)
    assert [row.offset for row in reader.events_since({0: 3, 2: 8, 9: 0}, 50, None)] == [
        *(3, 6, 9),
        *(8, 11),
    ]
    assert [row.offset for row in reader.events_since({0: 3, 2: 0}, 4, None)] == [3, 6, 9, 2]
    assert [row.offset for row in reader.events_since({0: 3, 2: 0}, 50, "pi_0001")] == [3, 9, 5, 11]
    assert reader.events_since({}, 50, None) == []


def test_an_event_is_found_by_its_offset_and_by_the_input_that_caused_it(read_model: Model) -> None:
    known = [
        event(1, 1, 7, cause_offset=5),
        event(1, 2, 8, cause_offset=5),
        event(2, 1, 9, cause_offset=5, cause_topic="npp.payment.commands.v1"),
    ]
    reader = given(read_model, events=known)
    assert reader.event_at(JOURNAL, 0, 8) == known[1]
    assert reader.event_at(JOURNAL, 0, 5) is None
    assert reader.event_at(REPORTS, 0, 5) == known[0]
    assert reader.event_at("npp.payment.commands.v1", 0, 5) == known[2]
    assert reader.event_at(REPORTS, 1, 5) is None
    assert reader.event_at("npp.payment.timers.v1", 0, 5) is None
    assert DEFAULT_JOURNAL == topology.EVENTS


def test_outcomes_come_in_log_order_and_the_first_of_a_command_is_its_outcome(
    read_model: Model,
) -> None:
    known = [
        outcome(8, command_id="cmd-1", result="DUPLICATE"),
        outcome(3, command_id="cmd-1"),
        outcome(5, command_id=None),
        outcome(4, payment_intent_id="pi_0002"),
    ]
    reader = given(read_model, outcomes=known)
    assert [row.offset for row in reader.outcomes("pi_0001", 50)] == [3, 5, 8]
    assert [row.offset for row in reader.outcomes("pi_0001", 2)] == [3, 5]
    assert reader.outcome_of("cmd-1") == known[1]
    assert reader.outcome_of("cmd-9") is None


def test_violations_are_the_refused_inputs_of_a_period_newest_first(read_model: Model) -> None:
    """ESC-04: of any origin, by decision time, and only refusals for a violated invariant."""
    broken = {"result": "REJECTED", "code": "INVARIANT_VIOLATION"}
    upstream = {"cause_topic": "npp.payment.commands.v1", "command_id": None, **broken}
    known = [outcome(at, **(broken if at % 2 else upstream)) for at in range(1, 9)]
    others = [outcome(20 + at, result="REJECTED", code="POLICY_REJECTED") for at in range(1, 9)]
    reader = given(read_model, outcomes=[*others, outcome(40), *known])
    found = walked(partial(reader.violations, NOW_MS + 2, NOW_MS + 8), 2)
    assert found == [row for row in reversed(known) if 2 <= row.offset < 8]
    assert walked(partial(reader.violations, 0, NOW_MS), 2) == []


def test_a_payment_is_found_by_each_of_its_identifiers(read_model: Model) -> None:
    uetr = "97ED4827-7b6f-4491-a06f-b548d5a7512d"
    reader = given(
        read_model,
        payments=[
            payment(1, uetr=uetr, idempotency_key="same", end_to_end_id="E2E-a"),
            payment(2, idempotency_key="same", end_to_end_id="same"),
        ],
        identifiers=[
            rows.IdentifierRow(
                kind="externalRef", value="NAB12001", payment_intent_id=PaymentIntentId("pi_0001")
            ),
            rows.IdentifierRow(
                kind="transactionId", value="nab12001", payment_intent_id=PaymentIntentId("pi_0002")
            ),
            rows.IdentifierRow(
                kind="railMessageId", value="Msg-1", payment_intent_id=PaymentIntentId("pi_0001")
            ),
        ],
    )
    assert reader.find("pi_0001", 10) == [("paymentIntentId", "pi_0001")]
    assert reader.find("E2E-a", 10) == [("endToEndId", "pi_0001")]
    assert reader.find("e2e-a", 10) == []
    assert reader.find("same", 10) == [
        ("endToEndId", "pi_0002"),
        ("idempotencyKey", "pi_0001"),
        ("idempotencyKey", "pi_0002"),
    ]
    assert reader.find("same", 2) == [("endToEndId", "pi_0002"), ("idempotencyKey", "pi_0001")]
    assert reader.find("nab12001", 10) == [
        ("externalRef", "pi_0001"),
        ("transactionId", "pi_0002"),
    ]
    assert reader.find("NAB12001", 10) == [("externalRef", "pi_0001")]
    assert reader.find("Msg-1", 10) == [("railMessageId", "pi_0001")]
    assert reader.find("msg-1", 10) == []
    for form in (uetr, uetr.upper(), uetr.lower()):
        assert reader.find(form, 10) == [("uetr", "pi_0001")]


def test_approvals_are_oldest_first_and_expire_by_the_clock(
    read_model: Model, held_clock: HeldClock
) -> None:
    known = [
        approval(3),
        approval(1, expires_at=NOW_MS + 10),
        approval(2, status="APPROVED"),
        approval(2, approval_id="apr_002", status="USED", expires_at=NOW_MS),
    ]
    reader = given(read_model, approvals=known)

    def listed(payment_id: str | None, status: ApprovalStatus | None) -> list[tuple[str, str, str]]:
        found = walked(partial(reader.approvals, payment_id, status), 2)
        return [(row.payment_intent_id, row.approval_id, row.status) for row in found]

    held_clock.advance(9)
    assert listed(None, "REFERRED") == [
        ("pi_0001", "apr_001", "REFERRED"),
        ("pi_0003", "apr_001", "REFERRED"),
    ]
    assert listed(None, "EXPIRED") == []
    assert reader.counts()["approvalsReferred"] == 2
    held_clock.advance(1)
    assert listed(None, None) == [
        ("pi_0001", "apr_001", "EXPIRED"),
        ("pi_0002", "apr_001", "APPROVED"),
        ("pi_0002", "apr_002", "USED"),
        ("pi_0003", "apr_001", "REFERRED"),
    ]
    assert listed(None, "EXPIRED") == [("pi_0001", "apr_001", "EXPIRED")]
    assert listed(None, "REFERRED") == [("pi_0003", "apr_001", "REFERRED")]
    assert listed("pi_0002", "USED") == [("pi_0002", "apr_002", "USED")]
    assert listed("pi_0001", "REFERRED") == []
    assert listed("pi_0001", "EXPIRED") == [("pi_0001", "apr_001", "EXPIRED")]
    assert reader.counts()["approvalsReferred"] == 1


def test_conflicts_are_oldest_first_and_open_without_a_verdict(read_model: Model) -> None:
    known = [
        conflict(2),
        conflict(1, verdict="NOT_PAID", resolved_at=NOW_MS),
        conflict(1, conflict_id="cnf_002", opened_at=NOW_MS + 3),
    ]
    reader = given(read_model, conflicts=known)
    everyone = [known[1], known[0], known[2]]
    assert walked(partial(reader.conflicts, None, False), 1) == everyone
    assert walked(partial(reader.conflicts, None, True), 1) == [known[0], known[2]]
    assert walked(partial(reader.conflicts, "pi_0001", True), 1) == [known[2]]
    assert walked(partial(reader.conflicts, "pi_0001", False), 1) == [known[1], known[2]]
    assert reader.counts()["openConflicts"] == 2


def test_what_came_in_wrong_lately_is_counted_within_its_window(
    read_model: Model, held_clock: HeldClock
) -> None:
    """MET-09: as far back as the alerts look."""
    now = held_clock.now_ms()
    wrong, minute = "INVARIANT_VIOLATION", 60_000
    refused = [outcome(n, code=wrong, decided_at=now - 5 * minute + n) for n in range(2)]
    counts = given(
        read_model,
        quarantine=[quarantined(n, at=now - 10 * minute + n) for n in range(3)],
        outcomes=[*refused, outcome(5, decided_at=now)],
    ).counts()
    assert (counts["quarantinedLately"], counts["violatedLately"]) == (2, 1)


def test_the_quarantine_is_newest_first_and_comes_back_byte_for_byte(read_model: Model) -> None:
    known = [
        quarantined(
            n,
            at=NOW_MS + n // 3,
            partition=n % 2,
            reason=REASONS[n % 2],
            payment_intent_id="pi_0001" if n % 3 else None,
            value=None if n == 4 else bytes(range(n)),
        )
        for n in range(9)
    ]
    reader = given(read_model, quarantine=known)
    newest = sorted(known, key=lambda row: (row.at, row.partition, row.offset), reverse=True)
    for reason in (None, *REASONS):
        for payment_id in (None, "pi_0001"):
            found = walked(partial(reader.quarantine, reason, payment_id), 2)
            assert found == [
                row
                for row in newest
                if reason in (None, row.reason) and payment_id in (None, row.payment_intent_id)
            ]
    assert reader.quarantined(0, 4) == known[4]
    assert reader.quarantined(1, 4) is None


def test_audit_is_newest_first_by_operator_payment_action_and_time(read_model: Model) -> None:
    known = [
        audit(
            n,
            at=NOW_MS + n // 3,
            operator_id=("olivia", "oscar")[n % 2],
            action=("CANCEL", "RETRY", "EXPORT")[n % 3],
            payment_intent_id=None if n % 4 == 3 else f"pi_{n % 4:04d}",
        )
        for n in range(24)
    ]
    reader = given(read_model, audit=known)
    newest = sorted(known, key=lambda row: (row.at, row.audit_id), reverse=True)
    for operator in (None, "oscar"):
        for payment_id in (None, "pi_0001", "pi_0009"):
            for action in (None, "RETRY"):
                wanted = AuditFilter(
                    operator_id=operator,
                    payment_intent_id=payment_id,
                    action=action,
                    since=NOW_MS + 1,
                    until=NOW_MS + 7,
                )
                assert walked(partial(reader.audit, wanted), 2) == [
                    row
                    for row in newest
                    if operator in (None, row.operator_id)
                    and payment_id in (None, row.payment_intent_id)
                    and action in (None, row.action)
                    and NOW_MS + 1 <= row.at < NOW_MS + 7
                ]


def test_control_and_minutes_come_in_order(read_model: Model) -> None:
    control = [
        rows.ControlRow(
            offset=offset, type="Stopped", at=NOW_MS, actor=None, raw=b"raw", refused="ROLE"
        )
        for offset in range(4)
    ]
    minutes = [
        rows.MinuteRow(partition=p, minute=m, figures=b"f") for m in (5, 6, 7) for p in (0, 1)
    ]
    reader = given(read_model, control=control[::-1], minutes=minutes[::-1])
    assert reader.control(-1, 50) == control
    assert reader.control(1, 1) == [control[2]]
    assert reader.minutes(5, 7) == minutes[:4]


def test_a_reader_sees_committed_data_only(read_model: Model) -> None:
    writer, reader = read_model.writer(1), read_model.reader()
    seen: list[object] = []
    batch = rows.Batch(moved=[moved(0, 1)], payments=[payment(1)], redriven=[(0, 0, "r")])

    class Looking(list[Any]):
        def __iter__(self) -> Any:
            seen.append((reader.payment("pi_0001"), dict(reader.projected())))
            return super().__iter__()

    batch.redriven = Looking(batch.redriven)
    writer.apply(batch)
    seen.append((reader.payment("pi_0001"), dict(reader.projected())))
    assert seen == [(None, {}), (payment(1), {(JOURNAL, 0): 1})]


def test_before_the_projector_there_is_no_model_and_readers_report_that(
    empty_url: str, held_clock: HeldClock
) -> None:
    model = open_model(empty_url, clock=held_clock)
    reader = model.reader()
    assert model.current() == 0
    with pytest.raises(ReadModelDown, match="the projector makes it"):
        reader.payment("pi_0001")
    writer = model.writer()
    writer.apply(rows.Batch(payments=[payment(1)]))
    assert reader.payment("pi_0001") == payment(1)
    assert model.generations() == [1]
    writer.close()
    model.close()
