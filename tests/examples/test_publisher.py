"""The example upstream system computes what we compute, and reports correctly what it publishes."""

from __future__ import annotations

import ast
import json
import random
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from core.values import payment_intent_id
from engine.partitioner import murmur2, partition_of
from examples import publish_and_follow, upstream_load, upstream_publisher
from tests.rooms import ROOMS, ROOT


@pytest.mark.parametrize("module", [publish_and_follow, upstream_load, upstream_publisher])
def test_it_imports_nothing_of_ours(module: ModuleType) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    roots = {
        (node.module or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    roots |= {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert roots.isdisjoint({*ROOMS, "tests"})
    assert roots <= {*sys.stdlib_module_names, "confluent_kafka", "fastavro", "examples"}


def test_its_ids_and_partitions_equal_ours() -> None:
    assert (
        upstream_load.payment_intent_id("mobile-app", "key-0001") == "pi_pdkz22ub6ujnprx6nas575vbxy"
    )
    draw = random.Random(7)
    for _ in range(500):
        source, key = f"s{draw.random()}", "k" * draw.randrange(1, 60) + "é"
        payment = payment_intent_id(source, key)
        assert upstream_load.payment_intent_id(source, key) == payment
        count = draw.randrange(1, 100)
        assert upstream_load.partition_of(payment.encode(), count) == partition_of(
            payment.encode(), count
        )


def test_the_published_partitions_equal_ours() -> None:
    vectors = json.loads((ROOT / "schemas/vectors/partitions.json").read_text(encoding="utf-8"))
    for each in vectors["vectors"]:
        key = each["paymentIntentId"].encode()
        assert each["murmur2"] == murmur2(key) & 0x7FFFFFFF
        assert each["partitions"] == {n: partition_of(key, int(n)) for n in each["partitions"]}


def test_a_load_has_every_error_and_its_expectation_adds_up() -> None:
    kinds = Counter(upstream_publisher.plan(200, random.Random(1)))
    assert kinds["payment"] == 200
    assert set(upstream_load.MISTAKES) <= set(kinds)
    assert sum(upstream_publisher.expected(kinds).values()) == sum(kinds.values())


def test_the_same_seed_plans_the_same_load() -> None:
    assert upstream_publisher.plan(300, random.Random(5)) == upstream_publisher.plan(
        300, random.Random(5)
    )
    assert upstream_publisher.plan(300, random.Random(5)) != upstream_publisher.plan(
        300, random.Random(6)
    )
