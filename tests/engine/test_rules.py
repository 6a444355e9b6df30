"""The engine's rules, each by itself: errors, group metadata, partitioner, assignment, timers,
sizing, fairness."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence

import pytest
from confluent_kafka import KafkaError, KafkaException
from prometheus_client import CollectorRegistry

from engine.clients.control_reader import UNREADABLE, ControlReader
from engine.clock import HeldClock
from engine.errors import (
    Abort,
    ConsumerLost,
    Exit,
    Fenced,
    LostMembership,
    Rebuild,
    Retry,
    Step,
    call,
    call_until,
    classify,
)
from engine.loop.assignment import (
    Committed,
    check_partition_counts,
    starting_offsets,
    whole_partitions,
)
from engine.loop.blocked_records import DEPENDENCY_PAUSE_S, BlockedRecords
from engine.loop.groupmeta import GroupMetadata, UnknownFormat, parse
from engine.loop.priority import PriorityPause
from engine.loop.sizing import COUNT_MAX, COUNT_MIN, FEW, BatchSizer
from engine.loop.timer_gate import TimerGate
from engine.loop.timers import REPEAT_MS, Timers
from engine.metrics import ALARMS, TRANSACTION_OUTCOMES, EngineMetrics, catalogue
from engine.partitioner import murmur2, partition_of
from engine.ports import InputRecord, TopicPartition
from engine.topics import Access, AclSpec, access_rules
from tests.engine.toy import ADD, ANSWERS, ToyControl, topology

INPUTS = ("answers", "add")


# -- group metadata
# ------------------------------------------------------------------------------------


def test_the_pinned_client_is_the_one_whose_group_metadata_we_read() -> None:
    """A new client version must be looked at before its group metadata is trusted."""
    assert importlib.metadata.version("confluent-kafka") == "2.16.0"


def test_generation_and_member_are_read_from_the_pinned_format() -> None:
    """`CGMDv2:`, int32 little-endian, group, member."""
    raw = b"CGMDv2:\x03\x01\x00\x00npp-payments\x00rdkafka-1\x00\x01"
    assert parse(raw) == GroupMetadata(259, "npp-payments", "rdkafka-1")
    assert parse(raw).is_member


@pytest.mark.parametrize(
    "raw",
    [
        b"CGMDv2:\xff\xff\xff\xffgroup\x00rdkafka-1\x00\x01",
        b"CGMDv2:\x01\x00\x00\x00group\x00\x00\x01",
    ],
)
def test_without_generation_or_member_id_it_is_no_member(raw: bytes) -> None:
    """A broker would accept a commit with these unfenced."""
    assert not parse(raw).is_member


@pytest.mark.parametrize(
    "raw", [b"", b"CGMDv1:\x01\x00\x00\x00g\x00m\x00", b"CGMDv2:", "text", None]
)
def test_any_other_format_of_group_metadata_is_refused(raw: object) -> None:
    """Committing would be blind."""
    with pytest.raises(UnknownFormat):
        parse(raw)


# -- error classes
# -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "step", "meaning"),
    [
        (KafkaError(KafkaError._TIMED_OUT, retriable=True), Step.END, Rebuild),
        (KafkaError(KafkaError._TIMED_OUT, retriable=True), Step.INIT, Retry),
        (KafkaError(KafkaError._TIMED_OUT, retriable=True), Step.WORK, Abort),
        (KafkaError(KafkaError._TIMED_OUT, retriable=True), Step.OFFSETS, Rebuild),
        (KafkaError(KafkaError._TRANSPORT), Step.OFFSETS, Rebuild),
        (KafkaError(KafkaError.ILLEGAL_GENERATION), Step.OFFSETS, LostMembership),
        (KafkaError(KafkaError.NOT_COORDINATOR), Step.OFFSETS, Abort),
        (KafkaError(KafkaError._TRANSPORT), Step.READ, Retry),
        (KafkaError(KafkaError.NOT_COORDINATOR, txn_requires_abort=True), Step.END, Abort),
        (KafkaError(KafkaError.PRODUCER_FENCED, fatal=True), Step.END, Fenced),
        (KafkaError(KafkaError._FENCED, fatal=True), Step.WORK, Fenced),
        (KafkaError(KafkaError.INVALID_PRODUCER_EPOCH), Step.INIT, Fenced),
        (KafkaError(KafkaError.FENCED_INSTANCE_ID, fatal=True), Step.READ, ConsumerLost),
        (KafkaError(KafkaError.FENCED_INSTANCE_ID), Step.OFFSETS, LostMembership),
        (KafkaError(KafkaError._FATAL), Step.READ, ConsumerLost),
        (KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL, fatal=True), Step.READ, Exit),
        (KafkaError(KafkaError._GAPLESS_GUARANTEE, fatal=True), Step.WORK, Rebuild),
        (KafkaError(KafkaError.ILLEGAL_GENERATION), Step.WORK, LostMembership),
        (KafkaError(KafkaError.UNKNOWN_MEMBER_ID), Step.WORK, LostMembership),
        (KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED), Step.INIT, Exit),
        (KafkaError(KafkaError._AUTO_OFFSET_RESET), Step.READ, Exit),
    ],
    ids=lambda value: value.name() if isinstance(value, KafkaError) else None,
)
def test_each_client_error_has_one_meaning_at_each_step(
    error: KafkaError, step: Step, meaning: type[Exception]
) -> None:
    """RETRY, ABORT, REBUILD, CONSUMER_LOST and EXIT; an unknown end is never an abort."""
    assert type(classify(error, step)) is meaning


def test_a_record_that_is_refused_is_known_by_its_error() -> None:
    """Only an error about content may end in parking a record; a broker's trouble never does."""
    too_large = classify(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), Step.WORK)
    down = classify(KafkaError(KafkaError._TRANSPORT), Step.WORK)
    assert isinstance(too_large, Abort)
    assert isinstance(down, Abort)
    assert (too_large.by_content, down.by_content) == (True, False)


def test_a_call_is_repeated_until_its_deadline_and_no_longer() -> None:
    """RETRY is bounded: at the deadline it becomes EXIT."""
    clock = HeldClock(0)
    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    with pytest.raises(Exit):
        call_until(clock, 1.0, Step.READ, fails)
    assert 10 < len(calls) < 30


def test_what_is_no_client_error_passes_through_a_call() -> None:
    """Only KafkaException is interpreted."""
    with pytest.raises(ZeroDivisionError):
        call(Step.READ, lambda: 1 // 0)


# -- partitioner
# ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_gives_what_the_java_client_gives(key: bytes, expected: int) -> None:
    """Vectors of the Java client's own test (SM-07, EV-06: every client must find the same
    partition)."""
    assert murmur2(key) == expected & 0xFFFFFFFF
    assert partition_of(key, 48) == (expected & 0x7FFFFFFF) % 48


# -- assignment
# ----------------------------------------------------------------------------------------


def test_a_partition_is_served_only_with_all_its_inputs() -> None:
    """Row 28: a payment's inputs must meet in one process."""
    both = [("add", 1), ("answers", 1), ("add", 0), ("answers", 0)]
    assert whole_partitions(both, INPUTS) == [0, 1]
    with pytest.raises(Exit, match=r"ASSIGNMENT_SPLIT.*partition 1 of answers"):
        whole_partitions([("add", 0), ("answers", 0), ("add", 1)], INPUTS)


def starts(
    committed: Mapping[TopicPartition, int], journal_high: int, added: Sequence[str] = ()
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """First offsets of partition 0, and those to commit first."""
    known = {(t, 0): Committed(committed.get((t, 0), -1001), "") for t in INPUTS}
    start = starting_offsets([0], INPUTS, known, {0: journal_high}, added)
    return start.offsets, start.to_initialise


def test_an_untouched_partition_starts_at_zero_and_commits_so_at_once() -> None:
    """No offsets, empty journal."""
    zero = {("answers", 0): 0, ("add", 0): 0}
    assert starts({}, 0) == (zero, zero)


def test_committed_offsets_are_where_it_goes_on() -> None:
    """Nothing to commit first."""
    committed = {("answers", 0): 3, ("add", 0): 9}
    assert starts(committed, 5) == (committed, {})


def test_missing_offsets_with_a_journal_that_has_records_are_never_guessed() -> None:
    """Row 16: OFFSETS_LOST, all of them or one of them."""
    for committed in ({}, {("add", 0): 9}):
        with pytest.raises(Exit, match="OFFSETS_LOST"):
            starts(committed, 5)


def test_an_input_that_control_has_added_starts_at_zero() -> None:
    """Its partition's other inputs have commits."""
    assert starts({("add", 0): 9}, 5, ["answers"]) == (
        {("answers", 0): 0, ("add", 0): 9},
        {("answers", 0): 0},
    )
    with pytest.raises(Exit, match="OFFSETS_LOST"):
        starts({}, 5, ["answers"])


def test_another_partition_count_stops_the_start() -> None:
    """Row 19, OP-33."""
    check_partition_counts({"add": 6}, 6)
    with pytest.raises(Exit, match="PARTITION_COUNT"):
        check_partition_counts({"add": 6, "answers": 7}, 6)


# -- timers and who is heard before them
# -----------------------------------------------------------------


def test_timers_come_in_order_and_only_while_their_deadline_holds() -> None:
    """A changed or removed deadline makes the older entry void."""
    timers = Timers()
    timers.set("b", 20)
    timers.set("a", 10)
    timers.set("c", 15)
    timers.set("c", None)
    timers.set("b", 25)
    assert timers.next_due_ms() == 10
    assert timers.pop_due(30, 10) == [(10, "a"), (25, "b")]
    assert len(timers) == 2


def test_timers_of_an_aborted_transaction_are_due_at_once_again() -> None:
    """And those of a committed one only after REPEAT_MS."""
    timers = Timers()
    timers.set("a", 10)
    timers.give_back(timers.pop_due(10, 10))
    taken = timers.pop_due(10, 10)
    assert taken == [(10, "a")]
    timers.made(taken, 10)
    assert timers.pop_due(10 + REPEAT_MS - 1, 10) == []
    assert timers.pop_due(10 + REPEAT_MS, 10) == [(10, "a")]


def test_void_timers_do_not_pile_up() -> None:
    """A deadline moved a hundred thousand times is still one entry's worth of memory, or nearly."""
    timers = Timers()
    for at in range(100_000):
        timers.set("a", at)
    assert len(timers._heap) < 2_000


class Asked:
    """Answers a question when told to."""

    def __init__(self) -> None:
        self.ends: dict[TopicPartition, int] | None = None
        self.questions: list[list[TopicPartition]] = []

    def ask(
        self, names: Sequence[TopicPartition]
    ) -> Callable[[], Mapping[TopicPartition, int] | None]:
        self.questions.append(list(names))
        return lambda: self.ends


def test_timers_wait_until_the_answers_are_read_to_their_end_after_the_deadline() -> None:
    """Domain §8: the end is asked for after the deadline, and only a position past it opens the
    gate.
    """
    asked = Asked()
    gate = TimerGate(["answers"], asked.ask)
    assert gate.open_for({0: 100}, {("answers", 0): 0}, 99) == {}
    assert asked.questions == []
    assert gate.open_for({0: 100}, {("answers", 0): 0}, 105) == {}
    asked.ends = {("answers", 0): 7}
    assert gate.open_for({0: 100}, {("answers", 0): 6}, 110) == {}
    assert gate.open_for({0: 100}, {("answers", 0): 7}, 120) == {0: 105}
    assert asked.questions == [[("answers", 0)]]


def test_a_partition_that_waits_for_its_answers_does_not_hold_up_the_others() -> None:
    """A hanging transaction on one partition's input delays that partition's timers only."""
    asked = Asked()
    gate = TimerGate(["answers"], asked.ask)
    asked.ends = {("answers", 0): 7, ("answers", 1): 0}
    positions = {("answers", 0): 0, ("answers", 1): 0}
    assert gate.open_for({0: 100}, positions, 100) == {}
    assert gate.open_for({0: 100, 1: 101}, positions, 101) == {1: 101}


def test_timers_wait_for_every_input_that_may_answer_and_not_for_the_first() -> None:
    """Domain §8: decisions, operator commands, reports and results, each past its end as it stood
    at the deadline."""
    asked = Asked()
    topics = ("decisions", "reports", "results")
    gate = TimerGate(topics, asked.ask)
    asked.ends = {(topic, 0): 7 for topic in topics}
    for late in topics:
        positions = {(topic, 0): 6 if topic == late else 9 for topic in topics}
        assert gate.open_for({0: 100}, positions, 100) == {}, late
    assert gate.open_for({0: 100}, dict.fromkeys(asked.ends, 7), 101) == {0: 100}


def test_a_fatal_error_that_the_client_hides_in_a_system_error_keeps_its_meaning() -> None:
    """Seen in `flush`: the fence came between two callbacks. Any other SystemError stays one."""

    def flush(cause: BaseException | None) -> None:
        raise SystemError("returned a result with an exception set") from cause

    fenced = KafkaException(KafkaError(KafkaError._FENCED, "fenced", fatal=True))
    with pytest.raises(Fenced):
        call(Step.WORK, flush, fenced)
    with pytest.raises(SystemError):
        call(Step.WORK, flush, None)


# -- sizing and fairness
# -------------------------------------------------------------------------------


def test_batches_grow_with_a_backlog_and_shrink_when_they_are_slow() -> None:
    """From 500 to 10,000: half as many more while full and quick, halved when slow or heavy."""
    sizer = BatchSizer()
    for _ in range(10):
        sizer.note(sizer.count, 1, 10.0)
    assert sizer.count == COUNT_MAX
    sizer.note(10, 1, 10.0)
    assert sizer.count == COUNT_MAX
    sizer.note(10, 1, 101.0)
    assert sizer.count == COUNT_MAX // 2
    for _ in range(10):
        sizer.note(10, 64 * 1024 * 1024, 1.0)
    assert sizer.count == COUNT_MIN


def test_a_trickle_is_taken_at_once_and_everything_else_is_gathered() -> None:
    """No batch of a steady trickle waits; a first record and a backlog do."""
    sizer = BatchSizer()
    waits = []
    for polled in (0, 1, FEW - 1, FEW, COUNT_MIN, 0):
        sizer.note(polled, 1, 1.0)
        waits.append(sizer.wait_s(0.005))
    assert waits == [0.005, 0.0, 0.0, 0.005, 0.005, 0.005]


def test_commands_are_paused_while_answers_are_unread_and_resumed_after() -> None:
    """Row 29's rule: asked only in a backlog, resumed as soon as the answers are read."""
    asked = Asked()
    pause = PriorityPause(topology(1), asked.ask)
    positions = {(ADD, 0): 5, (ANSWERS, 0): 2}
    assert pause.decide(False, positions, 0.0) is None
    assert asked.questions == []
    assert pause.decide(True, positions, 0.0) is None
    assert asked.questions == [[(ANSWERS, 0)]]
    asked.ends = {(ANSWERS, 0): 3}
    assert pause.decide(True, positions, 0.1) is True
    assert [pause.decide(True, positions, 0.1) for _ in range(4)] == [None] * 4
    positions[ANSWERS, 0] = 3
    pause.decide(False, positions, 0.2)
    assert pause.decide(False, positions, 0.3) is False
    assert pause.low_names(positions) == [(ADD, 0)]


def test_control_that_can_not_be_read_counts_as_stop() -> None:
    """Domain §10: nobody serves on an old word; here no broker answers at all."""
    nowhere = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    reader = ControlReader(nowhere, "control", HeldClock(0))
    assert reader.stopped(ToyControl()) == UNREADABLE


# -- metrics and access rules
# --------------------------------------------------------------------------


def test_every_label_set_starts_at_zero_and_stands_in_the_catalogue() -> None:
    """The first event shows as a rise; nothing a record carries is a label."""
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry)
    metrics.start_topics(topology(1))
    samples = {(s.name, *s.labels.values()): s.value for f in registry.collect() for s in f.samples}
    for outcome in TRANSACTION_OUTCOMES:
        assert samples["npp_engine_transactions_total", outcome] == 0
    for alarm in ALARMS:
        assert samples["npp_engine_alarms_total", alarm] == 0
    assert samples["npp_engine_input_lag_records", ADD] == 0
    assert samples["npp_engine_standing_seconds", ADD] == 0
    lines = catalogue(registry)
    assert {label for line in lines for label in line.labels} == {
        "phase",
        "outcome",
        "state",
        "topic",
        "alarm",
    }
    assert all(line.text for line in lines)


def test_the_longest_standing_of_a_topic_shows_and_goes_back() -> None:
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry)
    metrics.start_topics(topology(2))

    def seen(topic: str) -> float | None:
        return registry.get_sample_value("npp_engine_standing_seconds", {"topic": topic})

    metrics.observe_standing({(ADD, 0): 5.0, (ADD, 1): 20.0})
    assert (seen(ADD), seen(ANSWERS)) == (20.0, 0.0)
    metrics.observe_standing({(ANSWERS, 1): 10.0})
    assert (seen(ADD), seen(ANSWERS)) == (0.0, 10.0)


def test_access_rules_give_each_principal_what_it_must_do_and_nothing_else() -> None:
    """Least rights, from what it produces, consumes and is called."""
    rules = access_rules(
        [Access("payments", ("events",), ("commands",), ("npp-payments",), ("npp-payments-",))]
    )
    assert AclSpec("payments", "topic", "events", "WRITE") in rules
    assert AclSpec("payments", "topic", "events", "READ") not in rules
    assert AclSpec("payments", "topic", "commands", "READ") in rules
    assert AclSpec("payments", "transactional_id", "npp-payments-", "WRITE", True) in rules
    assert {r.principal for r in rules} == {"payments"}
    assert not any(r.name == "*" for r in rules)


# -- what waits for something outside
# ----------------------------------------------------------------------------------


def _at(partition: int, offset: int) -> InputRecord:
    return InputRecord("add", partition, offset, 0, b"k", b"add", [], 0)


def test_what_comes_after_a_waiting_record_of_its_partition_waits_behind_it() -> None:
    """A batch that was halved must not decide its second half around what its first half holds."""
    clock = HeldClock(0)
    held = BlockedRecords(clock)
    held.add({1: [_at(1, 4), _at(1, 5)]})
    assert held.let_pass([_at(0, 9), _at(1, 6), _at(1, 7)]) == [_at(0, 9)]
    assert held.take_due() == {}
    clock.sleep(DEPENDENCY_PAUSE_S)
    assert held.take_due() == {1: [_at(1, 4), _at(1, 5), _at(1, 6), _at(1, 7)]}
    assert held.let_pass([_at(1, 8)]) == [_at(1, 8)]


def test_a_new_assignment_forgets_what_waited() -> None:
    """It is read again from what is committed, by whoever owns the partition then."""
    clock = HeldClock(0)
    held = BlockedRecords(clock)
    held.add({1: [_at(1, 4)]})
    held.forget()
    clock.sleep(DEPENDENCY_PAUSE_S)
    assert (held.take_due(), len(held), 1 in held) == ({}, 0, False)
