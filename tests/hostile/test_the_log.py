"""A holder of write access to the journal appends events with the right sequence and previousHash:
none of it is signed, and it is a STOP within ten seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from core.header import Actor, Cause, EventHeader, OperatorHeader
from core.payment import commands as c
from core.payment import events as e
from core.payment import state as payment_state
from core.payment.evolve import evolve
from core.payment.lifecycle_record import lifecycle_record
from processors.payments import handler
from processors.verifier.partition import UNAUTHORIZED
from schemas import topology as t
from tests.auditor.wire import sha256
from tests.processors.verifier.world_rig import WorldRig

pytestmark = pytest.mark.slow


@pytest.fixture
def rig() -> WorldRig:
    """A verifier that has signed all of a mixed history."""
    made = WorldRig()
    made.names = made.world.mixed()  # type: ignore[attr-defined]
    made.work()
    assert made.stops() == []
    assert made.whole()
    return made


def names(rig: WorldRig) -> dict[str, str]:
    return rig.names  # type: ignore[attr-defined, no-any-return]


def header(rig: WorldRig, payment: str, **changes: Any) -> EventHeader:
    return EventHeader(**rig.header(payment, **changes))


def settled(rig: WorldRig, payment: str, **changes: Any) -> e.PaymentSettled:
    """A copy of a valid settlement, for another payment."""
    honest = next(
        event
        for raw in rig.values(names(rig)["settled"])
        if isinstance(event := rig.world.codec.decode(t.EVENTS, raw), e.PaymentSettled)
    )
    changes = {"state_after": "SETTLED", **changes}
    return msgspec.structs.replace(honest, header=header(rig, payment, **changes))


def _settled_without_a_report(rig: WorldRig, payment: str) -> None:
    """It names the payment's last input again."""
    rig.forge(payment, settled(rig, payment))


def _cause_that_is_not_there(rig: WorldRig, payment: str) -> None:
    cause = rig.last(payment).header.cause
    other = msgspec.structs.replace(cause, topic=t.RAIL_REPORTS, offset=10**12)
    rig.forge(payment, settled(rig, payment, cause=other))


def _cause_on_a_topic_that_is_none(rig: WorldRig, payment: str) -> None:
    cause = msgspec.structs.replace(rig.last(payment).header.cause, topic="npp.invented.v1")
    rig.forge(payment, settled(rig, payment, cause=cause))


def _invented_cluster(rig: WorldRig, payment: str) -> None:
    cause = msgspec.structs.replace(rig.last(payment).header.cause, cluster_id="elsewhere")
    rig.forge(payment, settled(rig, payment, cause=cause))


def _invented_rule_set(rig: WorldRig, payment: str) -> None:
    rig.forge(payment, settled(rig, payment, rule_set=77))


def undecided(rig: WorldRig, payment: str, topic: str, record: Any) -> Cause:
    """A genuine input that the engine has not read, and the cause that names it."""
    raw = rig.world.codec.encode(topic, record)
    partition = rig.partition(payment)
    offset = rig.log.put(topic, partition, payment.encode(), raw)
    cluster = rig.last(payment).header.cause.cluster_id
    return Cause(
        cluster_id=cluster, topic=topic, partition=partition, offset=offset, input_hash=sha256(raw)
    )


def _suspended(rig: WorldRig, payment: str) -> None:
    """It names a genuine input that is not in quarantine as PARKED."""
    report = c.NotificationResult(
        header=rig.world.header(payment),
        notification_id="ntf_001",
        kind="failed",
        result="DELIVERED",
    )
    changes = {
        "cause": undecided(rig, payment, t.CUSTOMER_NOTIFIED, report),
        "actor": Actor(kind="system", id="orchestrator"),
        "reason": None,
        "approval_id": None,
        "traceparent": None,
    }
    rig.forge(payment, e.ProcessingSuspended(header=header(rig, payment, **changes), error="X"))


def _resumed(rig: WorldRig, payment: str) -> None:
    rig.forge(
        payment, e.ProcessingResumed(header=header(rig, payment), requested_by="ann", text="go")
    )


FORGERIES = [
    _settled_without_a_report,
    _cause_that_is_not_there,
    _cause_on_a_topic_that_is_none,
    _invented_cluster,
    _invented_rule_set,
    _suspended,
    _resumed,
]


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forged_event_at_the_end_of_a_payment_is_a_stop_within_ten_seconds_and_is_not_signed(
    rig: WorldRig, forge: Callable[[WorldRig, str], None]
) -> None:
    """SEC-03, EP-12: the payment gets no further events."""
    payment = names(rig)["failed"]
    partition = rig.partition(payment)
    signed = rig.signed_to(partition)
    forge(rig, payment)
    for _ in range(2):  # of at most ten seconds; no later event is needed
        rig.verifier.step(0)
        rig.clock.advance(1_000)
    (stop,) = rig.stops()
    assert stop.automatic
    assert stop.reason.startswith(f"{UNAUTHORIZED}: payment {payment} sequence ")
    rig.work()
    assert rig.signed_to(partition) == signed
    assert len(rig.stops()) == 1
    sample = rig.registry.get_sample_value("npp_verifier_problems_total", {"kind": UNAUTHORIZED})
    assert sample == 1.0


def test_an_event_and_its_lifecycle_record_forged_together_are_found_too(rig: WorldRig) -> None:
    payment = names(rig)["failed"]
    event = settled(rig, payment)
    partition = rig.partition(payment)
    record = [r for r in rig.log.log(t.LIFECYCLE, partition) if r.key == payment.encode()][-1]
    before = payment_state.unpack(rig.world.codec.decode(t.LIFECYCLE, record.value).snapshot)
    rig.forge(payment, event)
    raw = rig.values(payment)[-1]
    after = msgspec.structs.replace(before, sequence=before.sequence + 1, state="SETTLED")
    value = rig.world.codec.encode(t.LIFECYCLE, lifecycle_record(after, sha256(raw)))
    rig.log.put(t.LIFECYCLE, partition, payment.encode(), value)
    rig.work()
    assert [stop.reason.split(":")[0] for stop in rig.stops()] == [UNAUTHORIZED]


def test_a_decision_with_only_its_first_event_is_found() -> None:
    """A valid input was decided elsewhere, and one of several events was written."""
    rig = WorldRig()
    payment = rig.world.create("k")
    rig.copy()
    partition = rig.partition(payment)
    for topic in (t.EVENTS, t.LIFECYCLE):
        log = rig.log.log(topic, partition)
        del log[1:]
    rig.work(2)
    (stop,) = rig.stops()
    assert "only 1 of them are there" in stop.reason
    assert rig.signed_to(partition) == -1


@pytest.mark.parametrize("field", ["state", "sequence", "deleted"])
def test_an_altered_lifecycle_record_is_a_stop(rig: WorldRig, field: str) -> None:
    """The engine would start from it."""
    payment = names(rig)["failed"]
    partition = rig.partition(payment)
    log = rig.log.log(t.LIFECYCLE, partition)
    own = [r for r in log if r.key == payment.encode()]
    record = rig.world.codec.decode(t.LIFECYCLE, own[-1].value)
    value: bytes | None = own[0].value
    if field == "state":
        other = msgspec.structs.replace(record, state="SETTLED")
        value = rig.world.codec.encode(t.LIFECYCLE, other)
    elif field == "deleted":
        value = None
    rig.log.put(t.LIFECYCLE, partition, payment.encode(), value)
    rig.work()
    (stop,) = rig.stops()
    assert stop.reason.startswith(f"{UNAUTHORIZED}: payment {payment}")


def test_an_event_whose_lifecycle_record_never_comes_is_not_signed(rig: WorldRig) -> None:
    """One transaction writes both."""
    payment = rig.world.create("later")
    partition = rig.partition(payment)
    rig.copy()
    log = rig.log.log(t.LIFECYCLE, partition)
    log[:] = [each for each in log if each.key != payment.encode()]
    rig.work(2)
    assert rig.signed_to(partition) < rig.log._end(t.EVENTS, partition) - 1
    assert rig.stops() == []
    rig.work(9)
    (stop,) = rig.stops()
    assert "no lifecycle record" in stop.reason


def test_two_forgeries_are_one_stop_while_it_is_open(rig: WorldRig) -> None:
    for name in ("failed", "retried", "conflict"):
        _settled_without_a_report(rig, names(rig)[name])
    rig.work()
    assert len(rig.stops()) == 1
    sample = rig.registry.get_sample_value("npp_verifier_problems_total", {"kind": UNAUTHORIZED})
    assert sample == 3.0


def test_evolve_itself_accepts_the_forged_event(rig: WorldRig) -> None:
    """Neither chain nor fold would have found it."""
    payment = names(rig)["failed"]
    _suspended(rig, payment)
    state = None
    for raw in rig.values(payment):
        state = evolve(state, rig.world.codec.decode(t.EVENTS, raw))
    assert state is not None
    assert state.parked


def test_the_cause_is_compared_with_the_input_on_the_log(rig: WorldRig) -> None:
    """An input altered after it was decided, here before its event is verified."""
    payment = rig.world.create("altered")
    rig.copy()
    partition = rig.partition(payment)
    cause: Cause = rig.last(payment).header.cause
    log = rig.log.log(cause.topic, partition)
    record = log[-1]
    log[-1] = msgspec.structs.replace(record, value=(record.value or b"")[:-1] + b"\x07")
    rig.work()
    (stop,) = rig.stops()
    assert "other bytes than when it was decided" in stop.reason


def test_an_unsigned_resume_is_a_stop_although_our_own_code_decides_it(
    rig: WorldRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attacker also writes the operator's command, and runs our code on it."""
    payment = rig.world.create("parked")

    def defect(*given: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(handler, "decide", defect)
        rig.world.report(payment, "ACCEPTED", code="ACSP")
    rig.work()
    assert rig.stops() == []
    now = rig.world.driver.clock.now_ms()
    command = c.ResumeProcessing(
        header=rig.world.header(payment),
        operator=OperatorHeader(
            operator_id="bob", roles=("admin",), token_id="t", not_after=now + 60_000
        ),
        requested_by="ann",
        reason="fixed",
    )
    monkeypatch.setattr(handler.PaymentsApplication, "_is_confirmed", lambda *_: True)
    rig.world.give(t.OPERATOR_COMMANDS, command)
    rig.work()
    (stop,) = rig.stops()
    assert "no two people signed" in stop.reason
