"""The pages over the real core, for every test that uses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.harness import PagesHarness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PagesHarness]:
    made = PagesHarness(tmp_path)
    yield made
    made.close()
