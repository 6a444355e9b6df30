"""`npp top`: the API's figures on a terminal, and no screen that hides its age."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from api.app import create_app
from app.cli.api_client import Api
from app.cli.api_options import open_api
from app.cli.npp import run_cli
from app.cli.operators import top
from app.exits import ExitCode, Problem
from core.monitoring import ProofState
from engine.clock import Clock, SystemClock
from tests.api.acting import TEXT
from tests.gateways.harness import serving
from tests.web.harness import PagesHarness

pytestmark = pytest.mark.slow


class Proofs:
    """`api.services.Proofs` with a fixed result."""

    def now(self) -> ProofState:
        return ProofState(
            at=1, running=False, began_at=1, done=9, total=9, ended_at=7_200_000,
            verdict="PASSED", events=41_233_120,
        )  # fmt: skip


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PagesHarness]:
    """The real core behind the API, on a port configured for the command line."""
    made = PagesHarness(tmp_path)
    services = dataclasses.replace(made._services, proofs=Proofs())
    made.failed("one")
    made.sent("two")
    app = create_app(services, made._auth)
    with serving(app) as client:
        monkeypatch.setenv("NPP_API_URL", str(client.base_url).rstrip("/"))
        monkeypatch.setenv("NPP_API_TOKEN", made.token("vera"))
        monkeypatch.setenv("NPP_DATA_DIR", str(tmp_path / "none"))
        yield made
    made.close()


def test_json_has_the_apis_own_figures(
    harness: PagesHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["top", "--json"]) == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    summary = harness.get("vera", "/api/summary").json()
    assert found["summary"]["states"] == summary["states"]
    assert found["summary"]["failures"] == summary["failures"]
    assert found["attention"] == harness.get("vera", "/api/attention").json()["items"]
    assert found["current"] is True
    assert {"incidents", "rail", "control", "approvals", "behindMs"} <= found.keys()


def test_once_shows_states_rates_rail_attention_approvals_and_the_proof(
    harness: PagesHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    payment = harness.failed("three")
    harness.act("olga", payment, "approvals", {"action": "RETRY", "reason": TEXT})
    harness.work()
    assert run_cli(["top", "--once"]) == ExitCode.OK
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown.splitlines()]
    assert next(line for line in lines if line[:1] == ["FAILED"])[:3] == ["FAILED", "█" * 24, "2"]
    assert "Active incidents: 0" in shown
    assert "Success rate, 5 min" in shown
    assert "NPP rail: " in shown
    assert payment in shown
    assert "olga" in shown
    assert "Last full proof 1970-01-01 02:00:00Z, 41,233,120 events, passed" in shown
    assert "live, " in shown


def test_once_shows_every_part_of_the_dashboard(
    harness: PagesHarness, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DSH-01 to DSH-05: one screen from the same responses, with rarely present figures."""
    payment = harness.failed("three")
    harness.act("olga", payment, "approvals", {"action": "RETRY", "reason": TEXT})
    harness.work()
    harness.clock.advance(200_000)
    summary = harness.get("vera", "/api/summary").json()
    reasons = {name: number for number, name in enumerate(summary["failures"], 1)}
    rate = summary["retrySuccess"] | {"value": 0.75, "part": 3, "whole": 4}
    full = summary | {"failures": reasons, "retrySuccess": rate}
    ask = top._ask

    def answer(api: Api, path: str, **query: str) -> object:
        return full if path == "/api/summary" else ask(api, path, **query)

    monkeypatch.setattr(top, "_ask", answer)
    monkeypatch.setenv("COLUMNS", "200")
    run_cli(["top", "--once"])
    shown = capsys.readouterr().out
    for reason, count in reasons.items():
        assert f"{count} {reason}" in shown
    assert "Retry success rate, 24 h: 75.0%  (3 of 4)" in shown
    created = next(line.split() for line in shown.splitlines() if line.startswith("Created "))
    assert (len(created[1]), created[1].count("█"), created[2]) == (48, 1, "3")
    last = shown.partition("Recent operator actions")[2].splitlines()[1:]
    assert [line.split()[2:] for line in last] == [
        [name for name in (e["operatorId"], e["action"], e["paymentIntentId"], e["result"]) if name]
        for e in summary["recentActions"]
    ]
    assert ["olga", "REQUEST_APPROVAL", payment] in [line.split()[2:5] for line in last]
    waits = next(line for line in shown.splitlines() if line.startswith("apr_"))
    (approval,) = harness.get("vera", "/api/approvals").json()["items"]
    minutes, seconds = divmod(approval["ageSeconds"], 60)
    assert minutes == 3
    assert f"{minutes} min {seconds} s" in waits


def test_a_stale_screen_says_so_and_exits_1(
    harness: PagesHarness, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As stale as the read model: 31 s."""
    summary = harness.get("vera", "/api/summary").json()
    late = summary | {"readModel": summary["readModel"] | {"delayMs": 31_000, "late": True}}
    unknown = summary | {"readModel": summary["readModel"] | {"delayMs": None}}
    requested = top._ask
    for body, words in ((late, "OLD: 31 s behind"), (unknown, "age unknown")):

        def answer(api: object, path: str, body: object = body, **query: str) -> object:
            return body if path == "/api/summary" else requested(api, path, **query)  # type: ignore[arg-type]

        monkeypatch.setattr(top, "_ask", answer)
        assert run_cli(["top", "--once"]) == ExitCode.FAILED
        assert words in capsys.readouterr().out


def test_without_an_api_it_exits_3_and_without_its_address_2(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NPP_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NPP_API_URL", "http://127.0.0.1:1")
    assert run_cli(["top", "--once"]) == ExitCode.UNREACHABLE
    assert "The API does not answer" in capsys.readouterr().err
    monkeypatch.delenv("NPP_API_URL")
    assert run_cli(["top", "--once"]) == ExitCode.USAGE


def test_live_it_keeps_its_last_data_while_the_api_is_unavailable(
    harness: PagesHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It exits on an error that no retry can cure."""
    console = Console(width=160, height=60, force_terminal=True, record=True)
    monkeypatch.setattr(top, "console", lambda: console)
    away = [
        Problem("The API does not answer", code=ExitCode.UNREACHABLE),
        Problem("Sign in again.", code=ExitCode.USAGE),
    ]
    look = top._look
    looks: list[str] = []

    class Instant(SystemClock):
        def sleep(self, seconds: float) -> None:
            looks.append("slept")

    def failing(api: Api, clock: Clock) -> object:
        if looks:
            raise away.pop(0)
        return look(api, clock)

    monkeypatch.setattr(top, "_look", failing)
    with open_api() as api, pytest.raises(Problem, match="Sign in again"):
        top._follow(api, Instant())
    shown = console.export_text()
    assert "live, " in shown
    assert "reconnecting, data from" in shown
    assert len(looks) == 2
