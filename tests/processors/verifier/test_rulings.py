"""After a ruling on a record that the rules do not give, the verifier continues and signs.

Domain §10: FOREIGN is skipped; TAKEN_AS_RECORDED stays in fold and chain and is not decided again.
SEC-03, EP-12.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from core.control_records import (
    FOREIGN,
    TAKEN_AS_RECORDED,
    ActConfirmed,
    DispositionRequested,
    ProofPassed,
    ResumeConfirmed,
    ResumeRequested,
)
from core.payment import decide as core_decide
from core.payment import events as e
from core.payment import state as payment_state
from core.payment.lifecycle_record import lifecycle_record
from core.words import Ruling
from processors.payments import handler
from processors.replay import MemoryLog, Settings, verify
from processors.verifier.partition import UNAUTHORIZED
from schemas import topology as t
from schemas.codec.parties import open_parties
from tests.auditor.wire import sha256
from tests.hostile.test_the_log import FORGERIES, header, names, settled
from tests.processors.payments.clean_history import PARTITIONS
from tests.processors.replay.world import rules_of
from tests.processors.verifier.memory_store import MemoryStore
from tests.processors.verifier.world_rig import WorldRig

pytestmark = pytest.mark.slow

PARTITIONED = (*t.INPUTS, t.EVENTS, t.LIFECYCLE, t.CHECKPOINTS)


@pytest.fixture
def rig() -> WorldRig:
    """A verifier that has signed all of a mixed history."""
    made = WorldRig()
    made.names = made.world.mixed()  # type: ignore[attr-defined]
    made.work()
    assert made.whole()
    return made


def rule(
    rig: WorldRig, payment: str, ruling: Ruling, *, offset: int | None = None, **named: Any
) -> None:
    """A ruling under dual control on the payment's last record, or on the one at this offset."""
    partition = rig.partition(payment)
    mine = [r for r in rig.log.log(t.EVENTS, partition) if r.key == payment.encode()]
    record = next((r for r in mine if r.offset == offset), mine[-1])
    event = rig.world.codec.decode(t.EVENTS, record.value)
    request = DispositionRequested(
        ruling=ruling,
        partition=partition,
        offset=record.offset,
        event_hash=sha256(record.value or b""),
        payment_intent_id=payment,
        sequence=event.header.sequence,
        event_type=type(event).__name__,
        reason="found by the verifier",
        requested_at=0,
        actor="ann",
    )
    request = msgspec.structs.replace(request, **named)
    requested = rig.world.hands.sign(request)
    at = put(rig, requested)
    agreed = ActConfirmed(request_offset=at, confirmed_at=0, actor="bob")
    put(rig, rig.world.hands.sign(agreed, requested))


def put(rig: WorldRig, record: Any) -> int:
    """Append a control record; return its offset."""
    return rig.log.put(t.CONTROL, 0, None, rig.world.codec.encode(t.CONTROL, record))


def proven(rig: WorldRig) -> list[str]:
    """The findings of a replay of the whole log: none, if it may be named to end the STOP."""
    counts = {topic: 1 for topic, _ in rig.log.records}
    log = MemoryLog(counts | {t.OUTCOMES: 1} | dict.fromkeys(PARTITIONED, PARTITIONS))
    log.records = dict(rig.log.records)
    report = verify(
        log,
        Settings(
            codec=rig.world.codec, rules_of=rules_of, open_parties=open_parties,
            keyring=rig.keyring,
        ),
    )  # fmt: skip
    assert report.chain.checked > 0
    return [
        f"{name}: {failure.kind} {failure.first_difference}"
        for name in ("fold", "chain", "redecide", "identity", "money")
        for failure in getattr(report, name).failures
    ]


def stopped(rig: WorldRig) -> str:
    (stop,) = rig.stops()
    return stop.reason.split(":")[0]


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_foreign_event_at_the_end_of_a_payment_is_skipped_and_the_rest_is_signed(
    rig: WorldRig, forge: Callable[[WorldRig, str], None]
) -> None:
    payment = names(rig)["failed"]
    forge(rig, payment)
    rig.work()
    assert stopped(rig) == UNAUTHORIZED
    assert not rig.whole()
    assert proven(rig) != []
    rule(rig, payment, FOREIGN)
    rig.work()
    assert rig.whole()
    assert len(rig.stops()) == 1, "nothing new is found"
    assert rig.registry.get_sample_value("npp_verifier_broken_partitions") == 0
    assert proven(rig) == []


def test_a_valid_event_with_the_same_sequence_is_decided_again_and_signed(
    rig: WorldRig,
) -> None:
    """It was on the log before the ruling: the chain that breaks at it is complete without the
    foreign one.
    """
    payment = rig.world.create("honest")
    rig.work()
    rig.forge(payment, settled(rig, payment))
    forged = rig.log._end(t.EVENTS, rig.partition(payment)) - 1
    rig.world.report(payment, "ACCEPTED", code="ACSP")
    rig.work()
    assert stopped(rig) == UNAUTHORIZED
    rule(rig, payment, FOREIGN, offset=forged)
    rig.work()
    assert rig.whole()
    rig.world.report(payment, "SETTLED", code="ACSC")
    rig.work()
    assert rig.whole()
    assert len(rig.stops()) == 1
    assert proven(rig) == []


def test_a_forged_lifecycle_record_is_correct_again_before_the_ruling(rig: WorldRig) -> None:
    payment = names(rig)["failed"]
    partition = rig.partition(payment)
    honest = [r for r in rig.log.log(t.LIFECYCLE, partition) if r.key == payment.encode()][-1]
    rig.forge(payment, settled(rig, payment))
    before = payment_state.unpack(rig.world.codec.decode(t.LIFECYCLE, honest.value).snapshot)
    after = msgspec.structs.replace(before, sequence=before.sequence + 1, state="SETTLED")
    forged = lifecycle_record(after, sha256(rig.values(payment)[-1]))
    value = rig.world.codec.encode(t.LIFECYCLE, forged)
    rig.log.put(t.LIFECYCLE, partition, payment.encode(), value)
    rig.work()
    assert stopped(rig) == UNAUTHORIZED
    rig.log.put(t.LIFECYCLE, partition, payment.encode(), honest.value)
    rule(rig, payment, FOREIGN)
    rig.work()
    assert rig.whole()
    assert len(rig.stops()) == 1
    assert proven(rig) == []


def test_a_lifecycle_record_that_stays_forged_is_found_after_the_ruling_too(rig: WorldRig) -> None:
    payment = names(rig)["failed"]
    partition = rig.partition(payment)
    rig.forge(payment, settled(rig, payment))
    honest = [r for r in rig.log.log(t.LIFECYCLE, partition) if r.key == payment.encode()][-1]
    record = rig.world.codec.decode(t.LIFECYCLE, honest.value)
    value = rig.world.codec.encode(t.LIFECYCLE, msgspec.structs.replace(record, state="SETTLED"))
    rig.work()
    rule(rig, payment, FOREIGN)
    rig.log.put(t.LIFECYCLE, partition, payment.encode(), value)
    rig.work()
    assert not rig.whole()


def defective(rig: WorldRig, monkeypatch: pytest.MonkeyPatch, payment: str) -> int:
    """A defect of ours decides the next input; the offset of its event."""
    decide = core_decide.decide

    def wrong(state: Any, command: Any, context: Any) -> Any:
        decision: Any = decide(state, command, context)
        last = decision.events[-1]
        decision.events[-1] = msgspec.structs.replace(
            last, header=msgspec.structs.replace(last.header, reason="a defect of ours")
        )
        return decision

    with monkeypatch.context() as broken:
        broken.setattr(handler, "decide", wrong)
        rig.world.report(payment, "ACCEPTED", code="ACSP")
    rig.copy()
    mine = rig.log.log(t.EVENTS, rig.partition(payment))
    return [r.offset for r in mine if r.key == payment.encode()][-1]


def test_an_event_decided_by_a_defect_is_taken_as_recorded_and_later_ones_are_decided_again(
    rig: WorldRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = rig.world.create("defect")
    rig.work()
    at = defective(rig, monkeypatch, payment)
    rig.work()
    assert stopped(rig) == UNAUTHORIZED
    rig.world.report(payment, "SETTLED", code="ACSC")
    rig.work()
    rule(rig, payment, TAKEN_AS_RECORDED, offset=at)
    rig.work()
    assert rig.whole()
    assert len(rig.stops()) == 1
    assert proven(rig) == []


def test_a_lost_store_gives_the_same_roots(rig: WorldRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ruling is bound into the leaf of its payment, like an outcome."""
    payment, other = rig.world.create("defect"), names(rig)["failed"]
    rig.work()
    at = defective(rig, monkeypatch, payment)
    rig.forge(other, settled(rig, other))
    rig.work()
    rule(rig, payment, TAKEN_AS_RECORDED, offset=at)
    rule(rig, other, FOREIGN)
    rig.work()
    assert rig.whole()
    leaf = rig.store.get(rig.partition(other), other)
    assert leaf is not None
    counted = leaf.outcomes
    assert counted > 0
    rig.store = MemoryStore()
    rig.start()
    rig.work()
    rig.world.report(payment, "SETTLED", code="ACSC")
    rig.work()
    assert rig.whole()
    assert len(rig.stops()) == 1
    again = rig.store.get(rig.partition(other), other)
    assert again is not None
    assert again.outcomes == counted


def test_a_ruling_with_another_type_does_not_hide_an_instruction(rig: WorldRig) -> None:
    """The fold refuses FOREIGN for it, even if two people misstate its type."""
    payment = names(rig)["failed"]
    honest = next(
        event
        for raw in rig.values(names(rig)["settled"])
        if isinstance(event := rig.world.codec.decode(t.EVENTS, raw), e.PaymentSentToRail)
    )
    rig.forge(payment, msgspec.structs.replace(honest, header=header(rig, payment)))
    rig.work()
    rule(rig, payment, FOREIGN, event_type="PaymentSettled")
    rig.work()
    assert not rig.whole()


def test_the_ruling_does_not_apply_to_other_bytes_at_that_offset(rig: WorldRig) -> None:
    payment = names(rig)["failed"]
    rig.forge(payment, settled(rig, payment))
    rig.work()
    rule(rig, payment, FOREIGN, event_hash=sha256(b"others"))
    rig.work()
    assert not rig.whole()


def test_an_invented_rule_set_is_never_taken_as_recorded(rig: WorldRig) -> None:
    """No release could make decisions with it."""
    payment = names(rig)["failed"]
    rig.forge(payment, settled(rig, payment, rule_set=77))
    rig.work()
    rule(rig, payment, TAKEN_AS_RECORDED)
    rig.work()
    assert not rig.whole()


def test_the_next_forgery_after_a_stop_was_ended_is_another_stop(rig: WorldRig) -> None:
    payment, other = names(rig)["failed"], names(rig)["retried"]
    rig.forge(payment, settled(rig, payment))
    rig.work()
    rule(rig, payment, FOREIGN)
    resume(rig)
    rig.work()
    assert rig.whole()
    rig.forge(other, settled(rig, other))
    rig.work(2)
    assert [other in stop.reason for stop in rig.stops()] == [False, True]


def resume(rig: WorldRig) -> None:
    """End the one open STOP under dual control, on a proof made since."""
    hands = rig.world.hands
    proof = ProofPassed(
        scope="whole log", fold=True, chain=True, redecide=True, offsets=(0,) * PARTITIONS,
        passed_at=0, actor="replay",
    )  # fmt: skip
    (stop,) = rig.stops()
    requested = hands.sign(
        ResumeRequested(
            stop_id=stop.stop_id,
            proof_offset=put(rig, hands.sign(proof)),
            reason="ruled on",
            requested_at=0,
            actor="ann",
        )
    )
    agreed = ResumeConfirmed(
        stop_id=stop.stop_id, request_offset=put(rig, requested), confirmed_at=0, actor="bob"
    )
    put(rig, hands.sign(agreed, requested))
