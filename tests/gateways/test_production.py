"""No simulator serves a production profile (INT-08)."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["rail", "deposits", "notifications", "resolve"])
def test_a_simulator_refuses_the_production_profile_with_a_sentence(name: str) -> None:
    command = [sys.executable, "-m", f"gateways.{name}.simulator", "--port", "1"]
    ended = subprocess.run(
        [*command, "--profile", "production"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 78
    assert "must not run under the production profile" in ended.stderr
