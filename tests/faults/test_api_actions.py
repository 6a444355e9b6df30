"""Operators' actions through HTTP on the real Kafka: gates, races, lost answers, stops."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from app.platform.broker import Cluster
from app.platform.children import pause_child
from schemas import topology
from tests.faults.api_harness import ACCEPTED, ApiHarness, refusal, until

RETRY = {"attemptId": "att_002", "reason": "Resolve approved retry after rail timeout"}


@pytest.fixture(scope="module")
def product(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHarness]:
    """On its own Kafka, because the auditor of the fault rows knows only its own
    simulators' books.
    """
    with Cluster(tmp_path_factory.mktemp("kafka"), heap_mb=256) as kafka:
        made = ApiHarness(kafka.bootstrap, registry, tmp_path_factory.mktemp("api"))
        try:
            made.start_all()
            yield made
        finally:
            made.close()


@pytest.fixture
def harness(product: ApiHarness) -> Iterator[ApiHarness]:
    yield product
    product.all_alive()


def test_a_gated_action_end_to_end(harness: ApiHarness) -> None:
    """RT-03, AP-01, AP-02, AP-03, API-05, API-08, AUD-01, AUD-03: requested, approved by a second
    person, carried out. The response is the outcome, the next GET shows it, the audit log links it.
    """
    payment = harness.failed()
    assert refusal(harness.act("olga", payment, "retry", RETRY))[2] == "APPROVAL_MISSING"
    approval = harness.approved(payment, "RETRY")
    harness.script(payment, [ACCEPTED, {"kind": "SETTLED", "afterMillis": 60}])
    answer = harness.act("olga", payment, "retry", RETRY)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["result"], body["approvalId"]) == ("ACCEPTED", approval)
    assert body["events"][0]["type"] == "PaymentAttemptCreated"
    now = harness.get("vera", f"/api/payments/{payment}").json()
    assert now["sequence"] >= body["toSequence"]
    assert now["attemptId"] == "att_002"
    harness.shown(payment, lambda p: p["state"] == "SETTLED")
    listed = harness.get("audra", f"/api/audit?paymentIntentId={payment}").json()["items"]
    entry = next(e for e in listed if e["commandId"] == body["commandId"])
    assert (entry["operatorId"], entry["approvalId"], entry["result"]) == (
        "olga", approval, "ACCEPTED",
    )  # fmt: skip
    assert entry["reason"] == RETRY["reason"]


def test_two_simultaneous_approvers_decide_once(harness: ApiHarness) -> None:
    """AP-03, AP-05."""
    payment = harness.failed()
    name = harness.requested(payment, "RETRY")
    ways = [("anna", "approve"), ("aron", "reject")]

    def decide(n: int) -> int:
        who, word = ways[n]
        path = f"approvals/{name}/{word}"
        return harness.act(who, payment, path, {"reason": "mine"}).status_code

    assert sorted(harness.at_once(2, decide)) == [200, 403]
    names = harness.events(payment)
    assert names.count("OperatorActionApproved") + names.count("OperatorActionRejected") == 1


def test_one_approval_is_used_once(harness: ApiHarness) -> None:
    """AP-04: of two simultaneous retries on one approval, one attempt is created."""
    payment = harness.failed()
    harness.approved(payment, "RETRY")
    harness.script(payment, [ACCEPTED])

    def retry(n: int) -> int:
        body = {**RETRY, "attemptId": f"att_{n + 2:03d}"}
        return harness.act("olga", payment, "retry", body).status_code

    assert sorted(harness.at_once(2, retry)) in ([200, 403], [200, 409])
    assert harness.events(payment).count("PaymentAttemptCreated") == 2


def test_an_approval_for_another_requester_or_phase_names_what_differs(harness: ApiHarness) -> None:
    """AP-04, ERR-03."""
    payment = harness.failed()
    harness.approved(payment, "RETRY")
    other = harness.act("oskar", payment, "retry", RETRY)
    assert refusal(other) == (403, "POLICY_REJECTED", "APPROVAL_OTHER_OPERATOR")
    cleared = harness.acknowledged()
    marked = {"reason": "RAIL", "details": "NPP rail returned error code 503"}
    harness.approved(cleared, "MARK_FAILED", by="sue", failureReason="TIMEOUT")
    wrong = harness.act("sue", cleared, "mark-failed", marked)
    assert refusal(wrong)[2] == "APPROVAL_OTHER_PARAMETERS"


def test_nobody_approves_their_own_request(harness: ApiHarness) -> None:
    """AP-05."""
    payment = harness.failed()
    name = harness.requested(payment, "RETRY", by="both")
    own = harness.act("both", payment, f"approvals/{name}/approve", {"reason": "mine"})
    assert refusal(own) == (403, "POLICY_REJECTED", "SELF_APPROVAL")


def test_fifty_posts_of_one_action_have_one_effect(harness: ApiHarness) -> None:
    """RT-04, IDM-04, fault row 25: one is accepted, the others are duplicates of it."""
    payment = harness.failed()
    harness.approved(payment, "RETRY")
    harness.script(payment, [ACCEPTED])
    answers = harness.at_once(50, lambda _: harness.act("olga", payment, "retry", RETRY))
    assert {a.status_code for a in answers} == {200}
    results = [a.json()["result"] for a in answers]
    assert (results.count("ACCEPTED"), results.count("DUPLICATE")) == (1, 49)
    harness.shown(
        payment, lambda p: p["state"] == "ACKNOWLEDGED"
    )  # the rail has received the instruction
    assert harness.events(payment).count("PaymentAttemptCreated") == 2
    assert len(harness.ledger_of(payment)) == 2


def test_row_24_an_api_killed_before_its_answer_leaves_the_command(harness: ApiHarness) -> None:
    """Fault row 24: the command is on the log and is carried out; a repeat returns the first
    result.
    """
    payment = harness.failed()
    harness.approved(payment, "RETRY")
    before = len(harness.records(topology.OPERATOR_COMMANDS))
    pause_child(harness.payments.child)
    try:
        lost = harness.in_thread(lambda: harness.act("olga", payment, "retry", RETRY))
        until(lambda: len(harness.records(topology.OPERATOR_COMMANDS)) > before or None)
        harness.api.kill()
        assert lost() is None
    finally:
        os.kill(harness.payments.child.pid, signal.SIGCONT)
    harness.api = harness.start_api()
    until(lambda: harness.is_ready() or None)
    harness.shown(payment, lambda p: p["attemptId"] == "att_002")
    again = harness.act("olga", payment, "retry", RETRY).json()
    assert (again["result"], again["duplicate"]) == ("DUPLICATE", True)
    assert again["events"][0]["type"] == "PaymentAttemptCreated"
    assert harness.events(payment).count("PaymentAttemptCreated") == 2


def test_a_late_outcome_is_202_and_can_be_read_later(harness: ApiHarness) -> None:
    """OP-10: while no processor decides; later the outcome is at the URL in the response."""
    payment = harness.failed()
    harness.approved(payment, "RETRY")
    pause_child(harness.payments.child)
    try:
        late = harness.act("olga", payment, "retry", RETRY)
    finally:
        os.kill(harness.payments.child.pid, signal.SIGCONT)
    assert late.status_code == 202, late.text
    place = late.headers["location"]

    def known() -> str | None:
        answer = harness.get("vera", place)
        return answer.json()["result"] if answer.status_code == 200 else None

    assert until(known) == "ACCEPTED"
    assert harness.act("olga", payment, "retry", RETRY).json()["duplicate"]


def test_a_stop_is_503_and_ends_under_dual_control_with_a_proof(harness: ApiHarness) -> None:
    """OP-07, API: no command is accepted while stopped; reads continue."""
    payment = harness.failed()
    harness.approved(payment, "RETRY")
    stop = harness.post("ada", "/api/control/stop", {"reason": "drill"}).json()["stopId"]
    taken = len(harness.records(topology.OPERATOR_COMMANDS))
    refused = harness.act("olga", payment, "retry", RETRY)
    assert refusal(refused) == (503, "STOPPED", "PROCESSING_STOPPED")
    assert int(refused.headers["retry-after"]) > 0
    assert len(harness.records(topology.OPERATOR_COMMANDS)) == taken
    assert harness.get("vera", f"/api/payments/{payment}").status_code == 200
    resume = ("control", "resume", "--stop", stop)
    requested = (*resume, "--request", "--reason", "proven", "--as", "ada")
    assert harness.npp_api(*requested, check=False).returncode == 1  # nothing is proved yet
    harness.npp("replay", "verify", "--publish")
    until(lambda: harness.npp_api(*requested, check=False).returncode == 0 or None)
    assert harness.npp_api(*resume, "--confirm", "--as", "ada", check=False).returncode == 1
    harness.npp_api(*resume, "--confirm", "--as", "adam")
    harness.script(payment, [ACCEPTED])
    assert harness.act("olga", payment, "retry", RETRY).json()["result"] == "ACCEPTED"


def test_a_redrive_is_previewed_requested_confirmed_and_done(harness: ApiHarness) -> None:
    """OP-34, ERR-05: an unreadable record goes back to its topic and is quarantined again."""
    producer = harness.producer()
    producer.produce(topology.BATCH_COMMANDS, b"\x01rubbish", b"pi_x", 0)
    assert producer.flush(10.0) == 0

    def listed(count: int) -> list[dict[str, Any]] | None:
        items = harness.get("vera", "/api/quarantine?reason=UNDECODABLE").json()["items"]
        return items if len(items) == count else None

    (held,) = until(lambda: listed(1))
    chosen = {"partition": held["partition"], "offsets": [held["offset"]]}
    preview = harness.post("ada", "/api/quarantine/redrives/preview", chosen).json()
    assert preview["records"][0]["topic"] == topology.BATCH_COMMANDS
    place = ("--partition", str(held["partition"]), "--offset", str(held["offset"]))
    words = ("quarantine", "redrive", "--request", *place, "--reason", "mended", "--json")
    name = json.loads(harness.npp_api(*words, "--as", "ada").stdout)["requestId"]
    confirm = ("quarantine", "redrive", "--confirm", name, "--json", "--as")
    until(lambda: name in harness.get("ada", "/api/control").text or None)
    assert harness.npp_api(*confirm, "ada", check=False).returncode == 1
    assert json.loads(harness.npp_api(*confirm, "adam").stdout)["status"] == "CONFIRMED"

    def done() -> bool | None:
        items = harness.get("vera", "/api/quarantine/redrives").json()["items"]
        return items[0]["status"] == "DONE" or None

    assert until(done)
    assert until(lambda: listed(2))


def test_simultaneous_and_repeated_creations_make_one_payment(harness: ApiHarness) -> None:
    """IDM-01, IDM-02, IDM-03: other content is refused, naming the first difference."""
    answers = harness.at_once(10, lambda _: harness.create("one-key"))
    assert {a.status_code for a in answers} == {200}, [a.text for a in answers]
    results = [a.json()["result"] for a in answers]
    assert (results.count("ACCEPTED"), results.count("DUPLICATE")) == (1, 9)
    other = harness.create("one-key", amount=1)
    assert refusal(other) == (409, "INVARIANT_VIOLATION", "IDEMPOTENCY_KEY_REUSED")
    assert other.json()["firstDifference"] == "amount"
    found = harness.get("vera", "/api/payments?idempotencyKey=one-key").json()["items"]
    assert len(found) == 1


def test_a_refusal_at_the_edge_is_in_the_audit_log(harness: ApiHarness) -> None:
    """AUD-02, AUD-04: who, what and the rule, under the authenticated name."""
    payment = harness.failed()
    body = {"reason": "not mine", "operatorId": "oskar"}
    assert refusal(harness.act("olga", payment, "cancel", body))[2] == "OPERATOR_MISMATCH"

    def entry() -> dict[str, Any] | None:
        found = harness.get("audra", f"/api/audit?paymentIntentId={payment}").json()["items"]
        return next((e for e in found if e["rule"] == "OPERATOR_MISMATCH"), None)

    assert until(entry)["operatorId"] == "olga"
