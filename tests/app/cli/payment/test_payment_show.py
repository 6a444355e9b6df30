"""`npp payment show` through the API: the payment, and its timeline of events and outcomes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from app.cli.npp import run_cli
from tests.app.cli.test_api_client import FakeApi
from tests.app.cli.test_commands import PAYMENT

pytestmark = pytest.mark.slow

PLACE = f"/api/payments/{PAYMENT}"
CAUSE = {"topic": "npp.payment.commands.v1", "partition": 2, "offset": 7}
EVENT = {
    "timestamp": "2026-01-01T00:00:02.000Z", "sequence": 2, "type": "FundsRequested",
    "toState": "CREATED", "attemptId": "att_001", "reason": None, "approvalId": None,
    "actor": {"kind": "SYSTEM", "id": ""}, "cause": CAUSE, "data": {"operation": "HOLD"},
}  # fmt: skip
OUTCOME = {
    "decidedAt": "2026-01-01T00:00:01.000Z", "toSequence": 1, "inputType": "CreatePayment",
    "result": "REJECTED", "state": None, "code": "VALIDATION", "rule": "AMOUNT",
    "firstDifference": None, "cause": CAUSE,
}  # fmt: skip


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    made = FakeApi()
    made.answers = {
        PLACE: [
            (200, {"paymentIntentId": PAYMENT, "state": "CREATED", "conflicts": [], "rulings": []})
        ],
        f"{PLACE}/events": [(200, {"items": [EVENT], "next": None})],
        f"{PLACE}/outcomes": [(200, {"items": [OUTCOME], "next": None})],
    }
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("NPP_API_URL", made.url)
    monkeypatch.setenv("NPP_PROFILE", "test")
    yield made
    made.shutdown()
    made.server_close()


def test_the_timeline_orders_events_and_outcomes_by_time(
    shown: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["payment", "show", PAYMENT]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    cause = "commands[2]@7"
    assert lines[-2:] == [
        [OUTCOME["decidedAt"], "CreatePayment:", "REJECTED", "VALIDATION", "AMOUNT", cause],
        [EVENT["timestamp"], "2", "FundsRequested", "CREATED", "att_001", "SYSTEM", "HOLD", cause],
    ]


def test_the_json_has_the_same_timeline(shown: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["payment", "show", PAYMENT, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["state"], found["events"], found["outcomes"]) == ("CREATED", [EVENT], [OUTCOME])
