"""The rail's port over HTTP against the simulated gateway (INT-01, INT-04, INT-08)."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from core.values import ExternalRef
from gateways import connections as http_gateway
from gateways import ports
from gateways.rail.http_client import HttpRail
from gateways.rail.simulator import RailSimulator
from gateways.rail.simulator_behaviour import drawn
from tests.gateways.harness import CLOCK, PARTIES, serving, submit, wait_for


class Gateway:
    def __init__(self, simulator: RailSimulator, client: httpx.Client) -> None:
        self.simulator = simulator
        self.client = client
        self.rail = HttpRail(gateway=http_gateway.Gateway(str(client.base_url)), clock=CLOCK)

    def script(self, *steps: dict[str, object], name: str = "*") -> None:
        answer = self.client.post("/scripts", json={"for": name, "steps": list(steps)})
        assert answer.status_code == 200

    def ledger(self, ref: str) -> dict[str, object]:
        body = self.client.get("/ledger", params={"externalRef": ref}).json()
        found: list[dict[str, object]] = body["payments"]
        return found[0] if found else {}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    simulator = RailSimulator(clock=CLOCK)
    with serving(simulator.app()) as client:
        yield Gateway(simulator, client)


@pytest.fixture(autouse=True)
def _quiet(gateway: Gateway) -> None:
    gateway.script({"kind": "NOTHING"})


def test_the_same_reference_again_is_the_same_payment(gateway: Gateway) -> None:
    instruction = submit(1)
    first = gateway.rail.submit(instruction, PARTIES)
    second = gateway.rail.submit(instruction, PARTIES)
    assert (first.outcome, second.outcome) == (ports.RECEIVED, ports.RECEIVED)
    assert first.rail_ref == second.rail_ref
    assert first.answered_at >= first.submitted_at
    assert gateway.ledger(instruction.external_ref)["submitted"] == 2


def test_the_same_reference_with_other_content_is_refused_as_a_duplicate(gateway: Gateway) -> None:
    gateway.rail.submit(submit(2), PARTIES)
    other = gateway.rail.submit(submit(2, amount=99), PARTIES)
    assert (other.outcome, other.code) == (ports.REJECTED, "DUPL")


def test_a_submission_after_submit_before_is_never_accepted(gateway: Gateway) -> None:
    late = submit(3, before_ms=-1)
    assert gateway.rail.submit(late, PARTIES).outcome == ports.TOO_LATE
    assert gateway.rail.status(late.external_ref).status == ports.UNKNOWN
    assert gateway.ledger(late.external_ref) == {}


def test_a_rejection_carries_its_iso_code(gateway: Gateway) -> None:
    gateway.script({"kind": "SYNC_REJECT", "code": "AC04"})
    answer = gateway.rail.submit(submit(4), PARTIES)
    assert (answer.outcome, answer.code) == (ports.REJECTED, "AC04")
    status = gateway.rail.status(submit(4).external_ref)
    assert (status.status, status.code) == (ports.REJECTED, "AC04")


@pytest.mark.parametrize("taken", [False, True])
def test_an_error_page_is_unclear_and_the_enquiry_resolves_it(
    gateway: Gateway, taken: bool
) -> None:
    instruction = submit(5 + taken)
    gateway.script({"kind": "HTTP", "status": 503, "times": 1, "taken": taken})
    answer = gateway.rail.submit(instruction, PARTIES)
    assert (answer.outcome, answer.technical_result) == (ports.UNCLEAR, "HTTP_503")
    known = gateway.rail.status(instruction.external_ref).status
    assert known == (ports.RECEIVED if taken else ports.UNKNOWN)


def test_a_404_page_from_another_server_is_no_answer(gateway: Gateway) -> None:
    gateway.script({"kind": "ENQUIRY", "httpStatus": 404})
    assert gateway.rail.status(submit(7).external_ref).status == ports.NO_ANSWER


def test_a_refused_connection_is_unclear_and_never_raises() -> None:
    rail = HttpRail(gateway=http_gateway.Gateway("http://127.0.0.1:9"), clock=CLOCK)
    assert rail.submit(submit(8), PARTIES).technical_result == "CONNECT_FAILED"
    assert rail.status(ExternalRef("N1")).status == ports.NO_ANSWER
    assert rail.recall(ExternalRef("N1"), number=1).outcome == ports.NO_ANSWER


def test_a_settled_payment_shows_in_status_and_ledger(gateway: Gateway) -> None:
    instruction = submit(9)
    gateway.script({"kind": "SETTLED", "message": False})
    gateway.rail.submit(instruction, PARTIES)
    wait_for(lambda: gateway.rail.status(instruction.external_ref).status == ports.SETTLED)
    assert gateway.rail.status(instruction.external_ref).amount == 12_345
    assert gateway.ledger(instruction.external_ref)["settledAmount"] == 12_345


def test_the_ledger_never_settles_what_it_rejected(gateway: Gateway) -> None:
    instruction = submit(10)
    gateway.script(
        {"kind": "REJECTED", "code": "AB05", "message": False},
        {"kind": "SETTLED", "afterMillis": 50, "message": False},
    )
    gateway.rail.submit(instruction, PARTIES)
    wait_for(lambda: gateway.ledger(instruction.external_ref)["stepsPending"] == 0)
    entry = gateway.ledger(instruction.external_ref)
    assert (entry["rejected"], entry["settledAmount"]) == ("AB05", 0)


def test_an_accepted_recall_ends_the_payment_unpaid(gateway: Gateway) -> None:
    instruction = submit(11)
    gateway.script({"kind": "SETTLED", "afterMillis": 2_000, "message": False})
    gateway.rail.submit(instruction, PARTIES)
    answer = gateway.rail.recall(instruction.external_ref, number=1)
    assert answer.outcome == ports.RECALL_ACCEPTED
    wait_for(lambda: gateway.ledger(instruction.external_ref)["stepsPending"] == 0)
    assert gateway.ledger(instruction.external_ref)["settledAmount"] == 0


def test_a_settled_payment_is_not_recalled_whatever_the_script_says(gateway: Gateway) -> None:
    instruction = submit(12)
    gateway.script({"kind": "SETTLED", "message": False}, {"kind": "RECALL", "answer": "ACCEPTED"})
    gateway.rail.submit(instruction, PARTIES)
    wait_for(lambda: gateway.ledger(instruction.external_ref)["settledAmount"])
    answer = gateway.rail.recall(instruction.external_ref, number=1)
    assert answer.outcome == ports.RECALL_REFUSED


UETR = "eb6305c9-1f7f-49de-aed0-16487c27b42d"  # 36 characters, one more than NPP's own ids


@pytest.mark.parametrize("name", ["railRef", "messageId", "transactionId"])
@pytest.mark.parametrize("whole", [UETR, "i" * 140])
def test_a_rail_id_is_kept_whole(gateway: Gateway, name: str, whole: str) -> None:
    """A truncated id is another id; 140 characters are kept, including a UETR's 36."""
    instruction = submit(20)
    fields = {name: whole}
    gateway.script({"kind": "ANSWER", "fields": fields}, {"kind": "ENQUIRY", "fields": fields})
    submitted = gateway.rail.submit(instruction, PARTIES)
    requested = gateway.rail.status(instruction.external_ref)
    said = {"railRef": requested.rail_ref, "messageId": requested.message_id}
    assert {**said, "transactionId": requested.transaction_id}[name] == whole
    if name == "railRef":
        assert submitted.rail_ref == whole


@pytest.mark.parametrize(
    "fields",
    [
        {"railRef": "i" * 141},
        {"messageId": "i" * 141},
        {"transactionId": "i" * 141},
        {"code": "C" * 36},
        {"currency": "AUDX"},
        {"railRef": 7},
        {"messageId": "a\0b"},
        {"amount": "123.45"},
        {"returnedAmount": 1.5},
    ],
)
def test_an_answer_with_an_unusable_id_is_no_answer(
    gateway: Gateway, fields: dict[str, object]
) -> None:
    """Too long or unreadable: it counts as no answer and says so; ids are never truncated."""
    instruction = submit(21)
    gateway.script(
        {"kind": "ANSWER", "fields": fields},
        {"kind": "ENQUIRY", "fields": fields},
        {"kind": "RECALL", "ledger": False, "fields": fields},
    )
    submitted = gateway.rail.submit(instruction, PARTIES)
    requested = gateway.rail.status(instruction.external_ref)
    recalled = gateway.rail.recall(instruction.external_ref, number=1)
    assert (submitted.outcome, submitted.technical_result) == (ports.UNCLEAR, "UNREADABLE")
    assert (requested.status, requested.technical_result) == (ports.NO_ANSWER, "UNREADABLE")
    assert (recalled.outcome, recalled.technical_result) == (ports.NO_ANSWER, "UNREADABLE")
    assert (requested.rail_ref, requested.amount, requested.message_id) == (None, None, None)


def test_a_return_without_an_amount_has_none(gateway: Gateway) -> None:
    """A RETURNED answer without returnedAmount is passed on without one."""
    instruction = submit(22)
    gateway.script({"kind": "ENQUIRY", "status": "RETURNED", "fields": {"returnedAmount": None}})
    gateway.rail.submit(instruction, PARTIES)
    answer = gateway.rail.status(instruction.external_ref)
    assert (answer.status, answer.returned_amount) == (ports.RETURNED, None)


def test_partial_returns_add_up_in_the_rails_ledger(gateway: Gateway) -> None:
    """The simulated rail returns in parts, and never more than it settled."""
    instruction = submit(23)
    steps: list[dict[str, object]] = [{"kind": "SETTLED", "message": False}]
    steps += [
        {"kind": "RETURNED", "amount": amount, "afterMillis": after, "message": False}
        for amount, after in ((5_000, 20), (3_000, 40), (99_999, 60))
    ]
    gateway.script(*steps)
    gateway.rail.submit(instruction, PARTIES)
    wait_for(lambda: gateway.ledger(instruction.external_ref)["stepsPending"] == 0)
    assert gateway.ledger(instruction.external_ref)["returnedAmount"] == 12_345
    assert gateway.rail.status(instruction.external_ref).returned_amount == 12_345


def test_the_rail_contradicts_itself_answer_by_answer(gateway: Gateway) -> None:
    """Each scripted enquiry answers in turn, then the ledger's truth; a recall may be wrong."""
    instruction = submit(24)
    gateway.script(
        {"kind": "ENQUIRY", "status": "UNKNOWN", "times": 1},
        {"kind": "ENQUIRY", "status": "REJECTED", "code": "AC04", "times": 2},
        {"kind": "RECALL", "answer": "ACCEPTED", "ledger": False},
        {"kind": "SETTLED", "afterMillis": 60_000, "message": False},
    )
    gateway.rail.submit(instruction, PARTIES)
    said = [gateway.rail.status(instruction.external_ref).status for _ in range(4)]
    assert said == [ports.UNKNOWN, ports.REJECTED, ports.REJECTED, ports.RECEIVED]
    assert gateway.rail.recall(instruction.external_ref, number=1).outcome == ports.RECALL_ACCEPTED
    assert gateway.ledger(instruction.external_ref)["recalled"] is False


def test_random_behaviour_is_the_same_for_the_same_seed_and_reference() -> None:
    references = [submit(n).external_ref for n in range(200)]
    once = [drawn(7, ref, "mixed") for ref in references]
    assert once == [drawn(7, ref, "mixed") for ref in references]
    kinds = {step["kind"] for steps in once for step in steps}
    assert {"ACCEPTED", "SETTLED", "REJECTED", "HTTP"} <= kinds
