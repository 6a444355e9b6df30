"""No simulator serves a production profile (INT-08)."""

from __future__ import annotations

import importlib
import sys

import pytest


@pytest.mark.parametrize("name", ["rail", "deposits", "notifications", "resolve"])
def test_a_simulator_refuses_the_production_profile_with_an_explanation(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    simulator = importlib.import_module(f"gateways.{name}.simulator")
    monkeypatch.setattr(sys, "argv", [name, "--port", "1", "--profile", "production"])
    with pytest.raises(SystemExit) as ended:
        simulator.main()
    assert ended.value.code == 78
    assert "must not run under the production profile" in capsys.readouterr().err
