"""The command below a form does what the form does, with the words that are written into it."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from app.cli.npp import run_cli
from app.exits import ExitCode
from tests.web.harness import PagesHarness
from web import acts
from web.pages.calls import Call, curl, npp

pytestmark = pytest.mark.slow

NAME = "pi_pdkz22ub6ujnprx6nas575vbxy"
HOSTILE = 'it\'s "so": $(touch x) `y`\n--limit'
FIELDS = {
    "reason": HOSTILE, "approvalId": "apr_001", "attemptId": "att_002", "customerId": "c'1",
    "failureReason": "TIMEOUT", "operation": "CAPTURE", "conflictId": "cnf_001",
    "verdict": "RETURNED", "amount": "1,250.05",
}  # fmt: skip
CALLS = [
    *(Call(NAME, act.path, acts.body(act.name, FIELDS, {"attemptId": "att_001"}))
      for act in acts.ACTS),
    *(Call(NAME, "approvals", acts.request_body({**FIELDS, "action": act.name}))
      for act in acts.ACTS if act.gated),
    Call(NAME, "approvals/apr_001/approve", {"reason": HOSTILE}),
    Call(NAME, "approvals/apr_001/reject", {"reason": ""}),
    Call(NAME, "conflicts/cnf_001/resolve",
         {"attemptId": "att_001", "verdict": "RETURNED", "details": HOSTILE, "amount": 5}),
]  # fmt: skip


def requested(line: str) -> tuple[str, Any]:
    """Path and body of a curl line."""
    words = shlex.split(line)
    (address,) = [each for each in words if "/api/" in each]
    assert "POST" in words
    return address[address.index("/api/") :], json.loads(words[words.index("-d") + 1])


@pytest.mark.parametrize("call", CALLS, ids=lambda each: each.path)
def test_npp_makes_the_call_that_curl_makes(
    call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(npp(call))[1:]
    assert run_cli([*words, "--curl"]) == ExitCode.OK
    assert requested(capsys.readouterr().out) == requested(curl(call))


def test_a_retry_by_two_people_is_done_by_the_copied_commands(harness: PagesHarness) -> None:
    """Copying does nothing; the API takes what was copied as it takes the form."""
    payment = harness.failed("one")
    olga, anna = harness.browser("olga"), harness.browser("anna")
    page = f"/payments/{payment}"
    assert 'data-copy-form="curl"' in olga.get(page).text
    assert 'data-copy-form="curl"' not in harness.browser("vera").get(page).text

    def done(person: str, copied: str) -> dict[str, Any]:
        before = len(harness.outcomes())
        path, body = requested(copied)
        answer = harness.post(person, path, body)
        assert answer.status_code == 200, answer.text
        harness.work()
        assert len(harness.outcomes()) > before
        found: dict[str, Any] = answer.json()
        return found

    form = {"action": "RETRY", "reason": HOSTILE, "as": "curl"}
    outcomes = len(harness.outcomes())
    assert HOSTILE in requested(olga.post(f"{page}/request/command", form).text)[1]["reason"]
    harness.work()
    assert len(harness.outcomes()) == outcomes
    approval = done("olga", olga.post(f"{page}/request/command", form).text)["approvalId"]
    place = f"/approvals/{payment}/{approval}"
    assert anna.get(place).text.count('name="word" value="reject" data-copy-form=') == 2
    done("anna", anna.post(f"{place}/command", {"word": "approve", "as": "curl"}).text)
    form = {"action": "RETRY", "approvalId": approval, "reason": "", "as": "npp"}
    assert olga.post(f"{page}/act/command", form).text == (
        f"npp payment retry {payment} --reason='…' --approval={approval} --attempt=att_002"
    )
    done("olga", olga.post(f"{page}/act/command", {**form, "as": "curl"}).text)
    shown = harness.get("vera", f"/api/payments/{payment}").json()
    assert shown["attemptId"] == "att_002"


def test_a_form_that_makes_no_call_makes_no_command(harness: PagesHarness) -> None:
    payment = harness.failed("one")
    olga = harness.browser("olga")
    form = {"action": "RETRY", "amount": "a lot", "as": "npp"}
    assert olga.post(f"/payments/{payment}/request/command", form).status_code == 400
    foreign = olga.http.post(f"/payments/{payment}/request/command", data={"action": "RETRY"})
    assert foreign.status_code == 403
