"""A holder of the Kafka credential `admin` (or of any with write access to the control topic)
cannot act in other people's names. SEC-02, SEC-03.

The records bypass every client of ours; the fold is the one that every process uses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from core import control_records as records
from core.control_records import ActConfirmed, Signature
from core.values import PaymentIntentId
from tests.control.log import HOUR_MS, ControlLog, rules, sources
from tests.control.people import activated, file_text, key_of


def forged(record: Any) -> Any:
    """With an invented signature that names the person's key."""
    name = key_of(record.actor).key_id
    invented = Signature(key_id=name, number=7, signed_at=1, signature=bytes(64))
    return msgspec.structs.replace(record, signature=invented)


def requests(log: ControlLog) -> list[Any]:
    """One of each act that needs two people, in ann's name."""
    stop = log.stop()
    return [
        log.resume_request(stop, log.prove()),
        records.RedriveRequested(
            request_id="rdr_1", partition=0, offsets=(1,), reason="r", requested_at=0, actor="ann"
        ),
        records.RecoverRequested(
            request_id="rec_1", partitions=(0,), reason="r", requested_at=0, actor="ann"
        ),
        records.UnparkRequested(
            payment_intent_id=PaymentIntentId("pi_x"),
            sequence=3,
            reason="r",
            requested_at=0,
            actor="ann",
        ),
        msgspec.structs.replace(rules(2), actor="ann"),
        msgspec.structs.replace(sources(2, "mobile-app,mine"), actor="ann"),
        records.InputAdded(topic="npp.mine", recorded_at=0, actor="ann"),
        activated(file_text("mallory", "mallory-2", number=2, previous="00" * 32), actor="ann"),
    ]


def confirmations(log: ControlLog, offsets: list[int]) -> list[Any]:
    stop = log.control.stops()[0].stop_id
    return [
        log.resume_confirmation(stop, offsets[0]),
        records.RedriveConfirmed(request_id="rdr_1", confirmed_at=0, actor="bob"),
        records.RecoverConfirmed(
            request_id="rec_1", confirmed_at=0, actor="bob", journal_ends=(1, -1),
            checkpoints=(1, 0),
        ),
        *(
            ActConfirmed(request_offset=each, confirmed_at=0, actor="bob")
            for each in offsets[3:]
        ),
    ]  # fmt: skip


def changed(log: ControlLog) -> list[bool]:
    """Whether any of all that has taken effect."""
    now = log.control
    return [
        now.stopped() is None, bool(now.redrives.confirmed), bool(now.recoveries),
        now.resumption(PaymentIntentId("pi_x"), 3) is not None, now.rule_set != rules(1),
        now.source_map != sources(1), bool(now.added_inputs()),
        now.operators is None or now.operators.number != 1,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("made", "rule"), [(lambda each: each, "UNSIGNED"), (forged, "BAD_SIGNATURE")]
)
def test_two_typed_names_have_no_effect(made: Callable[[Any], Any], rule: str) -> None:
    """SEC-07."""
    log = ControlLog()
    offsets = [log.put(made(each)) for each in requests(log)]
    for each in confirmations(log, offsets):
        log.put(made(each))
    assert not any(changed(log))
    assert set(log.broken) == {rule}
    assert log.control.requests() == []


def test_a_self_made_key_has_no_effect() -> None:
    log = ControlLog()
    mine = key_of("mallory")
    offsets = [log.act(each, key=mine) for each in requests(log)]
    for each in confirmations(log, offsets):
        log.act(each, key=mine)
    assert not any(changed(log))
    assert set(log.broken) == {"UNKNOWN_KEY"}


def test_a_proof_counts_only_from_the_proving_process() -> None:
    log = ControlLog()
    stop = log.stop()
    typed = records.ProofPassed(
        scope="all", fold=True, chain=True, redecide=True, offsets=(9, 9), passed_at=0,
        actor="replay",
    )  # fmt: skip
    for proof in (log.put(typed), log.act(typed, key=key_of("ann"))):
        log.act(log.resume_request(stop, proof))
    assert log.control.latest_proof() is None
    assert log.broken == ["UNSIGNED", "UNKNOWN_KEY", "NOT_POSSIBLE", "NOT_POSSIBLE"]


def test_a_signed_act_is_not_carried_out_twice() -> None:
    """Written again later, or held back until it is useful."""
    log = ControlLog()
    stop = log.stop()
    proof = log.prove()
    requested = log.sign(log.resume_request(stop, proof))
    offset = log.put(requested)
    agreed = log.sign(log.resume_confirmation(stop, offset), requested)
    log.put(agreed)
    assert log.control.stopped() is None
    again = log.stop()
    log.prove()
    log.put(requested)
    log.put(agreed)
    assert log.control.stopped() is not None, again
    assert log.broken == ["NUMBER_USED", "NUMBER_USED"]


@pytest.mark.parametrize("late_ms", [HOUR_MS, -HOUR_MS], ids=["held back", "signed ahead"])
def test_an_act_is_accepted_only_near_the_time_of_its_signature(late_ms: int) -> None:
    log = ControlLog()
    requested = log.sign(
        records.RedriveRequested(
            request_id="rdr_1", partition=0, offsets=(1,), reason="r", requested_at=0, actor="ann"
        ),
        at=log.now_ms - late_ms,
    )
    log.put(requested)
    assert log.broken == ["TIME"]
    log.now_ms += HOUR_MS
    log.put(requested)  # an act that was signed ahead is now in time, but its number is used
    assert log.broken == ["TIME", "NUMBER_USED"]
    assert log.control.requests() == []


def test_a_signature_covers_every_field_and_the_cluster() -> None:
    log = ControlLog()
    requested = log.sign(
        records.RedriveRequested(
            request_id="rdr_1", partition=0, offsets=(1,), reason="r", requested_at=0, actor="ann"
        )
    )
    for name, other in (
        ("request_id", "rdr_2"), ("partition", 1), ("offsets", (1, 2)), ("reason", "s"),
        ("requested_at", 1), ("actor", "bob"), ("payment_intent_id", "pi_y"),
    ):  # fmt: skip
        log.put(msgspec.structs.replace(requested, **{name: other}))
    for name, other in (("number", 99), ("signed_at", requested.signature.signed_at + 1)):
        wrong = msgspec.structs.replace(requested.signature, **{name: other})
        log.put(msgspec.structs.replace(requested, signature=wrong))
    assert log.broken == [*["BAD_SIGNATURE"] * 5, "UNKNOWN_KEY", *["BAD_SIGNATURE"] * 3]
    elsewhere = ControlLog()
    elsewhere.hands.cluster_id = "another-cluster"
    elsewhere.act(msgspec.structs.replace(requested, signature=None))
    assert elsewhere.broken == ["BAD_SIGNATURE"]


def test_a_confirmation_matches_only_the_request_that_was_read() -> None:
    """The request is exchanged between reading and confirming."""
    log = ControlLog()
    good, bad = (
        log.sign(
            records.RedriveRequested(
                request_id="rdr_1", partition=0, offsets=offsets, reason="r", requested_at=0,
                actor=who,
            )
        )
        for offsets, who in (((1,), "ann"), ((1, 2, 3), "carl"))
    )  # fmt: skip
    agreed = log.sign(
        records.RedriveConfirmed(request_id="rdr_1", confirmed_at=0, actor="bob"), good
    )
    log.put(bad)
    log.put(agreed)
    assert log.control.redrives.confirmed == {}
    assert log.broken == ["WRONG_REQUEST"]


def test_three_hundred_stops_are_ended_by_one_request_and_one_confirmation() -> None:
    log = ControlLog()
    names = [log.stop() for _ in range(300)]
    assert len(log.control.stops()) == 1
    proof = log.prove()
    offset = log.act(log.resume_request(names[150], proof))
    log.act(log.resume_confirmation(names[150], offset))
    assert log.control.stopped() is None
    assert log.broken == []


def test_a_stop_after_the_request_is_not_ended_by_it() -> None:
    log = ControlLog()
    stop = log.stop()
    offset = log.act(log.resume_request(stop, log.prove()))
    later = log.stop()
    log.act(log.resume_confirmation(stop, offset))
    assert [each.stop_id for each in log.control.stops()] == [later]


def test_a_request_cannot_be_replaced_by_another_persons_under_its_name() -> None:
    log = ControlLog()
    good = log.sign(
        records.RedriveRequested(
            request_id="rdr_1", partition=0, offsets=(1,), reason="r", requested_at=0, actor="ann"
        )
    )
    log.put(good)
    log.act(msgspec.structs.replace(good, actor="carl", offsets=(1, 2), signature=None))
    log.act(records.RedriveConfirmed(request_id="rdr_1", confirmed_at=0, actor="bob"), good)
    assert [r.actor for r, _ in log.control.redrives.confirmed.values()] == ["ann"]


def test_another_persons_request_cannot_be_evicted() -> None:
    log = ControlLog()
    good = records.RedriveRequested(
        request_id="rdr_good", partition=0, offsets=(1,), reason="r", requested_at=0, actor="adam"
    )
    log.act(good)
    for number in range(300):
        log.act(msgspec.structs.replace(good, request_id=f"rdr_{number}", actor="ada"))
    assert log.control.redrives.requests.get("rdr_good") is not None
    assert len(log.control.requests()) == 101
