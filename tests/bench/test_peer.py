"""The comparison with Kafka Streams: for the same traffic, or not at all."""

from __future__ import annotations

import base64
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench import peer
from bench.peer import OUTPUTS, ratios, templates
from bench.rig import builds
from bench.rig.load import STAGES
from schemas import topology
from schemas.registry.setup import static_codec


def figures(rate: int, cpu: float, records: int, **more: Any) -> dict[str, Any]:
    return {
        "inputsPerSecond": rate, "cpuSecondsPerMillionInputs": cpu, "memoryBytes": 100,
        "records": {"events": records}, **more,
    }  # fmt: skip


def test_ratios_are_medians_of_ours_over_theirs() -> None:
    rounds = [
        (figures(90, 80.0, 7), figures(100, 40.0, 7)),
        (figures(50, 40.0, 7), figures(100, 40.0, 7)),
        (figures(80, 60.0, 7), figures(100, 40.0, 7)),
    ]
    assert ratios(rounds) == {
        "cpuRatio": 1.5, "throughputRatio": 0.8, "p99Ratio": None, "coreShareRatio": None,
        "memoryRatio": 1.0,
    }  # fmt: skip


def test_latency_is_compared_only_where_both_have_it() -> None:
    """If the machine is too slow for the paced load that figure is missing, and the
    others remain.
    """
    late = {"endToEndMillisAt2000": {"p99": 60.0}, "cpuShareAt2000": 0.4}
    theirs = {"endToEndMillisAt2000": {"p99": 50.0}, "cpuShareAt2000": 0.8}
    missing = {"latencyMissing": "3 inputs have no event"}
    found = ratios(
        [
            (figures(1, 1.0, 7, **late), figures(1, 1.0, 7, **theirs)),
            (figures(1, 1.0, 7, **missing), figures(1, 1.0, 7, **theirs)),
        ]
    )
    assert (found["p99Ratio"], found["coreShareRatio"]) == (1.2, 0.5)


def test_different_traffic_is_not_compared() -> None:
    """Equal record counts on every topic, or no ratio."""
    with pytest.raises(RuntimeError, match="not the same traffic"):
        ratios([(figures(1, 1.0, 7), figures(1, 1.0, 8))])


def test_the_streams_program_gets_the_records_of_one_payment(tmp_path: Path) -> None:
    """Eleven events, the instructions to rail, Deposits Core and Resolve, a state per stage, and
    every schema used.
    """
    templates(static_codec(), tmp_path / "templates.txt")
    lines = [each.split("\t") for each in (tmp_path / "templates.txt").read_text().splitlines()]
    schemas = {int(number) for word, number, _ in lines if word == "schema"}
    outputs = [(stage, topic, value) for stage, topic, value in lines if stage in STAGES]
    counts = Counter(topic for _, topic, _ in outputs)
    assert counts == {
        topology.EVENTS: 11, topology.LIFECYCLE: 6, topology.RAIL_SUBMISSIONS: 1,
        topology.DEPOSITS_REQUESTS: 2, topology.RESOLVE_REQUESTS: 1,
    }  # fmt: skip
    assert set(counts) == {*OUTPUTS, topology.LIFECYCLE}
    used = {int.from_bytes(base64.b64decode(value)[1:5], "big") for *_, value in outputs}
    assert used < schemas  # including the inputs' schemas


def test_without_the_streams_program_the_published_figures_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If Maven is missing or fails; the result says that it was not measured here."""
    monkeypatch.setattr(peer, "built", lambda target, say: None)
    lines: list[str] = []
    found = peer.compare(tree=builds.ROOT, size=peer.QUICK, rounds=3, say=lines.append)
    published = json.loads(peer.PUBLISHED.read_text(encoding="utf-8"))
    assert found == {**published, "streamsMeasuredHere": False}
    assert set(found["streams"]) == set(ratios([(figures(1, 1.0, 7), figures(1, 1.0, 7))]))
    assert "published" in lines[-1]


def test_a_failing_maven_does_not_fail_the_bench(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Maven's output is printed, and there is no program."""
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho no network; exit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    lines: list[str] = []
    assert peer.built(tmp_path / "target", lines.append) is None
    assert "no network" in lines[-1]


def test_the_compiled_build_must_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`--native` never measures the pure build by mistake."""
    monkeypatch.setattr(builds, "NATIVE", tmp_path)
    with pytest.raises(RuntimeError, match="make native"):
        builds.tree(native=True)


def test_pythonpath_selects_the_measured_tree(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A tree that is first in it is measured; any other first entry is ignored."""
    (tmp_path / "app" / "cli").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:/elsewhere")
    assert builds.tree(native=False) == builds.ROOT
    (tmp_path / builds.COMMAND_LINE).touch()
    assert builds.tree(native=False) == tmp_path


def test_a_compiled_build_of_older_sources_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Later changes would not be measured."""
    (tmp_path / "app" / "cli").mkdir(parents=True)
    (tmp_path / builds.COMMAND_LINE).touch()
    (tmp_path / builds.TOPICS).touch()
    monkeypatch.setattr(builds, "NATIVE", tmp_path)
    assert builds.tree(native=True) == tmp_path
    os.utime(tmp_path / builds.TOPICS, (0, 0))
    with pytest.raises(RuntimeError, match="newer than the compiled build"):
        builds.tree(native=True)
