"""A log decided by another build is refused at the start, with advice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from app import rule_files
from app.config.settings import Profile
from app.control import first_records
from app.control.release_control import ReleaseControl
from app.exits import Problem
from control.fold import Control
from core.control_records import ClusterRecorded
from schemas import catalogue
from tests.control.people import activated

RULES = rule_files.rules_of(1)
OTHER = msgspec.structs.replace(RULES, sha256=bytes(32))


def unreadable(topic: str, value: bytes) -> object:
    raise ValueError("no bytes are read here")


def written(control: Control, *records: Any) -> Control:
    for offset, record in enumerate(records):
        control.apply_record(offset, record)
    return control


def test_the_rule_files_hash_decides_whether_a_log_is_this_builds() -> None:
    """D8: the same number with another file is another build: nothing is written."""
    cluster: Any = SimpleNamespace(
        clock=SimpleNamespace(now_ms=lambda: 1),
        ends=SimpleNamespace(cluster_id=lambda: "cluster-1"),
        partitions=lambda topic: 6,
    )
    recorded = ClusterRecorded(cluster_id="cluster-1", partitions=6, recorded_at=1, actor="me")
    topics = catalogue.load()
    rules = first_records.activation(RULES, 1, "me")
    same = written(Control(unreadable), recorded, activated(), rules)
    first_records.missing(cluster, same, topics, RULES, "me")
    other = written(Control(unreadable), recorded, first_records.activation(OTHER, 1, "me"))
    with pytest.raises(Problem) as refused:
        first_records.missing(cluster, other, topics, RULES, "me")
    assert "another build decided this log" in refused.value.what
    assert "--reset" in refused.value.do


def test_no_partition_is_served_on_another_builds_log() -> None:
    """D8: a process that follows the control topic is not ready, and says why and what to do."""
    first = ReleaseControl(unreadable, profile=Profile.DEMO)
    same = written(first, first_records.activation(RULES, 1, "me"))
    assert same.stopped() is None
    again = ReleaseControl(unreadable, profile=Profile.DEMO)
    other = written(again, first_records.activation(OTHER, 1, "me"))
    for reason in (other.stopped() or "", other.ready() or ""):
        assert "another build decided this log" in reason or "control" in reason
    assert "--reset" in (other.stopped() or "")
