"""What a holder of the API's Kafka credential or of an admin's token cannot do. SEC-02, SEC-03.

Records bypass the API's checks onto the log; requests go through the API without the person's key.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from control.acts import act_json
from core import control_records as records
from core.control_records import ActConfirmed
from core.header import InputHeader, OperatorHeader
from core.payment import commands
from core.values import PaymentIntentId
from schemas import topology
from tests.api.command_harness import ApiHarness, problem
from tests.control.people import key_of

pytestmark = pytest.mark.slow

REDRIVES = "/api/quarantine/redrives"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ApiHarness]:
    made = ApiHarness(tmp_path)
    yield made
    made.close()


def wanted(who: str = "ada") -> records.RedriveRequested:
    return records.RedriveRequested(
        request_id="rdr_1", partition=0, offsets=(0,), reason="mended", requested_at=1, actor=who
    )


def quarantined(harness: ApiHarness) -> None:
    harness.world.driver.pipe(topology.COMMANDS, b"pi_x", b"\x01rubbish")
    harness.work()


def test_two_names_written_past_the_api_resume_no_parked_payment(harness: ApiHarness) -> None:
    """Request, confirmation and command, all unsigned, in two people's names."""
    payment = harness.failed("k1")
    harness.park(payment)
    sequence = harness.world.known(payment).payment.sequence
    requested = records.UnparkRequested(
        payment_intent_id=PaymentIntentId(payment), sequence=sequence, reason="r", requested_at=1,
        actor="adam",
    )  # fmt: skip
    offset = harness.commands.write_control(requested)
    harness.commands.write_control(ActConfirmed(request_offset=offset, confirmed_at=1, actor="ada"))
    until = harness.clock.now_ms() + 60_000
    forged = commands.ResumeProcessing(
        header=InputHeader(payment_intent_id=PaymentIntentId(payment)),
        operator=OperatorHeader(operator_id="ada", roles=("admin",), token_id="t", not_after=until),
        requested_by="adam",
        reason="r",
    )
    harness.world.pipe(topology.OPERATOR_COMMANDS, forged)
    harness.world.driver.run()
    assert harness.world.known(payment).payment.parked


def test_a_command_in_other_names_than_the_signers_resumes_nothing(
    harness: ApiHarness,
) -> None:
    payment = harness.failed("k1")
    harness.park(payment)
    harness.project()
    harness.resume_parked("adam", "ada", payment)
    until = harness.clock.now_ms() + 60_000
    for first, second in (("adam", "olga"), ("olga", "ada"), ("ada", "adam")):
        harness.world.pipe(
            topology.OPERATOR_COMMANDS,
            commands.ResumeProcessing(
                header=InputHeader(payment_intent_id=PaymentIntentId(payment)),
                operator=OperatorHeader(
                    operator_id=second, roles=("admin",), token_id="t", not_after=until
                ),
                requested_by=first,
                reason="r",
            ),
        )
        harness.world.driver.run()
        assert harness.world.known(payment).payment.parked, (first, second)


def body(record: Any) -> dict[str, Any]:
    return act_json.to_json(record)


def test_an_admins_token_without_the_key_can_request_nothing(harness: ApiHarness) -> None:
    quarantined(harness)
    unsigned = harness.post("ada", REDRIVES, body(wanted()))
    assert problem(unsigned) == (403, "POLICY_REJECTED", "ACT_NOT_SIGNED")
    now = harness.clock.now_ms()
    stolen = harness.world.hands.sign(wanted(), key=key_of("mallory"), at=now)
    said = harness.post("ada", REDRIVES, body(stolen))
    assert problem(said) == (403, "POLICY_REJECTED", "ACT_NOT_SIGNED")
    assert said.json()["brokenRule"] == "UNKNOWN_KEY"
    assert harness.world.control.requests() == []
    assert {each.action for each in harness.audited()} == {"REQUEST_REDRIVE"}


def test_a_token_cannot_deliver_another_persons_act(harness: ApiHarness) -> None:
    quarantined(harness)
    signed = harness.sign(wanted("adam"))
    said = harness.post("ada", REDRIVES, body(signed))
    assert problem(said) == (403, "POLICY_REJECTED", "ACT_NOT_SIGNED")
    assert harness.world.control.requests() == []


def test_an_act_altered_by_the_api_is_refused_by_every_process(harness: ApiHarness) -> None:
    """An API that bypasses its own check and writes other offsets than were signed."""
    signed = harness.sign(wanted())
    harness.commands.write_control(msgspec.structs.replace(signed, offsets=(0, 1, 2)))
    assert harness.world.control.requests() == []


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"type": "RedriveRequested"},
        {"type": "NoSuchAct", "fields": {}, "signature": {}},
        {"type": "RedriveRequested", "fields": {"offsets": "x"}, "signature": {}},
        {"type": "ProcessingStopped", "fields": {}, "signature": {}},
        {"type": "RedriveRequested", "fields": {"signature": {}}, "signature": {}},
        {"type": "RedriveRequested", "fields": {}, "signature": {"keyId": 1, "number": "x"}},
    ],
    ids=range(7),
)
def test_a_body_that_is_no_act_is_a_400(harness: ApiHarness, broken: Any) -> None:
    body = harness.post("ada", REDRIVES, broken)
    assert (body.status_code, body.json()["code"]) == (400, "VALIDATION_FAILED"), body.text
