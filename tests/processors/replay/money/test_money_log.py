"""Money and identity on a log: only these two strengths notice errors in a valid chain."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from core.payment import events as e
from core.values import payment_intent_id
from evidence.chain import event_hash, read_link
from evidence.checkpoints import End, Range, build, seal
from processors.replay import Limit, MemoryLog, Report
from processors.replay.identity import problems
from processors.replay.money import findings as money
from processors.replay.prove import IDENTITY
from schemas import topology as t
from tests.processors.replay import story as s
from tests.processors.replay.money import money_histories as h
from tests.processors.replay.money import money_wrong as w
from tests.processors.replay.story import Story
from tests.processors.replay.world import VERIFIER_KEY, World, replay

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world() -> World:
    """Used for its codec only."""
    return World()


def verdicts(report: Report) -> dict[str, str]:
    return {
        each.name: each.verdict for each in report.strengths() if each.name not in ("redecide",)
    }


def sign(world: World, log: MemoryLog) -> None:
    """One checkpoint over the whole content of each partition."""
    for (topic, partition), records in list(log.records.items()):
        if topic != t.EVENTS:
            continue
        touched = Range()
        for record in records:
            link = read_link(record.value or b"")
            touched.touch(link.payment_intent_id, link.sequence, event_hash(record.value or b""))
        draft = build(partition, None, touched, End(records[-1].offset), 1, VERIFIER_KEY.key_id)
        sealed = seal(draft, VERIFIER_KEY, lambda each: world.codec.encode(t.CHECKPOINTS, each))
        log.append(t.CHECKPOINTS, partition, b"", sealed.raw)


WRONG_ONES = [w.hold_given_up, w.debited_and_still_held, w.wrong_amount_by_verdict]


@pytest.mark.parametrize("make", WRONG_ONES, ids=lambda each: each.__name__)
def test_findings_3_4_and_5_are_found_in_a_log(world: World, make: Callable[[], Story]) -> None:
    """RP-13: fold and chain pass, and money fails the replay."""
    story = make()
    report = replay(world, story.log(world.codec))
    assert verdicts(report) == {
        "fold": "passed", "chain": "passed", "identity": "passed", "money": "failed",
    }  # fmt: skip
    assert not report.passed
    failure = report.money.failures[0]
    assert failure.payment == story.payment
    assert type(story.events[failure.sequence - 1]) is not e.PaymentIntentCreated
    assert failure.topic == t.EVENTS
    assert failure.offset == failure.sequence - 1
    assert "AUD 125.50" in failure.first_difference
    assert report.to_dict()["money"]["failureCount"] == report.money.failure_count


@pytest.mark.parametrize("make", h.RIGHT, ids=lambda each: each.__name__)
def test_correct_histories_on_a_log_pass_in_money(world: World, make: Callable[[], Story]) -> None:
    """RP-13, domain §3, §10: one payment is checked, and counted as checked."""
    report = replay(world, make().log(world.codec))
    assert (report.money.verdict, report.money.checked) == ("passed", 1)


def test_a_lifecycle_record_that_calls_a_waiting_payment_at_rest_is_a_finding(
    world: World,
) -> None:
    """Domain §3: a payment at rest holds nothing, requests nothing, awaits nothing."""
    log = h.rejected().log(world.codec)
    assert replay(world, log).money.verdict == "passed"
    place = next(each for each in log.records if each[0] == t.LIFECYCLE)
    record = log.records[place][0]
    value = msgspec.structs.replace(world.codec.decode(t.LIFECYCLE, record.value), at_rest=True)
    log.records[place] = [
        msgspec.structs.replace(record, value=world.codec.encode(t.LIFECYCLE, value))
    ]
    found = replay(world, log).money.failures
    assert [each.kind for each in found] == [money.NOT_AT_REST]


def test_a_replay_that_ends_earlier_checks_what_it_reads(world: World) -> None:
    """Domain §10: a limit within a decision gives no finding about money in progress."""
    story = w.hold_never_released()
    log = story.log(world.codec)
    assert replay(world, log).money.verdict == "failed"
    earlier = Limit(sequence=len(story.events) - 1)
    assert replay(world, log, limit=earlier).money.verdict == "passed"
    behind = w.double_capture()
    found = replay(world, behind.log(world.codec), limit=Limit(sequence=len(behind.events) - 1))
    assert found.money.verdict == "failed"


def test_a_history_that_cannot_be_folded_is_not_checkable(world: World) -> None:
    """Domain §10: what could not be checked to its end is "not checkable", never "passed"."""
    log = h.captured().log(world.codec)
    place = next(each for each in log.records if each[0] == t.EVENTS)
    log.records[place].pop()
    log.append(*place, log.records[place][0].key, b"\x00rubbish")
    report = replay(world, log)
    assert report.fold.verdict == "failed"
    assert report.money.verdict == "not checkable"


# -- from a checkpoint -----------------------------------------------------------------------------


def test_money_wrong_before_the_last_good_checkpoint_is_excused_and_named(world: World) -> None:
    """Domain §10, RESUME: signed history is listed, not checked; money needs the whole history."""
    log = w.hold_never_released().log(world.codec)
    sign(world, log)
    report = replay(world, log, from_checkpoint=True)
    assert report.passed
    assert {each.kind for each in report.excused.failures} >= {money.HELD_AT_REST}
    assert "differences before it" in report.scope()
    assert not replay(world, log).passed


def test_money_wrong_behind_the_last_good_checkpoint_is_never_excused(world: World) -> None:
    """Domain §10: the sums cover the whole history, including the old events."""
    story = h.captured()
    log = story.log(world.codec)
    sign(world, log)
    before = len(story.events)
    story.then(s.requested("CAPTURE", number=2)).then(s.moved("CAPTURE", number=2))
    longer = story.log(world.codec)
    longer.records.update({p: r for p, r in log.records.items() if p[0] == t.CHECKPOINTS})
    report = replay(world, longer, from_checkpoint=True)
    assert not report.passed
    assert {each.kind for each in report.money.failures} >= {money.CAPTURED_TWICE}
    assert all(each.sequence > before for each in report.money.failures)


# -- identity --------------------------------------------------------------------------------------


def identity(report: Report) -> list[tuple[str, str | None, int]]:
    return [(each.kind, each.payment, each.sequence) for each in report.identity.failures]


def test_two_payments_of_one_source_and_key_are_found(world: World) -> None:
    """RP-13, IDM-05: one key, one payment. The second payment's id cannot be the computed one."""
    other = payment_intent_id("mobile-app", "another")
    log = h.captured().log(world.codec)
    twin = Story(payment=other)
    twin.then(s.created(), s.requested("HOLD")).log(world.codec, log)
    report = replay(world, log)
    assert identity(report) == [(IDENTITY, other, 1)]
    assert h.captured().payment in report.identity.failures[0].first_difference
    assert not report.passed


def test_a_wrong_id_is_found(world: World) -> None:
    """IDM-05: the id is recomputed from source and key."""
    story = Story(payment="pi_" + "a" * 26).then(s.created(), s.requested("HOLD"))
    report = replay(world, story.log(world.codec))
    assert identity(report) == [(IDENTITY, "pi_" + "a" * 26, 1)]


def test_a_key_that_gives_no_id_is_found(world: World) -> None:
    """Domain §2: NUL is forbidden in source and key; the replay reports it and continues."""
    story = Story(payment="pi_" + "a" * 26)
    story.key = "a\0b"
    assert identity(replay(world, story.then(s.created()).log(world.codec)))


def test_a_record_under_another_payments_key_is_found(world: World) -> None:
    """Domain §2: the record's key is the id in its value."""
    log = h.sent().log(world.codec)
    place = next(each for each in log.records if each[0] == t.EVENTS)
    other = h.sent().values(world.codec)[0]
    key = log.records[place][0].key
    renamed = world.codec.decode(t.EVENTS, other)
    renamed.header.payment_intent_id = payment_intent_id("mobile-app", "another")
    value = world.codec.encode(t.EVENTS, renamed)
    log.records[place] = [
        msgspec.structs.replace(log.records[place][0], value=value, key=key),
        *log.records[place][1:],
    ]
    assert not replay(world, log).passed
    assert IDENTITY in {each.kind for each in replay(world, log).identity.failures}


@pytest.mark.parametrize("field", ["attempt", "hold"])
def test_a_reference_other_than_the_computed_one_is_found(world: World, field: str) -> None:
    """RP-13, domain §2: externalRef and fundsRef are computed; a repeat has the same."""
    story = h.sent()
    kind = e.PaymentSentToRail if field == "attempt" else e.FundsRequested
    index = next(n for n, each in enumerate(story.events) if isinstance(each, kind))
    name = "external_ref" if field == "attempt" else "funds_ref"
    wrong = getattr(story.events[index], name).replace("001", "002", 1)
    story.events[index] = msgspec.structs.replace(story.events[index], **{name: wrong})
    found = list(problems(story.payment.encode(), story.events))
    assert [sequence for sequence, _ in found] == [index + 1]


def test_a_history_without_its_creation_is_found(world: World) -> None:
    """IDM-05: without the creation the payment's key is unknown."""
    story = h.held()
    story.events.pop(0)
    assert [sequence for sequence, _ in problems(story.payment.encode(), story.events)] == [2]
