"""The holder of a pack file alters its refused actions: one is dropped, added, or attributed to
another person. Each change breaks the pack.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.payment import commands as c
from evidence import verify_evidence as v
from evidence.packs.pack import public_keys
from schemas import topology as t
from tests.evidence.harness import Harness

pytestmark = pytest.mark.slow


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(tmp_path / "readmodel")
    yield made
    made.close()


def refuse(harness: Harness, payment: str, reason: str) -> None:
    """A retry of a settled payment, which the engine refuses."""
    world = harness.world
    command = c.RetryPayment(
        header=world.header(payment),
        operator=world.operator(),
        attempt_id="att_002",
        reason=reason,
    )
    world.give(t.OPERATOR_COMMANDS, command)


def inputs_of(harness: Harness, content: bytes) -> v.Inputs:
    return v.read_inputs(json.loads(content), public_keys(harness.ring))


def verified(harness: Harness, content: bytes) -> dict[str, Any]:
    return v.verify(content, public_keys(harness.ring))


def _drop(harness: Harness, inputs: v.Inputs) -> v.Inputs:
    return replace(inputs, outcomes=inputs.outcomes[:-1], commands=inputs.commands[:-1])


def _drop_all(harness: Harness, inputs: v.Inputs) -> v.Inputs:
    kept = [each for each in inputs.outcomes if not v.is_refused(each[3])]
    used = {e.schema_id for e in inputs.events} | {v.schema_id_of(raw) for _, _, raw, _ in kept}
    used.add(inputs.proof.schema_id if inputs.proof else 0)
    schemas = {number: each for number, each in inputs.schemas.items() if number in used}
    return replace(inputs, outcomes=kept, commands=[], schemas=schemas)


def _another_person(harness: Harness, inputs: v.Inputs) -> v.Inputs:
    """The command names another operator; the outcome still names the real command's hash."""
    return replace(inputs, commands=[_forged(harness, inputs), *inputs.commands[1:]])


def _another_person_and_hash(harness: Harness, inputs: v.Inputs) -> v.Inputs:
    """The outcome is rewritten to match."""
    forged = _forged(harness, inputs)
    partition, offset, raw, record = inputs.outcomes[0]
    outcome = harness.world.codec.decode(t.OUTCOMES, raw)
    digest = hashlib.sha256(forged.raw).digest()
    cause = msgspec.structs.replace(outcome.cause, input_hash=digest)
    other = harness.world.codec.encode(t.OUTCOMES, msgspec.structs.replace(outcome, cause=cause))
    record = {**record, "cause": {**record["cause"], "inputHash": digest.hex()}}
    return replace(
        inputs,
        outcomes=[(partition, offset, other, record), *inputs.outcomes[1:]],
        commands=[forged, *inputs.commands[1:]],
    )


def _forged(harness: Harness, inputs: v.Inputs) -> v.Command:
    codec = harness.world.codec
    command = codec.decode(t.OPERATOR_COMMANDS, inputs.commands[0].raw)
    operator = msgspec.structs.replace(command.operator, operator_id="innocent.person@bank")
    raw = codec.encode(t.OPERATOR_COMMANDS, msgspec.structs.replace(command, operator=operator))
    return replace(
        inputs.commands[0],
        raw=raw,
        record={
            **inputs.commands[0].record,
            "operator": {
                **inputs.commands[0].record["operator"],
                "operatorId": "innocent.person@bank",
            },
        },
    )


def _moved_behind_the_checkpoint(harness: Harness, inputs: v.Inputs) -> v.Inputs:
    """As if it were not signed yet."""
    partition, _, raw, record = inputs.outcomes[-1]
    last = (partition, 10**9, raw, record)
    return replace(inputs, outcomes=[*inputs.outcomes[:-1], last])


@pytest.mark.parametrize(
    ("alter", "kind"),
    [
        (_drop, "MERKLE"),
        (_drop_all, "MERKLE"),
        (_another_person, "OUTCOME"),
        (_another_person_and_hash, "MERKLE"),
        (_moved_behind_the_checkpoint, "MERKLE"),
    ],
)
def test_a_refused_action_cannot_be_dropped_or_attributed_to_another_person(
    harness: Harness, alter: Callable[[Harness, v.Inputs], v.Inputs], kind: str
) -> None:
    """EP-02, EP-07, EP-12."""
    payment = harness.world.settled("k")
    refuse(harness, payment, "first")
    refuse(harness, payment, "second")
    harness.all()
    _, content = harness.packs.build(payment, None, proof=True)
    genuine = verified(harness, content)
    assert (genuine["problem"], genuine["verdict"]) == (None, v.VERIFIED)
    body = json.loads(content)["operatorActions"]["notExecuted"]
    assert [each["reason"] for each in body] == ["first", "second"]
    forged = v.canonical(v.assemble(alter(harness, inputs_of(harness, content)), with_proof=True))
    problem = verified(harness, forged)["problem"]
    assert problem is not None
    assert problem["kind"] == kind


def test_a_refusal_alone_is_signed_by_the_next_checkpoint(harness: Harness) -> None:
    """Nothing else happens to the payment; until then the pack says that it is unsigned."""
    payment = harness.world.settled("k")
    harness.all()
    early, _ = harness.packs.build(payment, None, proof=True)
    refuse(harness, payment, "late")
    harness.project()
    as_of, content = harness.packs.build(payment, None, proof=True)
    answer = verified(harness, content)
    assert (answer["verdict"], answer["unsigned"]) == (v.VERIFIED_THROUGH, 1)
    assert answer["notYetSigned"] == ["RetryPayment, not executed"]
    assert as_of.split(".")[2] == early.split(".")[2] == "1"
    harness.all()
    as_of, content = harness.packs.build(payment, None, proof=True)
    answer = verified(harness, content)
    assert (answer["verdict"], answer["unsigned"]) == (v.VERIFIED, 0)
    assert as_of.split(".")[2] == "2"
    assert harness.packs.build(payment, early, proof=True)[0] == early
