"""Evidence packs from a real read model: their content, their names, and what is refused."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from core.payment import commands as c
from evidence import verify_evidence as v
from evidence.keys import Keyring
from evidence.packs import pack as packs
from evidence.packs.pack import NOT_A_PROOF, Tampered, TooLong, public_keys
from schemas import topology as t
from tests.evidence.harness import Harness, keyring
from tests.keys import key_from_seed
from tests.postgres import Postgres

pytestmark = pytest.mark.slow

PARTS = ("paymentIntent", "railDecisions", "lifecycleEvents", "operatorActions", "replayProof")


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(tmp_path / "readmodel")
    yield made
    made.close()


def pack_of(harness: Harness, payment: str, as_of: str | None = None, *, proof: bool = True) -> Any:
    return json.loads(harness.packs.build(payment, as_of, proof=proof)[1])


def verified(harness: Harness, content: bytes) -> dict[str, Any]:
    return v.verify(content, public_keys(harness.ring))


def alter(harness: Harness, sql: str, values: tuple[Any, ...] = ()) -> None:
    """Tamper with the read model directly."""
    folder = Path(str(harness.model.store.folder))  # type: ignore[attr-defined]
    with sqlite3.connect(next(folder.glob("*.db"))) as database:
        database.execute(sql, values)


def test_a_pack_of_every_state_has_its_five_parts_and_verifies(harness: Harness) -> None:
    """EP-01, EP-02, EP-06."""
    names = harness.world.mixed()
    names["in flight"] = harness.world.create("in flight")
    harness.all()
    states = set()
    for payment in names.values():
        as_of, content = harness.packs.build(payment, None, proof=True)
        pack = json.loads(content)
        assert set(PARTS) <= set(pack)
        assert pack["asOf"] == as_of
        answer = verified(harness, content)
        assert (answer["verified"], answer["problem"]) == (True, None)
        assert answer["through"] == answer["events"] == len(pack["lifecycleEvents"])
        states.add(pack["state"]["state"])
    assert states == {"SETTLED", "FAILED", "SENT"}


def test_a_pack_holds_the_original_details_decisions_and_every_event(harness: Harness) -> None:
    """EP-02."""
    payment = harness.create("k", "Ada Lovelace", "invoice 7")
    harness.world.report(payment, "ACCEPTED", code="ACSP")
    harness.all()
    pack = pack_of(harness, payment)
    intent = pack["paymentIntent"]
    assert intent["parties"]["debtor"]["name"] == "Ada Lovelace"
    assert intent["parties"]["remittance"] == "invoice 7"
    assert (intent["amount"], intent["currency"], intent["customerId"]) == (
        5_000, "AUD", "customer-7",
    )  # fmt: skip
    assert [each["verdict"] for each in pack["railDecisions"]["policyChecks"]] == ["PASSED"]
    held = pack["railDecisions"]["balanceVerification"][0]
    assert (held["type"], held["holdRef"], held["amount"]) == ("FundsHeld", "HOLD-1", 5_000)
    raws = [each["raw"] for each in pack["replayProof"]["events"]]
    assert [v.base64_of(raw) for raw in harness.world.values(payment)] == raws
    sequences = [each["sequence"] for each in pack["lifecycleEvents"]]
    assert sequences == list(range(1, len(raws) + 1))


def test_operator_actions_name_operator_time_reason_and_approval(harness: Harness) -> None:
    """EP-02, EP-10."""
    payment = harness.world.retried("again")
    harness.all()
    actions = pack_of(harness, payment)["operatorActions"]
    assert [(a["action"], a["operatorId"]) for a in actions["executed"]] == [
        ("REQUEST_APPROVAL", "ops_001"), ("RETRY", "ops_001"),
    ]  # fmt: skip
    retry = actions["executed"][1]
    assert (retry["reason"], retry["approvalId"]) == ("again", "apr_001")
    approval = actions["approvals"][0]
    assert (approval["requester"], approval["usedBy"]) == ("ops_001", 14)
    assert [(d["decision"], d["decidedBy"]) for d in approval["decisions"]] == [
        ("APPROVED", "apv_002")
    ]


def test_actions_refused_by_the_engine_are_in_it_and_edge_refusals_are_referred_to(
    harness: Harness,
) -> None:
    """EP-02."""
    payment = harness.world.settled("done")
    command = c.RetryPayment(
        header=harness.world.header(payment),
        operator=harness.world.operator(),
        attempt_id="att_002",
        reason="please try",
    )
    harness.world.give(t.OPERATOR_COMMANDS, command)
    harness.all()
    actions = pack_of(harness, payment)["operatorActions"]
    refused = actions["notExecuted"][0]
    assert (refused["action"], refused["result"]) == ("RetryPayment", "REJECTED")
    assert (refused["rule"], refused["code"]) == ("STATE_PRECONDITION", "POLICY_REJECTED")
    assert (refused["operatorId"], refused["reason"]) == ("ops_001", "please try")
    assert "audit log" in actions["note"]


def test_a_pack_without_its_replay_proof_says_so_and_cannot_be_verified(harness: Harness) -> None:
    """EP-03."""
    payment = harness.world.settled("k")
    harness.all()
    _, content = harness.packs.build(payment, None, proof=False)
    pack = json.loads(content)
    assert "replayProof" not in pack
    assert pack["includesReplayProof"] is False
    assert any("left out on request" in each for each in pack["statement"]["sentences"])
    assert verified(harness, content)["problem"]["kind"] == "NO_PROOF"


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_the_same_as_of_gives_the_same_bytes_in_another_read_model(
    harness: Harness, tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    """EP-05."""
    names = harness.world.mixed()
    harness.all()
    with ExitStack() as stack:
        url = None
        if database == "postgres":
            server: Postgres = request.getfixturevalue("postgres")
            url = stack.enter_context(server.database())
        other = Harness(tmp_path / "other", url)
        stack.callback(other.close)
        other.world.mixed()
        for _ in range(3):
            other.project()  # in other batches, and the checkpoints last
        other.checkpoint()
        other.project()
        for payment in names.values():
            as_of, content = harness.packs.build(payment, None, proof=True)
            assert other.packs.build(payment, as_of, proof=True) == (as_of, content)
            assert other.packs.view(payment) == harness.packs.view(payment)


def test_an_earlier_as_of_still_gives_its_bytes_after_further_events(harness: Harness) -> None:
    """EP-05."""
    world = harness.world
    payment = world.create("k")
    harness.all()
    early, first = harness.packs.build(payment, None, proof=True)
    world.report(payment, "ACCEPTED", code="ACSP")
    world.report(payment, "ACCEPTED", code="ACSP")  # a duplicate: an outcome
    harness.project()
    unsigned, second = harness.packs.build(payment, None, proof=True)
    world.report(payment, "SETTLED", code="ACSC")
    harness.all()
    late, third = harness.packs.build(payment, None, proof=True)
    assert len({early, unsigned, late}) == 3
    for as_of, content in ((early, first), (unsigned, second), (late, third)):
        assert harness.packs.build(payment, as_of, proof=True) == (as_of, content)
        assert verified(harness, content)["verified"]


def test_an_unavailable_as_of_is_refused(harness: Harness) -> None:
    payment = harness.world.settled("k")
    harness.all()
    for as_of in (
        "", "1", "1.2", "0.0.0", "99.0.1", "11.7.1", "11.0.9", "11.0.0.0", "-1.0.0", "a.b.c",
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"asOf|checkpoint"):
            harness.packs.build(payment, as_of, proof=True)


def test_an_unknown_payment_has_no_pack(harness: Harness) -> None:
    harness.all()
    with pytest.raises(KeyError):
        harness.packs.build("pi_" + "a" * 26, None, proof=True)


def test_a_pack_in_progress_says_so_and_names_the_last_sequence(harness: Harness) -> None:
    """EP-08."""
    payment = harness.world.create("k")
    harness.all()
    _, content = harness.packs.build(payment, None, proof=True)
    pack = json.loads(content)
    last = pack["state"]["sequence"]
    assert pack["statement"]["inFlight"] is True
    assert pack["statement"]["lastSequence"] == last
    assert (
        f"in flight: this pack covers it up to sequence {last}"
        in (pack["statement"]["sentences"][0])
    )
    answer = verified(harness, content)
    assert (answer["verified"], answer["inFlight"]) == (True, True)


def test_events_after_the_checkpoint_are_chained_and_shown_as_unsigned(harness: Harness) -> None:
    """EP-08."""
    payment = harness.world.create("k")
    harness.all()
    signed = pack_of(harness, payment)["state"]["sequence"]
    harness.world.report(payment, "ACCEPTED", code="ACSP")
    harness.project()
    _, content = harness.packs.build(payment, None, proof=True)
    answer = verified(harness, content)
    assert (answer["verified"], answer["through"]) == (True, signed)
    assert answer["unsigned"] == 1
    assert (
        f"Sequences {signed + 1} to {signed + 1} are chained but not yet signed."
        in (answer["says"])
    )


def test_without_any_checkpoint_a_pack_is_not_verified_offline_and_says_why(
    harness: Harness,
) -> None:
    """EP-08."""
    payment = harness.world.create("k")
    harness.project()
    as_of, content = harness.packs.build(payment, None, proof=True)
    assert as_of.endswith(".0")
    answer = verified(harness, content)
    assert (answer["verified"], answer["problem"]["kind"]) == (False, "NOT_SIGNED")
    assert "nothing here is signed" in " ".join(answer["says"])
    online = harness.packs.verify(payment, content)
    assert (online["verified"], online["through"]) == (True, 0)


def test_cores_fold_and_the_verifiers_fold_agree_at_every_sequence(
    harness: Harness,
) -> None:
    """EP-02, RP-12."""
    world = harness.world
    names = world.mixed()
    uncertain = names["uncertain"] = world.create("uncertain")
    world.approved(uncertain, "MARK_FAILED", failure_reason="RAIL")
    command = c.MarkPaymentFailed(
        header=world.header(uncertain),
        operator=world.operator(),
        reason="RAIL",
        details="no answer",
    )
    world.give(t.OPERATOR_COMMANDS, command)
    world.retry(uncertain, "RETRY_UNCERTAIN")
    world.report(uncertain, "SETTLED", attempt=2, code="ACSC")
    world.report(uncertain, "SETTLED", code="ACSC")
    harness.all()
    money = set()
    for payment in names.values():
        last = pack_of(harness, payment)["state"]["sequence"]
        for sequence in range(1, last + 1):
            pack = pack_of(harness, payment, f"{sequence}.0.0")  # building compares the two folds
            assert pack["state"]["sequence"] == sequence
            money.add(pack["state"]["moneyOutcome"])
    assert money >= {"OPEN", "PAID", "NOT_PAID", "UNCERTAIN", "CONTRADICTED"}


END = "CAST(substr(raw, 1, length(raw) - 1) || x'77' AS BLOB)"


@pytest.mark.parametrize(
    ("sql", "kinds"),
    [
        (f"UPDATE events SET raw = {END} WHERE sequence = 4", ("CHAIN",)),
        ("UPDATE events SET raw = (SELECT raw FROM events WHERE sequence = 6) WHERE sequence = 5",
         ("CHAIN",)),
        ("UPDATE events SET raw = x'0000' WHERE sequence = 3", ("UNREADABLE",)),
        ("DELETE FROM events WHERE sequence = 11", ("CHECKPOINT", "MERKLE", "UNREADABLE")),
        (f"UPDATE checkpoints SET raw = {END}", ("SIGNATURE",)),
    ],
)  # fmt: skip
def test_a_tampered_read_model_gives_no_pack(
    harness: Harness, sql: str, kinds: tuple[str, ...]
) -> None:
    payment = harness.world.settled("k")
    harness.all()
    harness.packs.build(payment, None, proof=True)
    alter(harness, sql)
    harness.reader.close()
    with pytest.raises(Tampered) as broken:
        harness.packs.build(payment, None, proof=True)
    assert broken.value.kind in kinds


def test_a_checkpoint_signed_by_an_unlisted_key_gives_no_pack(harness: Harness) -> None:
    payment = harness.world.settled("k")
    harness.all()
    harness.ring = keyring(key_from_seed(b"o" * 32))
    with pytest.raises(Tampered, match="KEY"):
        harness.packs.build(payment, None, proof=True)


def test_without_the_keys_statement_on_schema_ids_a_pack_does_not_verify(harness: Harness) -> None:
    payment = harness.world.settled("k")
    harness.all()
    harness.ring = Keyring(harness.ring.listed())
    _, content = harness.packs.build(payment, None, proof=True)
    assert verified(harness, content)["problem"]["kind"] == "SCHEMA"


def test_a_view_is_masked_and_cannot_be_verified(harness: Harness) -> None:
    """EP-02 (masked views)."""
    payment = harness.create("k", "Ada Lovelace", "for the zebra")
    harness.all()
    content = harness.packs.view(payment)
    view = json.loads(content)
    assert view["notAProof"] == NOT_A_PROOF
    for word in (b"Ada", b"zebra", b"12345678", b"customer-7", b"raw", b"4c6f76656c616365"):
        assert word not in content, word
    problem = verified(harness, content)["problem"]
    assert problem["kind"] == "VIEW"
    assert "not a proof" in problem["sentence"]


def test_a_history_beyond_the_limit_is_refused_with_the_limit(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = harness.world.settled("k")
    harness.all()
    monkeypatch.setattr(packs, "EVENTS_COUNT_MAX", 10)
    with pytest.raises(TooLong, match="more than 10 events"):
        harness.packs.build(payment, None, proof=True)
