"""Instructions that no adapter can read, however large: quarantined, and the next one
is handled.
"""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from control import quarantine
from core.payment.instructions import DepositsRequest
from engine.clients.publisher import Refused
from engine.ports import Headers, InputRecord
from engine.records import UNREADABLE_HEADER
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Work
from processors.adapter.worker import InstructionHandler
from schemas import topology
from tests.clock import HeldClock
from tests.gateways.harness import funds
from tests.processors.rail.harness import CODEC, NOW_MS, MemoryLog

ZEROS = bytes(5 * 1024 * 1024)
TOPIC = topology.DEPOSITS_REQUESTS
BY_REFERENCE = "npp_adapter_quarantined_by_reference_total"


class Log(MemoryLog):
    """Its quarantine topic accepts `quarantine_bytes_max`, headers excluded."""

    def __init__(self, quarantine_bytes_max: int) -> None:
        super().__init__(HeldClock(NOW_MS))
        self._most = quarantine_bytes_max

    def publish(self, topic: str, key: Any, value: Any, **more: Any) -> None:
        if topic == topology.QUARANTINE and len(key or b"") + len(value or b"") > self._most:
            raise Refused("MSG_SIZE_TOO_LARGE")
        super().publish(topic, key, value, **more)


class Outside:
    def __init__(self) -> None:
        self.done: list[DepositsRequest] = []

    def handle(self, work: Work) -> float | None:
        self.done.append(work.instruction)
        return None


class Adapter:
    """The deposits adapter's handler over a log."""

    def __init__(self, quarantine_bytes_max: int = 2_000_000) -> None:
        self.log, self.outside = Log(quarantine_bytes_max), Outside()
        self.registry = CollectorRegistry()
        self._handler = InstructionHandler(
            name="deposits",
            adapter=self.outside,
            codec=CODEC,
            publisher=self.log,
            quarantine_partitions=1,
            metrics=AdapterMetrics(self.registry),
            generation=lambda: 1,
        )
        self._offset = 0

    def give(self, key: bytes | None, value: bytes | None, headers: Headers) -> InputRecord:
        record = InputRecord(TOPIC, 0, self._offset, NOW_MS, key, value, headers, NOW_MS)
        self._offset += 1
        assert self._handler(record) == ()
        return record

    def by_reference(self) -> float | None:
        return self.registry.get_sample_value(BY_REFERENCE, {"adapter": "deposits"})


GOOD = CODEC.encode(TOPIC, funds(1, "HOLD"))


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"key", ZEROS, []),
        (b"key", GOOD[:5] + ZEROS, []),
        (ZEROS, GOOD, []),
        (ZEROS, None, []),
        (b"key", b"x", [("h", ZEROS)]),
        (b"another key", GOOD, [("h", ZEROS)]),
        (b"key", GOOD, [(UNREADABLE_HEADER, None)]),
    ],
)
def test_an_instruction_too_large_to_copy_is_quarantined_by_reference(
    key: bytes, value: bytes | None, headers: Headers
) -> None:
    """An adapter that could not write the copy used to retry forever, or exited."""
    adapter = Adapter()
    record = adapter.give(key, value, headers)
    good = funds(1, "HOLD")
    adapter.give(good.header.payment_intent_id.encode(), GOOD, [])

    (kept,) = adapter.log.of(topology.QUARANTINE)
    why = quarantine.parse(kept.headers)
    assert why.reference == quarantine.reference_of(record)
    assert (why.topic, why.offset) == (TOPIC, 0)
    assert adapter.by_reference() == 1
    assert [each.header.payment_intent_id for each in adapter.outside.done] == [
        good.header.payment_intent_id
    ]


def test_a_whole_copy_that_kafka_refuses_is_replaced_by_a_reference() -> None:
    """Engine rules: a fallback must fit where the first try did not."""
    adapter = Adapter(quarantine_bytes_max=4_096)
    record = adapter.give(b"key", bytes(10_000), [])
    (kept,) = adapter.log.of(topology.QUARANTINE)
    assert quarantine.parse(kept.headers).reference == quarantine.reference_of(record)
    assert adapter.by_reference() == 1


def test_a_small_instruction_is_copied_whole() -> None:
    """Every byte is kept if it fits."""
    adapter = Adapter()
    adapter.give(b"key", b"rubbish", [("a", b"b")])
    (kept,) = adapter.log.of(topology.QUARANTINE)
    why = quarantine.parse(kept.headers)
    assert (kept.key, kept.value, why.original, why.reference) == (
        b"key", b"rubbish", [("a", b"b")], None,
    )  # fmt: skip
    assert adapter.by_reference() == 0
