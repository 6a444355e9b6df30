"""The standalone verifier against altered contents: never verified, with the location named."""

from __future__ import annotations

import base64
import json
import os
import random
from collections.abc import Callable

import fastavro
import pytest

from evidence import verify_evidence as v
from tests.evidence.alterations import KEYS, SEED, at, forged, leaves, other, refused, upper

pytestmark = pytest.mark.slow

SCHEMA_LEAVES = 30
LEAVES = 250  # of some 700; make test-release uses all


def test_no_single_value_of_a_pack_can_be_changed_unnoticed(
    content_of: Callable[[str], bytes],
) -> None:
    """EP-07."""
    pack = json.loads(content_of("settled"))
    paths = list(leaves(pack))
    schema = [p for p in paths if p[:2] == ("replayProof", "schemas") and len(p) > 4]
    chosen = random.Random(SEED).sample(schema, SCHEMA_LEAVES)
    rest = sorted(set(paths) - set(schema), key=str)
    assert len(rest) > 500
    if not os.environ.get("NPP_TEST_RELEASE"):
        rest = random.Random(SEED).sample(rest, LEAVES)
    assert pack["operatorActions"]["notExecuted"]
    for path in rest + chosen:
        inside, key = at(pack, path[:-1]), path[-1]
        before = inside[key]
        for after in {str(other(before)): other(before), **upper(before)}.values():
            inside[key] = after
            answer = v.verify(v.canonical(pack), KEYS)
            assert not answer["verified"], (path, before, after)
            assert answer["problem"]["place"], path
        inside[key] = before


def test_an_altered_decoded_form_is_named_with_its_location(content: bytes) -> None:
    """EP-07."""
    pack = json.loads(content)
    event = next(e for e in pack["lifecycleEvents"] if e["type"] == "FundsCaptured")
    event["record"]["amount"] = 1
    index = event["sequence"] - 1
    assert refused(v.canonical(pack)) == ("CONTENT", f"lifecycleEvents[{index}].record.amount")


def test_an_altered_state_summary_is_named_with_its_location(content: bytes) -> None:
    """EP-07."""
    pack = json.loads(content)
    pack["state"]["moneyOutcome"] = "NOT_PAID"
    assert refused(v.canonical(pack)) == ("CONTENT", "state.moneyOutcome")


def test_added_or_removed_members_are_named(content: bytes) -> None:
    """EP-07."""
    pack = json.loads(content)
    assert refused(v.canonical({**pack, "comment": "fine"})) == ("CONTENT", "comment")
    for name in ("state", "statement", "railDecisions", "lifecycleEvents", "includesReplayProof"):
        short = {key: value for key, value in pack.items() if key != name}
        assert refused(v.canonical(short)) == ("CONTENT", name)


def test_dropped_added_reordered_or_swapped_events_break_the_chain(content: bytes) -> None:
    """EP-07."""
    pack = json.loads(content)
    events = pack["replayProof"]["events"]
    for changed, place in (
        (events[:4] + events[5:], 4),
        ([*events[:4], events[3], *events[4:]], 4),
        ([*events[:4], events[5], events[4], *events[6:]], 4),
        (events[1:], 0),
    ):
        pack["replayProof"]["events"] = changed
        assert refused(v.canonical(pack)) == ("CHAIN", f"replayProof.events[{place}]")
    pack["replayProof"]["events"] = []
    kind, _ = refused(v.canonical(pack))
    assert kind in ("CHAIN", "SCHEMA")


def test_a_truncated_tail_does_not_lead_to_the_signed_root(
    content: bytes, inputs: v.Inputs
) -> None:
    """EP-07."""
    assert refused(forged(inputs, events=inputs.events[:-1]))[0] in ("MERKLE", "SCHEMA")
    assert refused(content[:-1])[0] == "FILE"
    assert refused(content[: len(content) // 2])[0] == "FILE"
    assert refused(b"")[0] == "FILE"


def test_a_flipped_raw_byte_breaks_at_its_event(content: bytes) -> None:
    """EP-07."""
    rng = random.Random(SEED)
    for _ in range(60):
        pack = json.loads(content)
        index = rng.randrange(len(pack["replayProof"]["events"]))
        entry = pack["replayProof"]["events"][index]
        raw = bytearray(base64.b64decode(entry["raw"]))
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        entry["raw"] = v.base64_of(bytes(raw))
        kind, place = refused(v.canonical(pack))
        assert kind in ("UNREADABLE", "CHAIN", "MERKLE", "CONTENT"), (kind, place)


def test_a_consistently_rewritten_chain_does_not_lead_to_the_root(
    inputs: v.Inputs,
) -> None:
    """EP-07."""
    events = list(inputs.events)
    index = next(i for i, e in enumerate(events) if e.type == "FundsHeld")
    old = events[index]
    raw = old.raw.replace(b"HOLD-1", b"HOLD-2")
    assert raw != old.raw
    for at_ in range(index, len(events)):
        if at_ > index:
            before = bytes.fromhex(events[at_].header["previousHash"])
            raw = events[at_].raw.replace(before, bytes.fromhex(events[at_ - 1].hash), 1)
        schema = fastavro.parse_schema(inputs.schemas[events[at_].schema_id]["schema"])
        events[at_] = v.event_of(events[at_].offset, raw, schema)
    assert refused(forged(inputs, events=events)) == ("MERKLE", "replayProof.checkpoint.leaf")


def test_another_payments_event_is_named(
    content_of: Callable[[str], bytes], inputs: v.Inputs
) -> None:
    """EP-07."""
    others = v.read_inputs(json.loads(content_of("settled")), KEYS)
    events = [*inputs.events[:3], others.events[3], *inputs.events[4:]]
    assert refused(forged(inputs, events=events))[0] in ("CHAIN", "SCHEMA")
    assert refused(forged(inputs, payment=others.payment))[0] == "CHAIN"
