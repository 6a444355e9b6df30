"""A toy application for the engine's own tests: it counts records per key and sets timers.

Values: `add` counts; `at:<ms>` sets a deadline; `rest` puts the key at rest; `boom` raises; a
deadline that ends in 999 ms is ignored when its timer comes; `wait` waits for a dependency while
`Toy.down` is true; `big:<n>` emits n bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from engine.loop.batch import Overlay
from engine.partitioner import partition_of
from engine.ports import DependencyDown, EngineTopology, ForeignRecord, InputRecord

ADD, ANSWERS, TIMERS = "toy.add", "toy.answers", "toy.timers"
JOURNAL, STATE, QUARANTINE, CONTROL = "toy.journal", "toy.state", "toy.quarantine", "toy.control"
TOPICS = (ADD, ANSWERS, TIMERS, JOURNAL, STATE, QUARANTINE)


class Count(msgspec.Struct, frozen=True):
    """The toy's state."""

    key: str
    sequence: int
    deadline_ms: int | None = None
    rest: bool = False


def named(topic: str, application: str) -> str:
    """The toy's topic for one application, so that tests share a Kafka but no topic."""
    return application + topic.removeprefix("toy")


def topology(partitions: int, application: str = "toy") -> EngineTopology:
    """The toy's topics."""
    return EngineTopology(
        application=application,
        inputs=tuple(named(topic, application) for topic in (ANSWERS, TIMERS, ADD)),
        low_priority=(named(ADD, application),),
        read_before_timers=(named(ANSWERS, application),),
        timers=named(TIMERS, application),
        journal=named(JOURNAL, application),
        state=named(STATE, application),
        quarantine=named(QUARANTINE, application),
        control=named(CONTROL, application),
        partitions=partitions,
    )


def read(packed: bytes) -> Count:
    """Raises ValueError."""
    try:
        return msgspec.msgpack.decode(packed, type=Count)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error


class Toy:
    """See ports.Application."""

    down = False

    def __init__(self, partitions: int = 2, application: str = "toy") -> None:
        self.topology = topology(partitions, application)
        self._answers = named(ANSWERS, application)
        self._journal = self.topology.journal
        self._quarantine = self.topology.quarantine
        self._encode = msgspec.msgpack.Encoder().encode
        self.committed = 0
        self.aborted = 0

    def decide(self, batch: Overlay, record: InputRecord) -> None:
        if record.key is None or record.value is None:
            batch.emit(self._quarantine, 0, record.key, record.value, [("origin", origin(record))])
            return
        key = record.key.decode()
        if partition_of(record.key, self.topology.partitions) != record.partition:
            batch.emit(self._quarantine, 0, record.key, record.value, [("origin", origin(record))])
            return
        value = record.value.decode()
        before: Count | None = batch.get(record.partition, key)
        sequence = before.sequence + 1 if before else 1
        deadline_ms = before.deadline_ms if before else None
        if value.startswith("at:"):
            deadline_ms = int(value[3:])
        elif value.startswith("due:") and value.endswith("999"):
            batch.emit(
                self._quarantine, 0, record.key, record.value
            )  # a timer that changes nothing
            return
        elif value.startswith("due:") or record.topic == self._answers:
            deadline_ms = None
        if value == "wait" and Toy.down:
            batch.emit(self._journal, record.partition, record.key, b"never to be seen")
            raise DependencyDown
        after = Count(key, sequence, deadline_ms, value == "rest")
        batch.put(record.partition, key, after, self._encode(after))
        line = msgspec.json.encode(
            {
                "key": key,
                "n": sequence,
                "cause": origin(record).decode(),
                "value": value[:40],
                "at": record.polled_at_ms,
            }
        )
        batch.emit(self._journal, record.partition, record.key, line)
        if value.startswith("big:"):
            batch.emit(self._journal, record.partition, record.key, b"x" * int(value[4:]))
        if value == "boom":
            raise RuntimeError("boom")

    def on_defect(self, batch: Overlay, record: InputRecord, error: BaseException) -> None:
        reason = type(error).__name__.encode()
        batch.emit(
            self._quarantine,
            0,
            record.key,
            record.value,
            [("origin", origin(record)), ("reason", reason)],
        )

    def emit_timer(
        self, batch: Overlay, partition: int, key: str, state: Any, deadline_ms: int
    ) -> None:
        batch.emit(self.topology.timers, partition, key.encode(), b"due:%d" % deadline_ms)

    def unpack(self, packed: bytes) -> Any:
        return read(packed)

    def pack_short(self, state: Any) -> bytes:
        return self._encode(state)

    def unpack_short(self, short: bytes) -> Any:
        return read(short)

    def deadline_ms(self, state: Any) -> int | None:
        found: int | None = state.deadline_ms
        return found

    def at_rest(self, state: Any) -> bool:
        return bool(state.rest)

    def packed_hints(self, packed: bytes) -> tuple[bool, int | None]:
        state = read(packed)
        return state.rest, state.deadline_ms

    def check_tail(
        self,
        partition: int,
        records: Sequence[tuple[int, bytes, bytes]],
        get_packed: Callable[[str], bytes | None],
    ) -> list[str]:
        last: dict[str, int] = {}
        for _, key, value in records:
            if value.startswith(b"{"):
                last[key.decode()] = msgspec.json.decode(value)["n"]
        wrong = []
        for name, sequence in last.items():
            packed = get_packed(name)
            try:
                differs = packed is None or read(packed).sequence != sequence
            except ValueError:
                differs = True
            if differs:
                wrong.append(name)
        return wrong

    def rebuild(
        self, partition: int, key: str, history: Sequence[bytes], packed: bytes | None
    ) -> bytes | None:
        if not history:
            return None
        lines = [msgspec.json.decode(value) for value in history if value.startswith(b"{")]
        if not lines:
            raise ValueError("nothing that could be folded")
        if not packed:
            raise ForeignRecord("line 1 came without its state")
        with contextlib.suppress(ValueError):
            if read(packed).sequence < len(lines):
                raise ForeignRecord(f"line {len(lines)} came without its state")
        return self._encode(Count(key, len(lines), None, lines[-1]["value"] == "rest"))

    def after_commit(self, decided: int) -> None:
        self.committed += decided

    def after_abort(self) -> None:
        self.aborted += 1


class ToyControl:
    """See ports.ControlState: `stop`, `go`, `add:<topic>`; ready unless it reads `unready`."""

    def __init__(self) -> None:
        self._stopped: str | None = None
        self._ready: str | None = None
        self._added: dict[str, int] = {}

    def apply(self, offset: int, value: bytes, appended_at: int) -> None:
        text = value.decode()
        if text == "stop":
            self._stopped = "stopped by a record"
        elif text == "go":
            self._stopped = None
        elif text.startswith("add:"):
            self._added[text[4:]] = offset

    def stopped(self) -> str | None:
        return self._stopped

    def ready(self) -> str | None:
        return self._ready

    def foreign(self, partition: int) -> dict[int, bytes]:
        return {}

    def recovered_at(self, partition: int) -> int:
        return 0

    def added_inputs(self) -> Mapping[str, int]:
        return self._added


def origin(record: InputRecord) -> bytes:
    """The topic, partition and offset of a record."""
    return f"{record.topic}/{record.partition}/{record.offset}".encode()
