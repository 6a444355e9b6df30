"""The codec for every test of this folder."""

from __future__ import annotations

import pytest

from schemas.codec import Codec
from schemas.registry.setup import static_codec


@pytest.fixture(scope="module")
def codec() -> Codec:
    return static_codec()
