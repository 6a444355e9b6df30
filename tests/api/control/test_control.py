"""STOP, resume and redrives over HTTP under dual control, and the audit log."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.audit.writer import SINGLE_COUNT_MAX, shown_path
from control import quarantine
from core import control_records, records
from core.values import PaymentIntentId
from schemas import topology
from tests.api.command_harness import ApiHarness, Response, problem
from tests.processors.payments.world import CODEC, PARTITIONS

pytestmark = pytest.mark.slow

RESUME = "/api/control/stops/{}/resume-requests"
REDRIVES = "/api/quarantine/redrives"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ApiHarness]:
    made = ApiHarness(tmp_path)
    yield made
    made.close()


def proof(harness: ApiHarness, *, chain: bool = True) -> None:
    """A replay passes."""
    passed = control_records.ProofPassed(
        scope="all",
        fold=True,
        chain=chain,
        redecide=True,
        offsets=(0,) * PARTITIONS,
        passed_at=1,
        actor="replay",
    )
    harness.commands.write_control(harness.sign(passed))


def latest(harness: ApiHarness) -> int:
    return harness.world.control.latest_proof() or 0


def resume(harness: ApiHarness, stop_id: str, person: str = "ada") -> Response:
    """A signed request to end the stop."""
    requested = control_records.ResumeRequested(
        stop_id=stop_id, proof_offset=latest(harness), reason="proven", requested_at=1,
        actor=person,
    )  # fmt: skip
    return harness.carry(RESUME.format(stop_id), requested)


def agree(harness: ApiHarness, stop_id: str, offset: int, person: str) -> Response:
    agreed = control_records.ResumeConfirmed(
        stop_id=stop_id, request_offset=offset, confirmed_at=1, actor=person
    )
    return harness.carry(f"{RESUME.format(stop_id)}/{offset}/confirm", agreed)


def redrive(harness: ApiHarness, *offsets: int, to: str | None = None) -> Response:
    requested = control_records.RedriveRequested(
        request_id=f"rdr_{len(harness.written(topology.CONTROL))}", partition=0, offsets=offsets,
        reason="mended", requested_at=1, actor="ada",
        payment_intent_id=None if to is None else PaymentIntentId(to),
    )  # fmt: skip
    return harness.carry(REDRIVES, requested)


def agree_to(harness: ApiHarness, name: str, person: str) -> Response:
    agreed = control_records.RedriveConfirmed(request_id=name, confirmed_at=1, actor=person)
    return harness.carry(f"{REDRIVES}/{name}/confirm", agreed)


def stopped(harness: ApiHarness) -> str:
    stop_id: str = harness.post("ada", "/api/control/stop", {"reason": "drill"}).json()["stopId"]
    assert harness.world.control.stopped()
    return stop_id


def test_a_stop_is_ended_under_dual_control_with_a_passed_replay(harness: ApiHarness) -> None:
    """OP-07, SEC-02."""
    stop_id = stopped(harness)
    assert problem(resume(harness, stop_id))[2] == "RESUME_NOT_POSSIBLE"
    proof(harness)
    requested = resume(harness, stop_id)
    assert requested.status_code == 200, requested.text
    offset = requested.json()["offset"]
    own = agree(harness, stop_id, offset, "ada")
    assert problem(own) == (403, "POLICY_REJECTED", "RESUME_NOT_POSSIBLE")
    assert harness.world.control.stopped()
    done = agree(harness, stop_id, offset, "adam")
    assert done.status_code == 200, done.text
    assert (done.json()["requestedBy"], done.json()["confirmedBy"]) == ("ada", "adam")
    assert harness.world.control.stopped() is None
    assert problem(agree(harness, stop_id, offset, "adam"))[2] == "STOP_NOT_OPEN"


def test_a_proof_older_than_the_stop_or_too_weak_is_refused(harness: ApiHarness) -> None:
    """Domain, evidence: fold and chain, since the stop."""
    proof(harness)
    stop_id = stopped(harness)
    assert "before the stop" in resume(harness, stop_id).json()["sentence"]
    proof(harness, chain=False)
    assert "fold and chain" in resume(harness, stop_id).json()["sentence"]
    assert [type(r).__name__ for r in harness.written(topology.CONTROL)].count(
        "ResumeRequested"
    ) == 0


def test_only_admins_stop_and_resume(harness: ApiHarness) -> None:
    """SEC-02: refused by name of the role, and audited."""
    answer = harness.post("sue", "/api/control/stop", {"reason": "drill"})
    assert problem(answer) == (403, "POLICY_REJECTED", "MISSING_ROLE")
    assert answer.json()["neededRoles"] == "admin"
    (entry,) = harness.audited()
    assert (entry.operator_id, entry.action, entry.rule) == ("sue", "STOP", "MISSING_ROLE")


# --- redrives -------------------------------------------------------------------------------------


def undecodable(harness: ApiHarness) -> None:
    """Garbage on a command topic: quarantined, at 0/0."""
    harness.world.driver.pipe(topology.COMMANDS, b"pi_x", b"\x01rubbish")
    harness.work()


def test_a_redrive_is_previewed_requested_and_confirmed(harness: ApiHarness) -> None:
    """OP-34: what would be published where, two people, and a list of the results."""
    undecodable(harness)
    chosen = {"partition": 0, "offsets": [0]}
    preview = harness.post("ada", f"{REDRIVES}/preview", chosen)
    assert preview.status_code == 200, preview.text
    (shown,) = preview.json()["records"]
    assert (shown["topic"], shown["reason"], shown["bytes"]) == (
        topology.COMMANDS, quarantine.UNDECODABLE, 8,
    )  # fmt: skip
    requested = redrive(harness, 0).json()
    name = requested["requestId"]
    assert problem(agree_to(harness, name, "ada"))[2] == "SELF_APPROVAL"
    done = agree_to(harness, name, "adam").json()
    assert (done["status"], done["requestedBy"], done["confirmedBy"]) == (
        "CONFIRMED", "ada", "adam",
    )  # fmt: skip
    assert list(harness.world.control.redrives.confirmed) == [requested["requestId"]]
    again = agree_to(harness, name, "adam").json()
    assert (again["duplicate"], again["confirmedBy"]) == (True, "adam")
    confirmed = [r for r in harness.written(topology.CONTROL) if _is(r, "RedriveConfirmed")]
    assert len(confirmed) == 1
    done = control_records.RedriveDone(
        request_id=name, redriven=1, refused=None, done_at=5, actor="redriver"
    )
    harness.commands.write_control(done)
    (listed,) = harness.get("vera", REDRIVES).json()["items"]
    assert listed["status"] == "CONFIRMED", "its result is not signed yet"
    (item,) = harness.get("vera", "/api/quarantine").json()["items"]
    assert item["redriveId"] is None
    harness.commands.write_control(harness.sign(done))
    (listed,) = harness.get("vera", REDRIVES).json()["items"]
    assert (listed["status"], listed["redriven"]) == ("DONE", 1)
    assert agree_to(harness, name, "adam").json()["status"] == "DONE"
    assert harness.world.control.redrives.confirmed == {}


ZEROS = bytes(3 * 1024 * 1024)


def test_a_record_too_large_to_copy_is_shown_and_previewed_by_reference(
    harness: ApiHarness,
) -> None:
    """Domain §5: size and SHA-256 of the original, its topic, partition and offset, and the first
    KiB.
    """
    harness.world.driver.pipe(topology.COMMANDS, b"pi_x", ZEROS, [("h", b"1")], partition=2)
    undecodable(harness)
    listed = harness.get("audra", "/api/quarantine").json()["items"]
    small, large = sorted(listed, key=lambda item: item["byReference"])
    assert (large["byReference"], large["valueBytes"]) == (True, len(ZEROS))
    assert large["valueSha256"] == hashlib.sha256(ZEROS).hexdigest()
    assert large["origin"] == {"topic": topology.COMMANDS, "partition": 2, "offset": 0}
    assert (small["byReference"], small["valueBytes"], small["valueSha256"]) == (False, 8, None)
    shown = harness.get("audra", f"/api/quarantine/0/{large['offset']}").json()
    assert base64.b64decode(shown["value"]) == ZEROS[:1024]
    chosen = {"partition": 0, "offsets": [large["offset"], small["offset"]]}
    preview = harness.post("ada", f"{REDRIVES}/preview", chosen).json()
    shown = {r["offset"]: (r["bytes"], r["byReference"]) for r in preview["records"]}
    assert shown == {large["offset"]: (len(ZEROS), True), small["offset"]: (8, False)}


def test_a_redrive_refused_midway_says_what_was_put_back(harness: ApiHarness) -> None:
    """Operators see that it has ended, why, and which records were redriven."""
    undecodable(harness)
    undecodable(harness)
    requested = redrive(harness, 0, 1).json()["requestId"]
    agree_to(harness, requested, "adam")
    why = "1 of its records were put back, in order; then: too large"
    refused = control_records.RedriveDone(
        request_id=requested, redriven=1, refused=why, done_at=5, actor="redriver"
    )
    harness.commands.write_control(harness.sign(refused))
    (listed,) = harness.get("vera", REDRIVES).json()["items"]
    assert (listed["status"], listed["redriven"], listed["refused"]) == ("REFUSED", 1, why)
    items = harness.get("vera", "/api/quarantine").json()["items"]
    assert {item["offset"]: item["redriveId"] for item in items} == {0: requested, 1: None}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"partition": 0, "offsets": [99]}, "holds no record"),
        ({"partition": 0, "offsets": [0], "paymentIntentId": "pi_" + "a" * 26}, "UNMATCHED"),
    ],
)
def test_a_request_that_the_redriver_would_refuse_is_refused_at_once(
    harness: ApiHarness, body: dict[str, Any], said: str
) -> None:
    """OP-24, OP-34: nothing is written, and it is audited."""
    undecodable(harness)
    requested = redrive(harness, *body["offsets"], to=body.get("paymentIntentId"))
    for answer in (harness.post("ada", f"{REDRIVES}/preview", body), requested):
        assert problem(answer) == (403, "POLICY_REJECTED", "REDRIVE_NOT_POSSIBLE")
        assert said in answer.json()["sentence"]
    assert [e.action for e in harness.audited()] == ["REQUEST_REDRIVE", "PREVIEW_REDRIVE"]


def test_a_redrive_that_was_not_requested_cannot_be_confirmed(harness: ApiHarness) -> None:
    answer = agree_to(harness, "rdr_x", "ada")
    assert problem(answer) == (403, "POLICY_REJECTED", "REDRIVE_NOT_POSSIBLE")


# --- audit ----------------------------------------------------------------------------------------


def test_refused_sign_ins_cannot_flood_the_audit_log(harness: ApiHarness) -> None:
    """AUD-02: some individually, the rest counted; never any part of the token."""
    for _ in range(3 * SINGLE_COUNT_MAX):
        harness.audit.note(
            None, "SIGN_IN", method="POST", path="/api/payments/x/retry", status=401,
            code="NOT_SIGNED_IN", rule="TOKEN_REFUSED", sentence="no",
        )  # fmt: skip
    assert len(harness.audited()) == SINGLE_COUNT_MAX
    harness.audit.start()
    harness.audit.close()
    *single, summary = harness.audited()
    assert len(single) == SINGLE_COUNT_MAX
    assert summary.operator_id == "anonymous"
    assert json.loads(summary.detail or "")["times"] == 2 * SINGLE_COUNT_MAX


def test_a_refusal_that_cannot_be_audited_is_503(harness: ApiHarness) -> None:
    """AUD-02: the audit record is written before the response."""
    harness.log.away = True
    answer = harness.post("vera", "/api/control/stop", {"reason": "x"})
    assert answer.status_code == 503


def test_nothing_as_long_as_a_token_is_kept_in_a_path() -> None:
    """SEC-05."""
    assert shown_path("/api/payments/" + "e" * 65 + "/retry?token=x") == "/api/payments/.../retry"
    assert shown_path("/api/\n\u202ex") == "/api/??x"


def test_every_refusal_at_the_edge_is_in_the_audit_list(harness: ApiHarness) -> None:
    """AUD-01, AUD-03: by operator, with the six fields."""
    payment = harness.failed("k1")
    harness.act("olga", payment, "cancel", {"reason": "why not", "operatorId": "oskar"})
    harness.project()
    found = harness.get("audra", "/api/audit?operatorId=olga").json()["items"]
    entry = next(e for e in found if e["rule"] == "OPERATOR_MISMATCH")
    assert (entry["operatorId"], entry["paymentIntentId"], entry["reason"]) == (
        "olga", payment, "why not",
    )  # fmt: skip
    assert (entry["action"], entry["result"]) == ("CANCEL", "REFUSED")


def _is(record: object, name: str) -> bool:
    return type(record).__name__ == name


def test_the_audit_record_reads_back() -> None:
    """AUD-01: every field survives the log."""
    record = records.OperatorAudit(
        audit_id="aud-1",
        at=1,
        operator_id="olga",
        roles=("operator",),
        action="CANCEL",
        method="POST",
        path="/x",
        status=403,
        token_id="t",
        client_id=None,
        payment_intent_id="pi_x",
        reason="r",
        approval_id="apr_001",
        code="POLICY_REJECTED",
        rule="R",
        sentence="s",
        command_id="c",
        request_id="q",
        traceparent="00-",
        detail='{"a":1}',
    )
    assert CODEC.decode(topology.AUDIT, CODEC.encode(topology.AUDIT, record)) == record
