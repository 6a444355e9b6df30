"""The redriver: what goes back where, and that every confirmed request ends, done or refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from control import quarantine
from control.acts.key_file import SigningKey
from control.fold import Control
from control.quarantine import RAIL_CALLBACKS as CALLBACK
from control.redrive_plan import BYTES_MAX, HEADER_REDRIVEN
from core.control_records import ClusterRecorded, RedriveConfirmed, RedriveDone, RedriveRequested
from core.payment.commands import RailReport
from core.values import PaymentIntentId, external_ref
from engine.clients.producing import MESSAGE_BYTES_MAX
from engine.clients.publisher import NotConfirmed, Refused
from engine.errors import EngineError, Exit
from engine.ports import Headers
from engine.records import UNREADABLE_HEADER, LogRecord
from processors.adapter.metrics import AdapterMetrics
from processors.redriver.handler import TRY_S_MAX, Redriver
from schemas import topology
from schemas.errors import RegistryDown
from tests.clock import HeldClock
from tests.control.people import CLUSTER, Hands, activated, key_of
from tests.gateways.harness import payment
from tests.processors.rail.harness import CODEC, NOW_MS, MemoryLog

ZEROS = bytes(5 * 1024 * 1024)
OTHER_BANK = msgspec.json.encode(
    {"MsgType": "pacs.002", "MsgId": "M1", "OrgnlInstrId": "OTHERBANK-1", "TxSts": "ACSC"}
)


class Log(MemoryLog):
    """A log whose topics may refuse records and whose reader may fail."""

    def __init__(self) -> None:
        super().__init__(HeldClock(NOW_MS))
        self.refuses: dict[str, Callable[[bytes | None], Exception | None]] = {}
        self.unreadable: Exception | None = None
        self.originals_read = 0

    def publish(self, topic: str, key: Any, value: Any, **more: Any) -> None:
        refuses = self.refuses.get(topic)
        problem = None if refuses is None else refuses(value)
        if problem is not None:
            raise problem
        super().publish(topic, key, value, **more)

    def quarantined(self, partition: int, offsets: Sequence[int]) -> Iterator[LogRecord]:
        if self.unreadable is not None:
            raise self.unreadable
        records = self.of(topology.QUARANTINE)
        yield from (records[offset] for offset in offsets if offset < len(records))

    def original(self, topic: str, partition: int, offset: int) -> LogRecord | None:
        self.originals_read += 1
        found = [r for r in self.of(topic) if (r.partition, r.offset) == (partition, offset)]
        return found[0] if found else None

    # -- the test's records ------------------------------------------------------------------------

    def quarantine(
        self,
        value: bytes | None,
        *,
        topic: str = topology.COMMANDS,
        headers: Headers | None = None,
        kept: bool = True,
    ) -> int:
        """An input and its quarantined copy, whole or by reference; returns the copy's offset."""
        self.append(topic, b"key", value, headers)
        record = self.of(topic)[-1]
        copy = quarantine.copy_of(record, quarantine.PARKED, "why")
        if not kept:
            self.of(topic).pop()
        self.append(topology.QUARANTINE, copy.key, copy.value, copy.headers)
        return len(self.of(topology.QUARANTINE)) - 1


class Harness:
    """The redriver over a log, and the two people who sign its acts."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.control = Control(CODEC.decode)
        cluster = ClusterRecorded(cluster_id=CLUSTER, partitions=1, recorded_at=0, actor="test")
        for record in (cluster, activated()):
            self.control.apply_record(0, record)
        self.hands = Hands()
        self.count = 0
        self.redriver = self.restarted()

    def restarted(self, key: SigningKey | None = None) -> Redriver:
        self.redriver = Redriver(
            control=self.control,
            records=self.log,
            publisher=self.log,
            codec=CODEC,
            clock=self.log.clock,
            adapter="npp-gateway",
            origins={topology.COMMANDS},
            metrics=AdapterMetrics(CollectorRegistry()),
            key=key or key_of("redriver"),
        )
        return self.redriver

    def ask(self, *offsets: int, to: str | None = None, confirmed_by: str = "ben") -> str:
        self.count += 1
        name = f"rdr-{self.count}"
        requested = RedriveRequested(
            request_id=name, partition=0, offsets=offsets, reason="fixed", requested_at=NOW_MS,
            actor="olga", payment_intent_id=None if to is None else PaymentIntentId(to),
        )  # fmt: skip
        self.control.apply_record(2 * self.count, self.hands.in_turn(self.control, requested))
        confirmed = RedriveConfirmed(request_id=name, confirmed_at=NOW_MS, actor=confirmed_by)
        self.control.apply_record(2 * self.count + 1, self.hands.in_turn(self.control, confirmed))
        return name

    def step(self) -> None:
        """One turn; returns the redriver's records on the control topic."""
        before = len(self.log.of(topology.CONTROL))
        self.redriver.step()
        for at in self.log.of(topology.CONTROL)[before:]:
            record = CODEC.decode(topology.CONTROL, at.value)
            self.control.apply_record(100 + at.offset, record, NOW_MS)

    def answers(self) -> dict[str, RedriveDone]:
        made = [CODEC.decode(topology.CONTROL, r.value) for r in self.log.of(topology.CONTROL)]
        assert len(made) == len({done.request_id for done in made}), "one request, one answer"
        return {done.request_id: done for done in made}

    def answer(self, name: str) -> RedriveDone:
        self.step()
        self.step()
        return self.answers()[name]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def harness(log: Log) -> Harness:
    return Harness(log)


def too_large(_: bytes | None) -> Exception:
    return Refused("MSG_SIZE_TOO_LARGE", "Broker: Message size too large")


def put_back(log: Log) -> list[LogRecord]:
    """The records that a redrive has published."""
    records = log.of(topology.COMMANDS)
    return [r for r in records if r.headers and r.headers[-1][0] == HEADER_REDRIVEN]


# --- what goes back -------------------------------------------------------------------------------


def test_raw_bytes_go_back_unchanged_with_their_headers(log: Log, harness: Harness) -> None:
    """Domain §5: the origin topic and partition, and a header that names the origin."""
    name = harness.ask(log.quarantine(b"\x00raw", headers=[("a", b"b"), (HEADER_REDRIVEN, b"old")]))
    done = harness.answer(name)
    assert (done.redriven, done.refused) == (1, None)
    (record,) = [r for r in put_back(log) if r.headers[-1][1] != b"old"]
    assert (record.key, record.value, record.headers[0]) == (b"key", b"\x00raw", ("a", b"b"))
    (_, named) = record.headers[1:][0]
    assert named == f"{topology.QUARANTINE}/0/0/{name}".encode()
    assert len(record.headers) == 2


@pytest.mark.parametrize(
    ("value", "headers"),
    [(ZEROS, []), (b"small", [("h", ZEROS), ("i", None)]), (None, [("h", ZEROS)])],
)
def test_a_record_by_reference_goes_back_from_its_original(
    log: Log, harness: Harness, value: bytes | None, headers: Headers
) -> None:
    """The original's own key, value and headers, not the excerpts."""
    at = log.quarantine(value, headers=headers)
    assert quarantine.parse(log.of(topology.QUARANTINE)[at].headers).reference is not None
    done = harness.answer(harness.ask(at))
    assert (done.redriven, done.refused) == (1, None)
    (record,) = put_back(log)
    assert (record.key, record.value) == (b"key", value)
    assert record.headers[:-1] == headers


def test_an_unmatched_callback_is_assigned_as_a_new_report(log: Log, harness: Harness) -> None:
    """Domain §4: assignedFrom names the origin, its SHA-256 and both people."""
    callback = LogRecord(CALLBACK, 0, -1, NOW_MS, b"OTHERBANK-1", OTHER_BANK, [])
    copy = quarantine.copy_of(callback, quarantine.UNMATCHED, "no reference of ours")
    log.append(topology.QUARANTINE, copy.key, copy.value, copy.headers)
    done = harness.answer(harness.ask(0, to=payment(2)))
    assert done.refused is None
    (record,) = log.of(topology.RAIL_REPORTS)
    report: RailReport = CODEC.decode(topology.RAIL_REPORTS, record.value, record.headers)
    assert (report.kind, report.header.payment_intent_id) == ("SETTLED", payment(2))
    assert report.external_ref == external_ref(payment(2), 1)
    origin = report.assigned_from
    assert origin is not None
    assert origin.sha256 == hashlib.sha256(OTHER_BANK).digest()
    assert (origin.requested_by, origin.confirmed_by) == ("olga", "ben")


# --- what is refused, before anything is put back -------------------------------------------------


def test_one_person_alone_cannot_redrive(log: Log, harness: Harness) -> None:
    harness.ask(log.quarantine(b"raw"), confirmed_by=" OLGA ")
    harness.step()
    assert (put_back(log), harness.answers()) == ([], {})


def gone(log: Log) -> int:
    return log.quarantine(ZEROS, kept=False)


def another_stands_there(log: Log) -> int:
    at = log.quarantine(ZEROS)
    kept = log.of(topology.COMMANDS)
    kept[-1] = msgspec.structs.replace(kept[-1], value=b"\1" + ZEROS[1:])
    return at


def unreadable_headers(log: Log) -> int:
    return log.quarantine(b"x", headers=[(UNREADABLE_HEADER, None)])


def larger_than_a_producer_gives(log: Log) -> int:
    return log.quarantine(bytes(MESSAGE_BYTES_MAX + 1))


def not_ours_to_write(log: Log) -> int:
    return log.quarantine(ZEROS, topic=topology.EVENTS)


def nothing_there(log: Log) -> int:
    return len(log.of(topology.QUARANTINE)) + 10


def no_copy(log: Log) -> int:
    log.append(topology.QUARANTINE, b"key", b"raw", [("npp-copy", b"REFERENCE")])
    return len(log.of(topology.QUARANTINE)) - 1


REFUSED: dict[str, tuple[Callable[[Log], int], str]] = {
    "the original is gone": (gone, "is gone: npp.payment.commands.v1/0/1 holds no record"),
    "another record is there": (another_stands_there, "holds another record"),
    "headers that cannot be read": (unreadable_headers, "not UTF-8"),
    "larger than a producer gives": (larger_than_a_producer_gives, "hands over"),
    "a topic that is not written to": (not_ours_to_write, "are not redriven"),
    "no record is there": (nothing_there, "holds no record"),
    "a record that is no copy": (no_copy, "missing or out of order"),
}


@pytest.mark.parametrize("which", REFUSED)
def test_a_request_that_cannot_be_completed_is_refused_and_does_nothing(
    log: Log, harness: Harness, which: str
) -> None:
    """Refused with the reason on the control topic; nothing was put back."""
    make, why = REFUSED[which]
    first = log.quarantine(b"small")
    done = harness.answer(harness.ask(first, make(log)))
    assert done.redriven == 0
    assert why in (done.refused or "")
    assert put_back(log) == []


def test_a_callback_kept_by_reference_has_no_original_to_assign(log: Log, harness: Harness) -> None:
    """It was never on a topic, so it cannot be read from one."""
    callback = LogRecord(CALLBACK, 0, -1, NOW_MS, None, ZEROS, [])
    copy = quarantine.copy_of(callback, quarantine.UNMATCHED, "no reference of ours")
    log.append(topology.QUARANTINE, copy.key, copy.value, copy.headers)
    for done in (harness.answer(harness.ask(0, to=payment(2))), harness.answer(harness.ask(0))):
        assert "is quarantined by reference" in (done.refused or "")


def test_the_memory_for_one_request_is_bounded(log: Log, harness: Harness) -> None:
    """10,000 whole copies would be 20 GB; the request is refused with advice."""
    offsets = [log.quarantine(bytes(1_048_576)) for _ in range(BYTES_MAX // 1_048_576 + 1)]
    done = harness.answer(harness.ask(*offsets))
    assert "ask for fewer at once" in (done.refused or "")
    assert harness.answer(harness.ask(*offsets[1:-1])).refused is None


# --- refused or unanswered by Kafka ---------------------------------------------------------------


def test_a_record_refused_by_its_topic_ends_the_request_and_not_the_process(
    log: Log, harness: Harness
) -> None:
    """Records before it were put back, records behind it were not, and the answer says so."""
    small, large, behind = (log.quarantine(v) for v in (b"small", bytes(1_048_400), b"behind"))
    log.refuses[topology.COMMANDS] = lambda value: (
        too_large(value) if len(value or b"") > 9 else None
    )
    first, second = harness.ask(small, large, behind), harness.ask(behind)
    done = harness.answer(first)
    assert done.redriven == 1
    assert "1 of its records were put back" in (done.refused or "")
    assert f"quarantine offset {large} (MSG_SIZE_TOO_LARGE" in (done.refused or "")
    answer = harness.answers()[second]
    assert msgspec.structs.replace(answer, signature=None) == RedriveDone(
        request_id=second, redriven=1, refused=None, done_at=NOW_MS, actor="redriver"
    )
    assert [r.value for r in put_back(log)] == [b"small", b"behind"]


@pytest.mark.parametrize(
    "problem",
    [NotConfirmed("TIMED_OUT"), Exit("READ_STUCK"), RegistryDown("no answer")],
    ids=lambda each: type(each).__name__,
)
def test_a_waiting_request_delays_no_other_and_ends(
    log: Log, harness: Harness, problem: Exception
) -> None:
    """It is retried for a bounded time and then refused, so that operators see it."""
    waits, goes = log.quarantine(b"waits"), log.quarantine(b"goes")
    log.refuses[topology.COMMANDS] = lambda value: problem if value == b"waits" else None
    first, second = harness.ask(waits), harness.ask(goes)
    harness.step()
    assert list(harness.answers()) == [second]
    log.clock.advance(int(TRY_S_MAX * 1000) - 1)
    harness.step()
    assert list(harness.answers()) == [second]
    log.clock.advance(1)
    done = harness.answer(first)
    assert done.redriven == 0
    assert "given up after 300 s, ask again" in (done.refused or "")


def test_a_request_continues_where_it_was_once_kafka_answers_again(
    log: Log, harness: Harness
) -> None:
    """The same process does not put back twice what it put back before the outage."""
    offsets = [log.quarantine(b"%d" % n) for n in range(4)]
    log.refuses[topology.COMMANDS] = lambda value: (
        NotConfirmed("TIMED_OUT") if value == b"2" else None
    )
    name = harness.ask(*offsets)
    harness.step()
    assert harness.answers() == {}
    log.refuses.clear()
    done = harness.answer(name)
    assert (done.redriven, done.refused) == (4, None)
    assert [r.value for r in put_back(log)] == [b"0", b"1", b"2", b"3"]


def test_a_reader_that_does_not_answer_ends_the_request_within_its_time(
    log: Log, harness: Harness
) -> None:
    """An unreadable quarantine offset ends no process."""
    name = harness.ask(log.quarantine(b"raw"))
    log.unreadable = EngineError("READ_STUCK", "nothing for 60 s")
    harness.step()
    log.clock.advance(int(TRY_S_MAX * 1000))
    assert "READ_STUCK" in (harness.answer(name).refused or "")


def test_a_defect_refuses_only_its_own_request(log: Log, harness: Harness) -> None:
    """Otherwise an unexpected error would meet the request again at every start."""
    bad, good = log.quarantine(b"bad"), log.quarantine(b"good")
    log.refuses[topology.COMMANDS] = lambda value: TypeError("odd") if value == b"bad" else None
    first, second = harness.ask(bad), harness.ask(good)
    done = harness.answer(first)
    assert "a defect of the redriver: TypeError; its log says where" in (done.refused or "")
    assert harness.answers()[second].refused is None


def test_a_confirmed_request_without_an_answer_is_answered_after_a_restart(
    log: Log, harness: Harness
) -> None:
    """The control topic has it; the second redrive is a duplicate."""
    name = harness.ask(log.quarantine(b"raw"))
    log.refuses[topology.CONTROL] = lambda _: NotConfirmed("TIMED_OUT")
    with pytest.raises(NotConfirmed):
        harness.step()
    assert [r.value for r in put_back(log)] == [b"raw"]
    log.refuses.clear()
    harness.restarted()
    assert harness.answer(name).refused is None
    assert [r.value for r in put_back(log)] == [b"raw", b"raw"]


def test_a_redriver_whose_key_is_not_listed_carries_out_nothing(log: Log, harness: Harness) -> None:
    """Its answers would be refused, and each start would redrive the same records again."""
    assert harness.redriver.unable() is None
    why = harness.restarted(key=key_of("mallory")).unable()
    assert "not redriver's in the operators file in force" in (why or "")
