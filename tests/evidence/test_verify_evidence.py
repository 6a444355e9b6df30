"""The standalone verifier against every kind of tampering: never verified, and it says where."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import pytest

from core.payment import commands as c
from evidence import verify_evidence as v
from evidence.keys import pem_of, signing_key_from_seed, write_keyring
from evidence.pack import public_keys
from schemas import definitions
from schemas import topology as t
from tests.evidence.harness import Harness, keyring
from tests.processors.replay.world import VERIFIER_KEY

pytestmark = pytest.mark.slow

FILE = Path(v.__file__)
FLIPS = 200
SEED = 20_261_122
SCHEMA_LEAVES = 30
LEAVES = 250  # of some 700; make test-release takes all
FORGER = signing_key_from_seed(b"f" * 32)
KEYS = public_keys(keyring())

NONSENSE: tuple[Any, ...] = (None, [], {}, "x", -1, [[]], True, 10**30)

Path_ = tuple[str | int, ...]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    made = Harness(tmp_path_factory.mktemp("harness") / "readmodel")
    world = made.world
    names = world.mixed()
    command = c.CancelPayment(
        header=world.header(names["retried"]), operator=world.operator(), reason="too late"
    )
    world.give(t.OPERATOR_COMMANDS, command)  # refused: an action that was not executed
    for _ in range(2):  # so that the way to the root has a step
        names["beside"] = world.settled(world.key_beside(names["retried"]))
    made.names = names  # type: ignore[attr-defined]
    made.all()
    yield made
    made.close()


def content_of(harness: Harness, name: str = "retried") -> bytes:
    return harness.packs.build(harness.names[name], None, proof=True)[1]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def content(harness: Harness) -> bytes:
    made = content_of(harness)
    assert v.verify(made, KEYS)["verified"]
    return made


@pytest.fixture(scope="module")
def inputs(content: bytes) -> v.Inputs:
    return v.read_inputs(json.loads(content), KEYS)


def refused(content: bytes, keys: Any = KEYS) -> tuple[str, str]:
    """Kind and place of what is wrong with it; it must not verify."""
    answer = v.verify(content, keys)
    assert not answer["verified"]
    assert answer["problem"]["sentence"]
    return answer["problem"]["kind"], answer["problem"]["place"]


def forged(inputs: v.Inputs, **changes: Any) -> bytes:
    """A pack made of other inputs by our own code: consistent in itself."""
    return v.canonical(v.assemble(replace(inputs, **changes), with_proof=True))


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        if isinstance(each, (dict, list)) and each:
            yield from leaves(each, (*path, key))
        else:
            yield (*path, key)


def at(value: Any, path: Path_) -> Any:
    for key in path:
        value = value[key]
    return value


def other(value: Any) -> Any:
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return (value[:-1] + ("A" if value[-1] != "A" else "B")) if value else "x"
        case None:
            return "x"
        case _:
            return ["x"]


def upper(value: Any) -> dict[str, Any]:
    """The same hex in other letters."""
    given = isinstance(value, str) and value.upper() != value
    return {"upper": value.upper()} if given else {}


# -- each part -------------------------------------------------------------------------------------


def test_no_single_value_of_a_pack_can_be_changed_unnoticed(harness: Harness) -> None:
    """EP-07."""
    pack = json.loads(content_of(harness, "settled"))
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


def test_an_altered_decoded_form_is_named_at_its_place(content: bytes) -> None:
    """EP-07."""
    pack = json.loads(content)
    event = next(e for e in pack["lifecycleEvents"] if e["type"] == "FundsCaptured")
    event["record"]["amount"] = 1
    index = event["sequence"] - 1
    assert refused(v.canonical(pack)) == ("CONTENT", f"lifecycleEvents[{index}].record.amount")


def test_an_altered_state_summary_is_named_at_its_place(content: bytes) -> None:
    """EP-07."""
    pack = json.loads(content)
    pack["state"]["moneyOutcome"] = "NOT_PAID"
    assert refused(v.canonical(pack)) == ("CONTENT", "state.moneyOutcome")


def test_members_that_are_added_or_taken_away_are_named(content: bytes) -> None:
    """EP-07."""
    pack = json.loads(content)
    assert refused(v.canonical({**pack, "comment": "fine"})) == ("CONTENT", "comment")
    for name in ("state", "statement", "railDecisions", "lifecycleEvents", "includesReplayProof"):
        short = {key: value for key, value in pack.items() if key != name}
        assert refused(v.canonical(short)) == ("CONTENT", name)


def test_events_dropped_added_reordered_or_swapped_break_the_chain(content: bytes) -> None:
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


def test_a_tail_that_is_cut_off_does_not_lead_to_the_signed_root(
    content: bytes, inputs: v.Inputs
) -> None:
    """EP-07."""
    assert refused(forged(inputs, events=inputs.events[:-1]))[0] in ("MERKLE", "SCHEMA")
    assert refused(content[:-1])[0] == "FILE"
    assert refused(content[: len(content) // 2])[0] == "FILE"
    assert refused(b"")[0] == "FILE"


def test_a_raw_byte_that_is_flipped_breaks_at_its_event(content: bytes) -> None:
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


def test_a_chain_that_is_rewritten_consistently_does_not_lead_to_the_root(
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


def test_another_payment_s_event_is_named(harness: Harness, inputs: v.Inputs) -> None:
    """EP-07."""
    others = v.read_inputs(json.loads(content_of(harness, "settled")), KEYS)
    events = [*inputs.events[:3], others.events[3], *inputs.events[4:]]
    assert refused(forged(inputs, events=events))[0] in ("CHAIN", "SCHEMA")
    assert refused(forged(inputs, payment=others.payment))[0] == "CHAIN"


# -- signatures ------------------------------------------------------------------------------------


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


def test_the_checkpoint_of_another_partition_is_refused(harness: Harness, inputs: v.Inputs) -> None:
    """EP-07."""
    others = v.read_inputs(json.loads(content_of(harness, "settled")), KEYS)
    assert others.partition != inputs.partition
    place = "replayProof.checkpoint"
    assert refused(forged(inputs, proof=others.proof)) == ("CHECKPOINT", place)
    moved = forged(inputs, proof=others.proof, partition=others.partition)
    assert refused(moved)[0] in ("CHECKPOINT", "MERKLE")


def test_an_event_can_not_be_shown_as_another_of_the_same_layout(inputs: v.Inputs) -> None:
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


def test_a_pack_without_its_checkpoint_is_not_verified(inputs: v.Inputs) -> None:
    used = {e.schema_id for e in inputs.events}
    used |= {v.schema_id_of(raw) for _, _, raw, _ in inputs.outcomes}
    schemas = {number: each for number, each in inputs.schemas.items() if number in used}
    made = forged(inputs, proof=None, schemas=schemas)
    assert refused(made) == ("NOT_SIGNED", "replayProof.checkpoint")


# -- the file --------------------------------------------------------------------------------------


def test_a_file_with_any_flipped_byte_does_not_verify(content: bytes) -> None:
    """EP-07."""
    rng = random.Random(SEED)
    for _ in range(FLIPS):
        changed = bytearray(content)
        place = rng.randrange(len(changed))
        changed[place] ^= rng.randrange(1, 256)
        assert not v.verify(bytes(changed), KEYS)["verified"], f"seed {SEED}, byte {place}"


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c + b"\n",
        lambda c: b" " + c,
        lambda c: b"\xef\xbb\xbf" + c,
        lambda c: json.dumps(json.loads(c)).encode(),
        lambda c: c.replace(b'"version":1', b'"version":1.0'),
        lambda c: c.replace(b'"version":1', b'"version":2'),
        lambda c: c.replace(b'"format":"npp', b'"format":"xpp'),
        lambda c: c.replace(b'{"asOf"', b'{"asOf":"1.0.0","asOf"'),
        lambda c: b"[" * 100_000,
        lambda c: b"[]",
        lambda c: b"{}",
        lambda c: b"null",
        lambda c: b'{"format":"npp-evidence-pack","version":1,"replayProof":null}',
        lambda c: b'{"format":"npp-evidence-pack","version":1,"replayProof":{"schemas":[]}}',
        lambda c: b'{"a":"\\ud800"}',
        lambda c: b"\xff\xfe",
        lambda c: b"NaN",
        lambda c: b'{"a":' + b"9" * 5_000 + b"}",
    ],
)
def test_what_is_not_the_canonical_text_of_a_pack_is_refused_without_a_crash(
    content: bytes, change: Any
) -> None:
    refused(change(content))


def test_nonsense_in_every_member_of_the_proof_is_refused_without_a_crash(content: bytes) -> None:
    for path in (
        ("schemas",), ("events",), ("outcomes",), ("checkpoint",), ("partition",),
        ("checkpoint", "leaf"), ("checkpoint", "leaf", "path"), ("events", 0), ("outcomes", 0),
        ("checkpoint", "record"), ("checkpoint", "raw"), ("events", 0, "raw"),
    ):  # fmt: skip
        for nonsense in NONSENSE:
            pack = json.loads(content)
            at(pack["replayProof"], path[:-1])[path[-1]] = nonsense
            refused(v.canonical(pack))


# -- standing alone --------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path: Path, content: bytes) -> Path:
    """The one file, a pack and the keys in a folder of their own."""
    shutil.copy(FILE, tmp_path / "verify_evidence.py")
    (tmp_path / "pack.json").write_bytes(content)
    (tmp_path / "key.pem").write_text(pem_of(keyring().listed()[0]))
    (tmp_path / "other.pem").write_text(pem_of(keyring(FORGER).listed()[0]))
    write_keyring(tmp_path / "keyring.json", keyring())
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "verify_evidence.py", *arguments],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_file_alone_verifies_a_pack_with_a_key_or_a_keyring(alone: Path) -> None:
    """EP-06."""
    for key in ("key.pem", "keyring.json"):
        answer = run(alone, "pack.json", key)
        assert (answer.returncode, answer.stdout.splitlines()[-1]) == (0, "VERIFIED")
    said = json.loads(run(alone, "pack.json", "key.pem", "--json").stdout)
    assert said["verified"] is True
    assert said["hash"] == v.sha256((alone / "pack.json").read_bytes())


def test_the_command_s_exit_codes_tell_not_verified_from_could_not_be_tried(alone: Path) -> None:
    """EP-07."""
    assert run(alone, "pack.json", "other.pem").returncode == 1
    assert run(alone, "missing.json", "key.pem").returncode == 2
    assert run(alone, "pack.json", "missing.pem").returncode == 2
    assert run(alone, "pack.json", "pack.json").returncode == 2
    assert run(alone, "pack.json").returncode == 2
    assert run(alone, "pack.json", "key.pem", "--sha256", "00").returncode == 1
    (alone / "pack.json").write_bytes(b"{}")
    answer = run(alone, "pack.json", "key.pem")
    assert (answer.returncode, "NOT VERIFIED: FORMAT at format" in answer.stdout) == (1, True)
    assert "Traceback" not in answer.stderr


def test_the_file_imports_nothing_of_ours() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import verify_evidence\n"
        "ours = {'core', 'schemas', 'engine', 'evidence', 'processors', 'api', 'app', 'msgspec'}\n"
        "print(sorted(ours & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-I", "-c", code, str(FILE.parent)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.strip() == "[]"


def test_the_party_schema_in_the_file_is_the_published_one() -> None:
    def shape(schema: Any) -> Any:
        if isinstance(schema, dict):
            kept = ("type", "name", "fields", "items")
            return {k: shape(each) for k, each in schema.items() if k in kept}
        if isinstance(schema, list):
            return [shape(each) for each in schema]
        return str(schema).rpartition(".")[2]

    assert shape(v.PARTIES) == shape(definitions.current("Parties"))
