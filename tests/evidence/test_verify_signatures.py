"""The standalone verifier against other keys, checkpoints and schemas: never verified."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import fastavro
import pytest

from evidence import verify_evidence as v
from evidence.packs.pack import public_keys
from schemas import definitions
from tests.evidence.alterations import FORGER, KEYS, forged, refused
from tests.evidence.harness import keyring
from tests.processors.replay.world import VERIFIER_KEY

pytestmark = pytest.mark.slow

SIGNED_AT = 1_000  # time of the harness's checkpoints, epoch ms


def test_a_checkpoint_under_another_key_is_refused(inputs: v.Inputs) -> None:
    """EP-07."""
    assert inputs.proof is not None
    raw = inputs.proof.raw
    message = raw[v.PREFIX_BYTES : -v.SIGNATURE_FIELD_BYTES] + b"\x00"
    resigned = raw[:-64] + FORGER.sign(message)
    record = {**inputs.proof.record, "signature": resigned[-64:].hex()}
    proof = replace(inputs.proof, raw=resigned, record=record)
    assert refused(forged(inputs, proof=proof)) == ("SIGNATURE", "replayProof.checkpoint")
    named = resigned.replace(VERIFIER_KEY.key_id.encode(), FORGER.key_id.encode())
    proof = replace(inputs.proof, raw=named, record={**record, "keyId": FORGER.key_id})
    assert refused(forged(inputs, proof=proof)) == ("KEY", "replayProof.checkpoint")


def test_a_pack_is_refused_under_a_key_that_did_not_sign_it(content: bytes) -> None:
    """EP-07."""
    kind, place = refused(content, public_keys(keyring(FORGER)))
    assert (kind, place.startswith("replayProof.schemas")) == ("KEY", True)


def test_the_checkpoint_of_another_partition_is_refused(
    content_of: Callable[[str], bytes], inputs: v.Inputs
) -> None:
    """EP-07."""
    others = v.read_inputs(json.loads(content_of("settled")), KEYS)
    assert others.partition != inputs.partition
    place = "replayProof.checkpoint"
    assert refused(forged(inputs, proof=others.proof)) == ("CHECKPOINT", place)
    moved = forged(inputs, proof=others.proof, partition=others.partition)
    assert refused(moved)[0] in ("CHECKPOINT", "MERKLE")


def test_an_event_cannot_be_shown_as_another_type_with_the_same_layout(inputs: v.Inputs) -> None:
    """EP-07."""
    captured = next(e for e in inputs.events if e.type == "FundsCaptured")
    other_schema = definitions.current("FundsReversed")
    number = captured.schema_id
    parsed = fastavro.parse_schema(other_schema)
    events = [
        v.event_of(e.offset, e.raw, parsed) if e.schema_id == number else e for e in inputs.events
    ]
    fingerprint = definitions.fingerprint(other_schema)
    swapped = {**inputs.schemas[number], "schema": other_schema, "sha256": fingerprint}
    made = forged(inputs, events=events, schemas={**inputs.schemas, number: swapped})
    assert refused(made) == ("SIGNATURE", f"replayProof.schemas.{number}")
    unsaid = {**swapped, "keyId": None, "signature": None}
    made = forged(inputs, events=events, schemas={**inputs.schemas, number: unsaid})
    assert refused(made) == ("SCHEMA", f"replayProof.schemas.{number}")


PERIODS = {
    "revoked before": ("revoked_at", SIGNED_AT, "was revoked"),
    "not yet valid": ("valid_from", SIGNED_AT + 1, "is valid from"),
    "no longer valid": ("valid_until", SIGNED_AT, "was valid until"),
}


@pytest.mark.parametrize("case", PERIODS)
def test_a_signature_outside_its_keys_period_is_broken(content: bytes, case: str) -> None:
    field, at, words = PERIODS[case]
    period: Any = {field: at}
    keys = {name: replace(key, **period) for name, key in KEYS.items()}
    assert refused(content, keys) == ("KEY", "replayProof.checkpoint")
    assert words in v.verify(content, keys)["problem"]["sentence"]


def test_a_signature_made_before_its_keys_revocation_counts_with_a_note(content: bytes) -> None:
    keys = {name: replace(key, revoked_at=SIGNED_AT + 1) for name, key in KEYS.items()}
    answer = v.verify(content, keys)
    assert answer["verified"] is True
    assert "revoked at 1970-01-01T00:00:01Z" in answer["keyNote"]
    assert any("revoked at" in line for line in v.report(answer))


def test_a_revoked_key_states_no_schema_for_another_keys_checkpoint(inputs: v.Inputs) -> None:
    """A statement has no time, so it counts only with a checkpoint of the same key."""
    number, stated = next(iter(inputs.schemas.items()))
    message = v.SCHEMA_STATEMENT + number.to_bytes(4, "big") + bytes.fromhex(stated["sha256"])
    forged_ = {**stated, "keyId": FORGER.key_id, "signature": FORGER.sign(message).hex()}
    made = forged(inputs, schemas={**inputs.schemas, number: forged_})
    keys = KEYS | public_keys(keyring(FORGER))
    assert v.verify(made, keys)["verified"]
    keys[FORGER.key_id] = replace(keys[FORGER.key_id], revoked_at=SIGNED_AT + 1)
    assert refused(made, keys) == ("KEY", f"replayProof.schemas.{number}")


def test_a_pack_without_its_checkpoint_is_not_verified(inputs: v.Inputs) -> None:
    used = {e.schema_id for e in inputs.events}
    used |= {v.schema_id_of(raw) for _, _, raw, _ in inputs.outcomes}
    used |= {each.schema_id for each in inputs.commands}
    schemas = {number: each for number, each in inputs.schemas.items() if number in used}
    made = forged(inputs, proof=None, schemas=schemas)
    assert refused(made) == ("NOT_SIGNED", "replayProof.checkpoint")
