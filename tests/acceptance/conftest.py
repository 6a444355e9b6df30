"""Which acceptance tests share a process, so that few products run at once.

A product without work still takes a third of a slow core. So a fixture that starts one is scoped to
the folder or the file that uses it and ends with it, never with the session.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

ONE_PRODUCT = ("tests/acceptance/shared", "tests/acceptance/watched")


def side(file: str) -> str:
    """The files of a folder with one product stay in one process. Every other file starts its own
    product, so it can run at any time.
    """
    folder = str(PurePosixPath(file).parent)
    return folder if folder in ONE_PRODUCT else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope` each group stays in one process; the largest one starts first."""
    if config.getoption("dist") != "loadscope":
        return None
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = lambda nodeid: side(nodeid.partition("::")[0])
    return scheduler
