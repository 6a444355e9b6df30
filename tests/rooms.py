"""The product's rooms, for tests that read its source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
ROOMS: Final = (
    *("core", "schemas", "engine", "gateways", "readmodel", "control", "evidence"),
    *("processors", "api", "web", "app"),
)


def sources(*rooms: str) -> Iterator[Path]:
    """Every Python file of these rooms, or of all; a room without files is an error in the test."""
    for room in rooms or ROOMS:
        found = sorted((ROOT / room).rglob("*.py"))
        assert found, f"no module in {room}"
        yield from found
