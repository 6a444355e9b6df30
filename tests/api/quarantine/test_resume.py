"""Parked payments over HTTP: resumed under dual control."""

from __future__ import annotations

import msgspec
import pytest

from core import control_records as records
from core.control_records import ActConfirmed
from core.header import InputHeader, OperatorHeader
from core.payment import commands
from core.values import PaymentIntentId
from schemas import topology
from tests.api.acting import RETRY, TEXT
from tests.api.command_harness import ApiHarness, problem

pytestmark = pytest.mark.slow

MENDED = {"reason": TEXT}


def test_two_people_with_their_own_sign_ins_resume_a_parked_payment(harness: ApiHarness) -> None:
    """SEC-02, OP-15: the first person is the one on the control topic, not in the second one's
    body; free text is byte-equal in both records.
    """
    payment = harness.failed("k1")
    harness.park(payment)
    harness.project()
    named = {"requestedBy": "adam", **MENDED}
    assert problem(harness.act("ada", payment, "resume-processing", named)) == (
        403, "POLICY_REJECTED", "UNPARK_NOT_POSSIBLE",
    )  # fmt: skip
    path = f"/api/payments/{payment}/resume-requests"
    wanted = records.UnparkRequested(
        payment_intent_id=PaymentIntentId(payment),
        sequence=harness.world.known(payment).payment.sequence,
        reason=TEXT, requested_at=1, actor="adam",
    )  # fmt: skip
    requested = harness.carry(path, wanted).json()
    assert (requested["requestedBy"], requested["duplicate"], requested["reason"]) == (
        "adam",
        False,
        TEXT,
    )
    again = harness.carry(path, msgspec.structs.replace(wanted, actor="ada")).json()
    assert (again["requestedBy"], again["duplicate"]) == ("adam", True)
    offset = requested["offset"]
    agreed = ActConfirmed(request_offset=offset, confirmed_at=1, actor="adam")
    own = harness.carry(f"{path}/{offset}/confirm", agreed)
    assert problem(own) == (403, "POLICY_REJECTED", "SELF_APPROVAL")
    by_ada = msgspec.structs.replace(agreed, actor="ada")
    assert harness.carry(f"{path}/{offset}/confirm", by_ada).status_code == 200
    for body in (MENDED, {"requestedBy": "ada", **MENDED}, {"operatorId": "ada", **MENDED}):
        assert harness.act("adam", payment, "resume-processing", body).status_code == 403
    wrong = harness.act("ada", payment, "resume-processing", {"requestedBy": "oskar", **MENDED})
    assert problem(wrong)[2] == "UNPARK_NOT_POSSIBLE"
    assert "ProcessingResumed" not in harness.world.event_names(payment)
    resumed = harness.act("ada", payment, "resume-processing", named)
    assert resumed.json()["result"] == "ACCEPTED", resumed.text
    (command,) = harness.written(topology.OPERATOR_COMMANDS)[-1:]
    assert (command.requested_by, command.operator.operator_id) == ("adam", "ada")
    assert command.reason == TEXT
    assert (
        problem(harness.act("ada", payment, "resume-processing", named))[2] == "STATE_PRECONDITION"
    )


def test_a_request_is_valid_for_one_parking_and_the_processor_checks_it_too(
    harness: ApiHarness,
) -> None:
    """SEC-02: parked again, it takes two people again; bypassing the API changes nothing."""
    payment = harness.failed("k1")
    for first, second in (("adam", "ada"), ("ada", "adam")):
        harness.park(payment)
        harness.project()
        early = harness.act(second, payment, "resume-processing", MENDED)
        assert problem(early)[2] == "UNPARK_NOT_POSSIBLE"
        header = InputHeader(payment_intent_id=PaymentIntentId(payment))
        operator = OperatorHeader(
            operator_id="ada",
            roles=("admin",),
            token_id="t",
            not_after=harness.clock.now_ms() + 60_000,
        )
        forged = commands.ResumeProcessing(
            header=header, operator=operator, requested_by="adam", reason="mended"
        )
        harness.world.pipe(topology.OPERATOR_COMMANDS, forged)
        harness.world.driver.run()
        assert harness.world.known(payment).payment.parked
        assert [each.status_code for each in harness.resume_parked(first, second, payment)] == [
            200,
            200,
        ]
        done = harness.act(second, payment, "resume-processing", MENDED)
        assert done.json()["result"] == "ACCEPTED", done.text
        assert not harness.world.known(payment).payment.parked


def test_a_parked_payments_command_is_quarantined_and_says_so(harness: ApiHarness) -> None:
    """ERR-05: quarantined, not decided; once two people have resumed the payment it can be
    repeated.
    """
    payment = harness.failed("k1")
    harness.park(payment)
    answer = harness.act("olga", payment, "retry", RETRY)
    assert problem(answer) == (403, "POLICY_REJECTED", "PAYMENT_PARKED")
    assert answer.json()["result"] == "QUARANTINED"
    harness.resume_parked("adam", "ada", payment)
    resumed = harness.act("ada", payment, "resume-processing", MENDED)
    assert resumed.json()["result"] == "ACCEPTED"
    harness.approved(payment, "RETRY")
    assert harness.act("olga", payment, "retry", RETRY).json()["result"] == "ACCEPTED"
