"""The command line over the API: every HTTP action is available in the terminal too."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any, NamedTuple

import pytest

from app.cli.npp import run_cli
from app.demo.programs import SUBMITTER_SOURCE
from core.values import external_ref, payment_intent_id
from tests.acceptance.harness import ACCEPT, SETTLE, SILENT, Harness, rejects

pytestmark = pytest.mark.broker


class Said(NamedTuple):
    """A command's output and exit code."""

    code: int
    out: str
    err: str


class Npp:
    """`npp` as in the demo's folder, inside this process."""

    def __init__(self, harness: Harness, capture: pytest.CaptureFixture[str]) -> None:
        self._harness = harness
        self._capture = capture

    def __call__(self, *words: str) -> Said:
        self._capture.readouterr()
        code = run_cli(list(words))
        out, err = self._capture.readouterr()
        return Said(code, out, err)

    def json(self, *words: str) -> Any:
        said = self(*words, "--json")
        assert said.code == 0, said
        found = json.loads(said.out)
        return self._harness.projected("ops_1", found) if "projected" in found else found


@pytest.fixture
def npp(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Npp:
    """Nothing of our own environment remains; the harness's npp.env is found through its folder."""
    for name in [name for name in os.environ if name.startswith("NPP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NPP_DATA_DIR", str(harness.stage.data))
    return Npp(harness, capsys)


def test_a_payment_is_cancelled_from_the_terminal_under_dual_control(
    harness: Harness, npp: Npp
) -> None:
    """Request, approve, cancel with --as; the outcome in JSON; refused actions exit 1."""
    payment = harness.create(SILENT)
    harness.until(payment, state="SENT")
    words = ("--as", "ann", "--reason", "customer called", "--json")
    refused = npp("payment", "cancel", payment, *words)
    assert refused.code == 1
    assert '"rule":"APPROVAL_MISSING"' in refused.out

    requested = npp.json("approval", "request", payment, "--action", "CANCEL", *words[:-1])
    assert (requested["result"], requested["approvalId"]) == ("ACCEPTED", "apr_001")
    harness.soon(lambda: harness.status(payment, "apr_001") == "REFERRED")
    alone = npp("approval", "approve", payment, "apr_001", "--as", "Ann", "--reason", "r")
    assert alone.code == 1
    assert "SELF_APPROVAL" in alone.err
    second = npp("approval", "approve", payment, "apr_001", "--as", "bob", "--reason", "agreed")
    assert second.code == 0, second
    done = npp.json("payment", "cancel", payment, *words[:-1], "--customer", "cust_1")
    assert (done["result"], done["state"]) == ("ACCEPTED", "FAILED")
    shown = npp.json("payment", "show", payment)
    assert (shown["state"], shown["reason"]) == ("FAILED", "CANCELLED")


def test_every_http_list_is_available_in_the_terminal(harness: Harness, npp: Npp) -> None:
    """Each with --json, and as a table with headings."""
    payment = harness.create([ACCEPT, SETTLE])
    harness.until(payment, state="SETTLED")
    for words in (
        ("payment", "list", "--state", "SETTLED"),
        ("payment", "events", payment),
        ("payment", "outcomes", payment),
        ("payment", "search", payment),
        ("approval", "list"),
        ("conflict", "list", "--all"),
        ("payment", "attention"),
        ("quarantine", "list"),
        ("quarantine", "redrives"),
    ):
        assert "items" in npp.json(*words), words
        assert npp(*words).out
    assert "items" in npp.json("audit", "--payment", payment)
    assert npp.json("payment", "event-store", payment)["inEventStore"] is True
    assert "counts" in npp.json("incident", "summary")
    assert npp("incident", "summary").out
    assert npp.json("control", "show")["running"] is True
    watched = npp("payment", "watch", payment).out
    assert "PaymentSettled" in watched


def test_a_stop_is_made_and_ended_with_and_without_the_api(harness: Harness, npp: Npp) -> None:
    """One command each; with --kafka it does not need the API (RP-11)."""
    adm = ("--as", "adm_1")
    through = npp.json("control", "stop", "--reason", "drill", *adm)["stopId"]
    without = npp.json("control", "stop", "--reason", "drill", "--kafka", "--as", "ann")["stopId"]
    both = {through, without}

    def seen(*words: str) -> set[str]:
        return {each["stopId"] for each in npp.json("control", "show", *words)["stops"]}

    try:
        assert both <= seen("--kafka")
        harness.soon(lambda: both <= seen())
        assert without in npp("control", "show").out
        assert npp("control", "resume", "--confirm", *adm).code == 2  # ambiguous: which of the two?
        requested = ("control", "resume", "--request", "--reason", "over")
        assert npp(*requested, "--stop", through, *adm).code == 1  # no replay has passed since
    finally:
        assert npp("replay", "verify", "--publish").code == 0
        harness.soon(lambda: npp(*requested, "--stop", through, *adm).code == 0)
        assert npp(*requested, "--stop", without, "--kafka", *adm).code == 0
        alone = npp("control", "resume", "--confirm", "--stop", through, "--as", "ADM_1")
        crossed = npp("control", "resume", "--confirm", "--stop", without, "--as", "bob")
        direct = npp(
            *("control", "resume", "--confirm", "--stop", through, "--kafka", "--as", "bob")
        )
    assert alone.code == 1
    assert (crossed.code, direct.code) == (0, 0), (crossed, direct)
    assert "is based on a replay" in direct.out
    harness.soon(lambda: npp.json("control", "show")["running"])


def test_a_conflict_is_resolved_on_its_own_attempt(harness: Harness, npp: Npp) -> None:
    """att_002's conflict is not resolved on att_001."""
    key = harness.key()
    payment = payment_intent_id(SUBMITTER_SOURCE, key)
    harness.script(external_ref(payment, 2), [rejects("AB05")])
    harness.create([rejects("AB05")], key=key)
    harness.until(payment, state="FAILED", funds="RELEASED")
    harness.approved("ops_1", payment, "RETRY")
    harness.done("ops_1", payment, "retry", {"attemptId": "att_002", "reason": "rail"})
    harness.until(payment, state="FAILED", attemptId="att_002", funds="RELEASED")
    harness.rail_now(payment, SETTLE, attempt=2)
    harness.until(payment, openConflicts=1)

    words = ("--verdict", "NOT_PAID", "--details", "rail ticket 91", "--as", "snr_1")
    unknown = npp("conflict", "resolve", payment, "cnf_009", *words)
    assert unknown.code == 4
    harness.approved(
        "snr_1", payment, "RESOLVE_RECONCILIATION", conflictId="cnf_001", verdict="NOT_PAID"
    )
    done = npp("conflict", "resolve", payment, "cnf_001", *words)
    assert done.code == 0, done


def test_the_exit_code_says_what_happened(harness: Harness, npp: Npp) -> None:
    """4 not found, 2 an invalid body or no sign-in, 3 no API."""
    unknown = "pi_" + "a" * 26
    assert npp("payment", "show", unknown).code == 4
    payment = harness.create(SILENT)
    harness.until(payment, state="SENT")
    failed = ("payment", "mark-failed", payment)
    assert npp(*failed, "--reason", "CANCELLED", "--details", "d", "--as", "snr").code == 2
    assert npp("payment", "show", "pi_short").code == 2


def test_the_printed_curl_line_does_the_same(harness: Harness, npp: Npp) -> None:
    """--curl makes no call, prints no token, and gives the same answer when pasted."""
    payment = harness.create([ACCEPT, SETTLE])
    harness.until(payment, state="SETTLED", funds="CAPTURED")
    words = ("--action", "REVERSE", "--reason", 'it\'s a "test" of $HOME', "--curl")
    line = npp("approval", "request", payment, *words).out
    assert "$NPP_API_TOKEN" in line
    assert "OperatorActionRequested" not in harness.types(payment)
    token = harness.token("snr_1")
    assert token not in line
    done = subprocess.run(
        ["bash", "-euc", line],
        env={**os.environ, "NPP_API_TOKEN": token},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert '"ACCEPTED"' in done.stdout, done.stdout
    approval = harness.get("/api/approvals", paymentIntentId=payment)["items"][0]
    assert approval["reason"] == 'it\'s a "test" of $HOME'


def test_publishing_reports_rejections_and_a_search_by_key_finds_the_payment(
    harness: Harness, npp: Npp
) -> None:
    """Exit 1 if it was rejected; standard output has the id only."""
    key = harness.key()
    said = npp("payment", "publish", "--key", key, "--amount", "999999999.00")
    payment = payment_intent_id("mobile-app", key)
    assert (said.code, said.out) == (1, f"{payment}\n")
    assert "REJECTED" in said.err
    found = npp.json("payment", "search", key)["items"] if _projected(npp, key) else []
    assert [(each["paymentIntentId"], each["result"]) for each in found] == [(payment, "REJECTED")]
    assert found[0]["kind"] == "rejectedCommand"
    assert npp.json("payment", "search", harness.key())["items"] == []

    good = ("payment", "publish", "--key", harness.key(), "--amount", "1.00", "--json")
    assert [json.loads(npp(*good).out)["result"] for _ in range(2)] == ["ACCEPTED", "DUPLICATE"]


def _projected(npp: Npp, key: str) -> bool:
    """The read model follows the log within a moment."""
    for _ in range(100):
        if npp.json("payment", "search", key)["items"]:
            return True
        time.sleep(0.1)
    return False


def test_a_request_for_approval_says_who_decides_and_what_comes_next(
    harness: Harness, npp: Npp
) -> None:
    payment = harness.create(SILENT)
    harness.until(payment, state="SENT")
    words = ("--action", "CANCEL", "--as", "ann", "--reason", "customer called")
    said = npp("approval", "request", payment, *words)
    assert said.code == 0
    assert "apr_001 is REFERRED: an approver other than ann decides." in said.out
    line = next(each for each in said.out.splitlines() if each.startswith("→ npp "))
    decide = line.removeprefix("→ npp ").replace("…", "agreed").split()
    assert npp(*decide, "--as", "bob").code == 0

    seen = npp("payment", "tail", "--payment", payment, "--count", "3").out.splitlines()
    assert seen[0].split()[3] == "PaymentIntentCreated"
    assert all(payment in line for line in seen)
