"""STOP, quarantine and redrive over HTTP, under dual control: RP-11, OP-07, OP-24, OP-34."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.harness import ACCEPT, SETTLE, SILENT, Harness

pytestmark = pytest.mark.broker

ASK = ("control", "resume", "--request", "--reason", "proven", "--as", "adm_1")


def test_a_stop_blocks_everything_but_reads_until_it_is_ended_under_dual_control(
    harness: Harness,
) -> None:
    """RP-11, RP-09, EP-01: 503 for actions, and inputs are kept; reads and evidence continue. A
    proof and a second person end it, and waiting work continues.
    """
    payment = harness.create(SILENT)
    harness.until(payment, state="SENT")
    stop = harness.ask("adm_1", "POST", "/api/control/stop", {"reason": "drill"})
    assert stop.status_code == 200, stop.text
    stop_id = stop.json()["stopId"]
    path = f"/api/control/stops/{stop_id}/resume-requests"
    try:
        harness.soon(lambda: phase(harness, "payments") == "stopped", what="the processor obeys")
        refused = harness.act("ops_1", payment, "cancel", {"reason": "r"})
        assert refused.status_code == 503
        assert refused.json()["code"] == "STOPPED"
        assert int(refused.headers["retry-after"]) > 0
        assert harness.submit(harness.key()).status_code == 503
        waiting = harness.npp(
            "payment", "publish", "--key", harness.key(), "--amount", "4.00"
        ).stdout.strip()

        assert harness.payment(payment)["state"] == "SENT"
        assert stop_id in harness.ask("view_1", "GET", "/api/control").text
        body = {"format": "JSON", "includeReplayProof": False}
        assert harness.act("ops_1", payment, "evidence-pack", body).status_code == 200
        assert harness.ask("view_1", "GET", f"/api/payments/{waiting}").status_code == 404

        unsigned = {"type": "ResumeRequested", "fields": {"stopId": stop_id}, "signature": None}
        typed = harness.ask("adm_1", "POST", path, unsigned)
        assert (typed.status_code, typed.json()["rule"]) == (403, "ACT_NOT_SIGNED"), typed.text
        assert harness.npp(*ASK, check=False).returncode == 1  # nothing is proved yet
        harness.npp("replay", "verify", "--publish")
        harness.soon(lambda: harness.npp(*ASK, check=False).returncode == 0)
        for alone in ("adm_1", "ADM_1"):
            tried = harness.npp("control", "resume", "--confirm", "--as", alone, check=False)
            assert tried.returncode == 1, tried.stdout
        assert harness.get("/api/control")["running"] is False
    finally:
        harness.npp("replay", "verify", "--publish")
        harness.soon(lambda: harness.npp(*ASK, check=False).returncode == 0)
        harness.npp("control", "resume", "--confirm", "--as", "adm_2")
    harness.until(waiting, state="SETTLED")

    def audited() -> bool:
        text = harness.ask("aud_1", "GET", "/api/audit", limit=200).text
        return stop_id in text or "drill" in text

    harness.soon(audited, what="stop and resumption in the audit log")


def phase(harness: Harness, program: str) -> str:
    """The phase that a process reports; each process reads the control topic itself."""
    return str(harness.http.get(harness.stage.programs.ready_url(program)).json()["phase"])


def test_an_unmatched_report_is_assigned_under_dual_control(harness: Harness) -> None:
    """OP-24, ERR-05: it waits in quarantine. Previewed, requested and confirmed by another person,
    it becomes a report of the payment that names both.
    """
    payment = harness.create(SILENT)
    harness.until(payment, state="SENT")
    message = {
        "MsgType": "pacs.002",
        "MsgId": f"stray-{harness.key()}",
        "OrgnlInstrId": "SOMEBODY-ELSES-REFERENCE",
        "TxSts": "ACCP",
    }
    webhook = f"{harness.stage.url('webhook')}/callbacks/rail"
    assert harness.http.post(webhook, json=message).status_code == 202

    def find() -> Any:
        return harness.get("/api/quarantine", reason="UNMATCHED", limit=200)["items"]

    item = harness.soon(find, what="the stray callback")[0]
    requested = {
        "partition": item["partition"],
        "offsets": [item["offset"]],
        "paymentIntentId": payment,
    }
    preview = harness.ask("adm_1", "POST", "/api/quarantine/redrives/preview", requested)
    assert preview.status_code == 200, preview.text
    path = "/api/quarantine/redrives"
    place = ("--partition", str(item["partition"]), "--offset", str(item["offset"]))
    name = harness.npp_json(
        *("quarantine", "redrive", "--request", *place, "--to", payment),
        *("--reason", "rail ticket 93", "--as", "adm_1"),
    )["requestId"]
    confirm = ("quarantine", "redrive", "--confirm", name, "--as")
    harness.soon(lambda: name in harness.ask("adm_1", "GET", "/api/control").text)
    alone = harness.npp(*confirm, "adm_1", check=False)
    assert (alone.returncode, "second person" in alone.stderr) == (1, True), alone.stderr
    harness.npp(*confirm, "adm_2")
    harness.until(payment, state="ACKNOWLEDGED")
    listed = harness.soon(
        lambda: [i for i in harness.get(path)["items"] if i["requestId"] == name
                 and i["status"] == "DONE"],
        what="the redrive is done",
    )  # fmt: skip
    assert (listed[0]["requestedBy"], listed[0]["confirmedBy"]) == ("adm_1", "adm_2")
    text = harness.ask("aud_1", "GET", f"/api/payments/{payment}/events").text
    assert "adm_1" in text
    assert "adm_2" in text


def test_live_updates_arrive_and_resume_where_they_were(harness: Harness) -> None:
    """API-03: server-sent events of a payment; with Last-Event-ID nothing is missed or repeated."""
    payment = harness.create(SILENT)
    harness.until(payment, state="SENT")
    headers = {"Authorization": f"Bearer {harness.token('view_1')}"}
    url = f"{harness.url}/api/stream"
    query = {"paymentIntentId": payment}
    with harness.http.stream("GET", url, headers=headers, params=query, timeout=20) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        read_until(lines, "event: ready")  # from here on nothing is missed
        harness.rail_now(payment, ACCEPT)
        first = read_until(lines, "PaymentAcknowledged")
    harness.rail_now(payment, SETTLE)
    harness.until(payment, state="SETTLED")
    more = headers | {"Last-Event-ID": first}
    with harness.http.stream("GET", url, headers=more, params=query, timeout=20) as answer:
        assert read_until(answer.iter_lines(), "PaymentSettled", never="PaymentAcknowledged")


def read_until(lines: Iterator[str], word: str, never: str = "\0") -> str:
    """The id of the first message with this event name; the message ends with an empty line."""
    last, found = "", False
    for line in lines:
        if line.startswith("id:"):
            last = line[3:].strip()
        assert never not in line
        found = found or word in line
        if found and not line:
            return last
    raise AssertionError(f"the stream ended without {word}")
