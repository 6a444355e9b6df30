"""When a set-up is at rest, and the offsets of its group and topics."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    TopicPartition,
)

from app.platform.children import tail_of
from tests.auditor.evidence import INPUTS, LIFECYCLE, TIMERS, ends, places, positions
from tests.auditor.wire import Decoder
from tests.broker.processes import get

if TYPE_CHECKING:
    from tests.broker.harness import Harness

POLL_SECONDS = 0.2
SILENCE_SECONDS_MAX = 10.0
ANSWERED = tuple(topic for topic in INPUTS if topic != TIMERS)
QUIET_POLLS = 3  # that many checks in a row without a change


class Rest:
    """Follows the lifecycle topic, the inputs' lag and the rail's pending steps."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self._heads: dict[str, dict[str, Any]] = {}
        self._next = dict.fromkeys(range(harness.partitions(LIFECYCLE)), 0)
        self._consumer = self._open()
        self._schemas: dict[int, dict[str, Any]] = {}
        self._decoder = Decoder(self._schemas)

    def close(self) -> None:
        self._consumer.close()

    def wait(self, seconds: float) -> None:
        """Raises AssertionError naming what is still in progress."""
        deadline = time.monotonic() + seconds
        quiet = 0
        while quiet < QUIET_POLLS:
            self._harness.all_alive()
            changed = self._follow()
            moving = self._moving()
            quiet = 0 if changed or moving else quiet + 1
            if time.monotonic() > deadline:
                logs = "\n".join(
                    f"{p.name}: {tail_of(p.log, 1_500)}" for p in self._harness.processes
                )
                raise AssertionError(f"{logs}\nnot at rest after {seconds} s: {moving}")
            time.sleep(POLL_SECONDS)

    def states(self) -> Counter[str]:
        return Counter(str(head["state"]) for head in self._heads.values())

    def known(self) -> list[str]:
        return list(self._heads)

    def head(self, payment: str) -> dict[str, Any]:
        return self._heads[payment]

    def _open(self) -> Consumer:
        """A consumer that continues where the last one was."""
        self._heard = time.monotonic()
        consumer = Consumer(
            {
                "bootstrap.servers": self._harness.bootstrap, "group.id": "rest-never-commits",
                "isolation.level": "read_committed", "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )  # fmt: skip
        consumer.assign([TopicPartition(LIFECYCLE, n, at) for n, at in self._next.items()])
        return consumer

    def _follow(self) -> int:
        messages = self._consumer.consume(10_000, 0.1)
        if messages:
            self._heard = time.monotonic()
        elif time.monotonic() - self._heard > SILENCE_SECONDS_MAX:
            # A client opened while the broker was starting may know no leader (decision 13).
            self._consumer.close()
            self._consumer = self._open()
        for message in messages:
            if message.error() is not None:
                raise AssertionError(message.error())
            self._next[message.partition() or 0] = (message.offset() or 0) + 1
            if message.value() is None:  # removed by a recovery
                self._heads.pop((message.key() or b"").decode(), None)
                continue
            _, fields = self._decode(message.value())
            self._heads[fields["paymentIntentId"]] = fields
        return len(messages)

    def _decode(self, value: Any) -> tuple[str, dict[str, Any]]:
        number = int.from_bytes(value[1:5], "big")
        if number not in self._schemas:
            answer = json.loads(get(f"{self._harness.registry}/schemas/ids/{number}"))
            self._schemas[number] = json.loads(answer["schema"])
        return self._decoder.decode(value)

    def _moving(self) -> list[str]:
        if len(self._heads) < self._harness.published["accepted"]:
            return [
                f"{len(self._heads)} of {self._harness.published['accepted']} payments are known"
            ]
        moving = [
            f"{payment} is {head['state']}, {head['funds']}"
            for payment, head in self._heads.items()
            if not (head["atRest"] or head["waitingForPerson"] or head["openConflicts"])
        ]
        if moving:
            return moving[:5]
        pending = sum(entry["stepsPending"] for entry in self._harness.ledger()["payments"])
        if pending:
            return [f"{pending} messages of the rail are out"]
        return [f"{topic} {number} has inputs" for topic, number in self._waiting()]

    def _waiting(self) -> list[tuple[str, int]]:
        """Undecided inputs. Timers are excluded: the markers of the transactions that write them
        are beyond the last committed offset.
        """
        places = [place for topic in ANSWERED for place in self._harness.places(topic)]
        found = committed_offsets(self._harness.bootstrap)
        ends = end_offsets(self._harness.bootstrap, places)
        return [place for place in places if found.get(place, 0) < ends[place]]


def committed_offsets(bootstrap: str) -> dict[tuple[str, int], int]:
    """The payments processor's committed offset of each input partition that has one."""
    common = {"bootstrap.servers": bootstrap}
    found = positions(common, places(common, INPUTS))
    return {place: offset for place, offset in found.items() if offset >= 0}


def end_offsets(
    bootstrap: str, partitions: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """Last stable offsets."""
    return ends({"bootstrap.servers": bootstrap}, partitions, IsolationLevel.READ_COMMITTED)
