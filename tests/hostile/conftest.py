"""The attackers' starting point: a signed log, and genuine packs of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.evidence.alterations import signed_world


@pytest.fixture(scope="package")
def pack_named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], bytes]]:
    """The genuine pack of a payment by its name in the world."""
    made, names = signed_world(tmp_path_factory.mktemp("packs") / "readmodel")
    yield lambda name: made.packs.build(names[name], None, proof=True)[1]
    made.close()
