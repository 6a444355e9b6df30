"""Online verification: read model, chain, checkpoint and a given pack against the log itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.payment import commands as c
from engine.records import LogRecord
from schemas import topology as t
from tests.evidence.harness import House

pytestmark = pytest.mark.slow


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "readmodel")
    yield made
    made.close()


def replace(house: House, topic: str, payment: str, index: int, value: bytes | None) -> None:
    """Alter (or, with None, take away) a record of the payment on the log."""
    for (name, _), records in house.log.records.items():
        own = [i for i, r in enumerate(records) if r.key == payment.encode()]
        if name == topic and own:
            old = records[own[index]]
            if value is None:
                del records[own[index]]
            else:
                records[own[index]] = LogRecord(
                    topic, old.partition, old.offset, 0, old.key, value, old.headers
                )
            return
    raise KeyError(payment)


def refused(house: House, payment: str, pack: bytes | None = None) -> dict[str, Any]:
    answer = house.desk.verify(payment, pack)
    assert answer["verified"] is False
    return answer["problem"]  # type: ignore[no-any-return]


# EP-06, API-12, OP-13
def test_a_payment_in_the_log_verifies_and_the_hash_is_that_of_its_pack(house: House) -> None:
    payment = house.world.retried("k")
    house.all()
    _, content = house.desk.build(payment, None, proof=True)
    for pack in (None, content):
        answer = house.desk.verify(payment, pack)
        assert (answer["verified"], answer["problem"]) == (True, None)
        assert answer["hash"] == hashlib.sha256(content).hexdigest()
        assert answer["log"]["complete"] is True
        assert answer["log"]["events"] == 23


# EP-06, RP-09
def test_verification_reads_only_and_works_in_flight(house: House) -> None:
    payment = house.world.create("k")
    house.project()
    before = {place: list(records) for place, records in house.log.records.items()}
    assert house.desk.verify(payment, None)["verified"] is True
    assert house.log.records == before


# EP-07, RP-10
def test_other_bytes_on_the_log_are_named_by_sequence_and_offset(house: House) -> None:
    payment = house.world.settled("k")
    house.all()
    raw = house.world.values(payment)[3]
    replace(house, t.EVENTS, payment, 3, raw[:-1] + bytes([raw[-1] ^ 1]))
    problem = refused(house, payment)
    assert problem["kind"] == "LOG"
    assert problem["place"].startswith("sequence 4 at npp.payment.events.v1[")
    assert "other bytes" in problem["sentence"]
    replace(house, t.EVENTS, payment, 3, None)
    assert "no such record" in refused(house, payment)["sentence"]


def test_an_event_that_the_read_model_lacks_is_found_on_the_log(house: House) -> None:
    payment = house.world.settled("k")
    house.all()
    partition, offset = next(
        (p, r[-1].offset) for (name, p), r in house.log.records.items() if name == t.EVENTS
    )
    house.log.append(t.EVENTS, partition, payment.encode(), b"later")
    later = house.desk.verify(payment, None)
    assert (later["verified"], later["log"]["laterEvents"]) == (True, 1)  # not projected yet
    reader: Any = house.reader
    real = reader.projected
    reader.projected = lambda: {**real(), (t.EVENTS, partition): offset + 2}
    assert "lacks an event" in refused(house, payment)["sentence"]


def test_an_outcome_a_checkpoint_or_a_command_that_the_log_has_otherwise_is_named(
    house: House,
) -> None:
    world = house.world
    payment = world.settled("k")
    command = c.RetryPayment(world.header(payment), world.operator(), "att_002", "please")
    world.give(t.OPERATOR_COMMANDS, command)
    house.all()
    assert house.desk.verify(payment, None)["verified"] is True
    other = world.codec.encode(
        t.OPERATOR_COMMANDS,
        c.RetryPayment(world.header(payment), world.operator(), "att_002", "never asked"),
    )
    replace(house, t.OPERATOR_COMMANDS, payment, 0, other)
    assert refused(house, payment)["sentence"] == "the log has another command there"
    replace(house, t.OUTCOMES, payment, 0, b"\x00other")
    assert refused(house, payment)["place"].startswith("outcome at npp.payment.outcomes.v1[")
    for (name, partition), records in house.log.records.items():
        if name == t.CHECKPOINTS and any(
            r.key == payment.encode() for r in house.log.records[t.EVENTS, partition]
        ):
            records[0] = LogRecord(name, partition, 0, 0, b"", b"other", [])
    house.log.records[t.OUTCOMES, 0] = [
        r for r in world.driver.committed(t.OUTCOMES) if r.partition == 0
    ]
    assert refused(house, payment)["place"].startswith("checkpoint 1 at")


# EP-07, OP-13
def test_a_given_pack_that_was_altered_is_named_though_the_log_is_whole(house: House) -> None:
    world = house.world
    payment, beside = world.settled("k"), world.settled("other")
    command = c.RetryPayment(world.header(payment), world.operator(), "att_002", "please")
    world.give(t.OPERATOR_COMMANDS, command)
    house.all()
    _, content = house.desk.build(payment, None, proof=True)
    pack = json.loads(content)
    pack["state"]["state"] = "FAILED"
    altered = json.dumps(pack, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert refused(house, payment, altered)["place"] == "pack: state.state"
    assert refused(house, beside, content)["kind"] == "PAYMENT"
    assert refused(house, payment, content[:-5])["kind"] == "FILE"
    assert refused(house, payment, house.desk.view(payment))["kind"] == "VIEW"
    assert refused(house, payment, b"[]")["kind"] == "FILE"


# EP-07: what no signature covers, the log does
def test_a_forged_reason_of_a_refused_action_passes_offline_but_not_against_the_log(
    house: House,
) -> None:
    from evidence import verify_evidence as v
    from evidence.pack import public_keys

    world = house.world
    payment = world.settled("k")
    command = c.RetryPayment(world.header(payment), world.operator(), "att_002", "please")
    world.give(t.OPERATOR_COMMANDS, command)
    house.all()
    _, content = house.desk.build(payment, None, proof=True)
    inputs = v.read_inputs(json.loads(content), public_keys(house.ring))
    inputs.said[0]["reason"] = "forged"
    forged = v.canonical(v.assemble(inputs, with_proof=True))
    assert v.verify(forged, public_keys(house.ring))["verified"]  # docs/evidence.md says so
    problem = refused(house, payment, forged)
    assert problem["place"] == "pack: operatorActions.notExecuted[0].reason"


def test_a_pack_of_an_earlier_as_of_and_one_without_proof_verify_against_the_log(
    house: House,
) -> None:
    payment = house.world.create("k")
    house.all()
    _, early = house.desk.build(payment, None, proof=True)
    _, bare = house.desk.build(payment, None, proof=False)
    house.world.report(payment, "SETTLED", code="ACSC")
    house.all()
    for pack in (early, bare):
        assert house.desk.verify(payment, pack)["verified"] is True


# EP-09
def test_a_pack_that_is_not_signed_throughout_is_proven_against_the_log(house: House) -> None:
    payment = house.world.create("k")
    house.project()
    _, content = house.desk.build(payment, None, proof=True)
    assert house.desk.prove(payment, content)["verified"] is True
    replace(house, t.EVENTS, payment, 0, b"\x00other")
    assert house.desk.prove(payment, content)["verified"] is False
