"""Packs of one signed log, made once for each test file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from evidence import verify_evidence as v
from tests.evidence.alterations import KEYS, signed_world


@pytest.fixture(scope="module")
def content_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], bytes]]:
    """The pack of a payment, by its name in the world."""
    made, names = signed_world(tmp_path_factory.mktemp("packs") / "readmodel")
    yield lambda name: made.packs.build(names[name], None, proof=True)[1]
    made.close()


@pytest.fixture(scope="module")
def content(content_of: Callable[[str], bytes]) -> bytes:
    """The pack of a retried payment with a refused action."""
    made = content_of("retried")
    assert v.verify(made, KEYS)["verified"]
    return made


@pytest.fixture(scope="module")
def inputs(content: bytes) -> v.Inputs:
    """The inputs of that pack."""
    return v.read_inputs(json.loads(content), KEYS)
