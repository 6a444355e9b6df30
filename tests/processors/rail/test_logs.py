"""The log lines about submissions and callbacks."""

from __future__ import annotations

from typing import Any

from structlog.testing import capture_logs

from gateways.connections import Gateway
from gateways.rail.http_client import HttpRail
from gateways.rail.simulator import RailSimulator
from tests.clock import HeldClock
from tests.gateways.harness import CLOCK, PARTIES, serving, submit
from tests.processors.rail.harness import NOW_MS, MemoryLog
from tests.processors.rail.test_webhook import REF, message, webhook


def test_the_log_line_of_each_submission_and_callback_is_complete() -> None:
    """INT-02: externalRef, time, latency and result code, and no party details."""
    with serving(RailSimulator(clock=CLOCK).app()) as client, capture_logs() as submissions:
        client.post(
            "/scripts", json={"for": "*", "steps": [{"kind": "SYNC_REJECT", "code": "AC04"}]}
        )
        instruction = submit(1)
        HttpRail(gateway=Gateway(str(client.base_url)), clock=CLOCK).submit(instruction, PARTIES)
    with capture_logs() as callbacks:
        raw = message(TxSts="RJCT", StsRsnInf={"Cd": "AC04"})
        webhook(MemoryLog(HeldClock(NOW_MS))).callback(raw)

    def line(lines: list[Any], reference: str) -> dict[str, Any]:
        (found,) = [each for each in lines if each.get("external_ref") == reference]
        assert "Alice" not in str(found)
        assert found["at"] > 0
        assert found["latency_ms"] >= 0
        return dict(found)

    assert line(submissions, instruction.external_ref)["result"] == "REJECTED"
    assert line(callbacks, REF)["code"] == "AC04"
