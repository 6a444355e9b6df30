"""The table of docs/deposits-gateway.md, cell by cell, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateways import ports
from gateways.connections import Gateway
from gateways.deposits.answers import ANY, NONE, QUESTIONS, TABLE
from gateways.deposits.http_client import HttpDepositsCore
from tests.clock import HeldClock
from tests.gateways.deposits.harness import AMOUNT, NOT_AFTER, NOW_MS, end_hold, hold
from tests.gateways.harness import PARTIES, funds, payment, serving
from tests.rooms import ROOT

PAGE = ROOT / "docs" / "deposits-gateway.md"


class Fake:
    """A Deposits Core with scripted answers."""

    def __init__(self) -> None:
        self.status = 200
        self.content: bytes = b""
        self.requested: dict[str, Any] = {}

    async def answer(self, request: Request) -> Response:
        self.requested = json.loads(await request.body())
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
    """(status, code, column, cell) of the page's handwritten table."""
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


def test_the_pages_table_is_the_adapters_table() -> None:
    """One table per gateway, as data and in the docs."""
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
    """The first documented row that matches."""
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
    """HTTP status and code give the documented outcome, for every cell."""
    server, core = fake
    for request in REQUESTS[column]:
        body: dict[str, Any] = {"fundsRef": request.funds_ref, "code": code, "details": "why"}
        if status < 400:
            body |= {"holdRef": "HLD1", "ledgerRef": "L1", "amount": 7, "verifiedAt": 9}
        server.says(status, body)
        answer = core.perform(request, None)
        outcome, _, reported = expected(status, code, column).partition(" ")
        assert answer.outcome == outcome
        if outcome in ("REFUSED", "DECLINED"):
            assert answer.code == (reported or code)
            assert answer.details == (f"{code}: why" if reported else "why")
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
def test_an_uncertain_answer_is_unreadable_and_says_why(
    fake: tuple[Fake, HttpDepositsCore], column: str, status: int, said: dict[str, Any]
) -> None:
    """Neither done nor refused, and no id is ever shortened."""
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
def test_a_page_that_is_not_from_deposits_core_refuses_nothing(
    fake: tuple[Fake, HttpDepositsCore], status: int, content: bytes, outcome: str
) -> None:
    """A proxy's page is silence; an unreadable success is reported as such."""
    server, core = fake
    server.says(status, content)
    assert core.perform(hold(20), None).outcome == outcome


def test_ids_of_140_characters_are_kept_whole(fake: tuple[Fake, HttpDepositsCore]) -> None:
    """A truncated id is another id."""
    server, core = fake
    request = hold(20)
    server.says(
        201, {"fundsRef": request.funds_ref, "holdRef": LONGEST, "ledgerRef": LONGEST, "code": None}
    )
    answer = core.perform(request, None)
    assert (answer.hold_ref, answer.ledger_ref) == (LONGEST, LONGEST)
    server.says(200, {"fundsRef": funds(20, "CAPTURE").funds_ref, "holdRef": LONGEST})
    assert core.perform(funds(20, "CAPTURE", LONGEST), None).outcome == ports.DONE
    assert server.requested["holdRef"] == LONGEST


def test_a_hold_states_its_not_after_and_a_release_the_hold_it_ends(
    fake: tuple[Fake, HttpDepositsCore],
) -> None:
    """Contract, rules 1 and 2: notAfter and holdFundsRef are in the bodies."""
    server, core = fake
    core.perform(hold(20), PARTIES)
    assert server.requested["notAfter"] == NOT_AFTER
    assert server.requested["debtor"]["bsb"] == PARTIES.debtor.bsb
    core.perform(end_hold(20), None)
    assert server.requested == {
        "fundsRef": end_hold(20).funds_ref,
        "paymentIntentId": payment(20),
        "amount": AMOUNT,
        "currency": "AUD",
        "holdFundsRef": hold(20).funds_ref,
        "notAfter": NOT_AFTER,
    }
