"""`npp top`: the API's numbers on a terminal, and no picture that hides how old it is."""

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


class Told:
    """`api.services.Proofs` with one word."""

    def now(self) -> ProofState:
        return ProofState(
            at=1, running=False, began_at=1, done=9, total=9, ended_at=7_200_000,
            verdict="PASSED", events=41_233_120,
        )  # fmt: skip


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PagesHarness]:
    """The real core behind the API, on a port that the command line is told of."""
    made = PagesHarness(tmp_path)
    services = dataclasses.replace(made._services, proofs=Told())
    made.failed("one")
    made.sent("two")
    app = create_app(services, made._auth)
    with serving(app) as client:
        monkeypatch.setenv("NPP_API_URL", str(client.base_url).rstrip("/"))
        monkeypatch.setenv("NPP_API_TOKEN", made.token("vera"))
        monkeypatch.setenv("NPP_DATA_DIR", str(tmp_path / "none"))
        yield made
    made.close()


def test_json_has_the_api_s_own_numbers(
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


def test_an_old_picture_says_that_it_is_old_and_ends_with_1(
    harness: PagesHarness, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the read model is late: 31 s."""
    summary = harness.get("vera", "/api/summary").json()
    late = summary | {"readModel": summary["readModel"] | {"delayMs": 31_000, "late": True}}
    unknown = summary | {"readModel": summary["readModel"] | {"delayMs": None}}
    asked = top._ask
    for body, words in ((late, "OLD: 31 s behind"), (unknown, "age not known")):

        def answer(api: object, path: str, body: object = body, **query: str) -> object:
            return body if path == "/api/summary" else asked(api, path, **query)  # type: ignore[arg-type]

        monkeypatch.setattr(top, "_ask", answer)
        assert run_cli(["top", "--once"]) == ExitCode.FAILED
        assert words in capsys.readouterr().out


def test_without_an_api_it_ends_with_3_and_without_its_name_with_2(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NPP_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NPP_API_URL", "http://127.0.0.1:1")
    assert run_cli(["top", "--once"]) == ExitCode.UNREACHABLE
    assert "The API does not answer" in capsys.readouterr().err
    monkeypatch.delenv("NPP_API_URL")
    assert run_cli(["top", "--once"]) == ExitCode.USAGE


def test_live_it_goes_on_from_its_last_data_while_the_api_is_away(
    harness: PagesHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ends where asking again can never go well."""
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
