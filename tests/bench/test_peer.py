"""The comparison with Kafka Streams: of the same traffic, or of nothing."""

from __future__ import annotations

import base64
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.load import STAGES
from bench.peer import OUTPUTS, ratios, templates
from schemas import topology
from schemas.registry.setup import static_codec


def figures(rate: int, cpu: float, records: int, **more: Any) -> dict[str, Any]:
    return {
        "inputsPerSecond": rate, "cpuSecondsPerMillionInputs": cpu, "memoryBytes": 100,
        "records": {"events": records}, **more,
    }  # fmt: skip


def test_ratios_are_medians_of_ours_to_theirs() -> None:
    rounds = [
        (figures(90, 80.0, 7), figures(100, 40.0, 7)),
        (figures(50, 40.0, 7), figures(100, 40.0, 7)),
        (figures(80, 60.0, 7), figures(100, 40.0, 7)),
    ]
    assert ratios(rounds) == {
        "cpuRatio": 1.5, "throughputRatio": 0.8, "p99Ratio": None, "coreShareRatio": None,
        "memoryRatio": 1.0,
    }  # fmt: skip


def test_latency_counts_where_both_have_it() -> None:
    """A machine that is too slow for the paced load has no figure, and the others stay."""
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


def test_other_traffic_is_not_compared() -> None:
    """Equal counts of records on every topic, or no ratio at all."""
    with pytest.raises(RuntimeError, match="not the same traffic"):
        ratios([(figures(1, 1.0, 7), figures(1, 1.0, 8))])


def test_the_streams_program_gets_what_one_payment_gives(tmp_path: Path) -> None:
    """Eleven events, the rail's, Deposits Core's and Resolve's instructions, a state per stage, and
    every schema that stands in them."""
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
    assert used < schemas  # the inputs' schemas are there, too
