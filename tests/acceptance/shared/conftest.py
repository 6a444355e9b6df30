"""One product for the files of this folder, started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.harness import Harness


@pytest.fixture(scope="package")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """Every test has its own payments and leaves nothing stopped."""
    made = Harness(tmp_path_factory.mktemp("harness") / "data")
    try:
        made.start()
        yield made
    finally:
        made.close()
