"""Online verification: read model, chain, checkpoint and a given pack, compared with the log
itself.
"""

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
from tests.evidence.harness import Harness

pytestmark = pytest.mark.slow


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(tmp_path / "readmodel")
    yield made
    made.close()


def replace(harness: Harness, topic: str, payment: str, index: int, value: bytes | None) -> None:
    """Alter a record of the payment on the log, or remove it with None."""
    for (name, _), records in harness.log.records.items():
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


def refused(harness: Harness, payment: str, pack: bytes | None = None) -> dict[str, Any]:
    answer = harness.packs.verify(payment, pack)
    assert answer["verified"] is False
    return answer["problem"]  # type: ignore[no-any-return]


def test_a_payment_on_the_log_verifies_with_the_hash_of_its_pack(harness: Harness) -> None:
    """EP-06, API-12, OP-13."""
    payment = harness.world.retried("k")
    harness.all()
    _, content = harness.packs.build(payment, None, proof=True)
    for pack in (None, content):
        answer = harness.packs.verify(payment, pack)
        assert (answer["verified"], answer["problem"]) == (True, None)
        assert answer["hash"] == hashlib.sha256(content).hexdigest()
        assert answer["log"]["complete"] is True
        assert answer["log"]["events"] == 23


def test_verification_only_reads_and_works_for_a_payment_in_progress(harness: Harness) -> None:
    """EP-06, RP-09."""
    payment = harness.world.create("k")
    harness.project()
    before = {place: list(records) for place, records in harness.log.records.items()}
    assert harness.packs.verify(payment, None)["verified"] is True
    assert harness.log.records == before


def test_different_bytes_on_the_log_are_named_by_sequence_and_offset(harness: Harness) -> None:
    """EP-07, RP-10."""
    payment = harness.world.settled("k")
    harness.all()
    raw = harness.world.values(payment)[3]
    replace(harness, t.EVENTS, payment, 3, raw[:-1] + bytes([raw[-1] ^ 1]))
    problem = refused(harness, payment)
    assert problem["kind"] == "LOG"
    assert problem["place"].startswith("sequence 4 at npp.payment.events.v1[")
    assert "other bytes" in problem["sentence"]
    replace(harness, t.EVENTS, payment, 3, None)
    assert "no such record" in refused(harness, payment)["sentence"]


def test_an_event_missing_from_the_read_model_is_found_on_the_log(harness: Harness) -> None:
    payment = harness.world.create("k")
    harness.all()
    row = harness.reader.events(payment, 0, 100)[-1]
    harness.world.report(payment, "ACCEPTED", code="ACSP")
    raws = harness.world.values(payment)[row.sequence :]
    for raw in raws:  # not projected yet
        harness.log.append(t.EVENTS, row.partition, payment.encode(), raw)
    later = harness.packs.verify(payment, None)
    assert (later["verified"], later["log"]["laterEvents"]) == (True, len(raws))
    reader: Any = harness.reader
    real = reader.projected
    reader.projected = lambda: {**real(), (t.EVENTS, row.partition): row.offset + 2}
    assert "lacks an event" in refused(harness, payment)["sentence"]


def test_a_different_outcome_checkpoint_or_command_on_the_log_is_named(
    harness: Harness,
) -> None:
    world = harness.world
    payment = world.settled("k")
    command = c.RetryPayment(
        header=world.header(payment),
        operator=world.operator(),
        attempt_id="att_002",
        reason="please",
    )
    world.give(t.OPERATOR_COMMANDS, command)
    harness.all()
    assert harness.packs.verify(payment, None)["verified"] is True
    other = world.codec.encode(
        t.OPERATOR_COMMANDS,
        c.RetryPayment(
            header=world.header(payment),
            operator=world.operator(),
            attempt_id="att_002",
            reason="never asked",
        ),
    )
    replace(harness, t.OPERATOR_COMMANDS, payment, 0, other)
    assert refused(harness, payment)["sentence"] == "the log has other bytes there"
    replace(harness, t.OUTCOMES, payment, 0, b"\x00other")
    assert refused(harness, payment)["place"].startswith("outcome at npp.payment.outcomes.v1[")
    for (name, partition), records in harness.log.records.items():
        if name == t.CHECKPOINTS and any(
            r.key == payment.encode() for r in harness.log.records[t.EVENTS, partition]
        ):
            records[0] = LogRecord(name, partition, 0, 0, b"", b"other", [])
    harness.log.records[t.OUTCOMES, 0] = [
        r for r in world.driver.committed(t.OUTCOMES) if r.partition == 0
    ]
    assert refused(harness, payment)["place"].startswith("checkpoint 1 at")


def test_an_altered_pack_is_named_although_the_log_is_complete(harness: Harness) -> None:
    """EP-07, OP-13."""
    world = harness.world
    payment, beside = world.settled("k"), world.settled("other")
    command = c.RetryPayment(
        header=world.header(payment),
        operator=world.operator(),
        attempt_id="att_002",
        reason="please",
    )
    world.give(t.OPERATOR_COMMANDS, command)
    harness.all()
    _, content = harness.packs.build(payment, None, proof=True)
    pack = json.loads(content)
    pack["state"]["state"] = "FAILED"
    altered = json.dumps(pack, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert refused(harness, payment, altered)["place"] == "pack: state.state"
    assert refused(harness, beside, content)["kind"] == "PAYMENT"
    assert refused(harness, payment, content[:-5])["kind"] == "FILE"
    assert refused(harness, payment, harness.packs.view(payment))["kind"] == "VIEW"
    assert refused(harness, payment, b"[]")["kind"] == "FILE"


@pytest.mark.parametrize(
    ("index", "sentence"), [(-1, "expected sequence"), (2, "expected sequence")]
)
def test_a_repeated_sequence_after_the_last_event_is_broken_not_complete(
    harness: Harness, index: int, sentence: str
) -> None:
    """EP-07: the bytes of one of its own events again; the read model does not show it yet."""
    payment = harness.world.settled("k")
    harness.all()
    raw = harness.world.values(payment)[index]
    row = harness.reader.events(payment, 0, 1)[0]
    harness.log.append(t.EVENTS, row.partition, payment.encode(), raw)
    problem = refused(harness, payment)
    assert problem["kind"] == "LOG"
    assert problem["sentence"].startswith(sentence)


def test_an_earlier_as_of_and_a_pack_without_proof_verify_against_the_log(
    harness: Harness,
) -> None:
    payment = harness.world.create("k")
    harness.all()
    _, early = harness.packs.build(payment, None, proof=True)
    _, bare = harness.packs.build(payment, None, proof=False)
    harness.world.report(payment, "SETTLED", code="ACSC")
    harness.all()
    for pack in (early, bare):
        assert harness.packs.verify(payment, pack)["verified"] is True


def test_a_pack_that_is_not_fully_signed_is_proved_against_the_log(harness: Harness) -> None:
    """EP-09."""
    payment = harness.world.create("k")
    harness.project()
    _, content = harness.packs.build(payment, None, proof=True)
    assert harness.packs.prove(payment, content)["verified"] is True
    replace(harness, t.EVENTS, payment, 0, b"\x00other")
    assert harness.packs.prove(payment, content)["verified"] is False
