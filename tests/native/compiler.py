"""Whether the machine that runs the tests can compile."""

from __future__ import annotations

import os
import shutil

import pytest


def needs_a_compiler() -> None:
    """Skips without a compiler; with NPP_REQUIRE_NATIVE=1, as on the release machine, that is a
    failure.
    """
    if shutil.which("cc"):
        return
    why = "no C compiler here, so the compiled build is not tested (apt-get install gcc libc6-dev)"
    if os.environ.get("NPP_REQUIRE_NATIVE") == "1":
        pytest.fail(why)
    pytest.skip(why)
