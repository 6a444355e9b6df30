"""Deposits Core's port: its contract over the HTTP client and the simulator, the table of
docs/deposits-gateway.md cell by cell, and each power of the simulator.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import gateways.connections
from core.payment.instructions import DepositsRequest
from core.values import funds_ref
from engine.clock import HeldClock
from gateways import ports
from gateways.connections import Gateway
from gateways.deposits.answers import ANY, NONE, QUESTIONS, TABLE
from gateways.deposits.http_client import HttpDepositsCore
from gateways.deposits.simulator import DepositsSimulator
from gateways.ports import FundsAnswer
from gateways.simulator import Journal
from tests.gateways.harness import PARTIES, funds, payment, serving
from tests.rooms import ROOT

NOW_MS = 1_780_000_000_000
NOT_AFTER = NOW_MS + 600_000
FINAL_AT = NOT_AFTER + ports.NEVER_HELD_MARGIN_MS
AMOUNT = 12_345
PAGE = ROOT / "docs" / "deposits-gateway.md"


def hold(number: int, *, not_after: int | None = NOT_AFTER) -> DepositsRequest:
    return msgspec.structs.replace(funds(number, "HOLD"), not_after=not_after)


def end_hold(number: int, *, count: int = 1) -> DepositsRequest:
    """The RELEASE of a HOLD that was not answered."""
    return msgspec.structs.replace(
        funds(number, "RELEASE"),
        funds_ref=funds_ref(payment(number), 1, "RELEASE", count),
        hold_funds_ref=funds_ref(payment(number), 1, "HOLD"),
        not_after=NOT_AFTER,
    )


class Harness:
    """A simulator with a held clock, and the HTTP client before it."""

    def __init__(self, client: httpx.Client, clock: HeldClock, simulator: DepositsSimulator):
        self.client, self.clock, self.simulator = client, clock, simulator
        self.core = HttpDepositsCore(gateway=Gateway(str(client.base_url)), clock=clock)

    def ask(self, request: DepositsRequest) -> FundsAnswer:
        return self.core.perform(request, PARTIES if request.operation == "HOLD" else None)

    def script(self, *steps: dict[str, Any], of: str = "*") -> None:
        answer = self.client.post("/scripts", json={"for": of, "steps": list(steps)})
        assert answer.status_code == 200, answer.text

    def left(self) -> int:
        """Cents that are held over all holds."""
        holds = self.client.get("/ledger").json()["holds"]
        return sum(each["left"] for each in holds.values())


@pytest.fixture
def harness() -> Iterator[Harness]:
    clock = HeldClock(NOW_MS)
    simulator = DepositsSimulator(clock=clock)
    with serving(simulator.app()) as client:
        yield Harness(client, clock, simulator)


# -- the port's contract ---------------------------------------------------------------------------


def test_money_moves_once_per_reference(harness: Harness) -> None:
    """INT-05: the same fundsRef again gives the first answer and moves nothing."""
    first = harness.ask(hold(1))
    assert first.outcome == ports.DONE
    assert harness.ask(hold(1)).hold_ref == first.hold_ref
    for _ in range(3):
        assert harness.ask(funds(1, "CAPTURE", first.hold_ref)).outcome == ports.DONE
    held = harness.client.get("/ledger").json()["holds"][first.hold_ref]
    assert (held["amount"], held["captured"], held["released"], held["left"]) == (
        AMOUNT, AMOUNT, 0, 0,
    )  # fmt: skip


def test_what_was_captured_can_not_be_released(harness: Harness) -> None:
    """INT-05: held = captured + released + expired + left."""
    held = harness.ask(hold(2))
    harness.ask(funds(2, "CAPTURE", held.hold_ref))
    answer = harness.ask(funds(2, "RELEASE", held.hold_ref))
    assert (answer.outcome, answer.code) == (ports.REFUSED, "HOLD_TOO_SMALL")


def test_a_declined_hold_a_refusal_and_silence_are_three_things(harness: Harness) -> None:
    """Domain, money and funds: the adapter tells silence from refusal."""
    harness.script({"kind": "REFUSE", "code": "INSUFFICIENT_FUNDS"})
    declined = harness.ask(hold(3))
    assert (declined.outcome, declined.code) == (ports.DECLINED, "INSUFFICIENT_FUNDS")
    harness.script()
    refused = harness.ask(funds(4, "REVERSE", "HLDNONE"))
    assert (refused.outcome, refused.code) == (ports.REFUSED, "NOTHING_CAPTURED")
    harness.script({"kind": "HTTP", "status": 503, "taken": True})
    silent = harness.ask(hold(5))
    assert (silent.outcome, silent.technical_result) == (ports.SILENT, "HTTP_503")
    harness.script()
    assert harness.ask(hold(5)).outcome == ports.DONE


def test_the_amount_is_the_one_that_deposits_core_names(harness: Harness) -> None:
    """Domain, money and funds: a contradiction in the amount reaches the payment."""
    harness.script({"kind": "SAY", "fields": {"amount": 1}})
    assert harness.ask(hold(6)).amount == 1
    harness.script({"kind": "SAY", "fields": {"amount": None}})
    assert harness.ask(hold(6)).amount is None


def test_a_hold_is_never_carried_out_after_its_not_after(harness: Harness) -> None:
    """Contract, rule 1."""
    harness.clock.advance(NOT_AFTER - NOW_MS)
    assert harness.ask(hold(7)).outcome == ports.DONE
    harness.clock.advance(1)
    answer = harness.ask(hold(8))
    assert (answer.outcome, answer.code) == (ports.REFUSED, "HOLD_TOO_LATE")
    assert harness.ask(hold(7)).outcome == ports.DONE  # the first answer again
    assert harness.left() == AMOUNT


def test_a_hold_whose_release_came_first_is_never_carried_out(harness: Harness) -> None:
    """Contract, rule 2."""
    assert harness.ask(end_hold(9)).outcome == ports.PENDING
    answer = harness.ask(hold(9))
    assert (answer.outcome, answer.code) == (ports.REFUSED, "HOLD_RELEASED")
    assert harness.left() == 0


def test_never_held_is_said_only_after_not_after_and_the_margin(harness: Harness) -> None:
    """Contract, rule 3: before that nobody knows."""
    harness.clock.advance(FINAL_AT - NOW_MS - 1)
    assert harness.ask(end_hold(10)).outcome == ports.PENDING
    harness.clock.advance(1)
    assert harness.ask(end_hold(10)).outcome == ports.NEVER_HELD
    assert harness.ask(end_hold(10)).outcome == ports.NEVER_HELD


def test_a_hold_that_was_carried_out_is_released_by_its_reference(harness: Harness) -> None:
    """Contract, rule 3: RELEASED names the hold and what was released, all that was held."""
    held = harness.ask(hold(11))
    answer = harness.ask(end_hold(11))
    assert (answer.outcome, answer.hold_ref, answer.amount) == (
        ports.DONE, held.hold_ref, AMOUNT,
    )  # fmt: skip
    harness.ask(hold(19))
    more = harness.ask(msgspec.structs.replace(end_hold(19), amount=1))
    assert (more.amount, harness.left()) == (AMOUNT, 0)


def test_a_declined_hold_is_never_held(harness: Harness) -> None:
    """Contract, rule 3: a refused HOLD is one that was never carried out."""
    harness.script({"kind": "REFUSE", "code": "INSUFFICIENT_FUNDS", "operation": "HOLD"})
    harness.ask(hold(12))
    harness.clock.advance(FINAL_AT - NOW_MS)
    assert harness.ask(end_hold(12)).outcome == ports.NEVER_HELD


def test_a_restarted_ledger_knows_what_it_moved_and_which_holds_were_ended(tmp_path: Path) -> None:
    """Contract, rules 1 to 3 over a restart of the simulator."""
    clock, path = HeldClock(NOW_MS), tmp_path / "deposits.jsonl"
    first = DepositsSimulator(clock=clock, journal=Journal(path))
    with serving(first.app()) as client:
        harness = Harness(client, clock, first)
        harness.script({"kind": "EXPIRE", "afterMillis": 1_000}, of=payment(14))
        held, expiring = harness.ask(hold(13)), harness.ask(hold(14))
        assert (held.outcome, expiring.outcome) == (ports.DONE, ports.DONE)
        harness.ask(end_hold(15))
        clock.advance(1_000)
    second = DepositsSimulator(clock=clock, journal=Journal(path))
    with serving(second.app()) as client:
        harness = Harness(client, clock, second)
        assert harness.ask(hold(13)).hold_ref == held.hold_ref
        assert harness.ask(hold(15)).code == "HOLD_RELEASED"
        assert harness.ask(funds(14, "RELEASE", expiring.hold_ref)).code == ports.HOLD_GONE
        assert harness.left() == AMOUNT


def test_a_reference_with_other_content_says_nothing_certain(harness: Harness) -> None:
    """Contract: something was done under this reference, so it is not refused, it is unclear."""
    harness.ask(hold(16))
    answer = harness.ask(msgspec.structs.replace(hold(16), amount=AMOUNT - 1))
    assert answer.outcome == ports.UNREADABLE
    assert "REFERENCE_REUSED" in (answer.details or "")


@pytest.mark.parametrize(("patience_s", "outcome"), [(0.05, ports.SILENT), (5.0, ports.DONE)])
def test_an_answer_that_is_later_than_the_client_waits_is_silence_and_moves_money_once(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, patience_s: float, outcome: str
) -> None:
    """Domain, money and funds: no answer in time may still have been done."""
    monkeypatch.setattr(gateways.connections, "READ_TIMEOUT_SECONDS", patience_s)
    harness.core = HttpDepositsCore(
        gateway=Gateway(str(harness.client.base_url)), clock=harness.clock
    )
    harness.script({"kind": "DELAY", "afterMillis": 300, "times": 1})
    assert harness.ask(hold(17)).outcome == outcome
    monkeypatch.undo()
    harness.core = HttpDepositsCore(
        gateway=Gateway(str(harness.client.base_url)), clock=harness.clock
    )
    assert harness.ask(hold(17)).outcome == ports.DONE
    assert harness.left() == AMOUNT


def test_without_a_connection_there_is_silence() -> None:
    """Domain, money and funds: nothing came, so nothing is known."""
    core = HttpDepositsCore(gateway=Gateway("http://127.0.0.1:9"), clock=HeldClock(NOW_MS))
    answer = core.perform(hold(18), PARTIES)
    assert (answer.outcome, answer.technical_result) == (ports.SILENT, "CONNECT_FAILED")


# -- the table -------------------------------------------------------------------------------------


class Fake:
    """A Deposits Core that says what it is told to."""

    def __init__(self) -> None:
        self.status = 200
        self.content: bytes = b""
        self.asked: dict[str, Any] = {}

    async def answer(self, request: Request) -> Response:
        self.asked = json.loads(await request.body())
        return Response(self.content, self.status, media_type="application/json")

    def says(self, status: int, body: Mapping[str, Any] | bytes) -> None:
        self.status = status
        self.content = body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.fixture(scope="module")
def fake() -> Iterator[tuple[Fake, HttpDepositsCore]]:
    made = Fake()
    app = Starlette(routes=[Route("/{path:path}", made.answer, methods=["POST"])])
    with serving(app) as client:
        gateway = Gateway(str(client.base_url))
        yield made, HttpDepositsCore(gateway=gateway, clock=HeldClock(NOW_MS))


REQUESTS = {
    "HOLD": [hold(20)],
    "CAPTURE": [funds(20, "CAPTURE", "HLD1")],
    "RELEASE": [funds(20, "RELEASE", "HLD1")],
    "RELEASE of a HOLD": [end_hold(20)],
    "DEBIT_FORCED, REVERSE, CREDIT": [
        funds(20, operation, None) for operation in ("DEBIT_FORCED", "REVERSE", "CREDIT")
    ],
}


def documented() -> list[tuple[int, str, str, str]]:
    """(status, code, column, cell) of the page's table, which is written by hand."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("| HTTP | code |"))
    columns = [each.strip() for each in lines[begin].strip("|").split("|")][2:]
    found = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        statuses, code, *cells = (each.strip() for each in line.strip("|").split("|"))
        for status in statuses.split(","):
            for column, cell in zip(columns, cells, strict=True):
                found.append((int(status), code, column, cell))
    return found


def test_the_pages_table_is_the_one_that_the_adapter_reads() -> None:
    """Issue 10, finding 3: one table per gateway, as data and in the docs."""
    words = {NONE: "none", ANY: "any"}
    data = [
        (status, words.get(row.code, row.code), column, " ".join(cell))
        for row in TABLE
        for status in row.statuses
        for column, cell in zip(REQUESTS, row.cells, strict=True)
    ]
    assert documented() == data
    assert len(QUESTIONS) == len(REQUESTS)


def expected(status: int, code: str, column: str) -> str:
    """The first documented row that fits."""
    for at, named, of, cell in documented():
        if at == status and of == column and named in (code, "any", "none"):
            return cell
    return "SILENT"


@pytest.mark.parametrize("column", REQUESTS)
@pytest.mark.parametrize(
    ("status", "code"),
    sorted({(s, "OTHER_CODE" if c in ("none", "any") else c) for s, c, _, _ in documented()}
           | {(status, "NEVER_HELD") for status in (401, 403, 408, 429, 500, 503)}),
)  # fmt: skip
def test_each_cell_of_the_table_over_http(
    fake: tuple[Fake, HttpDepositsCore], status: int, code: str, column: str
) -> None:
    """Issue 10, finding 3: HTTP status and code give the outcome that the page says, every cell."""
    server, core = fake
    for request in REQUESTS[column]:
        body: dict[str, Any] = {"fundsRef": request.funds_ref, "code": code, "details": "why"}
        if status < 400:
            body |= {"holdRef": "HLD1", "ledgerRef": "L1", "amount": 7, "verifiedAt": 9}
        server.says(status, body)
        answer = core.perform(request, None)
        outcome, _, told = expected(status, code, column).partition(" ")
        assert answer.outcome == outcome
        if outcome in ("REFUSED", "DECLINED"):
            assert answer.code == (told or code)
            assert answer.details == (f"{code}: why" if told else "why")
        elif outcome == "DONE":
            said = (answer.hold_ref, answer.ledger_ref, answer.amount, answer.verified_at)
            assert (*said, answer.code) == ("HLD1", "L1", 7, 9, None)


LONGEST = "x" * 140
UNREADABLE: list[tuple[str, int, dict[str, Any]]] = [
    ("HOLD", 201, {"fundsRef": "another"}),
    ("HOLD", 404, {"fundsRef": "another", "code": "X"}),
    ("HOLD", 201, {"fundsRef": None}),
    ("HOLD", 201, {"operation": "RELEASE"}),
    ("HOLD", 201, {"currency": "NZD"}),
    ("HOLD", 201, {"holdRef": None}),
    ("HOLD", 201, {"holdRef": ""}),
    ("HOLD", 201, {"holdRef": 17}),
    ("HOLD", 201, {"holdRef": "a\0b"}),
    ("HOLD", 201, {"holdRef": LONGEST + "x"}),
    ("HOLD", 201, {"ledgerRef": LONGEST + "x"}),
    ("HOLD", 201, {"amount": 0}),
    ("HOLD", 201, {"amount": -1}),
    ("HOLD", 201, {"amount": 1.5}),
    ("HOLD", 201, {"amount": "12345"}),
    ("HOLD", 201, {"amount": True}),
    ("HOLD", 201, {"verifiedAt": "now"}),
    ("HOLD", 422, {}),
    ("HOLD", 422, {"code": LONGEST + "x"}),
    ("HOLD", 422, {"code": ["X"]}),
    ("CAPTURE", 200, {"holdRef": "HLD2"}),
    ("RELEASE", 404, {"code": None}),
    ("RELEASE of a HOLD", 200, {"holdRef": None}),
]


@pytest.mark.parametrize(("column", "status", "said"), UNREADABLE)
def test_an_answer_that_is_not_certain_is_unreadable_and_says_why(
    fake: tuple[Fake, HttpDepositsCore], column: str, status: int, said: dict[str, Any]
) -> None:
    """Issue 10, findings 3 and 8: neither done nor refused, and no id is ever shortened."""
    server, core = fake
    request = REQUESTS[column][0]
    honest = {"fundsRef": request.funds_ref}
    server.says(status, honest | ({"holdRef": "HLD1"} if status < 400 else {}) | said)
    answer = core.perform(request, None)
    assert (answer.outcome, answer.hold_ref) == (ports.UNREADABLE, None)
    assert answer.details


@pytest.mark.parametrize(
    ("status", "content", "outcome"),
    [
        (200, b"", ports.UNREADABLE),
        (200, b"<html>", ports.UNREADABLE),
        (200, b"[]", ports.UNREADABLE),
        (201, b'{"fundsRef":"\xff"}', ports.UNREADABLE),
        (404, b"<html>no such page</html>", ports.SILENT),
        (404, b'{"error":"no route"}', ports.SILENT),
        (400, b"", ports.SILENT),
        (502, b"<html>", ports.SILENT),
        (502, b'{"fundsRef":"another","code":"X"}', ports.SILENT),
        (200, b'{"fundsRef":"a","fundsRef":"b"}', ports.UNREADABLE),
    ],
)
def test_what_is_not_deposits_cores_word_refuses_nothing(
    fake: tuple[Fake, HttpDepositsCore], status: int, content: bytes, outcome: str
) -> None:
    """Issue 10, finding 3: a proxy's page is silence, an unreadable success is said so."""
    server, core = fake
    server.says(status, content)
    assert core.perform(hold(20), None).outcome == outcome


def test_ids_of_140_characters_come_back_whole(fake: tuple[Fake, HttpDepositsCore]) -> None:
    """Issue 10, finding 8: a cut id is another id."""
    server, core = fake
    request = hold(20)
    server.says(
        201, {"fundsRef": request.funds_ref, "holdRef": LONGEST, "ledgerRef": LONGEST, "code": None}
    )
    answer = core.perform(request, None)
    assert (answer.hold_ref, answer.ledger_ref) == (LONGEST, LONGEST)
    server.says(200, {"fundsRef": funds(20, "CAPTURE").funds_ref, "holdRef": LONGEST})
    assert core.perform(funds(20, "CAPTURE", LONGEST), None).outcome == ports.DONE
    assert server.asked["holdRef"] == LONGEST


def test_a_hold_says_until_when_and_a_release_which_hold_it_ends(
    fake: tuple[Fake, HttpDepositsCore],
) -> None:
    """Contract, rules 1 and 2: notAfter and holdFundsRef stand in the bodies."""
    server, core = fake
    core.perform(hold(20), PARTIES)
    assert server.asked["notAfter"] == NOT_AFTER
    assert server.asked["debtor"]["bsb"] == PARTIES.debtor.bsb
    core.perform(end_hold(20), None)
    assert server.asked == {
        "fundsRef": end_hold(20).funds_ref,
        "paymentIntentId": payment(20),
        "amount": AMOUNT,
        "currency": "AUD",
        "holdFundsRef": hold(20).funds_ref,
        "notAfter": NOT_AFTER,
    }


# -- the simulator's powers ------------------------------------------------------------------------


def test_the_simulator_can_expire_a_hold_by_itself(harness: Harness) -> None:
    """Issue 10: CAPTURE and RELEASE of it are refused because the hold is gone."""
    harness.script({"kind": "EXPIRE", "afterMillis": 1_000, "operation": "HOLD"})
    held = harness.ask(hold(30))
    harness.clock.advance(999)
    assert harness.left() == AMOUNT
    harness.clock.advance(1)
    for operation in ("CAPTURE", "RELEASE"):
        answer = harness.ask(funds(30, operation, held.hold_ref))
        assert (answer.outcome, answer.code, answer.details) == (
            ports.REFUSED, ports.HOLD_GONE, "HOLD_EXPIRED",
        )  # fmt: skip
    assert harness.ask(end_hold(30, count=2)).code == ports.HOLD_GONE
    assert harness.left() == 0


def test_the_simulator_can_hang_a_hold_in_a_proxy_and_deliver_it_later(harness: Harness) -> None:
    """Issue 10: the caller gets no answer, the hold is there later."""
    harness.script({"kind": "PROXY", "afterMillis": 5_000, "times": 2})
    assert harness.ask(hold(31)).outcome == ports.SILENT
    assert harness.left() == 0
    harness.clock.advance(5_000)
    assert harness.left() == AMOUNT


def test_the_simulator_can_reorder_a_release_and_its_hold(harness: Harness) -> None:
    """Issue 10: HOLD hangs in a proxy, RELEASE arrives first, then the HOLD: nothing is held."""
    harness.script({"kind": "PROXY", "afterMillis": 5_000, "operation": "HOLD"})
    harness.ask(hold(32))
    assert harness.ask(end_hold(32)).outcome == ports.PENDING
    harness.clock.advance(5_000)
    assert harness.left() == 0
    harness.clock.advance(FINAL_AT - NOW_MS)
    assert harness.ask(end_hold(32)).outcome == ports.NEVER_HELD


def test_the_simulator_can_hold_after_it_said_never_held(harness: Harness) -> None:
    """Issue 10: a Deposits Core that contradicts its own contract."""
    late = FINAL_AT - NOW_MS + 1_000
    harness.script({"kind": "PROXY", "afterMillis": late, "operation": "HOLD", "anyway": True})
    harness.ask(hold(33))
    harness.clock.advance(late - 1_000)
    assert harness.ask(end_hold(33)).outcome == ports.NEVER_HELD
    harness.clock.advance(1_000)
    assert harness.left() == AMOUNT
    held = harness.ask(hold(33))
    assert held.outcome == ports.DONE
    again = msgspec.structs.replace(
        funds(33, "RELEASE", held.hold_ref), funds_ref=funds_ref(payment(33), 1, "RELEASE", 2)
    )
    assert harness.ask(again).outcome == ports.DONE
    assert harness.left() == 0


def test_the_simulator_can_repeat_a_request(harness: Harness) -> None:
    """Issue 10: what a proxy delivers twice moves money once."""
    harness.script({"kind": "REPEAT", "afterMillis": 1_000})
    assert harness.ask(hold(34)).outcome == ports.DONE
    harness.clock.advance(1_000)
    entry = harness.client.get(f"/funds/{hold(34).funds_ref}").json()
    assert (entry["deliveries"], harness.left()) == (2, AMOUNT)


def test_the_simulator_can_be_down_for_minutes(harness: Harness) -> None:
    """Issue 10: no operation is answered and nothing moves until the time is over."""
    harness.script({"kind": "DOWN", "forMillis": 480_000})
    harness.clock.advance(479_999)
    assert harness.ask(hold(35)).technical_result == "HTTP_503"
    harness.clock.advance(1)
    assert harness.ask(hold(35)).outcome == ports.DONE


def test_the_simulator_can_refuse_what_it_did(harness: Harness) -> None:
    """Issue 10: REFUSED after it was done."""
    held = harness.ask(hold(36))
    harness.script({"kind": "SAY", "status": 422, "fields": {"code": "LIMIT"}, "times": 1})
    answer = harness.ask(funds(36, "CAPTURE", held.hold_ref))
    assert (answer.outcome, answer.code) == (ports.REFUSED, "LIMIT")
    assert harness.ask(funds(36, "CAPTURE", held.hold_ref)).outcome == ports.DONE
    assert harness.left() == 0


@pytest.mark.parametrize(
    "step",
    [
        {"raw": "<html>fine</html>"},
        {"fields": {"holdRef": "H" * 141}},
        {"fields": {"ledgerRef": "L" * 200}},
        {"fields": {"fundsRef": "N" * 33}},
        {"raw": "{"},
    ],
)
def test_the_simulator_can_answer_what_nobody_can_read(
    harness: Harness, step: dict[str, Any]
) -> None:
    """Issue 10: unreadable and over-long answers, though the money moved; asked again it says."""
    harness.script({"kind": "SAY", "times": 1, **step})
    assert harness.ask(hold(37)).outcome == ports.UNREADABLE
    assert harness.left() == AMOUNT
    assert harness.ask(hold(37)).outcome == ports.DONE
    assert harness.left() == AMOUNT


def test_a_script_names_an_attempt_a_payment_or_one_reference(harness: Harness) -> None:
    """Scripted as the rail's simulator is: by reference, payment or for all."""
    for number, name in enumerate((hold(40).funds_ref, hold(41).funds_ref[:30], payment(42)), 40):
        harness.script({"kind": "SAY", "fields": {"amount": number}}, of=name)
        assert harness.ask(hold(number)).amount == number
    assert harness.ask(hold(43)).amount == AMOUNT


def test_a_script_of_an_unknown_kind_is_refused(harness: Harness) -> None:
    """A misspelled script would silently be an honest answer."""
    answer = harness.client.post("/scripts", json={"for": "*", "steps": [{"kind": "EXPIRES"}]})
    assert answer.status_code == 400


def test_mixed_behaviour_stumbles_in_every_way_and_ends_honestly() -> None:
    """The demo's Deposits Core: the same seed stumbles at the same references, each once."""
    clock = HeldClock(NOW_MS)
    simulator = DepositsSimulator(clock=clock, behaviour="mixed", seed=20)
    with serving(simulator.app()) as client:
        harness = Harness(client, clock, simulator)
        first = [harness.ask(hold(number)) for number in range(60)]
        outcomes = {answer.outcome for answer in first}
        assert {ports.DONE, ports.DECLINED, ports.SILENT, ports.UNREADABLE} == outcomes
        clock.advance(2_000)
        again = [harness.ask(hold(number)).outcome for number in range(60)]
        declined = again.count(ports.DECLINED)
        assert set(again) == {ports.DONE, ports.DECLINED}
        assert harness.left() == (60 - declined) * AMOUNT
