"""STOP, quarantine and redrive over HTTP, by two persons: RP-11, OP-07, OP-24, OP-34."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.harness import ACCEPT, SETTLE, SILENT, House

pytestmark = pytest.mark.broker


def test_a_stop_holds_everything_but_reading_until_two_persons_end_it(house: House) -> None:
    """RP-11, RP-09, EP-01: 503 for actions, inputs kept; reading and evidence go on; a proof and a
    second person end it; what waited goes on."""
    payment = house.create(SILENT)
    house.until(payment, state="SENT")
    stop = house.ask("adm_1", "POST", "/api/control/stop", {"reason": "drill"})
    assert stop.status_code == 200, stop.text
    stop_id = stop.json()["stopId"]
    path = f"/api/control/stops/{stop_id}/resume-requests"
    try:
        house.soon(lambda: phase(house, "payments") == "stopped", what="the processor obeys")
        refused = house.act("ops_1", payment, "cancel", {"reason": "r"})
        assert refused.status_code == 503
        assert refused.json()["code"] == "STOPPED"
        assert int(refused.headers["retry-after"]) > 0
        assert house.submit(house.key()).status_code == 503
        waiting = house.npp("publish", "--key", house.key(), "--amount", "4.00").stdout.strip()

        assert house.payment(payment)["state"] == "SENT"
        assert stop_id in house.ask("view_1", "GET", "/api/control").text
        body = {"format": "JSON", "includeReplayProof": False}
        assert house.act("ops_1", payment, "evidence-pack", body).status_code == 200
        assert house.ask("view_1", "GET", f"/api/payments/{waiting}").status_code == 404

        early = house.ask("adm_1", "POST", path, {"reason": "no proof yet"})
        assert early.status_code in (403, 409), early.text
        house.npp("replay", "verify", "--publish", "--as", "adm_1")
        asked = house.soon(lambda: good(house.ask("adm_1", "POST", path, {"reason": "proven"})))
        confirm = f"{path}/{asked['offset']}/confirm"
        alone = house.ask(house.token("ADM_1", "admin"), "POST", confirm)
        assert alone.status_code == 403, alone.text
    finally:
        asked = house.soon(lambda: good(house.ask("adm_1", "POST", path, {"reason": "proven"})))
        ended = house.ask("adm_2", "POST", f"{path}/{asked['offset']}/confirm")
    assert ended.status_code == 200, ended.text
    house.until(waiting, state="SETTLED")

    def audited() -> bool:
        text = house.ask("aud_1", "GET", "/api/audit", limit=200).text
        return stop_id in text or "drill" in text

    house.soon(audited, what="stop and resumption in the audit log")


def phase(house: House, program: str) -> str:
    """What a process says of itself; each reads the control topic for itself."""
    return str(house.http.get(house.stage.programs.ready_url(program)).json()["phase"])


def good(answer: httpx.Response) -> Any:
    return answer.json() if answer.status_code == 200 else None


def test_an_unmatched_report_is_assigned_by_two_persons(house: House) -> None:
    """OP-24, ERR-05: it waits in quarantine; previewed, requested, confirmed by another person, it
    becomes a report of the payment, naming both."""
    payment = house.create(SILENT)
    house.until(payment, state="SENT")
    message = {
        "MsgType": "pacs.002",
        "MsgId": f"stray-{house.key()}",
        "OrgnlInstrId": "SOMEBODY-ELSES-REFERENCE",
        "TxSts": "ACCP",
    }
    webhook = f"{house.stage.url('webhook')}/callbacks/rail"
    assert house.http.post(webhook, json=message).status_code == 202

    def find() -> Any:
        return house.get("/api/quarantine", reason="UNMATCHED", limit=200)["items"]

    item = house.soon(find, what="the stray callback")[0]
    asked = {
        "partition": item["partition"],
        "offsets": [item["offset"]],
        "paymentIntentId": payment,
    }
    preview = house.ask("adm_1", "POST", "/api/quarantine/redrives/preview", asked)
    assert preview.status_code == 200, preview.text
    path = "/api/quarantine/redrives"
    request = house.ask("adm_1", "POST", path, asked | {"reason": "rail ticket 93"})
    assert request.status_code == 200, request.text
    name = request.json()["requestId"]
    alone = house.ask(house.token("Adm_1", "admin"), "POST", f"{path}/{name}/confirm")
    assert (alone.status_code, alone.json()["rule"]) == (403, "SELF_APPROVAL")
    confirmed = house.ask("adm_2", "POST", f"{path}/{name}/confirm")
    assert confirmed.status_code == 200, confirmed.text
    house.until(payment, state="ACKNOWLEDGED")
    listed = house.soon(
        lambda: [i for i in house.get(path)["items"] if i["requestId"] == name
                 and i["status"] == "DONE"],
        what="the redrive is done",
    )  # fmt: skip
    assert (listed[0]["requestedBy"], listed[0]["confirmedBy"]) == ("adm_1", "adm_2")
    text = house.ask("aud_1", "GET", f"/api/payments/{payment}/events").text
    assert "adm_1" in text
    assert "adm_2" in text


def test_live_updates_arrive_and_go_on_from_where_they_were(house: House) -> None:
    """API-03: server-sent events of a payment; with Last-Event-ID nothing is missed or doubled."""
    payment = house.create(SILENT)
    house.until(payment, state="SENT")
    headers = {"Authorization": f"Bearer {house.token('view_1')}"}
    url = f"{house.url}/api/stream"
    query = {"paymentIntentId": payment}
    with house.http.stream("GET", url, headers=headers, params=query, timeout=20) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        read_until(lines, "event: ready")  # from here on nothing is missed
        house.rail_now(payment, ACCEPT)
        first = read_until(lines, "PaymentAcknowledged")
    house.rail_now(payment, SETTLE)
    house.until(payment, state="SETTLED")
    more = headers | {"Last-Event-ID": first}
    with house.http.stream("GET", url, headers=more, params=query, timeout=20) as answer:
        assert read_until(answer.iter_lines(), "PaymentSettled", never="PaymentAcknowledged")


def read_until(lines: Iterator[str], word: str, never: str = "\0") -> str:
    """The id of the first message with this word, which ends with an empty line."""
    last, found = "", False
    for line in lines:
        if line.startswith("id:"):
            last = line[3:].strip()
        assert never not in line
        found = found or word in line
        if found and not line:
            return last
    raise AssertionError(f"the stream ended without {word}")
