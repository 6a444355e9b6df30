"""The rulings on a payment's records are in its pack forever (domain §10)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.control_records import FOREIGN, TAKEN_AS_RECORDED
from core.payment import commands as c
from core.words import Ruling
from engine.records import LogRecord
from evidence import verify_evidence as v
from evidence.packs.pdf import pdf_of, verify_pdf
from schemas import topology as t
from tests.evidence.alterations import KEYS, forged, refused
from tests.evidence.harness import Harness
from tests.processors.projector import foreign as written

pytestmark = pytest.mark.slow

REASON = 'written with "the engine\'s" credential: \x1b[31m ünï 💸 \\ \x7f'


class Ruled:
    """A payment with refused actions before and after the ruling, and another payment."""

    def __init__(self, folder: Path, ruling: Ruling = FOREIGN) -> None:
        self.harness = Harness(folder)
        world = self.harness.world
        self.payment = world.create("k")
        self.beside = world.settled(world.key_beside(self.payment))
        self.refuse()
        self.harness.all()
        self.record = written.forged(world, self.payment)
        written.rule(world, self.record, ruling)
        self.refuse()
        self.harness.all()
        self.refuse()
        self.harness.all()

    def refuse(self) -> None:
        """An action that the engine does not execute."""
        world = self.harness.world
        command = c.ReleaseFunds(
            header=world.header(self.payment), operator=world.operator(), attempt=1,
            reason="why not",
        )  # fmt: skip
        world.give(t.OPERATOR_COMMANDS, command)

    def pack(self, payment: str = "") -> bytes:
        return self.harness.packs.build(payment or self.payment, None, proof=True)[1]


@pytest.fixture
def skipped(tmp_path: Path) -> Iterator[Ruled]:
    made = Ruled(tmp_path / "readmodel")
    yield made
    made.harness.close()


@pytest.fixture
def taken(tmp_path: Path) -> Iterator[Ruled]:
    made = Ruled(tmp_path / "readmodel", TAKEN_AS_RECORDED)
    yield made
    made.harness.close()


def test_a_pack_skips_a_foreign_record_and_shows_the_ruling(skipped: Ruled) -> None:
    """EP-07: the raw acts, the raw record, and its signed count."""
    content = skipped.pack()
    answer = v.verify(content, KEYS)
    assert (answer["verdict"], answer["problem"]) == (v.VERIFIED, None)
    (ruling,) = answer["rulings"]
    assert ruling["ruling"] == FOREIGN
    assert (ruling["requestedBy"], ruling["confirmedBy"]) == ("ann", "bob")
    assert ruling["signed"] == v.SIGNED
    lines = "\n".join(v.report(answer))
    for words in (FOREIGN, "ann", "bob", ruling["reason"], f"offset {skipped.record.offset}"):
        assert words in lines
    pack = json.loads(content)
    assert skipped.record.offset not in [e["offset"] for e in pack["lifecycleEvents"]]
    assert pack["replayProof"]["rulings"][0]["record"] == v.base64_of(skipped.record.value or b"")
    assert pack["asOf"].endswith(".1")
    assert v.verify(skipped.pack(skipped.beside), KEYS)["verdict"] == v.VERIFIED


def test_an_event_taken_as_recorded_is_shown_as_not_decided_by_the_rules(
    taken: Ruled,
) -> None:
    content = taken.pack()
    answer = v.verify(content, KEYS)
    assert (answer["verdict"], answer["problem"]) == (v.VERIFIED, None)
    notes = {e["offset"]: e["note"] for e in json.loads(content)["lifecycleEvents"]}
    assert notes[taken.record.offset] == v.NOT_DECIDED
    assert set(notes.values()) == {None, v.NOT_DECIDED}
    assert v.NOT_DECIDED in "\n".join(v.report(answer))
    assert v.verify(taken.pack(taken.beside), KEYS)["verdict"] == v.VERIFIED


def test_every_pack_of_that_checkpoint_has_its_path_to_the_root(skipped: Ruled) -> None:
    """The tree includes the leaf of the payment with the ruling, and the log agrees."""
    for payment in (skipped.payment, skipped.beside):
        answer = skipped.harness.packs.verify(payment, skipped.pack(payment))
        assert (answer["verified"], answer["problem"]) == (True, None)


def dropped(inputs: v.Inputs) -> v.Inputs:
    acts = {act.schema_id for each in inputs.rulings for act in (each.request, each.confirmation)}
    schemas = {number: each for number, each in inputs.schemas.items() if number not in acts}
    return replace(inputs, rulings=[], schemas=schemas)


def as_foreign_of_another(inputs: v.Inputs) -> v.Inputs:
    (ruling,) = inputs.rulings
    return replace(inputs, rulings=[replace(ruling, record=b"another record")])


def in_no_leaf(inputs: v.Inputs) -> v.Inputs:
    (ruling,) = inputs.rulings
    return replace(inputs, rulings=[replace(ruling, counted_after=None)])


def counted_elsewhere(inputs: v.Inputs) -> v.Inputs:
    (ruling,) = inputs.rulings
    return replace(inputs, rulings=[replace(ruling, counted_after=0)])


def of_another_cluster(inputs: v.Inputs) -> v.Inputs:
    (ruling,) = inputs.rulings
    return replace(inputs, rulings=[replace(ruling, cluster="elsewhere")])


def of_another_request(inputs: v.Inputs) -> v.Inputs:
    (ruling,) = inputs.rulings
    return replace(inputs, rulings=[replace(ruling, request_offset=ruling.request_offset - 1)])


def twice(inputs: v.Inputs) -> v.Inputs:
    return replace(inputs, rulings=inputs.rulings * 2)


def said_by(name: str) -> Callable[[v.Inputs], v.Inputs]:
    """The request's raw bytes differ, and everything else matches them."""

    def change(inputs: v.Inputs) -> v.Inputs:
        (ruling,) = inputs.rulings
        old = ruling.request.record[name].encode()
        raw = ruling.request.raw.replace(old, bytes([old[0] ^ 1]) + old[1:])
        assert raw != ruling.request.raw
        schema = v.parse_schema(inputs.schemas[ruling.request.schema_id]["schema"])
        return replace(inputs, rulings=[replace(ruling, request=v.command_of(raw, schema))])

    return change


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (dropped, "MERKLE"), (in_no_leaf, "MERKLE"), (counted_elsewhere, "MERKLE"),
        (as_foreign_of_another, "RULING"), (of_another_cluster, "RULING"),
        (of_another_request, "RULING"), (twice, "RULING"), (said_by("reason"), "RULING"),
        (said_by("actor"), "RULING"), (said_by("ruling"), "RULING"),
    ],
)  # fmt: skip
def test_a_pack_with_a_dropped_or_altered_ruling_is_broken(
    skipped: Ruled, change: Callable[[v.Inputs], v.Inputs], kind: str
) -> None:
    """By the signed leaf, or because the two acts and the record do not match."""
    inputs = v.read_inputs(json.loads(skipped.pack()), KEYS)
    assert refused(forged(change(inputs)))[0] == kind


def test_a_ruling_shown_differently_by_the_pack_is_broken(skipped: Ruled) -> None:
    for name, value in (("ruling", TAKEN_AS_RECORDED), ("reason", "x"), ("confirmedBy", "eve")):
        pack = json.loads(skipped.pack())
        pack["rulings"][0][name] = value
        assert refused(v.canonical(pack)) == ("CONTENT", f"rulings[0].{name}")


def test_a_ruling_on_signed_events_is_in_no_leaf_and_is_compared_with_the_log(
    tmp_path: Path,
) -> None:
    """A defect found later: offline the pack says that nothing signed covers the ruling."""
    harness = Harness(tmp_path / "readmodel")
    world = harness.world
    payment = world.create("k")
    harness.all()
    record = written.last_of(world, payment)
    written.rule(world, record, TAKEN_AS_RECORDED)
    harness.all()
    content = harness.packs.build(payment, None, proof=True)[1]
    answer = v.verify(content, KEYS)
    assert answer["verdict"] == v.VERIFIED
    assert [each["signed"] for each in answer["rulings"]] == [v.IN_NO_LEAF]
    assert harness.packs.verify(payment, content)["verified"]
    inputs = v.read_inputs(json.loads(content), KEYS)
    without = forged(dropped(inputs))
    assert v.verify(without, KEYS)["verdict"] == v.VERIFIED, "that is why the log is asked"
    problem = harness.packs.verify(payment, without)["problem"]
    assert (problem["kind"], problem["place"]) == ("AS_OF", "pack: asOf")
    harness.close()


def test_a_ruling_is_unsigned_until_a_checkpoint_counts_it(tmp_path: Path) -> None:
    harness = Harness(tmp_path / "readmodel")
    payment = harness.world.create("k")
    harness.all()
    written.rule(harness.world, written.forged(harness.world, payment))
    harness.project()
    answer = v.verify(harness.packs.build(payment, None, proof=True)[1], KEYS)
    assert (answer["verdict"], answer["unsigned"]) == (v.VERIFIED_THROUGH, 1)
    assert answer["notYetSigned"] == ["ruling FOREIGN"]
    harness.all()
    answer = v.verify(harness.packs.build(payment, None, proof=True)[1], KEYS)
    assert (answer["verdict"], answer["unsigned"]) == (v.VERIFIED, 0)
    harness.close()


def test_online_every_act_and_the_skipped_record_are_compared_with_the_log(skipped: Ruled) -> None:
    log = skipped.harness.log
    request = v.read_inputs(json.loads(skipped.pack()), KEYS).rulings[0].request_offset
    places = [
        (t.CONTROL, 0, request),
        (t.EVENTS, skipped.record.partition, skipped.record.offset),
    ]
    for topic, partition, offset in places:
        records = log.records[topic, partition]
        kept = list(records)
        records[:] = [altered(r) if r.offset == offset else r for r in kept]
        answer = skipped.harness.packs.verify(skipped.payment, None)
        assert answer["problem"]["kind"] == "LOG"
        records[:] = kept
    assert skipped.harness.packs.verify(skipped.payment, None)["verified"]


def altered(record: LogRecord) -> LogRecord:
    raw = record.value or b""
    return msgspec.structs.replace(record, value=raw[:-1] + bytes([raw[-1] ^ 1]))


def test_the_pdf_prints_the_ruling_and_verifies(skipped: Ruled) -> None:
    answer: dict[str, Any] = verify_pdf(pdf_of(skipped.pack()), KEYS)
    assert answer["verdict"] == v.VERIFIED
    assert answer["rulings"][0]["confirmedBy"] == "bob"


def test_the_standalone_verifiers_hash_of_a_signed_request_equals_the_signed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason contains: quotes, control characters, other scripts."""
    monkeypatch.setattr(written, "REASON", REASON)
    made = Ruled(tmp_path / "readmodel")
    assert v.verify(made.pack(), KEYS)["verdict"] == v.VERIFIED
    made.harness.close()
