"""The recorder of histories: it writes what was on the log and keeps no bad recording."""

from __future__ import annotations

import hashlib
import lzma
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.records import LogRecord
from schemas import definitions
from schemas import topology as t
from tests.histories import __main__ as command
from tests.histories import model, proof
from tests.histories.file import TOPICS, Recording, Schema, log_of, read, recording, write
from tests.histories.hashes import Hashes
from tests.histories.registry import RecordedRegistry, codec_of

pytestmark = pytest.mark.slow
SEQUENCES = 6


@pytest.fixture(scope="module")
def small() -> Recording:
    """The model's first sequences, recorded with today's code."""
    return model.record(SEQUENCES, 1)


def altered(made: Recording, topic: str, change: Any) -> Recording:
    """The recording of a log with a changed last record of `topic`."""
    log = log_of(made)
    place = next(each for each, records in log.records.items() if each[0] == topic and records)
    log.records[place] = [*log.records[place][:-1], change(log.records[place][-1])]
    return recording(
        made.name, made.about, log.records,
        schemas=made.schemas, counts=made.counts, keys=made.keys,
    )  # fmt: skip


def test_the_models_sequences_are_recorded_proved_and_checked_by_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Recorded histories fold, verify and are decided again byte for byte."""
    words = ["record", "model", "--sequences", str(SEQUENCES), "--to", str(tmp_path)]
    assert command.main(words) == 0
    assert command.main(["check", "--in", str(tmp_path)]) == 0
    assert "model.history.xz: proven" in capsys.readouterr().err
    made = read(tmp_path / "model.history.xz")
    assert made.expected["payments"] == SEQUENCES
    assert made.expected["redecided"] >= made.expected["inputs"] // 2 > 0
    assert made.expected["money"] == made.expected["identity"] == SEQUENCES


def test_the_same_sequences_give_the_same_bytes(small: Recording, tmp_path: Path) -> None:
    """The recording depends on neither time nor machine."""
    write(small, tmp_path / "one")
    write(model.record(SEQUENCES, 1), tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_log_comes_back_record_by_record_with_gaps_headers_and_nulls(tmp_path: Path) -> None:
    """Raw keys, values, headers, offsets and timestamps are unchanged."""
    first = b"an input"
    named = b"x" + hashlib.sha256(first).digest() + hashlib.sha256(first).digest() + b"y"
    log = {
        (t.COMMANDS, 1): [LogRecord(t.COMMANDS, 1, 7, 1_000, b"k", first, [("h", b"1")])],
        (t.EVENTS, 1): [
            LogRecord(t.EVENTS, 1, 0, 900, b"k", named, []),
            LogRecord(t.EVENTS, 1, 2, 950, None, hashlib.sha256(named).digest(), []),
            LogRecord(t.EVENTS, 1, 9, 940, b"k", b"", [("h", None), ("h", b"")]),
        ],
        (t.QUARANTINE, 0): [LogRecord(t.QUARANTINE, 0, 3, 5, None, None, [])],
    }
    made = recording("x", "by hand", log, schemas=[], counts=dict.fromkeys(TOPICS, 2), keys=[])
    write(made, tmp_path / "x")
    assert log_of(read(tmp_path / "x")).records == log


def test_a_compacted_topic_keeps_the_last_record_of_each_key() -> None:
    """As Kafka may leave it; a tombstone stays a tombstone."""
    values = [b"1", b"2", None]
    log = {
        (t.LIFECYCLE, 0): [
            LogRecord(t.LIFECYCLE, 0, n, 0, key, value, [])
            for n, (key, value) in enumerate(zip([b"a", b"b", b"a"], values, strict=True))
        ]
    }
    made = recording("x", "by hand", log, schemas=[], counts={t.LIFECYCLE: 1}, keys=[])
    kept = log_of(made).records[t.LIFECYCLE, 0]
    assert [(each.offset, each.key, each.value) for each in kept] == [
        (1, b"b", b"2"),
        (2, b"a", None),
    ]


def test_hashes_are_cut_out_and_put_back_wherever_they_stand() -> None:
    """Random values that name earlier ones at random places."""
    rng = random.Random(7)
    values: list[bytes] = []
    for _ in range(200):
        parts = [rng.randbytes(rng.randrange(40)) for _ in range(rng.randrange(4))]
        some = rng.sample(values, min(len(values), rng.randrange(4)))
        parts += [hashlib.sha256(each).digest()[: rng.choice((32, 32, 31))] for each in some]
        rng.shuffle(parts)
        values.append(b"".join(parts))
    packing, unpacking = Hashes(), Hashes()
    cut = [packing.cut(value) for value in values]
    assert [unpacking.restore(*each) for each in cut] == values
    assert sum(len(rest) for rest, _ in cut) < sum(map(len, values)) * 2 // 3


def test_a_damaged_file_or_one_of_another_format_is_refused(
    small: Recording, tmp_path: Path
) -> None:
    """Unpacking yields what was recorded, or an error."""
    path = tmp_path / "x"
    write(small, path)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(ValueError, match="no recorded history"):
        read(path)
    path.write_bytes(lzma.compress(msgspec.msgpack.encode([1])))
    with pytest.raises(ValueError, match="no recorded history"):
        read(path)
    write(msgspec.structs.replace(small, format=0), path)
    with pytest.raises(ValueError, match="format 0"):
        read(path)
    first = small.columns[0]
    other = msgspec.structs.replace(first, times=[each + 1 for each in first.times])
    with pytest.raises(ValueError, match="not those that were recorded"):
        log_of(msgspec.structs.replace(small, columns=[other, *small.columns[1:]]))


# -- an unproved recording is not kept -------------------------------------------------------------


def test_a_history_that_is_decided_differently_today_is_not_kept_and_fails_the_check(
    small: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The histories are the proof of whatever changes next."""

    def change(record: LogRecord) -> LogRecord:
        value = bytearray(record.value or b"")
        value[-1] ^= 1
        return msgspec.structs.replace(record, value=bytes(value))

    wrong = altered(small, t.EVENTS, change)
    with pytest.raises(command.Unfit, match="is not kept"):
        command.keep(wrong, tmp_path)
    assert list(tmp_path.iterdir()) == []
    write(wrong, tmp_path / "model.history.xz")
    assert command.main(["check", "--in", str(tmp_path)]) == 1
    assert "FAILED" in capsys.readouterr().err


def test_a_proof_that_covers_less_than_the_recorded_one_fails(small: Recording) -> None:
    """If part of a history is no longer checked, the proof is weaker."""
    report = proof.prove(small)
    counts = proof.counted(report)
    whole = msgspec.structs.replace(small, expected=counts)
    assert proof.problems(whole, report) == []
    for name in counts:
        more = msgspec.structs.replace(small, expected=counts | {name: counts[name] + 1})
        assert proof.problems(more, report), name


def test_without_the_verifiers_key_a_history_is_not_kept(small: Recording, tmp_path: Path) -> None:
    """Signatures that cannot be checked prove nothing."""
    with pytest.raises(command.Unfit):
        command.keep(msgspec.structs.replace(small, keys=[]), tmp_path)


def test_a_history_that_names_the_machine_is_not_kept(small: Recording, tmp_path: Path) -> None:
    """A history is published with the code."""

    def change(record: LogRecord) -> LogRecord:
        return msgspec.structs.replace(record, value=str(Path.cwd()).encode())

    assert command.named_here(small) == []
    assert command.named_here(altered(small, t.DEPOSITS_REQUESTS, change))


def test_a_history_that_is_too_large_is_not_kept(
    small: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three are a few megabytes."""
    monkeypatch.setattr(command, "SIZE_BYTES_MAX", 1_000)
    with pytest.raises(command.Unfit, match="bytes"):
        command.keep(small, tmp_path)
    assert list(tmp_path.iterdir()) == []


# -- schemas ---------------------------------------------------------------------------------------


def test_recorded_schema_ids_stay_and_what_is_new_comes_behind_them() -> None:
    """The bytes of a history name ids of its own registry, whatever today's code registers."""
    known = definitions.current("FundsHeld")
    registry = RecordedRegistry([Schema(41, known)])
    assert registry.register("anywhere", known) == 41
    assert registry.lookup("anywhere", known) == 41
    assert registry.register("anywhere", definitions.current("FundsCaptured")) == 42
    assert registry.by_id(41) == known
    assert registry.by_id(1) is None
    codec = codec_of([Schema(41, known)])
    assert codec.schema_id(t.EVENTS, "FundsHeld") == 41
    assert codec.schema_id(t.EVENTS, "FundsCaptured") > 41
