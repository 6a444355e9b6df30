"""The copy buttons copy the shown view, with its filters, as shell commands."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from app.cli.npp import parser
from tests.web.harness import PagesHarness

pytestmark = pytest.mark.slow

COPIED = re.compile(r'data-copy="([^"]*)"')
ADDRESS = re.compile(r'"\$NPP_API_URL([^"]*)"$')
TREE: Any = parser()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesHarness]:
    made = PagesHarness(tmp_path_factory.mktemp("copies"))
    failed = made.failed("one")
    made.sent("two")
    made.act("olga", failed, "approvals", {"action": "RETRY", "reason": "x"})
    made.park(failed)
    made.work()
    yield made
    made.close()


def copied(page: str) -> tuple[str, list[str]]:
    """The API's URL in `curl …`, and the arguments of `npp …`."""
    found = [html.unescape(each) for each in COPIED.findall(page)]
    (curl,) = [each for each in found if each.startswith("curl ")]
    (npp,) = [each for each in found if each.startswith("npp ")]
    address = ADDRESS.search(curl)
    assert address is not None, curl
    return address[1], shlex.split(npp)


def parsed(words: list[str]) -> dict[str, Any]:
    """The options and arguments as the command line parses them."""
    command, rest = TREE, words[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    with command.make_context("npp", [*rest]) as context:
        found: dict[str, Any] = context.params
        return found


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("/payments?state=FAILED", {"state": "FAILED"}),
        ("/payments?state=FAILED&attention=true", {"state": "FAILED", "attention": True}),
        ("/payments?attention=false&moneyOutcome=OPEN", {"attention": False, "money": "OPEN"}),
        ("/payments?source=mobile-app", {"source": "mobile-app"}),
        ("/audit?operatorId=olga&action=REQUEST_APPROVAL", {"operator": "olga"}),
        ("/audit?action=NOTHING", {"action": "NOTHING"}),
        ("/conflicts?show=all", {"open_only": False}),
        ("/conflicts", {"open_only": True}),
        ("/quarantine?reason=PARKED", {"reason": "PARKED"}),
        ("/quarantine?reason=UNMATCHED", {"reason": "UNMATCHED"}),
        ("/approvals?status=REFERRED", {"status": "REFERRED"}),
        ("/approvals?status=USED", {"status": "USED"}),
        ("/search?q=nothing%20here", {"text": "nothing here"}),
    ],
)
def test_curl_and_npp_request_the_pages_own_items(
    shared: PagesHarness, page: str, expected: dict[str, Any]
) -> None:
    text = shared.browser("sue").get(page).text
    address, words = copied(text)
    answer = shared.get("sue", address)
    assert answer.status_code == 200, answer.text
    listed = {each.get("paymentIntentId") for each in answer.json()["items"]}
    rows = text.partition("<tbody>")[2].partition("</tbody>")[0]
    linked = set(re.findall(r'href="/payments/(pi_\w+)"', rows, re.ASCII))
    assert linked == listed - {None}
    params = parsed(words)
    assert {name: params[name] for name in expected} == expected


def test_text_from_the_url_stays_one_word_in_a_shell(shared: PagesHarness) -> None:
    hostile = "$(touch x)`y`;'z'\" --limit"
    answer = shared.browser("sue").http.get("/search", params={"q": hostile})
    address, words = copied(answer.text)
    assert not set("$`\"'; ()") & set(address)
    assert parsed(words)["text"] == hostile
    listed = shared.browser("sue").http.get("/payments", params={"source": hostile})
    address, words = copied(listed.text)
    assert not set("$`\"'; ()") & set(address)
    assert parsed(words)["source"] == hostile


def test_the_dashboard_has_copy_buttons(shared: PagesHarness) -> None:
    address, words = copied(shared.browser("vera").get("/").text)
    assert "states" in shared.get("vera", address).json()
    assert words == ["npp", "top"]
