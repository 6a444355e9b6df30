"""One product for the files of this folder, started once. They run in alphabetical order: at first
the product is healthy, and the last file's damage to its logs is permanent.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.watched.product import Watched


@pytest.fixture(scope="package")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    made = Watched(tmp_path_factory.mktemp("watched") / "data")
    try:
        made.start_all()
        yield made
    finally:
        made.close()
