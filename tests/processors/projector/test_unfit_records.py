"""Records that do not fit: what halts the projector, and what it skips and counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from control import quarantine
from core.payment.state import CorruptHistory
from engine.records import LogRecord
from readmodel.model import Model
from schemas import topology as t
from tests.clock import HeldClock
from tests.processors.payments.clean_history import Outside
from tests.processors.projector.harness import (
    POISON,
    Skips,
    feed_of,
    log_of,
    model_in,
    project,
    run,
    source_of,
)

pytestmark = pytest.mark.slow


def broken(records: list[LogRecord], index: int, **changes: Any) -> list[LogRecord]:
    return [
        msgspec.structs.replace(record, **changes) if n == index else record
        for n, record in enumerate(records)
    ]


def halts(records: list[LogRecord], one: Outside, model: Model, clock: HeldClock) -> str:
    """The feed's message. Nothing of the broken batch is in the model afterwards."""
    writer = model.writer()
    feed = feed_of(source_of(records), writer, one.codec, clock)
    feed.open(None)
    with pytest.raises(CorruptHistory) as caught:
        run(feed, clock)
    assert not writer.offsets()
    writer.close()
    return str(caught.value)


def test_a_changed_byte_a_missing_event_or_garbage_in_the_journal_halts(
    one: Outside, tmp_path: Path, clock: HeldClock
) -> None:
    """The projector never guesses: it names payment, sequence, topic, partition and offset."""
    events = one.driver.committed(t.EVENTS)
    raw = events[0].value or b""
    flipped = raw.replace(b"E2E", b"E2F")
    assert flipped != raw
    for name, log, words in (
        ("bytes", broken(events, 0, value=flipped), "the event before it hashes to"),
        ("gap", events[:1] + events[2:], "it names"),
        ("twice", [*events[:2], *events[1:]], "it names"),
        ("rubbish", broken(events, 1, value=b"\x00rubbish"), "cannot be read"),
        ("nothing", broken(events, 1, value=None), "cannot be read"),
    ):
        model = model_in(tmp_path / name)
        said = halts(log, one, model, clock)
        assert words in said, said
        assert f"partition {events[0].partition}" in said
        model.close()


def test_a_rule_set_that_is_not_shipped_halts(one: Outside, model: Model, clock: HeldClock) -> None:
    events = one.driver.committed(t.EVENTS)
    foreign = one.codec.decode(t.EVENTS, events[0].value)
    header = msgspec.structs.replace(foreign.header, rule_set=7)
    raw = one.codec.encode(t.EVENTS, msgspec.structs.replace(foreign, header=header))
    said = halts(broken(events, 0, value=raw), one, model, clock)
    assert "rule set 7 is not carried by this release" in said


def test_an_unreadable_record_outside_the_journal_is_skipped_and_counted(
    one: Outside, model: Model, clock: HeldClock
) -> None:
    topics = (t.OUTCOMES, t.OPERATOR_COMMANDS, t.AUDIT, t.CONTROL, t.CHECKPOINTS)
    log = [r for r in log_of(one) if r.topic not in topics]
    log += [LogRecord(topic, 0, 0, 1, b"k", b"\x00rubbish", []) for topic in topics]
    log += [LogRecord(topic, 0, 1, 1, None, None, []) for topic in topics]
    misplaced = one.driver.committed(t.CONTROL)[0]
    log.append(msgspec.structs.replace(misplaced, topic=t.CHECKPOINTS, offset=2))
    skips = Skips()
    writer = model.writer()
    feed = feed_of(source_of(log), writer, one.codec, clock, skips)
    feed.open(None)
    run(feed, clock)
    assert sorted(set(skips.seen)) == sorted((topic, "undecodable") for topic in topics)
    assert len(skips.seen) == 2 * len(topics) + 1
    assert writer.offsets()[t.CHECKPOINTS, 0] == 3
    writer.close()


def test_no_quarantined_record_stops_the_projector(
    one: Outside, model: Model, clock: HeldClock
) -> None:
    """Every record there has a row with its bytes, whatever its headers say."""
    log = [
        LogRecord(t.QUARANTINE, 0, n, 1, b"\xff\x00", b"\x00" * n, headers)
        for n, headers in enumerate(POISON)
    ]
    project(source_of(log), model, one.codec, clock)
    reader = model.reader()
    for n, headers in enumerate(POISON):
        row = reader.quarantined(0, n)
        assert row is not None
        assert row.value == b"\x00" * n
        assert row.reason == (quarantine.PARKED if n == 4 else quarantine.UNDECODABLE)
        assert msgspec.msgpack.decode(row.headers) == [list(each) for each in headers]
    last = reader.quarantined(0, 4)
    assert last is not None
    assert last.detail == "nul \0 and \x1a"
    reader.close()
