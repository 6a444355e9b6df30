"""Ctrl-C ends a command with the code of an interrupt, also where Kafka's client loses it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.exits import ExitCode

# As `Consumer.consume` does now and then: the exception is gone, and the call has no result.
LOSES_IT = """
import os, signal, sys
from app.cli import npp
def run_cli(arguments):
    if arguments:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            pass
    raise SystemError("<built-in method consume> returned NULL without setting an exception")
npp.run_cli = run_cli
npp.main()
"""


@pytest.mark.parametrize(
    ("arguments", "code", "is_told"),
    [(["interrupted"], ExitCode.INTERRUPTED, False), ([], ExitCode.FAILED, True)],
    ids=["interrupted", "a defect"],
)
def test_an_interrupt_that_the_client_loses_is_an_interrupt(
    arguments: list[str], code: ExitCode, is_told: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOSES_IT, *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert ("Traceback" in done.stderr) == is_told
