"""A replay by several processes: the same report whatever their number, and no proof unless all
finish.

RP-09, RP-10, JOB-01.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import random
import signal
from collections.abc import Mapping
from typing import Any

import pytest

from engine.errors import Exit
from engine.ports import TopicPartition
from engine.records import LogRecord
from evidence.keys import Keyring, ListedKey
from processors.replay import (
    Failure,
    MemoryLog,
    Report,
    Settings,
    Strength,
    Workers,
    job,
    reading,
    report,
    verify,
)
from processors.replay.parts import workers
from processors.replay.parts.scope import divided
from schemas import catalogue
from schemas import topology as t
from schemas.codec.parties import open_parties
from schemas.registry import setup as schema_setup
from schemas.registry.client import StaticRegistry
from tests.processors.replay.mixed_world import STRENGTHS, _replace
from tests.processors.replay.world import World, keyring, place, rules_of

pytestmark = pytest.mark.slow

Records = Mapping[TopicPartition, list[tuple[Any, ...]]]  # compiled ones cannot be pickled


def opened(
    counts: Mapping[str, int], records: Records, keys: tuple[ListedKey, ...]
) -> tuple[MemoryLog, Settings]:
    """Each process's inputs: a copy of the log, and its own codec."""
    registry, topics = StaticRegistry(), catalogue.load()
    registered = schema_setup.register_all(registry, topics)
    codec = schema_setup.build(registry, topics, registered, lambda: 0.0)
    log = MemoryLog(counts)
    log.records = {where: [LogRecord(*each) for each in found] for where, found in records.items()}
    return log, Settings(codec, rules_of, open_parties, keyring=Keyring(keys))


def records_of(log: MemoryLog) -> Records:
    return {
        where: [tuple(getattr(each, name) for name in each.__struct_fields__) for each in found]
        for where, found in log.records.items()
    }


def ended(*_: Any) -> tuple[MemoryLog, Settings]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still here")


def refused(*_: Any) -> tuple[MemoryLog, Settings]:
    raise Exit("OFFSETS_LOST", "the log begins at 7")


def defective(*_: Any) -> tuple[MemoryLog, Settings]:
    raise ZeroDivisionError("a text that may be anybody's")


def damaged(world: World, names: dict[str, str]) -> MemoryLog:
    """Damage in several partitions and strengths, and on a topic that all parts read."""
    log = world.log()
    records, own = place(log, names["settled"])
    del records[own[3]]
    records, own = place(log, names["failed"])
    value = bytearray(records[own[-1]].value or b"")
    value[-1] ^= 1
    _replace(records, own[-1], bytes(value))
    records, own = place(log, names["retried"], t.COMMANDS)
    del records[own[0]]
    _replace(log.records[t.OUTCOMES, 0], 0, b"\x00rubbish")
    return log


def report_of(log: MemoryLog, count: int, **changes: Any) -> dict[str, Any]:
    """The report of that many processes, without the durations."""
    opens = functools.partial(opened, log._counts, records_of(log), keyring().listed())
    own, settings = opens()
    assert isinstance(own, MemoryLog)
    found = verify(own, _changed(settings, **changes), None, Workers(count, opens)).to_dict()
    for each in (found, *(found[name] for name in (*STRENGTHS, "excused"))):
        del each["seconds"]
    return found


def _changed(settings: Settings, **changes: Any) -> Settings:
    fields = {name: getattr(settings, name) for name in settings.__struct_fields__}
    return Settings(**{**fields, **changes})


@pytest.fixture
def divide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every log is large enough for several processes."""
    monkeypatch.setattr(job, "WORKER_RECORDS", 1)


@pytest.mark.usefixtures("divide")
def test_the_report_is_the_same_whatever_the_number_of_processes(
    world: World, names: dict[str, str]
) -> None:
    log = damaged(world, names)
    alone = report_of(log, 1)
    assert (alone["passed"], alone["redecide"]["failureCount"]) == (False, 4), alone["redecide"]
    for count in (2, 5):
        assert report_of(log, count) == alone
    assert multiprocessing.active_children() == []
    assert report_of(world.log(), 3)["passed"]


@pytest.mark.parametrize("records_max", [1, 20, 60])
def test_the_report_is_the_same_however_the_log_is_divided(
    world: World, names: dict[str, str], records_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = damaged(world, names)
    whole = report_of(log, 1)
    monkeypatch.setattr(job, "GROUP_RECORDS_MAX", records_max)
    assert report_of(log, 1) == whole


@pytest.mark.usefixtures("divide")
@pytest.mark.parametrize(
    ("opens", "code", "words"),
    [
        (ended, workers.WORKER_ENDED, "ended with signal 9"),
        (refused, "OFFSETS_LOST", "the log begins at 7"),
        (defective, workers.WORKER_FAILED, "ZeroDivisionError at "),
    ],
)
def test_a_failed_process_ends_the_replay_and_its_partitions_are_named(
    world: World, opens: Any, code: str, words: str
) -> None:
    log = world.log()
    settings = Settings(world.codec, rules_of, open_parties, keyring=keyring())
    with pytest.raises(Exit) as failed:
        verify(log, settings, None, Workers(2, opens))
    assert failed.value.code == code
    assert words in failed.value.detail
    assert "(partitions " in failed.value.detail
    assert "anybody" not in failed.value.detail
    assert multiprocessing.active_children() == []


@pytest.mark.usefixtures("divide")
def test_a_process_that_reports_nothing_for_too_long_ends_the_replay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SILENT_S_MAX", -1.0)
    monkeypatch.setattr(workers, "LOOK_S", 0.0)
    log = world.log()
    settings = Settings(world.codec, rules_of, open_parties, keyring=keyring())
    opens = functools.partial(opened, log._counts, records_of(log), ())
    with pytest.raises(Exit, match=workers.WORKER_SILENT):
        verify(log, settings, None, Workers(2, opens))
    assert multiprocessing.active_children() == []


@pytest.mark.usefixtures("divide")
def test_progress_comes_from_every_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, int, int]] = []
    monkeypatch.setattr(reading, "PROGRESS_RECORDS", 1)
    report_of(world.log(), 2, progress=lambda *each: lines.append(each))
    assert lines
    assert all(0 <= done <= total for _, done, total in lines)
    assert [done for _, done, _ in lines] == sorted(done for _, done, _ in lines)


def test_a_small_log_is_proved_without_another_process(world: World) -> None:
    log = world.log()
    settings = Settings(world.codec, rules_of, open_parties, keyring=keyring())
    assert verify(log, settings, None, Workers(2, ended)).passed


def test_the_listed_failures_are_the_same_in_any_order_of_arrival(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report, "FAILURES_LISTED_MAX", 7)
    monkeypatch.setattr(report, "REASONS_MAX", 5)
    found = [Failure("KIND", f"pi_{n % 4}", n % 3, t.EVENTS, n % 5, n, "why") for n in range(60)]
    listed = set()
    for seed in range(5):
        whole, parts = Report(None, None), [Report(None, None) for _ in range(3)]
        shuffled = random.Random(seed).sample(found, len(found))
        for number, each in enumerate(shuffled):
            parts[number % 3].fold.fail(each)
            parts[number % 3].fold.skip(f"reason {each.offset % 9}")
        for part in parts:
            whole.join(part, [])
        fold: Strength = whole.fold
        assert fold.failure_count == len(found)
        listed.add((tuple(fold.failures), tuple(sorted(fold.not_checkable.items()))))
    assert len(listed) == 1
    ((failures, reasons),) = listed
    assert [each.partition for each in failures] == [0] * 7
    assert reasons == (("reason 0", 7), *((f"reason {n}", 7) for n in (1, 2, 3, 4)))


def test_parts_are_about_equally_large_and_none_is_too_large() -> None:
    sizes = {0: 60, 1: 10, 2: 10, 3: 10, 4: 30, 5: 0}
    assert divided(sizes, 2, 1_000) == [[0, 5], [1, 2, 3, 4]]
    assert divided(sizes, 1, 1_000) == [[0, 1, 2, 3, 4, 5]]
    small = divided(sizes, 1, 40)
    assert sorted(number for part in small for number in part) == sorted(sizes)
    assert all(sum(sizes[n] for n in part) <= 40 or len(part) == 1 for part in small)
    assert divided({}, 3, 10) == []
